//! What the kernel counts about a process: CPU time, memory and disk writes, from `/proc/PID` (proc(5)); and what went over
//! the loopback device, which is counted for no process.
//!
//! CPU time of a process is that of all its threads, those that have ended and io_uring's workers included. Work that
//! the kernel does on its own account, such as writing back dirty pages, is counted for no process.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::param::clock_ticks_per_second;

/// Why a figure of a process cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProcfsError {
    #[error("cannot read {path}: {source}; has the process ended?")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} has no {field} where it should be, but {found:?}")]
    Field { path: PathBuf, field: &'static str, found: String },
}

/// CPU time that one thread has used so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadCpu {
    /// The thread's name, cut to 15 bytes by the kernel.
    pub name: String,
    pub nanoseconds: u64,
}

/// CPU seconds, user and system together, that process `pid` has used since its start; in steps of 10 ms.
pub fn cpu_seconds(pid: u32) -> Result<f64, ProcfsError> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = read(&path)?;
    let ticks = parse_stat_ticks(&text).ok_or(ProcfsError::Field { path, field: "utime and stime", found: text })?;
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

/// The most physical memory the process ever had, in bytes (VmHWM).
pub fn peak_rss_bytes(pid: u32) -> Result<u64, ProcfsError> {
    status_bytes(pid, "VmHWM")
}

/// The physical memory the process has now, in bytes (VmRSS).
pub fn rss_bytes(pid: u32) -> Result<u64, ProcfsError> {
    status_bytes(pid, "VmRSS")
}

/// Bytes that the process has had written to disk (write_bytes): past the page cache, or into it when it made pages dirty.
pub fn disk_bytes_written(pid: u32) -> Result<u64, ProcfsError> {
    const FIELD: &str = "write_bytes";
    let path = PathBuf::from(format!("/proc/{pid}/io"));
    let text = read(&path)?;
    let found = text.lines().find_map(|line| line.strip_prefix(FIELD)?.strip_prefix(':')?.trim().parse().ok());
    found.ok_or(ProcfsError::Field { path, field: FIELD, found: text })
}

/// Bytes that have gone over this machine's loopback device, packets' heads included.
pub fn loopback_bytes() -> Result<u64, ProcfsError> {
    let path = PathBuf::from("/proc/net/dev");
    let text = read(&path)?;
    parse_loopback_bytes(&text).ok_or(ProcfsError::Field { path, field: "lo", found: text })
}

/// CPU time of each thread that is alive, by thread id, in nanoseconds (schedstat).
pub fn thread_cpu(pid: u32) -> Result<BTreeMap<u32, ThreadCpu>, ProcfsError> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let entries = fs::read_dir(&tasks).map_err(|source| ProcfsError::Read { path: tasks.clone(), source })?;
    let mut threads = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(|source| ProcfsError::Read { path: tasks.clone(), source })?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let path = entry.path().join("schedstat");
        // A thread may end between the listing and the reading.
        let (Ok(name), Ok(text)) = (read(&entry.path().join("comm")), read(&path)) else { continue };
        let nanoseconds = text.split_whitespace().next().and_then(|field| field.parse().ok());
        let nanoseconds = nanoseconds.ok_or(ProcfsError::Field { path, field: "time on the CPU", found: text })?;
        threads.insert(id, ThreadCpu { name: name.trim_end().to_owned(), nanoseconds });
    }
    Ok(threads)
}

fn status_bytes(pid: u32, field: &'static str) -> Result<u64, ProcfsError> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let text = read(&path)?;
    parse_kib_field(&text, field).map(|kib| kib * 1024).ok_or(ProcfsError::Field { path, field, found: text })
}

fn read(path: &Path) -> Result<String, ProcfsError> {
    fs::read_to_string(path).map_err(|source| ProcfsError::Read { path: path.to_owned(), source })
}

/// The sum of fields 14 and 15 of `/proc/PID/stat`. The command in field 2 may hold blanks and parentheses, so fields
/// are counted from its last closing one.
fn parse_stat_ticks(stat: &str) -> Option<u64> {
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The first number of the device `lo`: bytes received, which are those sent.
fn parse_loopback_bytes(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.trim_start().strip_prefix("lo:")?.split_whitespace().next()?.parse().ok())
}

/// The number in a line `FIELD:  NUMBER kB`, as in `/proc/PID/status` and `/proc/meminfo`.
pub(crate) fn parse_kib_field(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_found_behind_an_odd_command_name() {
        let stat = "77 (a) b (c) R 1 77 77 0 -1 4194304 900 0 0 0 1234 567 8 9 20 0 3 0 100 200 300";
        assert_eq!(parse_stat_ticks(stat), Some(1234 + 567));
        assert_eq!(parse_stat_ticks("77 (a) R 1 77"), None);
    }

    #[test]
    fn memory_fields_are_kib_and_matched_whole() {
        let status = "Name:\tx\nVmHWMX:\t      1 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 12 kB\nThreads:\t3\n";
        assert_eq!(parse_kib_field(status, "VmHWM"), Some(2048));
        assert_eq!(parse_kib_field(status, "VmSwap"), None);
        assert_eq!(parse_kib_field(status, "Threads"), None);
    }

    #[test]
    fn our_own_process_has_threads_memory_and_cpu_time() {
        let pid = std::process::id();
        let busy = std::time::Instant::now();
        while busy.elapsed().as_millis() < 50 {
            std::hint::black_box(0);
        }
        assert!(cpu_seconds(pid).unwrap() > 0.0);
        assert!(rss_bytes(pid).unwrap() > 100 * 1024);
        disk_bytes_written(pid).unwrap();
        assert!(peak_rss_bytes(pid).unwrap() > 100 * 1024);
        assert!(thread_cpu(pid).unwrap().values().any(|thread| thread.nanoseconds > 0 && !thread.name.is_empty()));
    }

    #[test]
    fn the_loopback_device_counts_what_is_sent_over_it() {
        let before = loopback_bytes().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        std::io::Write::write_all(&mut sender, &[0; 10_000]).unwrap();
        assert!(loopback_bytes().unwrap() >= before + 10_000);
        let text = " face |bytes\n  lox: 7 1\n    lo: 123456 9 0\n  eth0: 8 1\n";
        assert_eq!(parse_loopback_bytes(text), Some(123_456));
        assert_eq!(parse_loopback_bytes("eth0: 8 1\n"), None);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error_that_names_the_file() {
        let message = cpu_seconds(u32::MAX).unwrap_err().to_string();
        assert!(message.contains("/proc/4294967295/stat"), "{message}");
    }
}
