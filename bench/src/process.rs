//! Child processes that never outlive us: a server that runs in the background, and a tool that runs to its end.
//!
//! Each child leads a process group of its own, so that Ctrl-C reaches us alone and we decide the order of the end; the
//! whole group is killed when its guard is dropped, also on an error or a panic. Only SIGKILL of ourselves leaves
//! children behind. What a server writes goes to a log file, whose end is quoted when it fails.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::interrupt::{Interrupt, Interrupted};

/// How long a killed process may take to disappear; the kernel first finishes the I/O it had under way.
const REAP_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of a log that an error quotes.
const LOG_TAIL_BYTES: u64 = 2_000;
/// How often a process is asked whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Why a process did not do what it was started for.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("cannot start {program} ({name}): {source}")]
    Spawn { name: String, program: String, source: io::Error },
    #[error("cannot write the log {path}: {source}")]
    Log { path: PathBuf, source: io::Error },
    #[error("{name} ended by itself with {status}; the end of its log {log}:\n{tail}")]
    Ended { name: String, status: ExitStatus, log: PathBuf, tail: String },
    #[error("{name} was not done after {limit:?}; the end of its log {log}:\n{tail}")]
    TimedOut { name: String, limit: Duration, log: PathBuf, tail: String },
    #[error("cannot signal or wait for {name} (process {pid}): {source}")]
    Control { name: String, pid: u32, source: io::Error },
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// A process in the background, killed with all its descendants when dropped.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Server {
    /// Starts `command` with its standard output and error in the file `log`, which is replaced.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Server, ProcessError> {
        let file = || -> io::Result<(File, File)> {
            let file = File::create(log)?;
            Ok((file.try_clone()?, file))
        };
        let (out, err) = file().map_err(|source| ProcessError::Log { path: log.to_owned(), source })?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().map_err(|source| spawn_error(name, &command, source))?;
        Ok(Server { name: name.to_owned(), child, log: log.to_owned(), status: None })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// An error if it has ended, which no server does unasked.
    pub fn check_running(&mut self) -> Result<(), ProcessError> {
        match self.poll()? {
            None => Ok(()),
            Some(status) => Err(ProcessError::Ended {
                name: self.name.clone(),
                status,
                log: self.log.clone(),
                tail: tail(&self.log),
            }),
        }
    }

    /// Asks it to end (SIGTERM) and says how long that took and how it ended.
    pub fn terminate(
        &mut self,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<(Duration, ExitStatus), ProcessError> {
        self.check_running()?;
        let asked = Instant::now();
        self.signal(Signal::TERM)?;
        let status = self.wait(limit, interrupt)?;
        Ok((asked.elapsed(), status))
    }

    /// Ends it with SIGKILL, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) -> Result<(), ProcessError> {
        self.check_running()?;
        self.signal(Signal::KILL)?;
        // Not interruptible: nothing that follows may run beside what is left of it.
        self.wait(REAP_TIME_MAX, &Interrupt::default()).map(|_| ())
    }

    /// The error that it was not done within `limit`.
    #[must_use]
    pub fn timed_out(&self, limit: Duration) -> ProcessError {
        ProcessError::TimedOut { name: self.name.clone(), limit, log: self.log.clone(), tail: tail(&self.log) }
    }

    fn wait(&mut self, limit: Duration, interrupt: &Interrupt) -> Result<ExitStatus, ProcessError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.poll()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(self.timed_out(limit));
            }
            interrupt.sleep(POLL_INTERVAL)?;
        }
    }

    fn poll(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        if self.status.is_none() {
            self.status = self.child.try_wait().map_err(|source| self.control_error(source))?;
        }
        Ok(self.status)
    }

    fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        kill_process(self.process_id(), signal).map_err(|errno| self.control_error(errno.into()))
    }

    fn process_id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn control_error(&self, source: io::Error) -> ProcessError {
        ProcessError::Control { name: self.name.clone(), pid: self.child.id(), source }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A leader that was reaped has given up its number, and another process may have it now.
        if self.status.is_none() {
            let _ = kill_process_group(self.process_id(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Runs a tool to its end and returns its standard output; standard error goes to the file `log`.
///
/// Takes any exit but success, and anything that lasts longer than `limit`, as an error.
pub fn run_tool(
    name: &str,
    mut command: Command,
    log: &Path,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<String, ProcessError> {
    let log_error = |source| ProcessError::Log { path: log.to_owned(), source };
    let out = log.with_extension("out");
    let out_file = File::create(&out).map_err(|source| ProcessError::Log { path: out.clone(), source })?;
    let err_file = File::create(log).map_err(log_error)?;
    command.stdin(Stdio::null()).stdout(out_file).stderr(err_file).process_group(0);
    let child = command.spawn().map_err(|source| spawn_error(name, &command, source))?;
    let mut tool = Server { name: name.to_owned(), child, log: log.to_owned(), status: None };
    let status = tool.wait(limit, interrupt)?;
    let stdout = fs::read(&out).map_err(|source| ProcessError::Log { path: out.clone(), source })?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(stdout);
    }
    let tail = format!("{}{stdout}", tail(log));
    Err(ProcessError::Ended { name: name.to_owned(), status, log: log.to_owned(), tail })
}

fn spawn_error(name: &str, command: &Command, source: io::Error) -> ProcessError {
    ProcessError::Spawn { name: name.to_owned(), program: command.get_program().display().to_string(), source }
}

/// The last lines of a log, for an error message; empty if it cannot be read.
fn tail(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition() {
            assert!(Instant::now() < deadline, "not within {LIMIT:?}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn is_alive(pid: &str) -> bool {
        // A zombie still has its folder, but no command line.
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    }

    #[test]
    fn dropping_a_server_kills_it_and_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let server = Server::spawn("server", shell("sleep 1000 & echo $!; wait"), &log).unwrap();
        let leader = server.pid().to_string();
        wait_until(|| fs::read_to_string(&log).unwrap().ends_with('\n'));
        let child = fs::read_to_string(&log).unwrap().trim().to_owned();
        // In the middle of an exec a process has no command line.
        wait_until(|| is_alive(&leader) && is_alive(&child));
        drop(server);
        assert!(!is_alive(&leader));
        wait_until(|| !is_alive(&child));
    }

    #[test]
    fn a_server_that_ends_unasked_is_an_error_with_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut server =
            Server::spawn("server", shell("echo no port left >&2; exit 3"), &dir.path().join("log")).unwrap();
        server.wait(LIMIT, &Interrupt::default()).unwrap();
        let message = server.check_running().unwrap_err().to_string();
        assert!(message.contains("exit status: 3") && message.contains("no port left"), "{message}");
    }

    #[test]
    fn terminate_waits_for_the_end_and_kill_does_not_ask() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done";
        let mut server = Server::spawn("server", shell(script), &log).unwrap();
        wait_until(|| fs::read_to_string(&log).unwrap().contains("up"));
        let (_, status) = server.terminate(LIMIT, &Interrupt::default()).unwrap();
        assert_eq!(status.code(), Some(7));

        let mut server = Server::spawn("server", shell(script), &log).unwrap();
        wait_until(|| fs::read_to_string(&log).unwrap().contains("up"));
        server.kill().unwrap();
        assert!(!fs::read_to_string(&log).unwrap().contains("bye"));
    }

    #[test]
    fn a_tool_gives_its_output_or_says_how_it_failed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let run = |script, limit, interrupt: &Interrupt| run_tool("tool", shell(script), &log, limit, interrupt);
        let interrupt = Interrupt::default();
        assert_eq!(run("echo out; echo err >&2", LIMIT, &interrupt).unwrap(), "out\n");
        let failed = run("echo why >&2; exit 2", LIMIT, &interrupt).unwrap_err().to_string();
        assert!(failed.contains("exit status: 2") && failed.contains("why"), "{failed}");
        let slow = run("sleep 1000", Duration::from_millis(20), &interrupt);
        assert!(matches!(slow, Err(ProcessError::TimedOut { .. })), "{slow:?}");
        let missing = run_tool("tool", Command::new("/nonexistent/tool"), &log, LIMIT, &interrupt);
        assert!(matches!(missing, Err(ProcessError::Spawn { .. })), "{missing:?}");
        interrupt.request();
        let interrupted = run("sleep 1000", LIMIT, &interrupt);
        assert!(matches!(interrupted, Err(ProcessError::Interrupted(_))), "{interrupted:?}");
    }
}
