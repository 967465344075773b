//! A peer made of the library alone: old, naked or otherwise unlike us.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, HandshakeKind, ServerConfig,
    ServerConnection, SignatureScheme, SupportedProtocolVersion,
};

use super::Talks;
use super::pki::Pair;
use crate::tls::shown::Recorder;

/// A buffered client that believes every server, or a server that asks for no certificate.
pub(super) struct Bare {
    pub(super) connection: Connection,
    pub(super) plaintext: Vec<u8>,
    pub(super) failure: Option<Error>,
}

/// Makes a configuration for [`Bare::connect`]; shared between connections it resumes.
pub(super) fn config(
    versions: &[&'static SupportedProtocolVersion],
    pair: Option<&Pair>,
) -> ClientConfig {
    let provider = rustls::crypto::ring::default_provider();
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let recorder = Arc::new(Recorder::new(schemes));
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(recorder);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_auth_cert(chain(pair), key(pair)).unwrap(),
    };
    config.resumption = Resumption::in_memory_sessions(8);
    config
}

/// A client that can verify RSA signatures alone.
pub(super) fn rsa_only() -> ClientConfig {
    let provider = rustls::crypto::ring::default_provider();
    let schemes = vec![SignatureScheme::RSA_PSS_SHA256];
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Recorder::new(schemes)))
        .with_no_client_auth()
}

fn chain(pair: &Pair) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pair.chain.as_bytes()).map(Result::unwrap).collect()
}

fn key(pair: &Pair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap()
}

impl Bare {
    pub(super) fn connect(config: &ClientConfig, sni: &str) -> Self {
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
        Self { connection: connection.into(), plaintext: Vec::new(), failure: None }
    }

    /// Accepts; records of at most `fragment` bytes, several tickets.
    pub(super) fn accept(pair: &Pair, fragment: Option<usize>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain(pair), key(pair))
            .unwrap();
        config.max_fragment_size = fragment;
        config.send_tls13_tickets = 3;
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        Self { connection: connection.into(), plaintext: Vec::new(), failure: None }
    }

    pub(super) fn send(&mut self, plaintext: &[u8]) {
        self.connection.writer().write_all(plaintext).unwrap();
    }

    pub(super) fn resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Returns the certificate the server presented.
    pub(super) fn saw(&self, pair: &Pair) -> bool {
        let shown = self.connection.peer_certificates().unwrap_or_default().first();
        shown == CertificateDer::from_pem_slice(pair.chain.as_bytes()).ok().as_ref()
    }
}

impl Talks for Bare {
    fn receive(&mut self, mut bytes: &[u8], _piece: usize) {
        while !bytes.is_empty() && self.failure.is_none() {
            if self.connection.read_tls(&mut bytes).unwrap() == 0 {
                return;
            }
            match self.connection.process_new_packets() {
                Ok(state) => {
                    let start = self.plaintext.len();
                    self.plaintext.resize(start + state.plaintext_bytes_to_read(), 0);
                    self.connection.reader().read_exact(&mut self.plaintext[start..]).unwrap();
                }
                Err(error) => self.failure = Some(error),
            }
        }
    }

    fn take_out(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut out).unwrap();
        }
        out
    }
}
