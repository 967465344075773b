//! The store of what contacts and users have granted each other: one file, opened at the start,
//! written by a thread of its own.
//!
//! ```text
//! start:  file ── checked ──> good: copied to `.backup`, read into the gateway's setup
//!                   └──────> damaged: copied to `.damaged-…`, and nothing starts
//! then:   gateway ─ Effects::authorisations ─> Keeper ─ a transaction for each batch ─> file
//! ```
//!
//! A gateway that lost the file would ask every contact anew, so a damaged one is never silently
//! begun afresh. What the last moment before a crash had granted may be missing: the contact is
//! asked again, which costs a question and loses nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::Context as _;
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition, TableError,
};

use crate::edge::gateway::authorisation::Standing;
use crate::edge::gateway::{Authorisation, Change};
use crate::limits;

/// Direction and addresses, with how far it has come and its version.
const GRANTS: TableDefinition<'_, &str, (u8, u64)> = TableDefinition::new("grants");
/// The same in layout 1, without version.
const GRANTS_1: TableDefinition<'_, &str, u8> = TableDefinition::new("authorisations");
/// What the file is.
const ABOUT: TableDefinition<'_, &str, u32> = TableDefinition::new("about");
/// Which layout it has.
const VERSION: u32 = 2;
/// Only the gateway's own user reads who knows whom.
const MODE: u32 = 0o600;

/// The open file.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// What is in the file is not what was written.
    #[error(
        "the store of authorisations {} is damaged ({why}); it was copied to {}. Put its backup {} \
         in its place, or remove it: then every contact is asked anew",
        file.display(), copy.display(), backup.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where a copy of it is.
        copy: PathBuf,
        /// Where the file of the last good start is.
        backup: PathBuf,
        /// What was found.
        why: String,
    },
    /// Another program has it.
    #[error("the store of authorisations {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A later version of this program wrote it.
    #[error(
        "the store of authorisations {} has layout {found}, and this version reads up to {VERSION}",
        file.display()
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// What it says.
        found: u32,
    },
    /// The file system's.
    #[error("the store of authorisations {}: {why}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What it says.
        why: String,
    },
}

/// Returns the name of the copy that a good start keeps.
#[must_use]
pub fn backup_of(file: &Path) -> PathBuf {
    with_suffix(file, ".backup")
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Store {
    /// Opens the store, made if it is not there, and returns what it holds.
    ///
    /// `unix_s`: the time, for the name of the copy of a damaged file. The whole file is read.
    /// # Errors
    /// [`StoreFault`]; a damaged file stays where it is, beside its copy.
    pub fn open(file: &Path, unix_s: u64) -> Result<(Self, Vec<Authorisation>), StoreFault> {
        let is_new = fs::metadata(file).map_or(true, |known| known.len() == 0);
        if is_new {
            let store = Self::of(file).map_err(|fault| fault_of(file, unix_s, fault))?;
            return match store.lay_out() {
                Ok(()) => Ok((store, Vec::new())),
                Err(fault) => {
                    Err(StoreFault::File { file: file.to_owned(), why: fault.to_string() })
                }
            };
        }
        is_free(file)?;
        let (layout, mut held) = check(file, unix_s)?;
        let store = Self::of(file).map_err(|fault| fault_of(file, unix_s, fault))?;
        let kept_from = unix_s.saturating_sub(limits::GATEWAY_GRAVE_S);
        let kept_from = Authorisation::version_at(kept_from);
        let is_old =
            |one: &Authorisation| one.standing == Standing::None && one.version < kept_from;
        let old: Vec<Authorisation> = held.extract_if(.., |one| is_old(one)).collect();
        let done = match layout {
            VERSION => store.remove(&old),
            _ => store.bring_up(&held),
        };
        match done {
            Ok(()) => Ok((store, held)),
            Err(fault) => Err(StoreFault::File { file: file.to_owned(), why: fault.to_string() }),
        }
    }

    /// Writes what a file of layout 1 held as this version has it.
    fn bring_up(&self, held: &[Authorisation]) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        write.delete_table(GRANTS_1)?;
        write.open_table(ABOUT)?.insert("version", VERSION)?;
        {
            let mut grants = write.open_table(GRANTS)?;
            for one in held {
                let key = Authorisation::key_of(&one.ours, &one.theirs, one.direction);
                grants.insert(&*key, (one.standing.number(), one.version))?;
            }
        }
        Ok(write.commit()?)
    }

    /// Forgets what was taken back long ago.
    fn remove(&self, old: &[Authorisation]) -> Result<(), redb::Error> {
        if old.is_empty() {
            return Ok(());
        }
        let write = self.database.begin_write()?;
        {
            let mut grants = write.open_table(GRANTS)?;
            for one in old {
                grants.remove(&*Authorisation::key_of(&one.ours, &one.theirs, one.direction))?;
            }
        }
        Ok(write.commit()?)
    }

    fn of(file: &Path) -> Result<Self, DatabaseError> {
        let mut builder = Database::builder();
        builder.set_cache_size(limits::GATEWAY_STORE_CACHE_BYTES);
        builder.create_file(open_file(file)?).map(|database| Self { database })
    }

    fn lay_out(&self) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        write.open_table(ABOUT)?.insert("version", VERSION)?;
        write.open_table(GRANTS)?;
        Ok(write.commit()?)
    }

    fn read(&self) -> Result<(u32, Vec<Authorisation>), ReadFault> {
        let read = self.database.begin_read().map_err(of)?;
        let about = match read.open_table(ABOUT) {
            Err(TableError::TableDoesNotExist(_)) => return Err(ReadFault::Version(0)),
            about => about.map_err(of)?,
        };
        let version = about.get("version").map_err(of)?.map_or(0, |version| version.value());
        const MOST: usize = 2 * limits::GATEWAY_CONTACTS_MAX + limits::GATEWAY_GRAVES_MAX;
        let mut held = Vec::new();
        match version {
            1 => {
                let grants = read.open_table(GRANTS_1).map_err(of)?;
                for entry in grants.iter().map_err(of)?.take(MOST) {
                    let (key, value) = entry.map_err(of)?;
                    held.push(authorisation_of(key.value(), (value.value(), 0))?);
                }
            }
            VERSION => {
                let grants = read.open_table(GRANTS).map_err(of)?;
                for entry in grants.iter().map_err(of)?.take(MOST) {
                    let (key, value) = entry.map_err(of)?;
                    held.push(authorisation_of(key.value(), value.value())?);
                }
            }
            _ => return Err(ReadFault::Version(version)),
        }
        Ok((version, held))
    }

    /// Writes changes, in order, all of them or none, and on the disk when it returns.
    /// # Errors
    /// The file system's.
    pub fn apply(&self, changes: &[Change]) -> anyhow::Result<()> {
        let write = self.database.begin_write().context("no transaction")?;
        {
            let mut grants = write.open_table(GRANTS).context("no table")?;
            for change in changes {
                match change {
                    Change::Remember(one) => {
                        let key = Authorisation::key_of(&one.ours, &one.theirs, one.direction);
                        let value = (one.standing.number(), one.version);
                        grants.insert(&*key, value).context("not written")?;
                    }
                    Change::Forget { ours, theirs, direction } => {
                        let key = Authorisation::key_of(ours, theirs, *direction);
                        grants.remove(&*key).context("not removed")?;
                    }
                }
            }
        }
        write.commit().context("not committed")
    }
}

/// Looks for another process that has the file.
fn is_free(file: &Path) -> Result<(), StoreFault> {
    let opened = File::open(file).map_err(|fault| file_fault(file, &fault))?;
    match opened.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StoreFault::InUse(file.to_owned())),
        Err(TryLockError::Error(fault)) => Err(file_fault(file, &fault)),
    }
}

/// Reads a copy of the whole file, which becomes the backup if it is good.
///
/// A copy, because the database repairs what it opens, and what is damaged is to stay as it is.
fn check(file: &Path, unix_s: u64) -> Result<(u32, Vec<Authorisation>), StoreFault> {
    whole(file).map_err(|why| damaged(file, unix_s, why))?;
    let copy = with_suffix(file, ".checking");
    copy_to(file, &copy).map_err(|fault| file_fault(file, &fault))?;
    let mut store = Store::of(&copy).map_err(|fault| fault_of(file, unix_s, fault))?;
    let held = match store.database.check_integrity() {
        Ok(true) => store.read(),
        Ok(false) => Err(ReadFault::Damaged("a checksum is wrong".to_owned())),
        Err(fault) => Err(of(fault)),
    };
    let fault = match held {
        Ok(held) => {
            drop(store);
            fs::rename(&copy, backup_of(file)).map_err(|fault| file_fault(file, &fault))?;
            return Ok(held);
        }
        Err(ReadFault::Version(found)) => StoreFault::Version { file: file.to_owned(), found },
        Err(ReadFault::Damaged(why)) => damaged(file, unix_s, why),
    };
    // Closed, it would be written to once more, which panics where it is damaged.
    std::mem::forget(store);
    // What was not good is beside the file under another name.
    let _ = fs::remove_file(&copy);
    Err(fault)
}

#[derive(Debug)]
enum ReadFault {
    Version(u32),
    Damaged(String),
}

fn of(fault: impl std::error::Error) -> ReadFault {
    ReadFault::Damaged(fault.to_string())
}

fn authorisation_of(key: &str, (standing, version): (u8, u64)) -> Result<Authorisation, ReadFault> {
    let standing = Standing::of_number(standing);
    let one = standing.and_then(|standing| Authorisation::of_key(key, standing, version));
    one.ok_or_else(|| ReadFault::Damaged("an entry is none of an authorisation".to_owned()))
}

/// Tells what is wrong with a file before the database looks at it, which takes its own header at
/// its word and panics where the file is shorter than that says.
///
/// ```text
///  0      9     12          16              20           24        28         32
///  magic  state page bytes  pages: header,  max of data, full,     last one's
///                           of each region               regions   data pages
/// ```
fn whole(file: &Path) -> Result<(), String> {
    const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";
    /// What the database's own default makes of a region, times four.
    const REGION_PAGES_MAX: u64 = 4 * 1024 * 1024;
    let mut header = [0; 32];
    let opened = File::open(file).and_then(|mut opened| {
        opened.read_exact(&mut header)?;
        opened.metadata()
    });
    let bytes = opened.map_err(|fault| fault.to_string())?.len();
    if !header.starts_with(MAGIC) {
        return Err("it is no store".to_owned());
    }
    let number = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(|four| four.try_into().ok());
        u64::from(u32::from_le_bytes(bytes.unwrap_or_default()))
    };
    let (page, of_header, most) = (number(12), number(16), number(20));
    let (full, last) = (number(24), number(28));
    let odd = page != 4_096 || most == 0 || most > REGION_PAGES_MAX || of_header > most;
    if odd || last >= most || full + last == 0 {
        return Err("its first page is not what was written".to_owned());
    }
    let of_last = if last == 0 { 0 } else { of_header + last };
    let pages = 1 + full * (of_header + most) + of_last;
    let expected = pages.saturating_mul(page);
    if bytes < expected {
        return Err(format!("it has {bytes} bytes and should have {expected}"));
    }
    Ok(())
}

fn open_file(file: &Path) -> Result<File, DatabaseError> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(MODE);
    options.open(file).map_err(|fault| DatabaseError::Storage(StorageError::Io(fault)))
}

fn file_fault(file: &Path, fault: &io::Error) -> StoreFault {
    StoreFault::File { file: file.to_owned(), why: fault.to_string() }
}

fn fault_of(file: &Path, unix_s: u64, fault: DatabaseError) -> StoreFault {
    match fault {
        DatabaseError::DatabaseAlreadyOpen => StoreFault::InUse(file.to_owned()),
        // A file that is no database is found by its first bytes, or by ending too early.
        DatabaseError::Storage(StorageError::Io(fault))
            if !matches!(
                fault.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            file_fault(file, &fault)
        }
        other => damaged(file, unix_s, other.to_string()),
    }
}

/// Keeps a copy of a damaged file, so that nothing that is tried with it makes it worse.
fn damaged(file: &Path, unix_s: u64, why: String) -> StoreFault {
    let copy = with_suffix(file, &format!(".damaged-{unix_s}"));
    match copy_to(file, &copy) {
        Ok(()) => {
            let (file, backup) = (file.to_owned(), backup_of(file));
            StoreFault::Damaged { file, copy, backup, why }
        }
        Err(fault) => {
            let why = format!("{why}, and no copy could be made of it: {fault}");
            StoreFault::File { file: file.to_owned(), why }
        }
    }
}

/// Copies a file so that its name is never that of half a copy.
fn copy_to(file: &Path, copy: &Path) -> io::Result<()> {
    let unfinished = with_suffix(copy, ".new");
    fs::copy(file, &unfinished)?;
    File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, copy)
}

/// Writes what the gateway wants remembered, on a thread of its own: a commit waits for the disk,
/// and a shard must not.
#[derive(Debug)]
pub struct Keeper {
    /// Taken when the keeper ends, which is how the thread is told.
    queue: Option<SyncSender<Change>>,
    thread: Option<JoinHandle<()>>,
    failed: Arc<AtomicU64>,
}

impl Keeper {
    /// Begins to write to `store`.
    /// # Errors
    /// The kernel's, which has no thread.
    pub fn start(store: Store) -> io::Result<Self> {
        let (queue, changes) = sync_channel(limits::GATEWAY_STORE_QUEUE_MAX);
        let failed = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&failed);
        let thread = std::thread::Builder::new()
            .name("authorisations".to_owned())
            .spawn(move || keep(&store, &changes, &counted))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), failed })
    }

    /// Takes changes to be written, in order; never waits. What finds the queue full is counted as
    /// failed: its contact is asked again after the next start.
    pub fn take(&self, changes: &mut Vec<Change>) {
        let Some(queue) = &self.queue else { return };
        for change in changes.drain(..) {
            if queue.try_send(change).is_err() {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns how many changes were not written.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Keeper {
    /// Waits until everything that was taken is written.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been told already.
            let _ = thread.join();
        }
    }
}

fn keep(store: &Store, changes: &Receiver<Change>, failed: &AtomicU64) {
    while let Ok(first) = changes.recv() {
        let mut batch = vec![first];
        batch.extend(changes.try_iter().take(limits::GATEWAY_STORE_BATCH_MAX - 1));
        if let Err(fault) = store.apply(&batch) {
            failed.fetch_add(batch.len() as u64, Ordering::Relaxed);
            tracing::error!(
                changes = batch.len(),
                "authorisations were not written, so contacts are asked again after a restart: \
                 {fault:#}"
            );
        }
    }
}

#[cfg(test)]
mod tests;
