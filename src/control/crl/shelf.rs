//! Lists on disk, so that a restart need not wait for every authority.
//!
//! Files are believed no more than the network: each is verified as if it had been fetched.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::tls::PointKey;

/// The directory the configuration names.
#[derive(Clone, Debug)]
pub(super) struct Shelf(pub(super) PathBuf);

impl Shelf {
    /// Reads what was kept for `key`; `None` if there is nothing or it is longer than `bytes_max`.
    pub(super) fn read(&self, key: PointKey, bytes_max: usize) -> Option<Vec<u8>> {
        let file = fs::File::open(self.path(key)).ok()?;
        let mut bytes = Vec::new();
        file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() <= bytes_max).then_some(bytes)
    }

    /// Keeps `bytes` for `key`; a reader sees the old list or the new one.
    pub(super) fn keep(&self, key: PointKey, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(key);
        let unfinished = path.with_extension("new");
        fs::write(&unfinished, bytes)?;
        fs::rename(&unfinished, &path)
    }

    /// Drops what was kept for `key`.
    pub(super) fn drop(&self, key: PointKey) {
        // What is not there need not be dropped.
        let _ = fs::remove_file(self.path(key));
    }

    pub(super) fn directory(&self) -> &Path {
        &self.0
    }

    fn path(&self, key: PointKey) -> PathBuf {
        self.0.join(format!("{key:032x}.crl"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf(directory.path().to_owned());
        assert_eq!(shelf.read(7, 100), None);
        shelf.keep(7, b"first").unwrap();
        shelf.keep(7, b"second").unwrap();
        assert_eq!(shelf.read(7, 6).as_deref(), Some(&b"second"[..]));
        assert_eq!(shelf.read(7, 5), None, "longer than it may be");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        shelf.drop(7);
        shelf.drop(7);
        assert_eq!(shelf.read(7, 100), None);
        let nowhere = Shelf(directory.path().join("nowhere"));
        assert!(nowhere.keep(7, b"x").is_err());
    }
}
