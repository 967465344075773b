//! Mutual TLS as the generator speaks it: one suite by default, no resumption, no tickets.
//!
//! rustls is used through its unbuffered interface: a record is sealed straight into the
//! connection's output, and many records of one read are opened without a copy of the ciphertext.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// What a sealed record is longer than its payload, at most (header, tag, explicit nonce, type).
const RECORD_OVERHEAD_BYTES: usize = 64;
/// Room for one handshake flight; a longer one grows the buffer.
const FLIGHT_BYTES: usize = 4096;

/// Steps in which a failed connection gives its alert away: encode, transmit, and one to spare.
const ALERT_STEPS_MAX: usize = 3;

/// A certificate chain with its key, from PEM files.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads the chain and the key.
    pub(crate) fn read(chain: &Path, key: &Path) -> Result<Self> {
        let chain = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect)
            .with_context(|| format!("certificate {}", chain.display()))?;
        let key = PrivateKeyDer::from_pem_file(key)
            .with_context(|| format!("private key {}", key.display()))?;
        Ok(Self { chain, key })
    }
}

/// Which protocol version the generator insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Version {
    /// TLS 1.2 only.
    #[value(name = "1.2")]
    Tls12,
    /// TLS 1.3 only.
    #[value(name = "1.3")]
    Tls13,
}

impl Version {
    fn supported(self) -> [&'static SupportedProtocolVersion; 1] {
        match self {
            Self::Tls12 => [&rustls::version::TLS12],
            Self::Tls13 => [&rustls::version::TLS13],
        }
    }
}

/// Reads the trust anchors of one PEM file.
pub(crate) fn roots(file: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let context = || format!("trust anchors {}", file.display());
    for anchor in CertificateDer::pem_file_iter(file).with_context(context)? {
        roots.add(anchor.with_context(context)?).with_context(context)?;
    }
    if roots.is_empty() {
        bail!("{} holds no certificate", file.display());
    }
    Ok(roots)
}

/// Only AES-128-GCM, so that every server measured does the same record work.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites.retain(|suite| {
        matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    Arc::new(provider)
}

/// The connecting side: presents `identity`, never resumes.
pub(crate) fn client(
    version: Version,
    identity: &Identity,
    roots: &RootCertStore,
) -> Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&version.supported())?
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .context("client identity")?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The connecting side without a certificate of its own; never resumes.
pub(crate) fn anonymous_client(
    version: Version,
    roots: &RootCertStore,
) -> Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&version.supported())?
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The accepting side: demands a client certificate, gives no tickets.
pub(crate) fn server(
    version: Version,
    identity: &Identity,
    roots: &RootCertStore,
) -> Result<Arc<ServerConfig>> {
    let provider = provider();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), Arc::clone(&provider))
            .build()
            .context("client certificate verifier")?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&version.supported())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .context("server identity")?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// One end of one TLS connection.
pub(crate) enum Session {
    /// We connected.
    Client(Box<UnbufferedClientConnection>),
    /// We accepted.
    Server(Box<UnbufferedServerConnection>),
    /// There is no TLS, or none yet.
    Clear,
}

/// What [`Session::open`] did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opened {
    /// Ciphertext bytes that need not be given again.
    pub(crate) consumed: usize,
    /// The peer said close_notify.
    pub(crate) closed: bool,
}

/// Why one step of the state machine ended.
enum Step {
    /// Something was done; there may be more.
    Again,
    /// More input is needed before anything else happens.
    Blocked,
    /// The peer is done sending.
    Closed,
    /// Application data may be sealed.
    Sealed,
}

impl Session {
    /// Starts the connecting side towards `name`.
    pub(crate) fn connect(config: &Arc<ClientConfig>, name: &ServerName<'static>) -> Result<Self> {
        let connection = UnbufferedClientConnection::new(Arc::clone(config), name.clone())?;
        Ok(Self::Client(Box::new(connection)))
    }

    /// Starts the accepting side.
    pub(crate) fn accept(config: &Arc<ServerConfig>) -> Result<Self> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self::Server(Box::new(connection)))
    }

    /// Returns whether our side of the handshake is complete.
    pub(crate) fn established(&self) -> bool {
        match self {
            Self::Client(connection) => !connection.is_handshaking(),
            Self::Server(connection) => !connection.is_handshaking(),
            Self::Clear => true,
        }
    }

    /// Returns the negotiated suite by its registered name.
    pub(crate) fn suite(&self) -> Option<String> {
        let suite = match self {
            Self::Client(connection) => connection.negotiated_cipher_suite(),
            Self::Server(connection) => connection.negotiated_cipher_suite(),
            Self::Clear => None,
        };
        suite.and_then(|suite| suite.suite().as_str().map(str::to_owned))
    }

    /// Opens the records of `input`; appends plaintext to `plain` and what must be answered to
    /// `out`. Unconsumed bytes are the start of a record and must be given again with more.
    ///
    /// After an error `out` ends with the alert that tells the peer.
    pub(crate) fn open(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Opened, rustls::Error> {
        let mut opened = Opened::default();
        if matches!(self, Self::Clear) {
            plain.extend_from_slice(input);
            return Ok(Opened { consumed: input.len(), closed: false });
        }
        loop {
            let rest = input.get_mut(opened.consumed..).unwrap_or_default();
            let (discard, step) = self.step(rest, Some(&mut *plain), out, None);
            opened.consumed += discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Blocked | Step::Sealed) => return Ok(opened),
                Ok(Step::Closed) => {
                    opened.closed = true;
                    return Ok(opened);
                }
                Err(error) => {
                    let rest = input.get_mut(opened.consumed..).unwrap_or_default();
                    for _ in 0..ALERT_STEPS_MAX {
                        if !matches!(self.step(rest, None, out, None), (0, Ok(Step::Again))) {
                            break;
                        }
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Seals `payload` (at most one record's worth) as one record at the end of `out`.
    ///
    /// `held`: what the last [`Session::open`] left unconsumed. The session may remember places
    /// in it, so that it must see them at every step.
    pub(crate) fn seal(
        &mut self,
        payload: &[u8],
        held: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if matches!(self, Self::Clear) {
            out.extend_from_slice(payload);
            return Ok(());
        }
        loop {
            let (discard, step) = self.step(held, None, out, Some(payload));
            held.drain(..discard);
            match step? {
                Step::Again => {}
                Step::Sealed => return Ok(()),
                Step::Blocked | Step::Closed => return Err(anyhow!("cannot seal yet")),
            }
        }
    }

    /// Appends a close_notify to `out`; nothing may be sealed after it. `held`: as for
    /// [`Session::seal`].
    pub(crate) fn close_notify(&mut self, held: &mut [u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + RECORD_OVERHEAD_BYTES, 0);
        let written = match self {
            Self::Client(connection) => {
                close_notify(connection.process_tls_records(held), out, start)
            }
            Self::Server(connection) => {
                close_notify(connection.process_tls_records(held), out, start)
            }
            Self::Clear => 0,
        };
        out.truncate(start + written);
    }

    fn step(
        &mut self,
        input: &mut [u8],
        plain: Option<&mut Vec<u8>>,
        out: &mut Vec<u8>,
        payload: Option<&[u8]>,
    ) -> (usize, Result<Step, rustls::Error>) {
        match self {
            Self::Client(connection) => {
                step(connection.process_tls_records(input), plain, out, payload)
            }
            Self::Server(connection) => {
                step(connection.process_tls_records(input), plain, out, payload)
            }
            Self::Clear => (0, Ok(Step::Blocked)),
        }
    }
}

/// Handles one state; returns the bytes to discard from the front of the input.
fn step<Side>(
    status: UnbufferedStatus<'_, '_, Side>,
    plain: Option<&mut Vec<u8>>,
    out: &mut Vec<u8>,
    payload: Option<&[u8]>,
) -> (usize, Result<Step, rustls::Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = state.and_then(|state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            let Some(plain) = plain else {
                return Err(rustls::Error::General("data where none was given".into()));
            };
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                plain.extend_from_slice(record.payload);
            }
            Ok(Step::Again)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            append(out, FLIGHT_BYTES, |room| match data.encode(room) {
                Ok(written) => Ok(written),
                Err(EncodeError::InsufficientSize(needed)) => Err(Ok(needed.required_size)),
                Err(error) => Err(Err(error.to_string())),
            })?;
            Ok(Step::Again)
        }
        ConnectionState::TransmitTlsData(data) => {
            // `out` is written in order before anything else, which is what "transmitted" asks.
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let Some(payload) = payload else { return Ok(Step::Blocked) };
            append(out, payload.len() + RECORD_OVERHEAD_BYTES, |room| {
                match traffic.encrypt(payload, room) {
                    Ok(written) => Ok(written),
                    Err(EncryptError::InsufficientSize(needed)) => Err(Ok(needed.required_size)),
                    Err(error) => Err(Err(error.to_string())),
                }
            })?;
            Ok(Step::Sealed)
        }
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Closed),
        _ => Ok(Step::Blocked),
    });
    (discard, step)
}

/// Lets `write` fill `guess` bytes at the end of `out`, or as many as it then says it needs.
fn append(
    out: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Result<usize, String>>,
) -> Result<(), rustls::Error> {
    let start = out.len();
    let mut room = guess;
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(Ok(needed)) if needed > room => room = needed,
            Err(Ok(_)) => return Err(rustls::Error::General("no room is enough".into())),
            Err(Err(error)) => return Err(rustls::Error::General(error)),
        }
    }
}

fn close_notify<Side>(
    status: UnbufferedStatus<'_, '_, Side>,
    out: &mut [u8],
    start: usize,
) -> usize {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            out.get_mut(start..).and_then(|room| traffic.queue_close_notify(room).ok()).unwrap_or(0)
        }
        _ => 0,
    }
}
