//! The secrets of dialback keys (XEP-0185), from those of the pool.

use crate::config::{Config, Secret};

/// Returns the secrets of dialback keys, of which the first makes keys and every one verifies;
/// empty where no file of secrets is named, so that the process has to make one of its own.
///
/// A key in dialback has no room for a key id, so whoever verifies tries them all: there are at
/// most eight. One secret of the pool has several uses, each with a key of its own, so that what
/// partners see of one tells nothing of another.
#[must_use]
pub fn dialback_secrets(config: &Config) -> Vec<[u8; 32]> {
    config.secrets.iter().flat_map(|secrets| &secrets.0).map(derived).collect()
}

fn derived(secret: &Secret) -> [u8; 32] {
    let parent = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret.key);
    let tag = ring::hmac::sign(&parent, b"entente dialback 1");
    let mut key = [0; 32];
    key.copy_from_slice(tag.as_ref());
    key
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Secrets, load};

    #[test]
    fn each_secret_of_the_pool_has_one_for_dialback_in_the_same_order() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs/xmpp.toml");
        let mut config = load(&path).unwrap_or_else(|report| panic!("{report}"));
        let both = |first: u8, second: u8| {
            Secrets([first, second].map(|id| Secret { id, key: [id; 32] }).to_vec())
        };
        config.secrets = Some(both(1, 2));
        let before = dialback_secrets(&config);
        config.secrets = Some(both(2, 1));
        let rolled = dialback_secrets(&config);
        assert_eq!(before, [rolled[1], rolled[0]]);
        assert_ne!(before[0], [1; 32], "partners see nothing of the secret itself");
        config.secrets = None;
        assert!(dialback_secrets(&config).is_empty());
    }
}
