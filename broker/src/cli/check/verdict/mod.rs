//! From what was found to a verdict and what to do about it. Pure.

mod directory;
mod io_uring;
pub(in crate::cli) mod system;
#[cfg(test)]
mod tests;

use super::facts::{Facts, Limit};
use crate::cli::size::size;
use crate::cli::system::Pinned;
use crate::config::MemoryLimits;

/// How a check ended; the order is that of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Ok,
    /// The broker runs, slower or with less safety than it could.
    Warn,
    /// The broker does not start, or would not keep its promises.
    Fail,
}

/// One check's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// What was checked: a short, stable name.
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it; empty if there is nothing to do.
    pub(crate) advice: String,
}

impl Line {
    fn ok(check: &'static str, found: impl Into<String>) -> Line {
        Line { check, verdict: Verdict::Ok, found: found.into(), advice: String::new() }
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Line {
        Line { check, verdict: Verdict::Warn, found: found.into(), advice: advice.into() }
    }

    fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Line {
        Line { check, verdict: Verdict::Fail, found: found.into(), advice: advice.into() }
    }
}

/// What the broker is asked to be, as far as the machine must bear it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) shards: usize,
    pub(crate) memory: MemoryLimits,
    /// What the broker may hold at most under load.
    pub(crate) memory_bytes_max: u64,
    /// The cores of the shards; `None` if they are not pinned.
    pub(crate) pinned: Option<Pinned>,
}

/// glommio makes no executor below this.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// glommio registers its 10 MiB of I/O buffers with each of a shard's three rings.
const MEMLOCK_BYTES_PER_SHARD: u64 = 30 << 20;
/// Enough for a handful of connections and partitions.
const NOFILE_MIN: u64 = 1024;
/// Files of the partitions, on top of the connections: some thousand partitions' active segments and indexes.
const NOFILE_FOR_PARTITIONS: u64 = 16_384;
/// A shard's own, its executor's for calls that block, and io_uring's workers.
const THREADS_PER_SHARD: u64 = 16;
/// Those of the metadata core, and of whatever else the user runs.
const THREADS_BESIDE: u64 = 256;
/// The oldest kernel with all the operations that glommio insists on.
const KERNEL_MIN: (u32, u32) = (5, 8);
/// The oldest kernel that is recommended: io_uring's locked memory and worker threads were reworked up to it.
const KERNEL_ADVISED: (u32, u32) = (5, 15);

/// All checks, in the order they are shown.
pub(crate) fn judge(facts: &Facts, wanted: &Wanted) -> Vec<Line> {
    let mut lines = vec![
        kernel(&facts.kernel_release),
        io_uring(facts),
        sysfs(facts.disks_hidden),
        memlock(facts.memlock, wanted.shards),
        nofile(facts.nofile, wanted.memory.connections_max),
        nproc(facts.nproc, wanted.shards),
        core(facts.core),
        cores(facts.cores, wanted.shards),
        memory(facts.memory_bytes, wanted),
    ];
    lines.extend(directory::judge(&facts.directory));
    let journal_bytes = wanted.memory.shard_journal_bytes_max.saturating_mul(wanted.shards as u64);
    lines.extend(
        facts.journal.iter().flat_map(|journal| directory::judge_journal(journal, &facts.directory, journal_bytes)),
    );
    lines.extend(system::judge(&facts.system, wanted));
    lines
}

/// The checks without which no shard starts.
pub(crate) fn judge_start(
    io_uring: &super::facts::IoUring,
    disks_hidden: bool,
    memlock_limit: Limit,
    kernel_release: &str,
) -> Vec<Line> {
    vec![io_uring::judge(io_uring, parse_release(kernel_release)), sysfs(disks_hidden), memlock(memlock_limit, 0)]
}

/// The limits of a process: locked memory, open files, threads.
pub(crate) fn judge_limits([locked, files, threads]: [Limit; 3], shards: usize, connections_max: usize) -> Vec<Line> {
    vec![memlock(locked, shards), nofile(files, connections_max), nproc(threads, shards)]
}

fn sysfs(disks_hidden: bool) -> Line {
    let check = "sysfs";
    if disks_hidden {
        let advice = "a container engine masks it so that not even its absence can be seen: let it be (Podman: \
                      `--security-opt unmask=/sys/dev/block`), or mount /sys as it is";
        return Line::fail(check, "/sys/dev/block is kept from this process (EACCES)", advice);
    }
    Line::ok(check, "disks can be looked up")
}

fn io_uring(facts: &Facts) -> Line {
    io_uring::judge(&facts.io_uring, parse_release(&facts.kernel_release))
}

/// Major and minor number of `6.1.0-13-amd64`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel(release: &str) -> Line {
    let found = format!("Linux {release}");
    match parse_release(release) {
        None => Line::warn("kernel", found, "the version cannot be told; 5.15 or newer is advised"),
        Some(version) if version < KERNEL_MIN => {
            Line::fail("kernel", found, "upgrade to Linux 5.15 or newer; 5.8 is the oldest that can work")
        }
        Some(version) if version < KERNEL_ADVISED => {
            Line::warn("kernel", found, "5.15 or newer is advised: io_uring has matured since")
        }
        Some(_) => Line::ok("kernel", found),
    }
}

fn memlock(limit: Limit, shards: usize) -> Line {
    let found = match limit.hard {
        None => "locked memory is not limited".to_owned(),
        Some(hard) => format!("up to {} of locked memory", size(hard)),
    };
    let advice = "raise it: `ulimit -Hl unlimited` as root, LimitMEMLOCK=infinity in the systemd unit, or `--ulimit \
                  memlock=-1` for a container";
    if !limit.allows(MEMLOCK_BYTES_MIN) {
        return Line::fail("memlock", format!("{found}; no shard starts with less than 512 KiB"), advice);
    }
    let wanted = MEMLOCK_BYTES_PER_SHARD.saturating_mul(shards as u64);
    if !limit.allows(wanted) {
        let found = format!("{found}; I/O buffers are registered with the kernel only with {}", size(wanted));
        return Line::warn("memlock", found, advice);
    }
    Line::ok("memlock", found)
}

fn nofile(limit: Limit, connections_max: usize) -> Line {
    let found = match limit.hard {
        None => "open files are not limited".to_owned(),
        Some(hard) => format!("up to {hard} open files"),
    };
    let wanted = (connections_max as u64).saturating_add(NOFILE_FOR_PARTITIONS);
    let advice = format!(
        "raise it: `ulimit -Hn {wanted}` as root, LimitNOFILE={wanted} in the systemd unit, or `--ulimit \
         nofile={wanted}` for a container"
    );
    if !limit.allows(NOFILE_MIN) {
        return Line::fail("nofile", format!("{found}; below {NOFILE_MIN} a broker is of no use"), advice);
    }
    if !limit.allows(wanted) {
        let found =
            format!("{found}; {connections_max} connections (connections-max) and the partitions' files want {wanted}");
        return Line::warn("nofile", found, format!("{advice}, or lower connections-max"));
    }
    Line::ok("nofile", found)
}

fn nproc(limit: Limit, shards: usize) -> Line {
    let found = match limit.hard {
        None => "threads are not limited".to_owned(),
        Some(hard) => format!("up to {hard} threads of the user"),
    };
    let wanted = THREADS_PER_SHARD.saturating_mul(shards as u64).saturating_add(THREADS_BESIDE);
    if !limit.allows(wanted) {
        let found = format!("{found}; {shards} shards and what is beside them may want {wanted}");
        let advice = format!(
            "a thread that cannot be made ends the broker: `ulimit -Hu {wanted}` as root, or \
                              LimitNPROC={wanted} in the systemd unit"
        );
        return Line::warn("nproc", found, advice);
    }
    Line::ok("nproc", found)
}

/// Nothing is wrong with either; who looks for the cause of a crash wants to know.
fn core(limit: Limit) -> Line {
    let found = match limit.hard {
        None => "of any size, where the kernel is told to write them; records may be in them".to_owned(),
        Some(0) => "none are written: a crash leaves the log only".to_owned(),
        Some(hard) => format!("up to {}, where the kernel is told to write them; records may be in them", size(hard)),
    };
    Line::ok("core-dumps", found)
}

fn cores(cores: usize, shards: usize) -> Line {
    let found = format!("{shards} shards on {cores} cores");
    if shards > cores {
        let advice = format!("for speed give --shards {cores} at most: shards beyond the cores share them, unpinned");
        return Line::warn("cores", found, advice);
    }
    Line::ok("cores", found)
}

fn memory(limit_bytes: Option<u64>, wanted: &Wanted) -> Line {
    let most = wanted.memory_bytes_max;
    let Some(limit) = limit_bytes else {
        let found = format!("the limits allow {}; how much memory there is cannot be told", size(most));
        return Line::warn("memory", found, "see to it that there is more than that");
    };
    let found = format!("the limits allow {} of the {} there are", size(most), size(limit));
    // A fifth is left to the broker's own structures and to the rest of the machine.
    if most > limit / 5 * 4 {
        let advice = "under load the broker may be killed for its memory: lower the shard-…-bytes-max settings or \
                      --shards, or give it more memory";
        return Line::warn("memory", found, advice);
    }
    Line::ok("memory", found)
}
