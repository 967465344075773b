//! The library's questions about a peer's certificate, answered by [`Trust`].

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::fault::{Distrust, Fault};
use super::peer;
use super::revocation::Link;
use super::trust::{Judged, Trust, Whose};
use crate::policy::{ExpectedNames, PeerNames};

/// Judges the peer of one connection and keeps the verdict for its session.
///
/// The library offers no other way to carry out of a handshake what verification found, and doing
/// it again afterwards would cost as much as the handshake's own verification.
pub(super) struct Verifier {
    whose: Whose,
    demand: Demand,
    expected: Option<Arc<ExpectedNames>>,
    algorithms: WebPkiSupportedAlgorithms,
    /// A lock because the library shares verifiers between threads; this one never is.
    state: Mutex<State>,
}

/// What becomes of a peer whose certificate proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Its handshake fails.
    Proof,
    /// It is let in, and the core hears why it is nobody: an XMPP server may still prove its domain
    /// by dialback (RFC 6120 section 13.7.2, XEP-0220). Names of XMPP count too.
    Whatever,
}

enum State {
    Pending(Arc<Trust>),
    /// The trust is let go, so that a long-lived leg does not keep an old epoch's anchors.
    Judged(Result<Verdict, Fault>),
}

/// Who the peer is, and what its path is looked up by.
#[derive(Clone)]
pub(super) struct Verdict {
    pub(super) names: Arc<PeerNames>,
    pub(super) path: Arc<[Link]>,
}

impl Verifier {
    pub(super) fn new(
        trust: Arc<Trust>,
        whose: Whose,
        demand: Demand,
        expected: Option<Arc<ExpectedNames>>,
    ) -> Self {
        let algorithms = *trust.algorithms();
        Self { whose, demand, expected, algorithms, state: Mutex::new(State::Pending(trust)) }
    }

    pub(super) const fn whose(&self) -> Whose {
        self.whose
    }

    pub(super) const fn demand(&self) -> Demand {
        self.demand
    }

    pub(super) fn expected(&self) -> Option<&Arc<ExpectedNames>> {
        self.expected.as_ref()
    }

    /// Returns the verdict, once there is one.
    pub(super) fn verdict(&self) -> Option<Result<Verdict, Fault>> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Pending(_) => None,
            State::Judged(verdict) => Some(verdict.clone()),
        }
    }

    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Pending(trust) = &*state else {
            return Err(Error::General("a peer is judged once".to_owned()));
        };
        let verdict = trust
            .judge(end_entity, intermediates, self.whose, self.expected.as_deref(), now.as_secs())
            .map(|judged| self.demand.read(judged, end_entity))
            .map(Verdict::from);
        let answer = match (&verdict, self.demand) {
            (Err(fault), Demand::Proof) => Err(alert_for(fault).into()),
            _ => Ok(()),
        };
        *state = State::Judged(verdict);
        answer
    }
}

impl Demand {
    /// Adds the names of XMPP where they count.
    pub(super) fn read(self, judged: Judged, end_entity: &CertificateDer<'_>) -> Judged {
        if self == Self::Proof {
            return judged;
        }
        let xmpp = peer::xmpp_names(end_entity).map(Box::new);
        Judged { names: PeerNames { xmpp, ..judged.names }, path: judged.path }
    }
}

impl From<Judged> for Verdict {
    fn from(Judged { names, path }: Judged) -> Self {
        Self { names: Arc::new(names), path: path.into() }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("whose", &self.whose).finish_non_exhaustive()
    }
}

/// Returns the library's error that makes it send the alert of RFC 8446 section 6.2 for `fault`.
fn alert_for(fault: &Fault) -> CertificateError {
    match fault {
        Fault::Expired => CertificateError::Expired,
        Fault::Revoked => CertificateError::Revoked,
        Fault::RevocationUnknown => CertificateError::UnknownRevocationStatus,
        Fault::NameMismatch { .. } => CertificateError::NotValidForName,
        Fault::CertificateUntrusted { why } => match why {
            Distrust::UnknownIssuer => CertificateError::UnknownIssuer,
            Distrust::NotYetValid => CertificateError::NotValidYet,
            Distrust::BadSignature => CertificateError::BadSignature,
            Distrust::WrongPurpose => CertificateError::InvalidPurpose,
            Distrust::Unsupported => CertificateError::UnhandledCriticalExtension,
            Distrust::BadEncoding
            | Distrust::Constraint
            | Distrust::AuthorityAsPeer
            | Distrust::BadRevocationList
            | Distrust::TooComplex => CertificateError::BadEncoding,
        },
        _ => CertificateError::ApplicationVerificationFailure,
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.demand == Demand::Proof
    }

    /// None: kilobytes with a public set, and some stacks then find no certificate to send.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    /// `server_name` is what was sent as SNI; the names that count were given with the connection.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
