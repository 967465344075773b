//! What the kernel says of this process, under the names every exporter uses.

use std::fs;

use crate::metrics::{Exporter, catalogue};

/// Clock ticks a second that `/proc` counts in: USER_HZ, which Linux has fixed.
const TICKS_PER_S: u64 = 100;

/// Reads `/proc/self`; what cannot be read is left out.
pub(super) fn export(exporter: &mut Exporter) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kib) = number_after(&status, "VmRSS:") {
        exporter.set(&catalogue::RESIDENT_BYTES, &[], kib * 1024);
    }
    if let Some(threads) = number_after(&status, "Threads:") {
        exporter.set(&catalogue::THREADS, &[], threads);
    }
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(ticks) = cpu_ticks(&stat) {
        exporter.set(&catalogue::CPU_SECONDS, &[], ticks / TICKS_PER_S);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        exporter.set(&catalogue::OPEN_DESCRIPTORS, &[], entries.count() as u64);
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(most) = number_after(&limits, "Max open files") {
        exporter.set(&catalogue::DESCRIPTORS_MAX, &[], most);
    }
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns user and system time from `/proc/self/stat`; the name in its second field may hold
/// anything, so fields are counted from its closing bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "1 (a) b) S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 1 1";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks(""), None);
    }
}
