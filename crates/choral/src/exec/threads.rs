//! How many threads to compute with.

use std::collections::HashSet;
use std::path::Path;

/// One thread a physical core, within what the scheduler's affinity and the
/// control group's quota leave this process. At least 1.
pub fn default_threads() -> usize {
    // Counts affinity and cgroup quotas already.
    let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    physical_cores(Path::new("/sys/devices/system/cpu")).map_or(allowed, |cores| cores.min(allowed))
}

/// Distinct (package, core) pairs. Two hardware threads of a core share its vector
/// units: a second one adds no arithmetic.
fn physical_cores(cpus: &Path) -> Option<usize> {
    let mut cores = HashSet::new();
    for entry in std::fs::read_dir(cpus).ok()?.flatten() {
        let topology = entry.path().join("topology");
        let read = |name: &str| std::fs::read_to_string(topology.join(name)).ok();
        if let (Some(package), Some(core)) = (read("physical_package_id"), read("core_id")) {
            cores.insert((package, core));
        }
    }
    (!cores.is_empty()).then_some(cores.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_threads_of_one_core_count_once() {
        let folder = tempfile::tempdir().expect("a folder");
        for (cpu, core) in [(0, 0), (1, 1), (2, 0), (3, 1)] {
            let topology = folder.path().join(format!("cpu{cpu}/topology"));
            std::fs::create_dir_all(&topology).expect("a folder");
            std::fs::write(topology.join("physical_package_id"), "0\n").expect("a file");
            std::fs::write(topology.join("core_id"), format!("{core}\n")).expect("a file");
        }
        assert_eq!(physical_cores(folder.path()), Some(2));
    }
}
