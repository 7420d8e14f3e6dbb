//! What the system knows of this process and of its disks: Prometheus' standard families, and space.
//!
//! Read when somebody scrapes. What cannot be read has no sample.

use std::fs;
use std::path::{Path, PathBuf};

use crate::disk_space::DiskSpace;

/// This process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFacts {
    pub cpu_seconds: Option<f64>,
    /// Since the Unix epoch.
    pub start_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub threads: Option<u64>,
    pub open_fds: Option<usize>,
    /// `None` for no limit too.
    pub max_fds: Option<u64>,
}

/// A file system, by what this broker has on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    pub dir: &'static str,
    pub free_bytes: u64,
    pub total_bytes: u64,
}

pub fn facts() -> ProcessFacts {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let system = fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut facts = parse(&stat, &system, rustix::param::clock_ticks_per_second(), rustix::param::page_size() as u64);
    facts.open_fds = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1));
    facts.max_fds = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    facts
}

/// `stat` is `/proc/self/stat`, `system` is `/proc/stat`.
fn parse(stat: &str, system: &str, ticks_per_second: u64, page_bytes: u64) -> ProcessFacts {
    // The program's name, which may hold anything, ends with the last bracket; the third field follows.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second.max(1) as f64;
    let booted = system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
    ProcessFacts {
        cpu_seconds: field(14).zip(field(15)).map(|(user, system)| seconds(user + system)),
        start_seconds: field(22).zip(booted).map(|(started, booted)| booted as f64 + seconds(started)),
        virtual_bytes: field(23),
        resident_bytes: field(24).map(|pages| pages * page_bytes),
        threads: field(20),
        ..ProcessFacts::default()
    }
}

/// Of the directories, each with the name that it goes by.
pub fn spaces(dirs: &[(&'static str, PathBuf)]) -> Vec<Space> {
    dirs.iter().filter_map(|(name, path)| space(name, path)).collect()
}

fn space(dir: &'static str, path: &Path) -> Option<Space> {
    let DiskSpace { free_bytes, total_bytes } = DiskSpace::of(path)?;
    Some(Space { dir, free_bytes, total_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_with_brackets_and_spaces() {
        let stat =
            "77 (a) b (c) S 1 77 77 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 9 0 1000 4096000 250 18446744073709551615 1";
        let facts = parse(stat, "cpu 1 2\nbtime 1700000000\n", 100, 4096);
        assert_eq!((facts.cpu_seconds, facts.start_seconds), (Some(2.0), Some(1_700_000_010.0)));
        assert_eq!(
            (facts.threads, facts.virtual_bytes, facts.resident_bytes),
            (Some(9), Some(4_096_000), Some(1_024_000))
        );
        assert_eq!(parse("", "", 100, 4096), ProcessFacts::default());
    }

    #[test]
    fn this_process_is_found() {
        let facts = facts();
        assert!(
            facts.resident_bytes > Some(1 << 20) && facts.open_fds > Some(2) && facts.threads >= Some(1),
            "{facts:?}"
        );
        assert!(facts.start_seconds > Some(1.6e9) && facts.cpu_seconds.is_some(), "{facts:?}");
    }

    #[test]
    fn space_is_that_of_the_file_system_that_a_directory_is_or_will_be_on() {
        let there = spaces(&[("data", "/".into()), ("journal", "/none/such".into())]);
        assert_eq!(there.len(), 2);
        assert!(there.iter().all(|space| space.total_bytes > 0 && space.total_bytes == there[0].total_bytes));
    }
}
