//! A broker under measurement, of either make, behind one face: start, wait until it answers, look at it, stop it.
//!
//! The start time runs from the spawn of the process to its first answer to ApiVersions, the first thing that any client
//! asks. What comes before the process, such as formatting Kafka's storage, is not counted.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use crate::client::{ClientError, Connection};
use crate::interrupt::{Interrupt, Interrupted};
use crate::jars::{Jars, JarsError};
use crate::kafka::{self, KafkaError, KafkaNode};
use crate::member::{Member, Shape};
use crate::process::{ProcessError, Server};
use crate::ringlog::{self, Ringlog, RinglogError};

/// How long a broker may take to answer after its start; recovery of a large log included.
pub const READY_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a broker may take to end when asked to.
const STOP_TIME_MAX: Duration = Duration::from_secs(120);
/// How often an address that does not answer yet is tried.
const TRY_INTERVAL: Duration = Duration::from_millis(1);

/// What is compared: a broker and its promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Ringlog; every acknowledged record is synced to disk
    Ringlog,
    /// Where there are clusters: Ringlog's one broker without replicas, which tells what replication costs
    RinglogSingle,
    /// Kafka as shipped; acknowledges from page cache
    Kafka,
    /// Kafka with flush.messages=1; every acknowledged record is synced to disk
    KafkaFlush,
}

impl Side {
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Side::Ringlog => "Ringlog",
            Side::RinglogSingle => "Ringlog, one broker",
            Side::Kafka => "Kafka as shipped",
            Side::KafkaFlush => "Kafka, flush.messages=1",
        }
    }

    /// A name for directories.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Side::Ringlog => "ringlog",
            Side::RinglogSingle => "ringlog-single",
            Side::Kafka => "kafka",
            Side::KafkaFlush => "kafka-flush",
        }
    }

    /// What an acknowledgement with acks=all means.
    #[must_use]
    pub fn durability(self) -> &'static str {
        match self {
            Side::Ringlog | Side::RinglogSingle => {
                "sync: written with O_DIRECT and flushed to the device before the acknowledgement"
            }
            Side::Kafka => "async: acknowledged from page cache, synced some time later",
            Side::KafkaFlush => "sync: fsync of the log after every append (log.flush.interval.messages=1)",
        }
    }

    #[must_use]
    pub fn is_ringlog(self) -> bool {
        matches!(self, Side::Ringlog | Side::RinglogSingle)
    }

    /// What this side has where the others have `shape`.
    #[must_use]
    pub fn shape(self, shape: Shape) -> Shape {
        if self == Side::RinglogSingle { Shape::ALONE } else { shape }
    }

    fn kafka_settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Side::Ringlog | Side::RinglogSingle | Side::Kafka => &[],
            Side::KafkaFlush => &[("log.flush.interval.messages", "1")],
        }
    }
}

/// Why a broker could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error(transparent)]
    Jars(#[from] JarsError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Ringlog(#[from] RinglogError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error("no free ports on 127.0.0.1: {0}")]
    Ports(io::Error),
    #[error("cannot create {path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("{address} knows {found} of {expected} brokers after {limit:?}")]
    NotWhole { address: SocketAddr, expected: usize, found: usize, limit: Duration },
    #[error("{side} did not end in order: {status}; its log is {log}")]
    UncleanStop { side: &'static str, status: ExitStatus, log: PathBuf },
}

/// The programs that the chosen sides need, found and ready.
#[derive(Clone, Debug)]
pub struct Programs {
    ringlog: Option<Ringlog>,
    jars: Option<Jars>,
}

/// Where to look for programs.
#[derive(Clone, Debug)]
pub struct ProgramPaths {
    /// The ringlog binary; else the one beside this program.
    pub ringlog: Option<PathBuf>,
    /// A folder with Kafka's jars; else they are fetched into `cache`.
    pub kafka_libs: Option<PathBuf>,
    pub cache: PathBuf,
}

impl Programs {
    /// Finds what `sides` need. `with_tools` when Kafka's tools are to be run too. `dir` takes what the programs print.
    pub fn find(
        sides: &[Side],
        with_tools: bool,
        paths: &ProgramPaths,
        dir: &Path,
        interrupt: &Interrupt,
    ) -> Result<Programs, BrokerError> {
        let mut programs = Programs { ringlog: None, jars: None };
        if sides.iter().any(|side| side.is_ringlog()) {
            programs.ringlog = Some(Ringlog::find(paths.ringlog.as_deref(), dir, interrupt)?);
        }
        if with_tools || sides.iter().any(|side| !side.is_ringlog()) {
            programs.jars = Some(match &paths.kafka_libs {
                Some(libs) => Jars::at(libs)?,
                None => Jars::in_cache(&paths.cache, interrupt)?,
            });
        }
        Ok(programs)
    }

    /// Name and version of a side's broker.
    #[must_use]
    pub fn version(&self, side: Side) -> String {
        match side {
            Side::Ringlog | Side::RinglogSingle => self.the_ringlog().version().to_owned(),
            Side::Kafka | Side::KafkaFlush => format!("Kafka {}", self.the_jars().version()),
        }
    }

    /// The command that runs one of Kafka's tools, by its class.
    pub fn kafka_tool(&self, dir: &Path, class: &str) -> Result<Command, BrokerError> {
        Ok(kafka::tool(self.the_jars(), dir, class)?)
    }

    fn the_ringlog(&self) -> &Ringlog {
        self.ringlog.as_ref().expect("found for the sides that need it")
    }

    fn the_jars(&self) -> &Jars {
        self.jars.as_ref().expect("found for the sides and tools that need them")
    }
}

/// The directory of one broker, which may be started in it again and again.
#[derive(Debug)]
pub struct Home {
    side: Side,
    dir: PathBuf,
    kafka: Option<KafkaNode>,
    /// What it is in a cluster; none: Ringlog alone, which finds ports itself.
    member: Option<Member>,
}

impl Home {
    /// Makes `dir`, which is fresh, ready for a lone broker of `side`.
    pub fn prepare(side: Side, programs: &Programs, dir: &Path, interrupt: &Interrupt) -> Result<Home, BrokerError> {
        Home::prepare_member(side, programs, dir, None, interrupt)
    }

    /// The same for a member of a cluster.
    pub fn prepare_member(
        side: Side,
        programs: &Programs,
        dir: &Path,
        mut member: Option<Member>,
        interrupt: &Interrupt,
    ) -> Result<Home, BrokerError> {
        let mut kafka = None;
        if !side.is_ringlog() {
            if member.is_none() {
                member = Member::all(Shape::ALONE).map_err(BrokerError::Ports)?.pop();
            }
            let member = member.as_ref().expect("there is one now");
            kafka = Some(KafkaNode::prepare(programs.the_jars(), dir, member, side.kafka_settings(), interrupt)?);
        }
        Ok(Home { side, dir: dir.to_owned(), kafka, member })
    }

    /// Whether it answers only together with others of its cluster.
    #[must_use]
    pub fn joins_others(&self) -> bool {
        self.kafka.is_some()
    }

    /// Where the broker keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts a broker and waits for its first answer.
    pub fn start(&self, programs: &Programs, interrupt: &Interrupt) -> Result<Broker, BrokerError> {
        self.spawn(programs)?.wait(interrupt)
    }

    /// Starts a broker.
    pub fn spawn(&self, programs: &Programs) -> Result<Starting, BrokerError> {
        let command = match &self.kafka {
            Some(node) => node.command(programs.the_jars()),
            None => programs.the_ringlog().command(&self.data_dir(), self.member.as_ref()),
        };
        let started = Instant::now();
        let server = Server::spawn(self.side.title(), command, &self.dir.join("broker.log"))?;
        Ok(Starting {
            side: self.side,
            server,
            started,
            address: self.member.as_ref().map(|member| member.place().clients),
        })
    }
}

/// A broker that may not answer yet; killed when dropped.
#[derive(Debug)]
pub struct Starting {
    side: Side,
    server: Server,
    started: Instant,
    /// Where it will listen, if that is known beforehand.
    address: Option<SocketAddr>,
}

impl Starting {
    /// Waits for its first answer.
    pub fn wait(mut self, interrupt: &Interrupt) -> Result<Broker, BrokerError> {
        let address = self.wait_until_it_answers(interrupt)?;
        let Starting { side, server, started, .. } = self;
        Ok(Broker { side, server, address, started, start_time: started.elapsed() })
    }

    fn wait_until_it_answers(&mut self, interrupt: &Interrupt) -> Result<SocketAddr, BrokerError> {
        loop {
            self.server.check_running()?;
            interrupt.check()?;
            let left = READY_TIME_MAX.saturating_sub(self.started.elapsed());
            if left.is_zero() {
                return Err(self.server.timed_out(READY_TIME_MAX).into());
            }
            // Where it listens is known beforehand, or once the log says so.
            let told = || ringlog::bound_address(&fs::read_to_string(self.server.log()).ok()?);
            if let Some(address) = self.address.or_else(told) {
                let answered =
                    Connection::open(address, interrupt).and_then(|mut connection| connection.api_versions(left));
                match answered {
                    Ok(()) => return Ok(address),
                    Err(ClientError::Io { .. } | ClientError::Closed { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            interrupt.sleep(TRY_INTERVAL)?;
        }
    }
}

/// A running broker; killed when dropped.
#[derive(Debug)]
pub struct Broker {
    side: Side,
    server: Server,
    address: SocketAddr,
    started: Instant,
    start_time: Duration,
}

impl Broker {
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// From the spawn of the process to its first answer.
    #[must_use]
    pub fn start_time(&self) -> Duration {
        self.start_time
    }

    /// Time since the spawn of the process.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// An error, with the end of its log, if it has ended or does so within `wait`: a process that dies closes its
    /// connections before it is gone.
    pub fn check_running(&mut self, wait: Duration, interrupt: &Interrupt) -> Result<(), BrokerError> {
        let deadline = Instant::now() + wait;
        while Instant::now() < deadline {
            self.server.check_running()?;
            interrupt.sleep(TRY_INTERVAL)?;
        }
        Ok(self.server.check_running()?)
    }

    pub fn connect(&self, interrupt: &Interrupt) -> Result<Connection, BrokerError> {
        Ok(Connection::open(self.address, interrupt)?)
    }

    /// Stops it in order, and says how long that took.
    pub fn stop(mut self, interrupt: &Interrupt) -> Result<Duration, BrokerError> {
        // The exit status of a JVM that got SIGTERM, after its shutdown hooks are done.
        const JVM_TERMINATED: i32 = 143;
        let (took, status) = self.server.terminate(STOP_TIME_MAX, interrupt)?;
        let in_order = match self.side {
            Side::Ringlog | Side::RinglogSingle => status.success(),
            Side::Kafka | Side::KafkaFlush => status.success() || status.code() == Some(JVM_TERMINATED),
        };
        if in_order {
            return Ok(took);
        }
        let (side, log) = (self.side.title(), self.server.log().to_owned());
        Err(BrokerError::UncleanStop { side, status, log })
    }

    /// Ends it as a crash of the process would.
    pub fn kill(mut self) -> Result<(), BrokerError> {
        Ok(self.server.kill()?)
    }
}
