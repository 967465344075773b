//! Replacing a file as a whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Tries for the lock of another edit, and the pause between them: two seconds together.
const LOCK_TRIES_MAX: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Puts `after` in the place of `before` at `path`; owner and mode stay.
///
/// The new text is on the disk before its name is: a crash leaves the old file or the new one.
/// # Errors
/// The file does not say `before` any more, or the kernel refused; then it is as it was.
pub(super) fn replace(path: &Path, before: &str, after: &str) -> anyhow::Result<()> {
    // What is replaced is the file, not a link to it.
    let path = fs::canonicalize(path).with_context(|| format!("{}", path.display()))?;
    let directory = path.parent().context("a file stands in a directory")?;
    let held = File::open(directory).with_context(|| format!("{}", directory.display()))?;
    lock(&held, directory)?;
    let now = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    if now != before {
        bail!("{} was changed by somebody else meanwhile; nothing was written", path.display());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = directory.join(format!(".{name}.{}", std::process::id()));
    let written = write(&beside, &path, after)
        .and_then(|()| fs::rename(&beside, &path))
        .and_then(|()| held.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&beside);
        bail!("{} stays as it was: {error}", path.display());
    }
    Ok(())
}

/// Keeps other edits out until `directory` is closed.
fn lock(directory: &File, path: &Path) -> anyhow::Result<()> {
    for _ in 0..LOCK_TRIES_MAX {
        match directory.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{}", path.display()));
            }
        }
    }
    bail!("another edit in {} does not end", path.display())
}

/// Writes `text` to `beside`, made for it, with owner and mode of `path`, down to the disk.
fn write(beside: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let like = fs::metadata(path)?;
    // A file of this name can only be what a crash of the same process number left.
    let _ = fs::remove_file(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
