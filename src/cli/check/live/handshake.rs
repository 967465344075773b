//! What a handshake with a next hop, a provider or a partner led to, and what to do about it.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use crate::cli::handshake::{After, Broken, Shaken, WAIT, reason, shake};
use crate::dns::Domain;
use crate::edge::Class;
use crate::policy::{AnchorSet, ExpectedNames, PeerNames};
use crate::tls::{Distrust, Fault, Material, Session};

/// What connecting to one address led to.
pub(in crate::cli::check) enum Reached {
    Yes(Arc<PeerNames>),
    /// No connection.
    No(String),
    /// A connection, but no handshake: why, and what to do about it.
    Refused(String, &'static str),
}

/// The next step where no fault of TLS suggests a better one.
const COMPARE: &str =
    "compare certificates with its administrator: names, issuer, dates, both ways";

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
        _ => COMPARE,
    }
}

/// Connects and shakes hands as the edge would.
pub(in crate::cli::check) fn reach(
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
    match session.map_err(Broken::Tls).and_then(|session| shake(stream, session)) {
        Ok(Shaken { peer, after: After::Waits, .. }) => Reached::Yes(peer),
        Ok(Shaken { after: After::Closes, .. }) => {
            Reached::Refused("it closes after the handshake".to_owned(), COMPARE)
        }
        Ok(Shaken { after: After::Refuses(fault), .. }) => {
            let why = format!("it refuses this edge's certificate: {fault}");
            Reached::Refused(why, advice(&fault))
        }
        Err(broken) => {
            let advice = match &broken {
                Broken::Tls(fault) => advice(fault),
                _ => COMPARE,
            };
            Reached::Refused(broken.to_string(), advice)
        }
    }
}
