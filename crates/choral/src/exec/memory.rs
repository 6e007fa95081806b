//! How much memory this process may still take.

use std::path::Path;

/// Bytes that can still be had: the least of what the machine has available, what
/// the control group leaves and what the address-space limit leaves. `None` where
/// the operating system tells none of them.
///
/// Reads `/proc` and `/sys/fs/cgroup` (Linux).
pub fn available_memory() -> Option<u64> {
    [machine(), cgroup(), address_space()]
        .into_iter()
        .flatten()
        .min()
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn machine() -> Option<u64> {
    kilobytes(&read("/proc/meminfo")?, "MemAvailable:")
}

/// The number after `name` in a table of kilobytes.
fn kilobytes(table: &str, name: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number.saturating_mul(1024))
}

/// What the nearest limits of this process's control groups (version 2) leave.
fn cgroup() -> Option<u64> {
    let own = read("/proc/self/cgroup")?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    root.join(path)
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| {
            let most: u64 = read(folder.join("memory.max"))?.trim().parse().ok()?;
            let used: u64 = read(folder.join("memory.current"))?.trim().parse().ok()?;
            Some(most.saturating_sub(used))
        })
        .min()
}

fn address_space() -> Option<u64> {
    address_space_left(&read("/proc/self/limits")?, &read("/proc/self/status")?)
}

fn address_space_left(limits: &str, status: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    // "unlimited" is no number: no limit.
    let most: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(most.saturating_sub(kilobytes(status, "VmSize:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_some() {
        assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn an_address_space_limit_counts_what_is_mapped() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max address space         4294967296           4294967296           bytes     \n";
        let status = "Name:\tchoral\nVmPeak:\t  2000 kB\nVmSize:\t    1024 kB\n";
        assert_eq!(address_space_left(limits, status), Some((4 << 30) - (1 << 20)));
        let none = limits.replace("4294967296", "unlimited ");
        assert_eq!(address_space_left(&none, status), None);
    }
}
