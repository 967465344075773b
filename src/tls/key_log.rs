//! Session keys into a file, so that a capture can be read (tests and fault finding only).

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustls::KeyLog;

use super::load::LoadError;

/// Appends lines in the format of RFC 9850 to a file only its owner may read.
#[derive(Debug)]
pub(super) struct KeyLogTo {
    file: Mutex<File>,
}

impl KeyLogTo {
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        match file {
            Ok(file) => Ok(Self { file: Mutex::new(file) }),
            Err(why) => Err(LoadError::KeyLog { path: path.to_owned(), why }),
        }
    }
}

impl KeyLog for KeyLogTo {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end the connection; the capture then stays unread.
        let _ = file.write_all(line.as_bytes());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
