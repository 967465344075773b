//! What a server shows, judged by nobody: a handshake that fails has no chain to look at after.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use crate::limits;

/// Turns of writing and reading in one handshake.
const TURNS_MAX: usize = 64;

/// Shakes hands over `stream` without a certificate of our own and returns the chain that was
/// shown, in DER, the server's own first and at most one above the limit of a chain.
///
/// Nothing else is sent, and nothing may be concluded of who is there: nobody has judged it.
///
/// # Errors
/// A name that is none, or what ended the handshake before a chain was shown.
pub(crate) fn shown_chain(
    server_name: &str,
    mut stream: impl Read + Write,
) -> std::io::Result<Vec<Vec<u8>>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let recorder = Arc::new(Recorder::new(schemes));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&recorder) as _)
        .with_no_client_auth();
    let name = ServerName::try_from(server_name.to_owned()).map_err(std::io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name);
    let mut connection = connection.map_err(std::io::Error::other)?;
    let mut ended = Ok(());
    for _ in 0..TURNS_MAX {
        if !connection.is_handshaking() || ended.is_err() {
            break;
        }
        ended = connection.complete_io(&mut stream).map(|_| ());
    }
    let chain = recorder.take();
    match ended {
        // A partner that wants our certificate ends it here; by then it has shown its own.
        Err(error) if chain.is_empty() => Err(error),
        _ => Ok(chain),
    }
}

/// Accepts every server, for where nothing is sent over what it accepts, and keeps what was shown.
#[derive(Debug)]
pub(super) struct Recorder {
    schemes: Vec<SignatureScheme>,
    chain: Mutex<Vec<Vec<u8>>>,
}

impl Recorder {
    /// Returns one that offers `schemes` for signatures.
    pub(super) const fn new(schemes: Vec<SignatureScheme>) -> Self {
        Self { schemes, chain: Mutex::new(Vec::new()) }
    }

    fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.chain.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        let all = all.take(limits::CHAIN_CERTIFICATES_MAX + 1);
        let chain = all.map(|certificate| certificate.to_vec()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls12_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
