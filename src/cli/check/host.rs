//! Ports, readiness, memory, descriptors and the clock of this host.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::{Checker, MemoryRow, Severity};
use crate::config::{Config, Poller};
use crate::control;
use crate::edge::av::Transport;
use crate::limits;
use crate::poll;

/// Memory of an idle connection with mutual TLS 1.3, kernel memory apart: 2,000 of them held
/// 5.4 KiB each (`benches/record/amd-epyc-2c-linux-6.18.44/2026-11-23.csv`, test `idle`; chains of
/// one certificate). Rounded up for peers with longer chains and names.
const LEG_BYTES: u64 = 6 * 1024;
/// Memory of a transaction with the head it keeps.
const TRANSACTION_BYTES: u64 = 1536;
/// Memory of a connection in its handshake: what a peer may send before it is known.
const HALF_OPEN_BYTES: u64 = limits::HANDSHAKE_BYTES_MAX as u64;
/// A permit or refusal that is remembered.
const VERDICT_BYTES: u64 = 256;
/// A score with its key.
const SCORE_BYTES: u64 = 256;
/// A user's mark and class, at the load of the table.
const USER_BYTES: u64 = 14;
/// A listed domain with its share of the tables, as compiled and as read (`benches/policy.rs`).
const DOMAIN_BYTES: u64 = 57 + 64;
/// A serial number on a fetched list.
const REVOKED_BYTES: u64 = 16;
/// An answer of DNS that is remembered.
const ANSWER_BYTES: u64 = 1024;
/// 2025-01-01, before which this program did not exist.
const PROGRAM_EXISTS_UNIX_S: u64 = 1_735_689_600;

/// An allocation with its places in the tables, as its budget is (`av.allocations`).
const ALLOCATION_BYTES: u64 = 2 * 1024;

/// What waits for a client of the relay that does not read.
const STREAM_BYTES: u64 = limits::RELAY_STREAM_OUT_BYTES_MAX as u64;

/// What services that keep the clock leave behind while they run.
const CLOCK_KEEPERS: [&str; 5] =
    ["/run/chrony", "/run/chronyd.pid", "/run/ntpd.pid", "/run/ntpsec", "/run/openntpd.pid"];

/// Opens the log as the edge does, without making it; and makes a file beside it, which its turning
/// over needs, for a moment.
fn try_log(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        fs::OpenOptions::new().read(true).append(true).open(path)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".check-{}", std::process::id()));
    let beside = Path::new(&beside);
    fs::OpenOptions::new().write(true).create_new(true).open(beside)?;
    fs::remove_file(beside)
}

impl Checker<'_> {
    pub(super) fn host(&mut self) {
        self.ports();
        self.decision_log();
        self.readiness();
        self.relayed();
        self.available_memory();
        self.descriptors();
        self.cores();
        self.clock();
    }

    fn ports(&mut self) {
        let listeners: Vec<(String, SocketAddr)> = self
            .config
            .listeners
            .iter()
            .enumerate()
            .map(|(index, listener)| (format!("listener[{index}].address"), listener.address))
            .collect();
        let management = self.config.management.listen.iter().enumerate();
        let management = management
            .map(|(index, address)| (format!("management.listen[{index}]"), *address))
            .filter(|(_, address)| address.port() != 0);
        for (key, address) in listeners.into_iter().chain(management) {
            if let Err(error) = TcpListener::bind(address) {
                self.unusable(&key, address, &error);
            }
        }
        self.relay_listeners();
    }

    /// Notes that the address at `key` cannot be bound.
    pub(super) fn unusable(&mut self, key: &str, address: SocketAddr, error: &std::io::Error) {
        let (code, sentence, advice) = match error.kind() {
            ErrorKind::AddrInUse => (
                "port-in-use",
                format!("{address} is in use"),
                "stop who has it (ss -ltnup), or say --running if that is this edge",
            ),
            ErrorKind::AddrNotAvailable => (
                "address-not-local",
                format!("{} is no address of this host", address.ip()),
                "correct it, or give the interface that address (ip addr)",
            ),
            ErrorKind::PermissionDenied => (
                "port-not-permitted",
                format!("this user may not listen on {address}"),
                "give the service CAP_NET_BIND_SERVICE, as its unit does",
            ),
            _ => {
                ("port-unusable", format!("{address} cannot be listened on: {error}"), "correct it")
            }
        };
        self.at(key, Severity::Error, code, sentence, advice);
    }

    /// Tries what the edge will do with the decision log, and leaves nothing behind.
    fn decision_log(&mut self) {
        let Some(path) = &self.config.log.decisions else { return };
        let Err(why) = try_log(path) else { return };
        let (told, advice) = match why.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                ("its directory is not there", "make the directory, owned by the edge's user")
            }
            ErrorKind::IsADirectory => ("it is a directory", "name a file"),
            ErrorKind::PermissionDenied => (
                "this user may not write there",
                "give the edge's user the file and write access to its directory",
            ),
            ErrorKind::ReadOnlyFilesystem => (
                "the file system is read-only here",
                "name a place of the state directory, or add it to ReadWritePaths of the unit",
            ),
            _ => ("the system refuses it", "see the reason"),
        };
        let path = path.display();
        let sentence = format!("{path} cannot be written: {told} ({why}); nothing will be logged");
        self.at("log.decisions", Severity::Warning, "decision-log-unwritable", sentence, advice);
    }

    fn readiness(&mut self) {
        let config = self.config;
        let relay = (!config.av_listeners.is_empty()).then_some(config.av.poller);
        let wanted = [
            ("edge.poller", "the edge", Some(config.edge.poller)),
            ("av.poller", "the A/V Edge", relay),
        ];
        for (key, who, poller) in wanted {
            let severity = match poller {
                Some(Poller::IoUring) => Severity::Error,
                Some(Poller::Auto) => Severity::Warning,
                Some(Poller::Epoll) | None => continue,
            };
            let Err(error) = poll::uring::Uring::new() else { continue };
            let then = match severity {
                Severity::Error => "will not start",
                Severity::Warning | Severity::Note => "falls back to epoll",
            };
            self.at(
                key,
                severity,
                "io-uring-unavailable",
                format!("io_uring cannot be used ({error}): {who} {then}"),
                "Linux 6.1 or later; sysctl kernel.io_uring_disabled=0; in a container allow its \
                 calls",
            );
        }
    }

    fn available_memory(&mut self) {
        let needed: u64 = memory(self.config)
            .iter()
            .map(|row| row.count.saturating_mul(row.bytes_each))
            .fold(0, u64::saturating_add);
        let Some((available, whose)) = available_memory() else { return };
        if needed > available {
            self.at(
                "limits",
                Severity::Warning,
                "memory-beyond-host",
                format!(
                    "the limits amount to {}, and {whose} leaves {}",
                    super::sized(needed),
                    super::sized(available)
                ),
                "lower limits.connections or limits.transactions, or give it more memory",
            );
        }
    }

    fn descriptors(&mut self) {
        let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let Some(most) = descriptor_limit(&text) else { return };
        let needed = control::descriptors(self.config);
        if needed > most {
            self.at(
                "limits.connections",
                Severity::Warning,
                "descriptors-too-few",
                format!("{most} descriptors here for {needed} that the limits amount to"),
                format!("LimitNOFILE={needed} in the service unit (ulimit -n {needed} in a shell)"),
            );
        }
    }

    fn cores(&mut self) {
        let usable = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = self.config.edge.shards.unwrap_or(usable);
        if shards > usable {
            self.at(
                "edge.shards",
                Severity::Warning,
                "more-shards-than-cores",
                format!("{shards} shards on {usable} cores"),
                "leave edge.shards out: one for each core the process may use",
            );
        }
    }

    fn clock(&mut self) {
        if self.now_unix_s < PROGRAM_EXISTS_UNIX_S {
            self.at(
                "edge",
                Severity::Error,
                "clock-wrong",
                "the clock of this host is years behind; certificates cannot be judged by it",
                "set it and let NTP keep it",
            );
        }
        let timesync = Path::new("/run/systemd/timesync");
        if !timesync.is_dir() && !CLOCK_KEEPERS.iter().any(|path| Path::new(path).exists()) {
            self.at(
                "edge",
                Severity::Note,
                "clock-unkept",
                "nothing that keeps the clock of this host right has been seen",
                "run chrony or systemd-timesyncd, unless the host of this container does",
            );
        }
        if timesync.is_dir() && !timesync.join("synchronized").exists() {
            self.at(
                "edge",
                Severity::Warning,
                "clock-not-synchronised",
                "the clock of this host has not been synchronised since it started",
                "timedatectl timesync-status",
            );
        }
    }
}

/// Returns the memory of the users that one partner has addressed, at most.
fn users_bytes(config: &Config) -> u64 {
    let most = control::most_users(config);
    8 * u64::from(most)
}

/// Returns what the limits of `config` amount to in memory when all of them are reached.
pub(super) fn memory(config: &Config) -> Vec<MemoryRow> {
    // A number that `run` refuses is told by the reading of the configuration.
    let shards = control::shard_count(config).unwrap_or(1);
    let rows = |list: Option<usize>| list.unwrap_or_default();
    let partners = config.partners.len() + rows(config.partner_list.as_ref().map(|l| l.rows.len()));
    let blocked = config.blocked.len() + rows(config.blocked_list.as_ref().map(|l| l.rows.len()));
    let fetching = limits::CRL_FETCHES_MAX as u64;
    let per_shard = |count: usize| (count * shards) as u64;
    let row = |what, count, bytes_each| MemoryRow { what, count, bytes_each };
    let relay = [
        row("allocations of the relay", allocations(config), ALLOCATION_BYTES),
        row("streams of the relay, unread by clients", streams(config), STREAM_BYTES),
    ];
    if config.runs_relay_alone() {
        return relay.to_vec();
    }
    let mut rows = vec![
        row("connections, idle", config.limits.connections as u64, LEG_BYTES),
        row("connections in their handshake", config.limits.half_open as u64, HALF_OPEN_BYTES),
        row("transactions", config.limits.transactions as u64, TRANSACTION_BYTES),
        row("verdicts remembered", per_shard(limits::VERDICT_PERMITS), VERDICT_BYTES),
        row("scores of partners under limits", limits::SCORES as u64, SCORE_BYTES),
        row("users addressed by partners under limits", limits::SCORES as u64, users_bytes(config)),
        row("users with a policy of their own", config.directory.len() as u64, USER_BYTES),
        row("answers of DNS remembered", per_shard(limits::DNS_ANSWERS_MAX), ANSWER_BYTES),
        row("read buffers", per_shard(1), limits::READ_BYTES_PER_TURN_MAX as u64),
        row(
            "listed and blocked domains, while reloading",
            2 * (partners + blocked) as u64,
            DOMAIN_BYTES,
        ),
        row("certificates on revocation lists", limits::CRL_REVOKED_MAX as u64, REVOKED_BYTES),
        row("revocation lists on their way", fetching, 2 * config.tls.revocation_list_bytes as u64),
    ];
    rows.extend(relay);
    rows
}

/// Returns how many streams clients of the relay may have.
fn streams(config: &Config) -> u64 {
    let streams = config.av_listeners.iter().any(|l| l.transport == Transport::Stream);
    if streams { limits::RELAY_STREAMS_MAX as u64 } else { 0 }
}

/// Returns how many allocations the relay may have; none where it does not run.
fn allocations(config: &Config) -> u64 {
    if config.av_listeners.is_empty() { 0 } else { config.av.allocations as u64 }
}

/// Returns the bytes that are left, and who says so.
fn available_memory() -> Option<(u64, &'static str)> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    let host = kib.saturating_mul(1024);
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    // An unlimited group says "max", which is no number.
    match group.and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(group) if group < host => Some((group, "the control group")),
        _ => Some((host, "the host")),
    }
}

/// Returns the hard limit of descriptors from the text of `/proc/self/limits`; the soft one is
/// raised to it by `run`.
fn descriptor_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    // "unlimited" is no number and no limit.
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_of_descriptors_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(descriptor_limit(text), Some(524_288));
        assert_eq!(descriptor_limit("Max open files   1024   unlimited   files\n"), None);
    }
}
