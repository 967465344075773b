//! When the certificates of the identities end.

use super::board::Certificate;
use crate::tls::Material;

/// Returns the end of each identity's certificate as it is served: its file may hold another one,
/// which counts from the next reload on, or was taken back.
pub(super) fn certificates(material: &Material) -> Vec<Certificate> {
    let certificate = |(identity, not_after_unix_s): (&str, u64)| Certificate {
        identity: identity.to_owned(),
        not_after_unix_s,
    };
    material.certificate_ends().map(certificate).collect()
}
