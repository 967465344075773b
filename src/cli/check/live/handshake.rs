//! One handshake, as the edge would make it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::dns::Domain;
use crate::edge::Class;
use crate::policy::{AnchorSet, ExpectedNames, PeerNames};
use crate::tls::{Distrust, Fault, Material, Session, State};

/// How long a connection may take to open, and each answer to come.
pub(super) const WAIT: Duration = Duration::from_secs(3);
/// How long a peer that did not like this edge's certificate has to say so.
const AFTERTHOUGHT: Duration = Duration::from_millis(300);
/// Answers read in one handshake.
const READS_MAX: usize = 16;

/// What connecting to one address led to.
pub(super) enum Reached {
    Yes(Arc<PeerNames>),
    /// No connection.
    No(String),
    /// A connection, but no handshake: why, and what to do about it.
    Refused(String, &'static str),
}

/// What ended a handshake.
struct Broken {
    why: String,
    advice: &'static str,
}

impl Broken {
    fn new(why: impl Into<String>) -> Self {
        let advice = "compare certificates with its administrator: names, issuer, dates, both ways";
        Self { why: why.into(), advice }
    }

    fn of(fault: &Fault) -> Self {
        Self { advice: advice(fault), ..Self::new(fault.to_string()) }
    }
}

/// Returns the next step after a handshake that failed with `fault`.
const fn advice(fault: &Fault) -> &'static str {
    match fault {
        Fault::NotTls => "ask its administrator for the TLS port; 5060 is not for federation",
        Fault::NoCommonSuite { .. }
        | Fault::NoCommonVersion { .. }
        | Fault::Incompatible { .. } => {
            "ask its administrator for TLS 1.2 or 1.3 with ECDHE and AES-GCM"
        }
        Fault::Refused(_) => {
            "send its administrator this edge's certificate with its issuers; it must be allowed \
             and trusted there"
        }
        Fault::CertificateUntrusted { why: Distrust::UnknownIssuer } => {
            "ask for its issuer, and name that in the entry's trust or in tls.trust"
        }
        Fault::CertificateUntrusted { why: Distrust::NotYetValid } => {
            "compare the clocks; if they agree, its administrator installed it too early"
        }
        Fault::CertificateUntrusted { .. } => "have its administrator order another certificate",
        Fault::Expired => "have its administrator renew it; until then nothing passes",
        Fault::Revoked => "ask its administrator why; until it has another nothing passes",
        Fault::NameMismatch { .. } => {
            "ask its administrator for the right name; the entry states it (edge, names, \
             common_name)"
        }
        _ => "compare certificates with its administrator: names, issuer, dates, both ways",
    }
}

/// Connects and shakes hands as the edge would.
pub(super) fn reach(
    material: &Material,
    class: Class,
    anchors: Option<AnchorSet>,
    address: SocketAddr,
    name: &Domain,
    expected: &ExpectedNames,
) -> Reached {
    let stream = match TcpStream::connect_timeout(&address, WAIT) {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            return Reached::No(format!("no answer in {} s", WAIT.as_secs()));
        }
        Err(error) => return Reached::No(reason(&error)),
    };
    let session = material
        .client(class, anchors, name, expected)
        .and_then(|(client, name)| Session::client(&client, name));
    match session.map_err(|fault| Broken::of(&fault)).and_then(|session| shake(stream, session)) {
        Ok(names) => Reached::Yes(names),
        Err(Broken { why, advice }) => Reached::Refused(why, advice),
    }
}

/// Returns an error of the system without its number.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::HostUnreachable => "no route to the host".to_owned(),
        ErrorKind::NetworkUnreachable => "no route to its network".to_owned(),
        _ => error.to_string(),
    }
}

/// Completes the handshake and waits a moment for second thoughts: in TLS 1.3 a peer judges this
/// edge's certificate only after this edge is done.
fn shake(mut stream: TcpStream, mut session: Session) -> Result<Arc<PeerNames>, Broken> {
    let system = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            Broken::new(format!("no answer to the handshake in {} s", WAIT.as_secs()))
        }
        _ => Broken::new(reason(&error)),
    };
    let fault = |fault: Fault| Broken::of(&fault);
    stream.set_read_timeout(Some(WAIT)).map_err(system)?;
    stream.set_write_timeout(Some(WAIT)).map_err(system)?;
    let (mut input, mut out) = (Vec::new(), Vec::new());
    session.start(&mut out).map_err(fault)?;
    let mut state = State::Handshaking;
    for _ in 0..READS_MAX {
        stream.write_all(&out).map_err(system)?;
        out.clear();
        if state == State::Established {
            break;
        }
        state = turn(&mut stream, &mut session, &mut input, &mut out).map_err(
            |failed| match failed {
                Failed::System(error) => system(error),
                Failed::Tls(fault) => Broken::of(&fault),
                Failed::Closed => Broken::new("it closes during the handshake"),
            },
        )?;
    }
    if state != State::Established {
        return Err(Broken::new(format!("the handshake is not done after {READS_MAX} answers")));
    }
    let names = session.peer().ok_or_else(|| Broken::new("it shows no certificate"))?;
    stream.set_read_timeout(Some(AFTERTHOUGHT)).map_err(system)?;
    match turn(&mut stream, &mut session, &mut input, &mut out) {
        Err(Failed::Tls(fault)) => {
            let why = format!("it refuses this edge's certificate: {fault}");
            Err(Broken { why, advice: advice(&fault) })
        }
        Err(Failed::Closed) => Err(Broken::new("it closes after the handshake")),
        // Silence is consent.
        Ok(_) | Err(Failed::System(_)) => {
            out.clear();
            session.close_notify(&mut out);
            // The peer has shown what was asked; whether the farewell arrives does not matter.
            let _ = stream.write_all(&out);
            Ok(names)
        }
    }
}

enum Failed {
    System(std::io::Error),
    Tls(Fault),
    Closed,
}

/// Reads once and processes what came.
fn turn(
    stream: &mut TcpStream,
    session: &mut Session,
    input: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<State, Failed> {
    let mut chunk = [0; 16 * 1024];
    let count = stream.read(&mut chunk).map_err(Failed::System)?;
    if count == 0 {
        return Err(Failed::Closed);
    }
    input.extend_from_slice(&chunk[..count]);
    let fed = session.feed(input, out, |_| ()).map_err(Failed::Tls)?;
    input.drain(..fed.consumed);
    Ok(fed.state)
}
