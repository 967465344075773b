//! What a process and all its descendants use, as the kernel counts it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, bail};
use serde::Serialize;

/// Most processes of one tree; a tree that large is not a server under test.
const PROCESSES_MAX: usize = 4096;

/// CPU time of a process tree up to a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// Run time of every live thread, in nanoseconds.
    pub(crate) run_ns: u64,
    /// User part in clock ticks; tells the split, not the sum.
    pub(crate) user_ticks: u64,
    /// System part in clock ticks.
    pub(crate) system_ticks: u64,
}

impl Cpu {
    /// Returns what was used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }

    /// Returns the share of system time, 0 to 1.
    pub(crate) fn system_share(self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks == 0 { 0.0 } else { self.system_ticks as f64 / ticks as f64 }
    }
}

/// Memory of a process tree, in KiB.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// Resident; pages shared between the processes are counted in each.
    pub(crate) rss_kib: u64,
    /// Proportional: a shared page is divided among those who share it.
    pub(crate) pss_kib: u64,
}

/// A process and its descendants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    root: u32,
}

impl Tree {
    /// Names the tree by its root.
    pub(crate) fn of(root: u32) -> Result<Self> {
        if parent_of(root).is_none() {
            bail!("there is no process {root}");
        }
        Ok(Self { root })
    }

    /// Returns the root and everything below it. Found anew every time: servers fork.
    fn members(self) -> Vec<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for pid in numbers_in("/proc") {
            if let Some(parent) = parent_of(pid) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut members = vec![self.root];
        let mut next = 0;
        while let Some(pid) = members.get(next).copied() {
            if members.len() > PROCESSES_MAX {
                break;
            }
            members.extend(children.get(&pid).into_iter().flatten());
            next += 1;
        }
        members
    }

    /// Returns the CPU time of every live thread of the tree.
    pub(crate) fn cpu(self) -> Cpu {
        let mut cpu = Cpu::default();
        for pid in self.members() {
            for task in numbers_in(&format!("/proc/{pid}/task")) {
                let path = format!("/proc/{pid}/task/{task}/schedstat");
                cpu.run_ns += run_and_delay_ns(&path).0;
            }
            if let Some(fields) = stat_fields(pid) {
                let ticks = |at: usize| fields.get(at).and_then(|text| text.parse().ok());
                cpu.user_ticks += ticks(11).unwrap_or(0);
                cpu.system_ticks += ticks(12).unwrap_or(0);
            }
        }
        cpu
    }

    /// Returns the memory of the tree.
    pub(crate) fn memory(self) -> Memory {
        let mut memory = Memory::default();
        for pid in self.members() {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            memory.rss_kib += kib(&text, "Rss:");
            memory.pss_kib += kib(&text, "Pss:");
        }
        memory
    }
}

/// Returns for how long the generator's only thread ran, and for how long it was ready to run
/// while something else had its core, in nanoseconds.
pub(crate) fn own_run_and_delay_ns() -> (u64, u64) {
    run_and_delay_ns("/proc/thread-self/schedstat")
}

fn run_and_delay_ns(path: &str) -> (u64, u64) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0));
    (fields.next().unwrap_or(0), fields.next().unwrap_or(0))
}

/// Fields of `/proc/pid/stat` after the command name, which may itself hold blanks and brackets;
/// index 0 is the state, 1 the parent.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = text.rsplit_once(") ")?;
    Some(after.split_ascii_whitespace().map(str::to_owned).collect())
}

fn parent_of(pid: u32) -> Option<u32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

fn numbers_in(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn kib(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_belongs_to_the_tree_until_it_ends() {
        let own = Tree::of(std::process::id()).unwrap();
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        assert!(own.members().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!own.members().contains(&child.id()));
    }

    #[test]
    fn memory_and_time_of_a_live_process_are_not_zero() {
        let own = Tree::of(std::process::id()).unwrap();
        let memory = own.memory();
        assert!(memory.pss_kib > 0 && memory.rss_kib >= memory.pss_kib);
        assert!(Tree::of(u32::MAX).is_err());
    }

    #[test]
    fn the_split_of_no_time_is_nothing() {
        assert!(Cpu::default().system_share() < f64::EPSILON);
    }
}
