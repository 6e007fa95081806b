//! Machines made of text.

use super::*;

const MIB: u64 = 1 << 20;

/// A machine with these files.
fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
    let root = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    let machine = Machine {
        root: root.path().to_owned(),
    };
    (root, machine)
}

const MEMINFO: (&str, &str) = (
    "proc/meminfo",
    "MemTotal:       4194304 kB\nMemFree:         102400 kB\nMemAvailable:    2097152 kB\n",
);
const STATUS: (&str, &str) = (
    "proc/self/status",
    "Name:\tchoral\nVmSize:\t  204800 kB\nVmData:\t  102400 kB\nCpus_allowed_list:\t0-3\n",
);

fn left(files: &[(&str, &str)]) -> Option<(u64, MemoryLimit)> {
    let (_root, machine) = machine(files);
    machine
        .memory_left()
        .map(|left| (left.bytes / MIB, left.limit))
}

#[test]
fn without_other_limits_the_machine_decides() {
    let unlimited = "Limit   Soft Limit  Hard Limit  Units\n\
                     Max address space  unlimited  unlimited  bytes\n";
    let files = [MEMINFO, STATUS, ("proc/self/limits", unlimited)];
    assert_eq!(left(&files), Some((2048, MemoryLimit::Machine)));
}

#[test]
fn address_space_already_taken_counts_against_its_limit() {
    let limits = "Max data size             unlimited            unlimited            bytes\n\
                  Max address space         1073741824           unlimited            bytes\n";
    let files = [MEMINFO, STATUS, ("proc/self/limits", limits)];
    assert_eq!(left(&files), Some((1024 - 200, MemoryLimit::AddressSpace)));
    let limits = "Max data size             536870912            unlimited            bytes\n";
    let files = [MEMINFO, STATUS, ("proc/self/limits", limits)];
    assert_eq!(left(&files), Some((512 - 100, MemoryLimit::Data)));
}

#[test]
fn the_tightest_group_above_a_process_decides_and_cached_files_are_free() {
    let files = [
        MEMINFO,
        STATUS,
        ("proc/self/cgroup", "0::/jobs/a\n"),
        ("sys/fs/cgroup/jobs/a/memory.max", "max\n"),
        ("sys/fs/cgroup/jobs/a/memory.current", "1048576\n"),
        ("sys/fs/cgroup/jobs/memory.max", "629145600\n"),
        ("sys/fs/cgroup/jobs/memory.high", "524288000\n"),
        ("sys/fs/cgroup/jobs/memory.current", "314572800\n"),
        (
            "sys/fs/cgroup/jobs/memory.stat",
            "anon 1\ninactive_file 104857600\nactive_file 52428800\n",
        ),
    ];
    // 500 - (300 - 150) MiB.
    assert_eq!(left(&files), Some((350, MemoryLimit::ControlGroup)));
}

#[test]
fn groups_of_the_first_version_are_read_too() {
    let files = [
        MEMINFO,
        STATUS,
        (
            "proc/self/cgroup",
            "9:name=systemd:/\n4:cpu,memory:/not/here\n0::/\n",
        ),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1048576000\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "209715200\n"),
    ];
    assert_eq!(left(&files), Some((800, MemoryLimit::ControlGroup)));
}

#[test]
fn a_system_that_says_nothing_is_unknown() {
    assert_eq!(left(&[]), None);
    assert_eq!(left(&[("proc/meminfo", "MemAvailable: many kB\n")]), None);
}

#[test]
fn two_threads_of_a_core_are_one_core() {
    let topology = |cpu| format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let paths = [topology(0), topology(1), topology(2), topology(3)];
    let mut files = vec![STATUS];
    files.extend(
        paths
            .iter()
            .map(String::as_str)
            .zip(["0,2", "1,3", "0,2", "1,3"]),
    );
    let (_root, two_cores) = machine(&files);
    assert_eq!(two_cores.physical_cores(), Some(2));
    assert!((1..=2).contains(&two_cores.compute_threads()));
    let (_root, silent) = machine(&[STATUS]);
    assert_eq!(silent.physical_cores(), None);
    assert!(silent.compute_threads() >= 1);
}

#[test]
fn lists_are_read_or_refused() {
    assert_eq!(parse_list("0-2,8"), Some(vec![0, 1, 2, 8]));
    for bad in ["", "a", "1-", "0-99999999999", "4294967296"] {
        assert_eq!(parse_list(bad), None, "{bad}");
    }
}
