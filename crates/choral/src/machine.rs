//! What this machine leaves to one process: memory, processors, and (as
//! [`Isa`]) their instruction sets.
//!
//! Reads `/proc` and `/sys` of Linux, under a root that tests replace. Decides
//! nothing: what to take of what is left is [`crate::model::EnginePlan`]'s.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub use choral_kernels::{Isa, IsaError, limits};

#[cfg(test)]
mod tests;

/// The files in which an operating system describes itself.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
}

/// Memory that a process may still take, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLeft {
    /// Bytes.
    pub bytes: u64,
    /// The tightest of the limits.
    pub limit: MemoryLimit,
}

/// Who limits memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryLimit {
    /// The machine: no more is free, or can be made free without swapping.
    Machine,
    /// A control group, as containers and job schedulers set them.
    ControlGroup,
    /// The process's limit on address space (`ulimit -v`).
    AddressSpace,
    /// The process's limit on data (`ulimit -d`).
    Data,
}

impl MemoryLimit {
    /// In words, for messages.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Machine => "free on this machine",
            Self::ControlGroup => "left by the control group",
            Self::AddressSpace => "left by the address space limit (ulimit -v)",
            Self::Data => "left by the data limit (ulimit -d)",
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

impl Machine {
    /// The machine that this process runs on.
    #[must_use]
    pub fn here() -> Self {
        Self::default()
    }

    /// Memory that this process may still take. `None` where the operating
    /// system does not say (anything but Linux).
    pub fn memory_left(&self) -> Option<MemoryLeft> {
        use MemoryLimit as L;
        let limits = self.read("proc/self/limits").unwrap_or_default();
        let status = self.read("proc/self/status").unwrap_or_default();
        let rlimit = |name: &str, used: &str| {
            let limit = soft_limit(&limits, name)?;
            Some(limit.saturating_sub(kilobytes(&status, used)?))
        };
        let candidates = [
            (L::Machine, self.machine_left()),
            (L::ControlGroup, self.control_group_left()),
            (L::AddressSpace, rlimit("Max address space", "VmSize:")),
            (L::Data, rlimit("Max data size", "VmData:")),
        ];
        let known = candidates.into_iter().filter_map(|(limit, bytes)| {
            let bytes = bytes?;
            Some(MemoryLeft { bytes, limit })
        });
        known.min_by_key(|left| left.bytes)
    }

    /// Threads to compute with: the physical cores that this process may run on,
    /// within its control group's share of time. A core's second hardware thread
    /// has no arithmetic units of its own.
    pub fn compute_threads(&self) -> usize {
        // The standard library counts the processors of the affinity mask and
        // applies the control group's quota.
        let allowed = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.physical_cores()
            .map_or(allowed, |cores| cores.min(allowed))
    }

    /// Physical cores among the processors that this process may run on.
    fn physical_cores(&self) -> Option<usize> {
        let status = self.read("proc/self/status")?;
        let allowed = parse_list(field(&status, "Cpus_allowed_list:")?)?;
        let mut cores = BTreeSet::new();
        for cpu in allowed {
            let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology");
            let siblings = self.read(format!("{topology}/thread_siblings_list"))?;
            cores.insert(parse_list(siblings.trim())?.first().copied()?);
        }
        Some(cores.len()).filter(|&n| n > 0)
    }

    fn machine_left(&self) -> Option<u64> {
        kilobytes(&self.read("proc/meminfo")?, "MemAvailable:")
    }

    /// The tightest limit on the way from this process's group up to the root.
    fn control_group_left(&self) -> Option<u64> {
        let groups = self.read("proc/self/cgroup")?;
        let of_line = |line: &str| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            if controllers.is_empty() {
                return self.tightest("sys/fs/cgroup", path, &V2);
            }
            let memory = controllers.split(',').any(|name| name == "memory");
            memory.then(|| self.tightest("sys/fs/cgroup/memory", path, &V1))?
        };
        groups.lines().filter_map(of_line).min()
    }

    fn tightest(&self, mount: &str, path: &str, files: &GroupFiles) -> Option<u64> {
        let path = Path::new(path.trim_start_matches('/'));
        // In a namespace of its own the path may lead nowhere below the mount:
        // the mount itself, the last of the ancestors, is then the group.
        path.ancestors()
            .filter_map(|group| self.group_left(&Path::new(mount).join(group), files))
            .min()
    }

    fn group_left(&self, group: &Path, files: &GroupFiles) -> Option<u64> {
        let number = |name: &str| self.read(group.join(name))?.trim().parse::<u64>().ok();
        let limit = files.limits.iter().filter_map(|name| number(name)).min()?;
        let used = number(files.used)?;
        let stat = self.read(group.join("memory.stat")).unwrap_or_default();
        // Cached files are counted as used, but given up when memory is needed.
        let cached: u64 = files
            .cached
            .iter()
            .filter_map(|key| field(&stat, key)?.parse::<u64>().ok())
            .sum();
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        std::fs::read_to_string(self.root.join(path)).ok()
    }
}

/// The names that a version of control groups gives its files.
struct GroupFiles {
    limits: &'static [&'static str],
    used: &'static str,
    cached: [&'static str; 2],
}

const V1: GroupFiles = GroupFiles {
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    cached: ["total_inactive_file", "total_active_file"],
};

const V2: GroupFiles = GroupFiles {
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    cached: ["inactive_file", "active_file"],
};

/// The first column of a limit; `None` if it is unlimited.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    field(limits, name)?.split_whitespace().next()?.parse().ok()
}

/// What follows `key` on the line that starts with it.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(char::is_whitespace))
        .map(str::trim)
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let value = field(text, key)?.strip_suffix("kB")?;
    value.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// `0-2,8` as its numbers.
fn parse_list(list: &str) -> Option<Vec<usize>> {
    // More processors than any kernel has; a list is not to be believed above.
    const MOST: usize = 1 << 16;
    let mut numbers = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last > MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}
