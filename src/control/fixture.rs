//! Files for tests: an authority, a certificate with its key, and a key of somebody else.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

/// Makes a directory with `ca.pem`, `sip.pem` (for `names`), `sip.key` and `other.key`.
pub(crate) fn world(names: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&authority, &authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("sip.pem", leaf.pem());
    write("sip.key", key.serialize_pem());
    write("other.key", rcgen::KeyPair::generate().unwrap().serialize_pem());
    write("ca.pem", ca.pem());
    directory
}

/// Returns a port of loopback that nobody has.
pub(crate) fn free_port() -> u16 {
    free_ports::<1>()[0]
}

/// Returns ports of loopback that nobody has, none of which was returned before: who asked earlier
/// may not have bound his yet.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    // Those that were given before are held as well, or the kernel may offer them again.
    let mut held = Vec::new();
    [(); N].map(|()| {
        // Bound: there are no more ports.
        for _ in 0..=u16::MAX {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            held.push(listener);
            if given.insert(port) {
                return port;
            }
        }
        panic!("no port is left");
    })
}
