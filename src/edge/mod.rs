//! The roles, and the contract between a role (a pure core) and the shard that runs it.
//!
//! A shard calls the verbs of [`Core`]; a core answers through [`Effects`]: *commands*, which the
//! shard drains after every call, and *staging*, plaintext per leg that the shard seals and writes
//! once at the end of its turn.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::chunked::Chunked;
use crate::dns::{Domain, Question, SharedAnswer};
use crate::limits;
use crate::policy::{AnchorSet, ExpectedNames, PeerNames, Snapshot};
use crate::time::{Monotonic, Now};

pub mod access;
pub mod av;
pub(crate) mod counted;
mod decided;
pub mod gateway;
pub mod mras;
mod side;
mod spread;
pub mod xmpp_link;
pub mod xmpp_proxy;

pub use decided::{Decided, RefusedBy, Said};
pub use side::Side;

/// A connection, valid until its slot is used again with another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId {
    /// Place in the shard's slab.
    pub index: u32,
    /// Distinguishes successive users of the place.
    pub generation: u32,
}

/// An outgoing connection as the core named it when it asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutletId {
    /// Place in the core's slab.
    pub index: u32,
    /// Distinguishes successive users of the place.
    pub generation: u32,
}

/// What a listener, and so every leg accepted from it, is for (DESIGN 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Partners; a client certificate is demanded.
    Federation,
    /// The organisation's own users outside; no certificate is asked.
    RemoteUsers,
    /// Next hops and other internal servers; a certificate with a listed name is demanded.
    Internal,
    /// XMPP servers of partners; begins in the clear, and TLS comes by STARTTLS. Whatever
    /// certificate the peer shows is taken; what it proves is told to the core.
    Xmpp,
    /// The same with TLS from the first byte (XEP-0368).
    XmppDirectTls,
    /// The link between XMPP proxy and gateway; a certificate with a listed name is demanded.
    XmppLink,
    /// Servers inside that ask for credentials of the A/V Edge, by SIP; a certificate with a listed
    /// name is demanded.
    Credentials,
}

impl Class {
    /// Tells whether a leg of this class begins without TLS.
    #[must_use]
    pub const fn begins_in_the_clear(self) -> bool {
        matches!(self, Self::Xmpp)
    }

    /// Tells whether its peers are servers of the organisation.
    #[must_use]
    pub const fn is_inside(self) -> bool {
        matches!(self, Self::Internal | Self::XmppLink | Self::Credentials)
    }
}

/// What the shell knows of a leg once TLS stands.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Listener class, or the class asked for in [`Connect`].
    pub class: Class,
    /// Set when the core asked for this leg.
    pub outlet: Option<OutletId>,
    /// Who the certificate says the peer is; `None` on [`Class::RemoteUsers`], before STARTTLS, and
    /// where an XMPP server's certificate proves nothing.
    pub peer: Option<Arc<PeerNames>>,
    /// Why the certificate of an XMPP server proves nothing, in words; `None` if it shows none or
    /// a good one.
    pub doubt: Option<Arc<str>>,
    /// The peer's address, from the PROXY header where there was one.
    pub remote: SocketAddr,
    /// The address the peer connected to, or ours of an outgoing leg.
    pub local: SocketAddr,
}

/// What the shell knows of a leg once STARTTLS is through; see [`Opened`].
#[derive(Clone, Debug)]
pub struct Secured {
    /// Who the certificate says the peer is.
    pub peer: Option<Arc<PeerNames>>,
    /// Why the certificate proves nothing.
    pub doubt: Option<Arc<str>>,
}

/// How a leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The peer closed in order.
    ClosedByPeer,
    /// The connection was reset or timed out in the kernel.
    Reset,
    /// The peer took no bytes for [`limits::WRITE_STALL_MS`].
    WriteStalled,
    /// TLS broke.
    TlsFault,
    /// We closed it.
    ClosedByUs,
}

/// Why an outgoing leg did not come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Every address refused or timed out.
    Unreachable,
    /// TLS could not be agreed: alert, suites, protocol.
    TlsFailed,
    /// The chain does not lead to a trust anchor, has expired or is revoked.
    CertificateUntrusted,
    /// The chain is good but carries none of the names expected.
    CertificateNameMismatch,
    /// No descriptor or memory of ours was left.
    Exhausted,
}

/// Asks the shell for an outgoing leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// How the core will know it.
    pub outlet: OutletId,
    /// Chooses identity and trust anchors, and whether TLS begins at once.
    pub class: Class,
    /// Sent as SNI; an XMPP domain where the class is of XMPP.
    pub server_name: Domain,
    /// What the certificate must carry.
    pub expected_names: ExpectedNames,
    /// In order of preference; the shell tries them by RFC 8305.
    pub addresses: Vec<SocketAddr>,
    /// Trust anchors: the partner's own set or the general one.
    pub anchors: Option<AnchorSet>,
}

/// Why the core wants a leg closed; becomes part of the leg's one closing line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Framing was lost; nothing after it can be understood.
    FramingLost,
    /// The peer may not talk to us at all under the policy in force.
    NotPermitted,
    /// Nothing passed for the idle time.
    Idle,
    /// The peer answered pings before and does not any more (RFC 5626 section 4.4.1).
    NoPong,
    /// The edge drains.
    Draining,
    /// Both sides of an XMPP stream have said that they are done.
    Ended,
    /// The leg used up what an unidentified or misbehaving peer may use.
    Abuse,
}

/// What the core wants done outside itself.
#[derive(Clone, Debug)]
pub enum Command {
    /// Open a leg.
    Connect(Connect),
    /// Close a leg after what is staged has been written.
    Close {
        /// Which.
        leg: LegId,
        /// Why.
        reason: CloseReason,
    },
    /// Begin TLS on a leg that began in the clear, after what is staged has been written. Whoever
    /// connected is TLS's client. Answered by [`Core::leg_secured`] or [`Core::leg_closed`].
    StartTls {
        /// Which.
        leg: LegId,
        /// As client, the name to send as SNI; as server, whose identity to show if the peer sends
        /// none.
        name: Domain,
    },
    /// The peer of an accepted leg in the clear has proven who it is by other means than TLS: it
    /// is counted among the half-open connections no longer. Without meaning on other legs.
    Admitted {
        /// Which.
        leg: LegId,
    },
    /// Ask the resolver; the answer comes by [`Core::resolved`].
    Ask(Question),
    /// Pass to the core of another shard.
    Mail {
        /// Which.
        shard: u16,
        /// What.
        mail: Mail,
    },
    /// Something the log should tell, once per refusal or notable act.
    Note(Note),
    /// A verdict newly reached, for the decision log; only where the snapshot wants them told.
    Decided(Box<Decided>),
}

/// A decision or event worth a log line, in parts that the shell turns into a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which leg it was about.
    pub leg: Option<LegId>,
    /// Whose fault or business it is.
    pub severity: Severity,
    /// A sentence without user parts of addresses.
    pub sentence: String,
    /// Ties the line to the answer on the wire and to the decision log; 0 if nothing was decided.
    pub decision_id: u64,
    /// Number of the snapshot it was decided under, or that was in force when it happened.
    pub epoch: u64,
}

/// How much a [`Note`] matters to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Useful when looking for something.
    Debug,
    /// Ordinary: a refusal, a closed leg.
    Info,
    /// Somebody should look.
    Warn,
}

/// A transaction slot of some shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotRef {
    /// Owner.
    pub shard: u16,
    /// Place in its slab.
    pub index: u32,
    /// Distinguishes successive users of the place.
    pub generation: u32,
}

/// What one shard's core says to another's. The shell looks only at [`Mail::place`].
#[derive(Clone, Debug)]
pub enum Mail {
    /// A message to write on a leg that the receiving shard owns.
    Request {
        /// Who waits for the answer.
        origin: SlotRef,
        /// Which association it is for.
        route: MailRoute,
        /// The message as it goes out.
        bytes: bytes::Bytes,
    },
    /// The CANCEL or ACK of a mailed INVITE: goes where the INVITE went, or nowhere.
    Follow {
        /// The INVITE's transaction.
        origin: SlotRef,
        /// The message as it goes out.
        bytes: bytes::Bytes,
    },
    /// A final response that came for `slot`.
    Final {
        /// Whose transaction.
        slot: SlotRef,
        /// The message as it came in.
        bytes: bytes::Bytes,
    },
    /// A provisional response; may be dropped when mail is full.
    Provisional {
        /// Whose transaction.
        slot: SlotRef,
        /// The message as it came in.
        bytes: bytes::Bytes,
    },
    /// The request was not written, or the leg was lost before its final response.
    NotDelivered {
        /// Whose transaction.
        slot: SlotRef,
        /// Whether any byte of it had been handed to the kernel.
        written: bool,
    },
    /// A CANCEL (or the ACK to a non-2xx) whose transaction the sending shard does not have.
    Unmatched {
        /// Who asks.
        from_shard: u16,
        /// Leg on the asking shard, where an answer would go.
        leg: LegId,
        /// The sender's transaction key, which all shards reckon alike.
        key: u128,
        /// The message as it came in.
        bytes: bytes::Bytes,
    },
    /// A next hop has connected to the sending shard, so it is back if it was away.
    Shown {
        /// Which: hashed of its name and port.
        next_hop: u64,
    },
    /// An answer to write on a leg of the receiving shard, if it is still there.
    Reply {
        /// The leg.
        leg: LegId,
        /// The message as it goes out.
        bytes: bytes::Bytes,
    },
}

/// Names the association a mailed request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailRoute {
    /// A partner's connection.
    Partner {
        /// The SIP domain it goes to; the owner decides afresh under its own snapshot.
        domain: Domain,
        /// Picks the connection, so that one Call-ID stays on one.
        call_id_hash: u64,
    },
    /// A remote user's connection.
    Flow(LegId),
}

/// Which place a mail takes in the receiver's box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Takes a place and reserves one for its final answer in the sender's box.
    Reserving,
    /// Uses the place its request reserved.
    Reserved,
    /// Only if there is room.
    IfRoom,
}

impl Mail {
    /// Returns which place this mail takes.
    #[must_use]
    pub const fn place(&self) -> Place {
        match self {
            Self::Request { .. } => Place::Reserving,
            Self::Final { .. } | Self::NotDelivered { .. } => Place::Reserved,
            Self::Provisional { .. }
            | Self::Follow { .. }
            | Self::Unmatched { .. }
            | Self::Shown { .. }
            | Self::Reply { .. } => Place::IfRoom,
        }
    }
}

/// What a core wants, owned and drained by the shell.
#[derive(Debug, Default)]
pub struct Effects {
    /// Drained after every call, in order.
    pub commands: Vec<Command>,
    /// Legs whose peer was found to be a partner whose revocation matters: lists that its chain
    /// lacks are to be fetched. Drained with the commands; a leg is told once in each epoch.
    pub named: Vec<LegId>,
    /// What the store of authorisations is to write, in order; only of a gateway. Drained with the
    /// commands.
    pub authorisations: Vec<gateway::Change>,
    legs: Chunked<Outgoing>,
    dirty: Vec<LegId>,
    /// Buffers that legs have given back, so that a leg with nothing to say holds none and one that
    /// speaks need not ask the allocator; at most [`limits::STAGING_SPARE_MAX`].
    spare: Vec<Vec<u8>>,
}

/// One leg's way out as the core sees it.
#[derive(Debug, Default)]
struct Outgoing {
    generation: u32,
    open: bool,
    /// Ciphertext that the socket has not taken yet, in bytes; told by the shell.
    unsent: usize,
    dirty: bool,
    plaintext: Vec<u8>,
}

/// Whether what is staged is a response, which may use the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// May be refused for want of room.
    Request,
    /// May use [`limits::LEG_OUT_RESPONSE_RESERVE_BYTES`].
    Response,
}

impl Effects {
    /// Opens the way out of `leg`. Called by the shell before the core hears of the leg.
    pub fn open(&mut self, leg: LegId) {
        let index = leg.index as usize;
        self.legs.reach(index, Outgoing::default);
        let outgoing = &mut self.legs[index];
        assert!(!outgoing.open, "a leg's way out is opened once");
        outgoing.generation = leg.generation;
        outgoing.open = true;
        outgoing.unsent = 0;
    }

    /// Closes the way out and forgets what is staged.
    pub fn close(&mut self, leg: LegId) {
        if let Some(outgoing) = self.outgoing_mut(leg) {
            outgoing.open = false;
            outgoing.plaintext = Vec::new();
        }
    }

    /// Tells how much ciphertext waits for the socket of `leg`.
    pub fn set_unsent(&mut self, leg: LegId, bytes: usize) {
        if let Some(outgoing) = self.outgoing_mut(leg) {
            outgoing.unsent = bytes;
        }
    }

    /// Returns plaintext staged plus ciphertext unsent, in bytes; `None` for a leg that is gone.
    #[must_use]
    pub fn backlog(&self, leg: LegId) -> Option<usize> {
        let outgoing = self.legs.get(leg.index as usize)?;
        (outgoing.open && outgoing.generation == leg.generation)
            .then(|| outgoing.plaintext.len() + outgoing.unsent)
    }

    /// Returns the buffer to append one message of at most `bytes` to, if the leg has room for it.
    ///
    /// The leg is marked for the write at the end of the turn.
    pub fn stage(&mut self, leg: LegId, kind: Kind, bytes: usize) -> Option<&mut Vec<u8>> {
        let index = leg.index as usize;
        let outgoing = self.legs.get_mut(index)?;
        if !outgoing.open || outgoing.generation != leg.generation {
            return None;
        }
        let ceiling = match kind {
            Kind::Request => limits::LEG_OUT_BYTES_MAX - limits::LEG_OUT_RESPONSE_RESERVE_BYTES,
            Kind::Response => limits::LEG_OUT_BYTES_MAX,
        };
        let backlog = outgoing.plaintext.len() + outgoing.unsent;
        // A message larger than the bound may pass alone; otherwise it could never pass at all.
        if backlog > 0 && backlog + bytes > ceiling {
            return None;
        }
        if !outgoing.dirty {
            outgoing.dirty = true;
            self.dirty.push(leg);
        }
        if outgoing.plaintext.capacity() == 0 {
            outgoing.plaintext = self.spare.pop().unwrap_or_default();
        }
        Some(&mut outgoing.plaintext)
    }

    /// Forgets what was staged on `leg`, once the shell has sealed it, and takes its buffer back.
    pub fn clear_staged(&mut self, leg: LegId) {
        let Some(outgoing) = self.outgoing_mut(leg) else { return };
        let mut buffer = std::mem::take(&mut outgoing.plaintext);
        buffer.clear();
        let keep = buffer.capacity() <= limits::STAGING_SPARE_BYTES_MAX;
        if keep && self.spare.len() < limits::STAGING_SPARE_MAX {
            self.spare.push(buffer);
        }
    }

    /// Takes the legs that have something staged since the last call.
    pub fn take_dirty(&mut self, into: &mut Vec<LegId>) {
        for leg in self.dirty.drain(..) {
            if let Some(outgoing) = self.legs.get_mut(leg.index as usize) {
                outgoing.dirty = false;
            }
            into.push(leg);
        }
    }

    /// Returns what is staged on `leg`, for the shell to seal and clear.
    pub fn staged_mut(&mut self, leg: LegId) -> Option<&mut Vec<u8>> {
        self.outgoing_mut(leg).map(|outgoing| &mut outgoing.plaintext)
    }

    fn outgoing_mut(&mut self, leg: LegId) -> Option<&mut Outgoing> {
        let outgoing = self.legs.get_mut(leg.index as usize)?;
        (outgoing.open && outgoing.generation == leg.generation).then_some(outgoing)
    }
}

/// What became of the bytes given to [`Core::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// One message or keep-alive of this many bytes is done with; feed the rest.
    Consumed(usize),
    /// Nothing is whole yet; feed again with what was given and more, at least this many in all.
    NeedMore(usize),
    /// The leg is past understanding; a [`Command::Close`] was given. Feed nothing more.
    Dead,
}

/// How far a drain has come (DESIGN 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drain {
    /// Readiness fails, OPTIONS answers 503, everything else goes on.
    Notice,
    /// Listeners are closed; idle legs close gradually, no new dialogs.
    Closing,
}

/// A role as its shard sees it. Time never goes back between calls.
pub trait Core {
    /// A leg is up; its way out is open.
    fn leg_opened(&mut self, now: Now, leg: LegId, opened: Opened, effects: &mut Effects);
    /// STARTTLS is through on a leg; what is fed from here on was encrypted. A core whose legs all
    /// begin with TLS never hears this.
    fn leg_secured(&mut self, now: Now, leg: LegId, secured: Secured, effects: &mut Effects) {
        let _ = (now, leg, secured, effects);
    }
    /// The peer of an open leg was judged again, after a reload or new revocation lists, and
    /// something else is known of it than when its leg was opened. A core that decides nothing by
    /// what is known of peers need not care.
    fn leg_judged(&mut self, now: Now, leg: LegId, peer: Arc<PeerNames>, effects: &mut Effects) {
        let _ = (now, leg, peer, effects);
    }
    /// What the certificate of an open leg proved does not hold any more, after a reload, new
    /// revocation lists or its end; of classes whose peers need not prove anything.
    fn leg_doubted(&mut self, now: Now, leg: LegId, doubt: Arc<str>, effects: &mut Effects) {
        let _ = (now, leg, doubt, effects);
    }
    /// Bytes of one leg, decrypted, in order. At most one message is consumed per call.
    fn feed(&mut self, now: Now, leg: LegId, input: &[u8], effects: &mut Effects) -> Fed;
    /// A leg is gone; its way out is closed already.
    ///
    /// `unsent`: plaintext or ciphertext bytes that the kernel never took.
    fn leg_closed(
        &mut self,
        now: Now,
        leg: LegId,
        lost: Lost,
        unsent: usize,
        effects: &mut Effects,
    );
    /// An outgoing leg did not come up.
    fn connect_failed(
        &mut self,
        now: Now,
        outlet: OutletId,
        why: ConnectFailure,
        effects: &mut Effects,
    );
    /// The resolver answered, or another shard's question was answered.
    fn resolved(&mut self, now: Now, answer: SharedAnswer, effects: &mut Effects);
    /// Another shard's core wrote, in the order it was sent.
    fn mail(&mut self, now: Now, mail: Mail, effects: &mut Effects);
    /// Mail could not be posted: the box of `shard` is full.
    fn mail_refused(&mut self, now: Now, shard: u16, mail: Mail, effects: &mut Effects);
    /// A new snapshot is in force; the old one goes back to the control thread, which frees it.
    fn adopt(&mut self, now: Now, snapshot: Arc<Snapshot>, effects: &mut Effects) -> Arc<Snapshot>;
    /// The edge drains.
    fn drain(&mut self, now: Now, stage: Drain, effects: &mut Effects);
    /// Runs what is due, at most [`limits::EXPIRIES_PER_TURN_MAX`] timers.
    fn expire(&mut self, now: Now, effects: &mut Effects);
    /// Returns when [`Core::expire`] wants to be called next; O(1).
    fn next_deadline(&self) -> Option<Monotonic>;
    /// Returns how many transactions are unfinished, for the drain.
    fn pending(&self) -> usize;
    /// Returns whether nothing but health checks came on a leg so far; its end is then counted and
    /// not told.
    fn only_probed(&self, _leg: LegId) -> bool {
        false
    }
}
