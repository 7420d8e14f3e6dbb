//! How much memory there is for this process.

use std::path::{Path, PathBuf};

const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The machine's memory or the tightest limit of the control groups above this process, in bytes.
pub(super) fn limit_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_bytes(&text));
    let group = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| group_path(&text));
    let limits = group.into_iter().flat_map(|path| group_limits(&path));
    machine.into_iter().chain(limits).min()
}

/// `MemTotal` of `/proc/meminfo`.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// This process's group in the unified hierarchy, as an absolute path below its root.
fn group_path(cgroup: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(CGROUP_ROOT).join(path))
}

/// `memory.max` of the group and of those above it; `max` is none.
fn group_limits(path: &Path) -> Vec<u64> {
    path.ancestors()
        .take_while(|group| group.starts_with(CGROUP_ROOT))
        .filter_map(|group| std::fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_and_groups_are_read() {
        assert_eq!(total_bytes("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16384 * 1024));
        assert_eq!(total_bytes("MemTotal: many"), None);
        assert_eq!(total_bytes("MemTotal: 18446744073709551615 kB"), None);
        let cgroup = "12:cpu:/x\n0::/system.slice/ringlog.service\n";
        assert_eq!(group_path(cgroup), Some(PathBuf::from("/sys/fs/cgroup/system.slice/ringlog.service")));
        assert_eq!(group_path("0::/\n"), Some(PathBuf::from("/sys/fs/cgroup/")));
        assert_eq!(group_path("1:name=systemd:/\n"), None);
    }
}
