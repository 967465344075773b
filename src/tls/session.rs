//! One connection's TLS, from ciphertext to plaintext and back, without owning a buffer.

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{CommonState, Error};

use super::fault::{Alert, Fault};
use super::hello::Offer;
use super::material::{Client, Server};
use super::revocation::{self, Sent};
use super::step::{Next, Writing, begins_with_record, is_no_tls, step, try_write};
use super::suites::Described;
use super::trust::{Judged, Trust, Whose};
use super::verify::{Demand, Verdict, Verifier};
use crate::dns::Domain;
use crate::limits;
use crate::policy::{ExpectedNames, PeerNames, Revocation, RevocationState};

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// More of the handshake is needed from the peer.
    Handshaking,
    /// Plaintext flows.
    Established,
    /// The peer said it will send no more (RFC 8446 section 6.1); sealing is still possible.
    PeerClosed,
}

/// What became of the bytes given to [`Session::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes that are done with. The rest, less than one record, must come again with more.
    pub consumed: usize,
    /// Where the session stands.
    pub state: State,
}

/// TLS of one connection.
pub struct Session {
    link: Link,
    phase: Phase,
    peer_closed: bool,
    /// Records of a handshake message that is not whole yet, and what came behind them.
    ///
    /// The library keeps positions in the buffer it was given until the message is whole, and must
    /// be given the same bytes again with every call, sealing included. Empty but for peers that
    /// spread handshake messages over records, and then bounded as the handshake is.
    held: Vec<u8>,
}

enum Link {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
    /// There is no TLS.
    Clear,
}

enum Phase {
    /// Bytes pass as they are.
    Clear,
    Handshaking {
        /// `None` where no certificate is asked.
        verifier: Option<Arc<Verifier>>,
        /// Bytes of handshake consumed.
        consumed: usize,
    },
    Open(Option<Peer>),
    /// Failed, or closed by us: nothing more is read or written.
    Over(Option<Peer>),
}

/// Who the peer is and what it was judged by, to judge it again.
struct Peer {
    /// `Err`: why it is nobody, in words; where that is let in.
    names: Result<Arc<PeerNames>, Arc<str>>,
    whose: Whose,
    demand: Demand,
    expected: Option<Arc<ExpectedNames>>,
    /// What its chain is looked up by in new lists.
    path: Arc<[revocation::Link]>,
    /// It came to us and is known to be a partner whose lists are to be fetched.
    named: bool,
}

impl Session {
    /// Returns the session of a leg before its STARTTLS: what is fed comes out as it is, and so
    /// does what is sealed.
    #[must_use]
    pub const fn clear() -> Self {
        Self { link: Link::Clear, phase: Phase::Clear, peer_closed: false, held: Vec::new() }
    }

    /// Tells whether bytes pass as they are.
    #[must_use]
    pub const fn is_clear(&self) -> bool {
        matches!(self.phase, Phase::Clear)
    }

    /// Begins the server's side of an accepted connection.
    ///
    /// # Errors
    /// [`Fault::Internal`] if the library refuses the configuration.
    pub fn server(server: &Arc<Server>) -> Result<Self, Fault> {
        Self::server_as(server, None)
    }

    /// The same where it is known whom the peer asked for before TLS: that chooses the identity if
    /// it sends no SNI.
    ///
    /// # Errors
    /// As [`Self::server`].
    pub fn server_as(server: &Arc<Server>, asked: Option<Domain>) -> Result<Self, Fault> {
        let (config, verifier) = server.config(asked).map_err(Fault::internal)?;
        let connection = UnbufferedServerConnection::new(config).map_err(Fault::internal)?;
        let phase = Phase::Handshaking { verifier, consumed: 0 };
        Ok(Self { link: Link::Server(connection), phase, peer_closed: false, held: Vec::new() })
    }

    /// Begins the client's side of a connection; [`Self::start`] gives its first bytes.
    ///
    /// # Errors
    /// [`Fault::Internal`] if the library refuses the configuration.
    pub fn client(client: &Arc<Client>, name: ServerName<'static>) -> Result<Self, Fault> {
        let config = Arc::clone(&client.config);
        let connection = UnbufferedClientConnection::new(config, name).map_err(Fault::internal)?;
        let verifier = Some(Arc::clone(&client.verifier));
        let phase = Phase::Handshaking { verifier, consumed: 0 };
        Ok(Self { link: Link::Client(connection), phase, peer_closed: false, held: Vec::new() })
    }

    /// Appends what must be sent before anything can be received: a client's hello.
    ///
    /// # Errors
    /// [`Fault::Internal`] if the library cannot make it.
    pub fn start(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.feed(&mut [], out, |_| ()).map(|_| ())
    }

    /// Processes every whole record of `input`.
    ///
    /// `input`: ciphertext in order, beginning where the last call left off; it is decrypted in
    /// place. `out` gets bytes for the peer, also together with an error (the alert). `sink` gets
    /// the plaintext, once per record. Hot: once per record; bench `tls/feed_700`. One allocation
    /// and one copy per record, the library's.
    /// # Errors
    /// Any [`Fault`]; the session is over then.
    pub fn feed<F: FnMut(&[u8])>(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        mut sink: F,
    ) -> Result<Fed, Fault> {
        match self.phase {
            Phase::Over(_) => return Err(Fault::NotOpen),
            Phase::Clear => {
                sink(input);
                return Ok(Fed { consumed: input.len(), state: State::Established });
            }
            Phase::Handshaking { .. } | Phase::Open(_) => {}
        }
        if self.peer_closed {
            return Ok(Fed { consumed: input.len(), state: State::PeerClosed });
        }
        if self.held.is_empty() {
            let consumed = self.process(input, out, &mut sink)?;
            let rest = input.get(consumed..).unwrap_or_default();
            if !begins_with_record(rest) {
                return self.settle(consumed, 0).map(|state| Fed { consumed, state });
            }
            self.held.extend_from_slice(rest);
            let state = self.settle(consumed, self.held.len())?;
            return Ok(Fed { consumed: input.len(), state });
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(input);
        let consumed = self.process(&mut joined, out, &mut sink)?;
        joined.drain(..consumed);
        self.held = joined;
        let state = self.settle(consumed, self.held.len())?;
        Ok(Fed { consumed: input.len(), state })
    }

    /// Runs the library over `input` until it wants more; returns how much is done with.
    fn process<F: FnMut(&[u8])>(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        sink: &mut F,
    ) -> Result<usize, Fault> {
        let mut consumed = 0;
        // Bound: every turn consumes a record, empties a queue of the library, or ends the loop.
        loop {
            let rest = input.get_mut(consumed..).unwrap_or_default();
            let step = match &mut self.link {
                Link::Server(connection) => step(connection.process_tls_records(rest), out, sink),
                Link::Client(connection) => step(connection.process_tls_records(rest), out, sink),
                Link::Clear => return Err(Fault::NotOpen),
            };
            match step.next {
                Next::Again => consumed += step.discard,
                Next::Blocked => return Ok(consumed + step.discard),
                Next::PeerClosed => {
                    // What comes behind a close is ignored (RFC 8446 section 6.1).
                    self.peer_closed = true;
                    return Ok(input.len());
                }
                Next::Failed(error) => {
                    let offending = input.get(consumed..).unwrap_or_default();
                    return Err(self.fail(error, offending, out));
                }
            }
        }
    }

    /// Moves on to the phase the connection has reached.
    ///
    /// `held`: bytes kept of a handshake message that is not whole.
    fn settle(&mut self, consumed: usize, held: usize) -> Result<State, Fault> {
        let handshaking = self.link.common().is_some_and(|common| common.is_handshaking());
        let before = match &mut self.phase {
            Phase::Handshaking { consumed: total, .. } if handshaking => {
                *total += consumed;
                *total
            }
            _ => 0,
        };
        if before + held > limits::HANDSHAKE_BYTES_MAX {
            self.end();
            return Err(Fault::HandshakeTooLarge);
        }
        match &mut self.phase {
            Phase::Handshaking { .. } if handshaking && self.peer_closed => {
                self.end();
                Err(Fault::Refused(Alert::CLOSE_NOTIFY))
            }
            Phase::Handshaking { .. } if handshaking => Ok(State::Handshaking),
            Phase::Handshaking { verifier, .. } => {
                let peer = verifier.take().map(|verifier| Peer::of(&verifier)).transpose();
                self.phase = Phase::Open(peer.inspect_err(|_| self.end())?.flatten());
                Ok(self.open_state())
            }
            Phase::Open(_) => Ok(self.open_state()),
            Phase::Clear | Phase::Over(_) => Err(Fault::NotOpen),
        }
    }

    const fn open_state(&self) -> State {
        if self.peer_closed { State::PeerClosed } else { State::Established }
    }

    /// Ends the session after an error of the library, and appends the alert it wants sent.
    ///
    /// `input`: where the error was found.
    fn fail(&mut self, error: Error, input: &[u8], out: &mut Vec<u8>) -> Fault {
        // Bound: each turn empties one place of the library's queue. While something is queued the
        // library does not look at its input.
        while self.link.common().is_some_and(|common| common.wants_write()) {
            match &mut self.link {
                Link::Server(connection) => {
                    step(connection.process_tls_records(&mut []), out, &mut |_: &[u8]| ());
                }
                Link::Client(connection) => {
                    step(connection.process_tls_records(&mut []), out, &mut |_: &[u8]| ());
                }
                Link::Clear => break,
            }
        }
        let fault = match &self.phase {
            Phase::Handshaking { consumed: 0, .. } if is_no_tls(&error) => Fault::NotTls,
            Phase::Handshaking { verifier: Some(verifier), .. } => match verifier.verdict() {
                Some(Err(fault)) if verifier.demand() == Demand::Proof => fault,
                _ => Fault::from_library(error, || Offer::read(input)),
            },
            _ => Fault::from_library(error, || Offer::read(input)),
        };
        self.end();
        fault
    }

    /// Reads and writes no more; who the peer was stays known.
    fn end(&mut self) {
        self.held = Vec::new();
        let before = std::mem::replace(&mut self.phase, Phase::Over(None));
        if let Phase::Open(peer) = before {
            self.phase = Phase::Over(peer);
        }
    }

    /// Appends `plaintext` as records, each of up to 16 KiB.
    ///
    /// Hot: once per leg and turn; bench `tls/seal_700`. One allocation and two copies per record,
    /// the library's.
    /// # Errors
    /// [`Fault::NotOpen`] before the handshake and after the end; [`Fault::KeysExhausted`].
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        match self.phase {
            Phase::Open(_) => self.write(&Writing::Plaintext(plaintext), out),
            Phase::Clear => {
                out.extend_from_slice(plaintext);
                Ok(())
            }
            Phase::Handshaking { .. } | Phase::Over(_) => Err(Fault::NotOpen),
        }
    }

    /// Appends the closing alert (RFC 8446 section 6.1); nothing can be sealed after it.
    ///
    /// Appends nothing where there is nothing to close: before the handshake, and after the end.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.phase, Phase::Open(_)) {
            return;
        }
        // Without the alert the peer sees the end of the stream, as after a reset.
        let _ = self.write(&Writing::CloseNotify, out);
        self.end();
    }

    /// Brings the library to where it lets us write, and writes.
    fn write(&mut self, what: &Writing<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
        // Bound: what is queued before us is at most the answer to one turn's key updates.
        for _ in 0..limits::MESSAGES_PER_TURN_MAX {
            let written = match &mut self.link {
                Link::Server(connection) => {
                    try_write(connection.process_tls_records(&mut self.held), what, out)?
                }
                Link::Client(connection) => {
                    try_write(connection.process_tls_records(&mut self.held), what, out)?
                }
                Link::Clear => return Err(Fault::NotOpen),
            };
            if written {
                return Ok(());
            }
        }
        Err(Fault::NotOpen)
    }

    /// Returns who the peer is, once the handshake is done and if it gave a certificate.
    #[must_use]
    pub fn peer(&self) -> Option<Arc<PeerNames>> {
        self.judged_peer().and_then(|peer| peer.names.as_ref().ok()).map(Arc::clone)
    }

    /// Returns why what the peer showed proves nothing, where that is let in.
    #[must_use]
    pub fn doubt(&self) -> Option<Arc<str>> {
        self.judged_peer().and_then(|peer| peer.names.as_ref().err()).map(Arc::clone)
    }

    /// Forgets who the peer was, because of `fault`; for one that need not be anybody.
    ///
    /// Returns the doubt where it is another than before. Where proof is demanded `fault` comes
    /// back: the leg is to be closed.
    /// # Errors
    /// `fault`.
    pub fn doubted(&mut self, fault: Fault) -> Result<Option<Arc<str>>, Fault> {
        let Phase::Open(Some(peer)) = &mut self.phase else { return Err(fault) };
        if peer.demand == Demand::Proof {
            return Err(fault);
        }
        let doubt: Arc<str> = fault.to_string().into();
        if peer.names.as_ref().is_err_and(|known| *known == doubt) {
            return Ok(None);
        }
        peer.names = Err(Arc::clone(&doubt));
        peer.path = Arc::default();
        Ok(Some(doubt))
    }

    /// Puts what `share` gives in the place of what is known of the peer, to be the same.
    ///
    /// For peers of one certificate to hold one copy; does nothing where there is no peer.
    pub fn share_peer(&mut self, share: impl FnOnce(Arc<PeerNames>) -> Arc<PeerNames>) {
        if let Phase::Open(Some(Peer { names: Ok(names), .. })) = &mut self.phase {
            *names = share(Arc::clone(names));
        }
    }

    fn judged_peer(&self) -> Option<&Peer> {
        match &self.phase {
            Phase::Clear | Phase::Handshaking { .. } => None,
            Phase::Open(peer) | Phase::Over(peer) => peer.as_ref(),
        }
    }

    /// Returns what was agreed on; without meaning before the handshake is done.
    #[must_use]
    pub fn describe(&self) -> Described {
        let common = self.link.common();
        let suite = common.and_then(CommonState::negotiated_cipher_suite);
        let version = common.and_then(CommonState::protocol_version);
        Described::new(version, suite.map(|suite| suite.suite()))
    }

    /// Has the lists fetched that are lacking for the chain of a peer that came to us, now and with
    /// each later judgement. For the caller who knows that the peer is a partner, and one whose
    /// revocation matters; of those we went to it is known.
    pub fn want_lists(&mut self, trust: &Trust, now_unix_s: u64) {
        let Phase::Open(Some(peer)) = &mut self.phase else { return };
        peer.named = true;
        if peer.expected.is_none() && peer.revocation() == RevocationState::Unknown {
            self.want_again(trust, now_unix_s);
        }
    }

    fn want_again(&self, trust: &Trust, now_unix_s: u64) {
        if let (Some(peer), Ok(sent)) = (self.judged_peer(), self.sent())
            && peer.wants_lists()
        {
            trust.want_lists(&peer.path, sent, now_unix_s);
        }
    }

    /// Judges the peer again by what counts under another configuration. A peer without a
    /// certificate passes.
    ///
    /// Returns who the peer is where something of that has changed: what is known of its
    /// revocation. Cost as that of the first judgement; a sweep over many legs should be spread
    /// over turns.
    /// # Errors
    /// Those of [`super::Blame::Denied`]. The session goes on as it was; closing it is the
    /// caller's.
    pub fn rejudge(
        &mut self,
        trust: &Trust,
        now_unix_s: u64,
    ) -> Result<Option<Arc<PeerNames>>, Fault> {
        // Whether it is a partner, and what of, is decided anew.
        if let Phase::Open(Some(peer)) = &mut self.phase {
            peer.named = false;
        }
        self.judge_again(trust, now_unix_s)
    }

    /// Judges the peer again where `trust` differs from what it was judged by in its fetched lists
    /// alone. Returns what [`Self::rejudge`] does.
    ///
    /// Cost: some microseconds; signatures are verified only if the chain turns out to be revoked,
    /// to see whether it has another path.
    /// # Errors
    /// As [`Self::rejudge`].
    pub fn rejudge_lists(
        &mut self,
        trust: &Trust,
        now_unix_s: u64,
    ) -> Result<Option<Arc<PeerNames>>, Fault> {
        let Some(peer) = self.judged_peer() else { return Ok(None) };
        if peer.whose.is_inside() {
            return Ok(None);
        }
        let Ok(names) = &peer.names else { return self.judge_again(trust, now_unix_s) };
        let Some(revocation) = trust.look_up(&peer.path, self.sent()?, now_unix_s) else {
            return self.judge_again(trust, now_unix_s);
        };
        if revocation == RevocationState::Unknown {
            self.want_again(trust, now_unix_s);
        }
        if peer.expected.as_ref().is_some_and(|names| !names.revocation.accepts(revocation)) {
            return Err(Fault::RevocationUnknown);
        }
        if names.revocation == revocation {
            return Ok(None);
        }
        let names = Arc::new(PeerNames { revocation, ..PeerNames::clone(names) });
        self.share_peer(|_| Arc::clone(&names));
        Ok(Some(names))
    }

    fn judge_again(
        &mut self,
        trust: &Trust,
        now_unix_s: u64,
    ) -> Result<Option<Arc<PeerNames>>, Fault> {
        let Some(peer) = self.judged_peer() else { return Ok(None) };
        let Sent { end_entity, intermediates } = self.sent()?;
        let expected = peer.expected.as_deref();
        let judged = trust.judge(end_entity, intermediates, peer.whose, expected, now_unix_s)?;
        let Judged { names, path } = peer.demand.read(judged, end_entity);
        let changed = match (&peer.names, peer.demand) {
            (Ok(known), Demand::Proof) if names.anchors != known.anchors => {
                return Err(Fault::AnchorsChanged);
            }
            (Ok(known), Demand::Proof) => names.revocation != known.revocation,
            (Ok(known), Demand::Whatever) => names != **known,
            (Err(_), _) => true,
        };
        let of_caller = peer.expected.is_none();
        let names = changed.then(|| Arc::new(names));
        if let Phase::Open(Some(peer)) | Phase::Over(Some(peer)) = &mut self.phase {
            peer.path = path.into();
            if let Some(names) = &names {
                peer.names = Ok(Arc::clone(names));
            }
        }
        let known = self.judged_peer().map(Peer::revocation);
        if of_caller && known == Some(RevocationState::Unknown) {
            self.want_again(trust, now_unix_s);
        }
        Ok(names)
    }

    /// Returns what the peer sent; the library keeps it as long as the connection.
    fn sent(&self) -> Result<Sent<'_>, Fault> {
        let certificates: &[CertificateDer<'static>] =
            self.link.common().and_then(CommonState::peer_certificates).unwrap_or_default();
        let (end_entity, intermediates) = certificates.split_first().ok_or(Fault::NoCertificate)?;
        Ok(Sent { end_entity, intermediates })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::Clear => "clear",
            Phase::Handshaking { .. } => "handshaking",
            Phase::Open(_) => "open",
            Phase::Over(_) => "over",
        };
        f.debug_tuple("Session").field(&phase).finish()
    }
}

impl Link {
    fn common(&self) -> Option<&CommonState> {
        match self {
            Self::Server(connection) => Some(connection),
            Self::Client(connection) => Some(connection),
            Self::Clear => None,
        }
    }
}

impl Peer {
    /// `Ok(None)`: it showed no certificate, and need not.
    fn of(verifier: &Verifier) -> Result<Option<Self>, Fault> {
        let (names, path) = match (verifier.verdict(), verifier.demand()) {
            (Some(Ok(Verdict { names, path })), _) => (Ok(names), path),
            (Some(Err(fault)), Demand::Whatever) => (Err(fault.to_string().into()), Arc::default()),
            (Some(Err(fault)), Demand::Proof) => return Err(fault),
            (None, Demand::Whatever) => return Ok(None),
            (None, Demand::Proof) => return Err(Fault::NoCertificate),
        };
        let expected = verifier.expected().cloned();
        let (whose, demand) = (verifier.whose(), verifier.demand());
        Ok(Some(Self { names, whose, demand, expected, path, named: false }))
    }

    /// Returns what is known of its revocation; nothing of a peer that is nobody.
    fn revocation(&self) -> RevocationState {
        self.names.as_ref().map_or(RevocationState::Good, |names| names.revocation)
    }

    /// Tells whether lists that its chain lacks are to be fetched.
    fn wants_lists(&self) -> bool {
        match &self.expected {
            Some(expected) => expected.revocation != Revocation::Off,
            None => self.named,
        }
    }
}
