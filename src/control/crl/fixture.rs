//! An authority that names a place for its lists, and a server of HTTP that misbehaves on demand.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use crate::tls::{self, Point, RevocationList};

/// 2026-09-21.
pub(super) const NOW_UNIX_S: u64 = 1_790_000_000;

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// The point that a certificate of this authority names.
    pub(super) fn point(&self, url: &str) -> Point {
        let mut params = CertificateParams::new(vec!["sip.fabrikam.example".to_owned()]).unwrap();
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url.to_owned()] }];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Point::of_certificate(leaf.der(), &self.certificate).unwrap()
    }

    /// A list in DER, issued at `from` and good until `until`, both Unix seconds.
    pub(super) fn list(&self, serials: &[u64], from: u64, until: u64) -> Vec<u8> {
        let time = |unix_s: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s);
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: time(from),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: time(from),
            next_update: time(until),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    /// The same, read at [`NOW_UNIX_S`].
    pub(super) fn read(&self, point: &Point, serials: &[u64], until: u64) -> RevocationList {
        let bytes = self.list(serials, NOW_UNIX_S - 60, until);
        RevocationList::read(&bytes, point, &tls::algorithms(), NOW_UNIX_S, 100).unwrap()
    }
}

/// Answers one connection with `bytes` and then holds it open for `hold`.
pub(super) fn answer_once(bytes: Vec<u8>, hold: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
            head.push(byte[0]);
        }
        // Whoever has heard enough may be gone.
        let _ = stream.write_all(&bytes);
        sleep(hold);
    });
    address
}
