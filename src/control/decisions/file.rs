//! The file of the decision log: appended to, renamed when it is full, never waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Only the edge's own user reads who talks to whom.
const MODE: u32 = 0o600;

/// An open file and how full it is.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    bytes_max: u64,
    file: File,
    bytes: u64,
    /// The last line has no end: a write failed, or the machine did.
    torn: bool,
}

impl LogFile {
    /// Opens `path` to append to it; it is made if it is not there.
    pub(super) fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
        let bytes = file.metadata()?.len();
        let mut torn = false;
        if bytes > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            torn = last != *b"\n";
        }
        Ok(Self { path: path.to_owned(), bytes_max, file, bytes, torn })
    }

    /// Appends whole lines; the file is begun afresh first if they do not fit.
    ///
    /// # Errors
    /// The kernel's; part of `lines` may be there then.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let length = lines.len() as u64;
        if self.bytes > 0 && self.bytes + length > self.bytes_max {
            std::fs::rename(&self.path, rotated(&self.path))?;
            *self = Self::open(&self.path, self.bytes_max)?;
        }
        let written = self.write(lines);
        self.torn = written.is_err();
        // Somebody else may write too or have cut it short; the file knows best.
        self.bytes = self.file.metadata().map_or(self.bytes + length, |known| known.len());
        written
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(lines)
    }
}

/// Returns the name of the older half.
pub(super) fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_full_file_is_renamed_and_begun_afresh() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("decisions.log");
        let mut file = LogFile::open(&path, 10).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            file.append(line.as_bytes()).unwrap();
        }
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&rotated(&path)), "three\n");
        assert_eq!(read(&path), "four\n");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn lines_larger_than_the_file_may_be_have_one_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("decisions.log");
        let mut file = LogFile::open(&path, 3).unwrap();
        file.append(b"a long line\n").unwrap();
        file.append(b"b\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"b\n");
    }

    #[test]
    fn a_torn_last_line_does_not_spoil_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("decisions.log");
        std::fs::write(&path, "whole\nto").unwrap();
        let mut file = LogFile::open(&path, 100).unwrap();
        file.append(b"next\n").unwrap();
        file.append(b"last\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole\nto\nnext\nlast\n");
    }

    #[test]
    fn a_file_that_somebody_has_cut_short_is_full_when_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("decisions.log");
        let mut file = LogFile::open(&path, 12).unwrap();
        file.append(b"1234567\n").unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        file.append(b"a\n").unwrap();
        file.append(b"b\n").unwrap();
        file.append(b"c\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a\nb\nc\n");
    }
}
