//! One handshake as the edge would make it, for the commands that look at the world.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use crate::policy::PeerNames;
use crate::tls::{Fault, Session, State};

/// How long a connection may take to open, and each answer to come.
pub(super) const WAIT: Duration = Duration::from_secs(3);
/// How long a peer that did not like this edge's certificate has to say so.
const AFTERTHOUGHT: Duration = Duration::from_millis(500);
/// Answers read in one handshake.
const READS_MAX: usize = 16;

/// A handshake that came to its end.
pub(super) struct Shaken {
    pub(super) peer: Arc<PeerNames>,
    /// Version and suite.
    pub(super) agreed: String,
    /// What the peer did after it: in TLS 1.3 it judges this edge's certificate only then.
    pub(super) after: After,
}

/// What a peer does after the handshake.
pub(super) enum After {
    /// It waits for a message.
    Waits,
    /// It ends the connection and says why.
    Refuses(Fault),
    /// It ends the connection.
    Closes,
}

/// What ended a handshake before its end.
pub(super) enum Broken {
    System(std::io::Error),
    Tls(Fault),
    Closed,
    Endless,
    NoCertificate,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    write!(f, "no answer to the handshake in {} s", WAIT.as_secs())
                }
                _ => f.write_str(&reason(error)),
            },
            Self::Tls(fault) => write!(f, "{fault}"),
            Self::Closed => f.write_str("it closes during the handshake"),
            Self::Endless => write!(f, "the handshake is not done after {READS_MAX} answers"),
            Self::NoCertificate => f.write_str("it shows no certificate"),
        }
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

/// Completes the handshake and waits a moment for second thoughts.
pub(super) fn shake(mut stream: TcpStream, mut session: Session) -> Result<Shaken, Broken> {
    stream.set_read_timeout(Some(WAIT)).map_err(Broken::System)?;
    stream.set_write_timeout(Some(WAIT)).map_err(Broken::System)?;
    let (mut input, mut out) = (Vec::new(), Vec::new());
    session.start(&mut out).map_err(Broken::Tls)?;
    let mut state = State::Handshaking;
    for _ in 0..READS_MAX {
        stream.write_all(&out).map_err(Broken::System)?;
        out.clear();
        if state == State::Established {
            break;
        }
        state = match turn(&mut stream, &mut session, &mut input, &mut out) {
            Ok(state) => state,
            Err(broken) => {
                // An alert is worth sending although the handshake has failed.
                let _ = stream.write_all(&out);
                return Err(broken);
            }
        };
    }
    if state != State::Established {
        return Err(Broken::Endless);
    }
    let peer = session.peer().ok_or(Broken::NoCertificate)?;
    let agreed = session.describe().to_string();
    stream.set_read_timeout(Some(AFTERTHOUGHT)).map_err(Broken::System)?;
    let after = match turn(&mut stream, &mut session, &mut input, &mut out) {
        Err(Broken::Tls(fault)) => After::Refuses(fault),
        Err(Broken::Closed) => After::Closes,
        // Silence is consent.
        _ => {
            out.clear();
            session.close_notify(&mut out);
            // The peer has shown what was asked; whether the farewell arrives does not matter.
            let _ = stream.write_all(&out);
            After::Waits
        }
    };
    Ok(Shaken { peer, agreed, after })
}

/// Reads once and processes what came.
fn turn(
    stream: &mut TcpStream,
    session: &mut Session,
    input: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<State, Broken> {
    let mut chunk = [0; limits::TLS_RECORD_BYTES_MAX];
    let count = stream.read(&mut chunk).map_err(Broken::System)?;
    if count == 0 {
        return Err(Broken::Closed);
    }
    input.extend_from_slice(&chunk[..count]);
    let fed = session.feed(input, out, |_| ()).map_err(Broken::Tls)?;
    input.drain(..fed.consumed);
    Ok(fed.state)
}
