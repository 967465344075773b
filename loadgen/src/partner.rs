//! Who the generator is towards the edge: one or more partner edges.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ClientConfig;

use crate::options::Common;
use crate::tls::{self, Identity};

/// A partner's edge.
pub(crate) struct Partner {
    /// Its SIP domain.
    pub(crate) domain: String,
    /// Its certificate, ready to connect with.
    pub(crate) config: Arc<ClientConfig>,
}

/// Returns all partners of the command line; the first is the one of `--cert`.
pub(crate) fn all(common: &Common) -> Result<Vec<Partner>> {
    let roots = tls::roots(&common.ca)?;
    let partner = |domain: &str, cert: &Path, key: &Path| -> Result<Partner> {
        let config = tls::client(common.tls, &Identity::read(cert, key)?, &roots)?;
        Ok(Partner { domain: domain.to_owned(), config })
    };
    let mut partners = vec![partner(&common.from_domain, &common.cert, &common.key)?];
    for text in &common.partner {
        let mut parts = text.splitn(3, ':');
        let mut next =
            || parts.next().with_context(|| format!("--partner {text}: DOMAIN:CERT:KEY"));
        let (domain, cert, key) = (next()?, next()?, next()?);
        partners.push(partner(domain, Path::new(cert), Path::new(key))?);
    }
    Ok(partners)
}

/// Returns the source address of the connection number `index`, if they are to be spread.
pub(crate) fn source(common: &Common, index: usize) -> Option<Ipv4Addr> {
    let count = usize::from(common.sources);
    let turn = index.checked_rem(count)?.min(0xfffe) as u16 + 1;
    let [high, low] = turn.to_be_bytes();
    Some(Ipv4Addr::new(127, 1, high, low))
}

/// Returns a number that differs between runs, for Call-IDs.
pub(crate) fn run_number() -> u64 {
    // The kernel seeds every hasher of the standard library differently.
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_have_different_numbers() {
        assert_ne!(run_number(), run_number());
    }
}
