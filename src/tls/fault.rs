//! What can go wrong on a TLS leg, sorted by whose fault it is.

use std::fmt;

use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved,
};

use super::hello::Offer;
use crate::dns::Domain;
use crate::edge::ConnectFailure;

/// Whose fault a [`Fault`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blame {
    /// The peer broke TLS.
    PeerMisbehaved,
    /// The peer speaks TLS, but not what we speak, or it refused us.
    PeerIncompatible,
    /// The certificate is not one that may come in.
    Denied,
    /// This process or its configuration.
    Local,
}

/// Why a leg's TLS ended or never came up; its `Display` is the sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    // The peer misbehaved.
    /// The first bytes are no TLS record (RFC 8446 section 5.1); often plain SIP on a TLS port.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// A record failed its integrity check (RFC 8446 section 5.2, RFC 5246 section 6.2.3).
    #[error("a record from the peer failed its integrity check")]
    BadRecord,
    /// A record is longer than TLS allows (RFC 8446 section 5.2).
    #[error("a record from the peer is longer than TLS allows")]
    OversizedRecord,
    /// More handshake than [`crate::limits::HANDSHAKE_BYTES_MAX`], or a message after the handshake
    /// that is spread over more than one record's worth of bytes.
    #[error("the peer sent more handshake bytes than are accepted")]
    HandshakeTooLarge,
    /// A message cannot be decoded (RFC 8446 section 6.2, decode_error).
    #[error("a TLS message from the peer cannot be decoded")]
    Malformed,
    /// A message came out of order (RFC 8446 section 6.2, unexpected_message).
    #[error("the peer sent a TLS message out of order")]
    UnexpectedMessage,
    /// Another rule of the protocol was broken.
    #[error("the peer broke a rule of TLS: {rule}")]
    Violation {
        /// Which, in words.
        rule: Box<str>,
    },

    // The peer is incompatible.
    /// No cipher suite in common (RFC 8446 section 4.1.1).
    #[error("no cipher suite in common; the peer offers {offered}")]
    NoCommonSuite {
        /// What the peer offered.
        offered: Box<Offer>,
    },
    /// No protocol version in common (RFC 8446 section 4.2.1).
    #[error("no TLS version in common; the peer speaks {}", .offered.versions_text())]
    NoCommonVersion {
        /// What the peer offered.
        offered: Box<Offer>,
    },
    /// Something else that is not in common: groups, signature algorithms, extensions.
    #[error("the peer's TLS does not fit ours: {what}")]
    Incompatible {
        /// What, in words.
        what: Box<str>,
    },
    /// The peer ended it with an alert (RFC 8446 section 6.2).
    #[error("the peer refused with the alert \"{0}\"")]
    Refused(Alert),

    // The certificate is denied.
    /// A certificate is demanded and none was given (RFC 8446 section 4.4.2.4).
    #[error("the peer gave no certificate")]
    NoCertificate,
    /// The chain does not lead to an anchor that counts here (RFC 5280 section 6).
    #[error("the peer's certificate is not trusted: {why}")]
    CertificateUntrusted {
        /// The rule that failed.
        why: Distrust,
    },
    /// A certificate of the chain is past its notAfter (RFC 5280 section 4.1.2.5).
    #[error("the peer's certificate has expired")]
    Expired,
    /// A certificate of the chain is on its issuer's list (RFC 5280 section 5).
    #[error("the peer's certificate has been revoked")]
    Revoked,
    /// It is not known whether it has been revoked, and for this partner it has to be (RFC 5280
    /// section 6.3.3).
    #[error(
        "it is not known whether the peer's certificate has been revoked, and revocation = \
         \"hard\" demands it: no list in force speaks for its whole chain"
    )]
    RevocationUnknown,
    /// The chain is good but lacks a name that counts (DESIGN 6.3).
    #[error(
        "the peer's certificate is for {}, not for {}",
        names_text(.presented),
        names_text(.expected)
    )]
    NameMismatch {
        /// What it lacks: each of these, or for an internal peer any of them.
        expected: Box<[Domain]>,
        /// What the certificate carries.
        presented: Box<[Domain]>,
    },
    /// Judged again, the chain leads to other anchors than before, so who it may speak for changed.
    #[error("the peer's certificate counts for another partner since the last reload")]
    AnchorsChanged,

    // Local.
    /// The keys of a TLS 1.2 connection have sealed as much as they may (RFC 8446 section 5.5).
    #[error("the connection's keys are used up")]
    KeysExhausted,
    /// Bytes were to be sealed before the handshake or after the end.
    #[error("the connection is not open for writing")]
    NotOpen,
    /// The material holds no identity or anchors for what was asked.
    #[error("nothing is configured for this connection: {what}")]
    NotConfigured {
        /// What is missing.
        what: &'static str,
    },
    /// The library failed on our side.
    #[error("TLS failed on our side: {what}")]
    Internal {
        /// What it said.
        what: Box<str>,
    },
}

/// Why a chain is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Distrust {
    /// RFC 5280 section 6.1: no path to an anchor.
    #[error("it does not lead to a trust anchor")]
    UnknownIssuer,
    /// RFC 5280 section 6.1.3 (a)(1).
    #[error("a signature in it is wrong")]
    BadSignature,
    /// RFC 5280 section 4.1.
    #[error("it cannot be decoded")]
    BadEncoding,
    /// RFC 5280 section 4.1.2.5.
    #[error("it is not valid yet; compare the clocks")]
    NotYetValid,
    /// RFC 5280 section 4.2.1.12; serverAuth, clientAuth, sipDomain, any, or no extension pass.
    #[error("its extended key usage is for neither TLS nor SIP")]
    WrongPurpose,
    /// RFC 5280 section 4.2.1.9 and 4.2.1.10.
    #[error("a certificate authority's constraint forbids it")]
    Constraint,
    /// A certificate authority's own certificate was presented as a peer's.
    #[error("it is a certificate authority's own certificate")]
    AuthorityAsPeer,
    /// Signature algorithm, key size or critical extension that is not supported.
    #[error("it uses an algorithm or extension that is not supported")]
    Unsupported,
    /// The revocation list of its issuer cannot be used (RFC 5280 section 6.3).
    #[error("the revocation list of its issuer cannot be verified")]
    BadRevocationList,
    /// More paths or signatures than are tried.
    #[error("its chain is too long or too tangled")]
    TooComplex,
}

/// A TLS alert (RFC 8446 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alert(pub u8);

impl Alert {
    pub(super) const CLOSE_NOTIFY: Self = Self(0);
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match AlertDescription::from(self.0) {
            AlertDescription::Unknown(code) => write!(f, "number {code}"),
            known => f.write_str(&words(&format!("{known:?}"))),
        }
    }
}

impl Fault {
    /// Returns whose fault it is.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::NotTls
            | Self::BadRecord
            | Self::OversizedRecord
            | Self::HandshakeTooLarge
            | Self::Malformed
            | Self::UnexpectedMessage
            | Self::Violation { .. } => Blame::PeerMisbehaved,
            Self::NoCommonSuite { .. }
            | Self::NoCommonVersion { .. }
            | Self::Incompatible { .. }
            | Self::Refused(_) => Blame::PeerIncompatible,
            Self::NoCertificate
            | Self::CertificateUntrusted { .. }
            | Self::Expired
            | Self::Revoked
            | Self::RevocationUnknown
            | Self::NameMismatch { .. }
            | Self::AnchorsChanged => Blame::Denied,
            Self::KeysExhausted
            | Self::NotOpen
            | Self::NotConfigured { .. }
            | Self::Internal { .. } => Blame::Local,
        }
    }

    /// Returns what the role core is told when an outgoing leg failed with this fault.
    #[must_use]
    pub const fn connect_failure(&self) -> ConnectFailure {
        match self {
            Self::CertificateUntrusted { .. }
            | Self::Expired
            | Self::Revoked
            | Self::RevocationUnknown
            | Self::NoCertificate
            | Self::AnchorsChanged => ConnectFailure::CertificateUntrusted,
            Self::NameMismatch { .. } => ConnectFailure::CertificateNameMismatch,
            _ => ConnectFailure::TlsFailed,
        }
    }

    /// Returns a short name of the rule, for counters.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::BadRecord => "bad_record",
            Self::OversizedRecord => "oversized_record",
            Self::HandshakeTooLarge => "handshake_too_large",
            Self::Malformed => "malformed",
            Self::UnexpectedMessage => "unexpected_message",
            Self::Violation { .. } => "violation",
            Self::NoCommonSuite { .. } => "no_common_suite",
            Self::NoCommonVersion { .. } => "no_common_version",
            Self::Incompatible { .. } => "incompatible",
            Self::Refused(_) => "refused_by_peer",
            Self::NoCertificate => "no_certificate",
            Self::CertificateUntrusted { .. } => "untrusted",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::NameMismatch { .. } => "name_mismatch",
            Self::AnchorsChanged => "anchors_changed",
            Self::KeysExhausted => "keys_exhausted",
            Self::NotOpen => "not_open",
            Self::NotConfigured { .. } => "not_configured",
            Self::Internal { .. } => "internal",
        }
    }

    /// Something the library should not say.
    pub(super) fn internal(error: Error) -> Self {
        Self::Internal { what: error.to_string().into() }
    }

    /// Translates what the library reports.
    ///
    /// `offered`: what the peer's ClientHello offered, as far as it could be read; used only by the
    /// faults that name it.
    pub(super) fn from_library(error: Error, offered: impl FnOnce() -> Offer) -> Self {
        match error {
            Error::DecryptError => Self::BadRecord,
            Error::PeerSentOversizedRecord
            | Error::InvalidMessage(InvalidMessage::MessageTooLarge) => Self::OversizedRecord,
            Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
                Self::HandshakeTooLarge
            }
            Error::InvalidMessage(_) => Self::Malformed,
            Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
                Self::UnexpectedMessage
            }
            Error::PeerMisbehaved(rule) => Self::from_misbehaviour(&rule),
            Error::PeerIncompatible(what) => Self::from_incompatibility(&what, offered),
            Error::AlertReceived(alert) => Self::Refused(Alert(u8::from(alert))),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(error) => Self::from_certificate_error(&error),
            other => Self::internal(other),
        }
    }

    fn from_misbehaviour(rule: &PeerMisbehaved) -> Self {
        Self::Violation { rule: words(&format!("{rule:?}")).into() }
    }

    fn from_incompatibility(what: &PeerIncompatible, offered: impl FnOnce() -> Offer) -> Self {
        match what {
            PeerIncompatible::NoCipherSuitesInCommon => {
                Self::NoCommonSuite { offered: Box::new(offered()) }
            }
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired => {
                Self::NoCommonVersion { offered: Box::new(offered()) }
            }
            other => Self::Incompatible { what: words(&format!("{other:?}")).into() },
        }
    }

    /// Only signatures over the handshake come this way; chains are judged by [`super::Trust`].
    fn from_certificate_error(error: &CertificateError) -> Self {
        let why = match error {
            CertificateError::BadSignature => Distrust::BadSignature,
            CertificateError::BadEncoding => Distrust::BadEncoding,
            _ => Distrust::Unsupported,
        };
        Self::CertificateUntrusted { why }
    }
}

/// Turns an identifier of the library into words: `NoKxGroupsInCommon` to "no kx groups in common".
fn words(identifier: &str) -> String {
    let mut text = String::with_capacity(identifier.len() + 8);
    let mut previous_lower = false;
    for c in identifier.chars() {
        if c.is_ascii_uppercase() && previous_lower {
            text.push(' ');
        }
        previous_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// Lists at most four names.
fn names_text(names: &[Domain]) -> String {
    const SHOWN: usize = 4;
    if names.is_empty() {
        return "no name at all".to_owned();
    }
    let mut text = names.iter().take(SHOWN).map(Domain::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_of_the_library_become_words() {
        assert_eq!(words("NoKxGroupsInCommon"), "no kx groups in common");
        assert_eq!(Alert(48).to_string(), "unknown ca");
        assert_eq!(Alert(199).to_string(), "number 199");
    }

    #[test]
    fn a_name_mismatch_says_both_sides_in_one_sentence() {
        let domain = |text: &str| Domain::parse(text.as_bytes()).unwrap();
        let fault = Fault::NameMismatch {
            expected: [domain("sip.fabrikam.example")].into(),
            presented: (0..6).map(|n| domain(&format!("h{n}.example"))).collect(),
        };
        assert_eq!(
            fault.to_string(),
            "the peer's certificate is for h0.example, h1.example, h2.example, h3.example \
             and 2 more, not for sip.fabrikam.example"
        );
        assert_eq!(fault.connect_failure(), ConnectFailure::CertificateNameMismatch);
        assert_eq!(fault.blame(), Blame::Denied);
    }

    #[test]
    fn a_fault_stays_small_enough_to_return() {
        assert!(size_of::<Fault>() <= 40);
    }
}
