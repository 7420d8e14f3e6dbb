//! Keeps the service manager's idea of the broker up to date.
//!
//! While logs are recovered and while the broker stops, the manager's patience is extended, but only as long as that gets on:
//! a recovery or a stop that is stuck ends as the unit's `TimeoutStartSec=` and `TimeoutStopSec=` say, whatever else is done.
//!
//! Waiting for other brokers is extended for as long as it takes, by a process that lives: this runs on the metadata core's
//! thread, and every shard must turn. To start such a broker anew would only have it begin the same wait again, and have the
//! manager give it up after some times, just when the others come.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use instruments::Counter;
use metadata::image::MetadataImage;
use protocol::BrokerId;
use tokio::sync::watch;
use tokio::time::Instant;
use wal::metrics::WalMetrics;

use super::status::{self, Share};
use super::{Manager, NotifyState};
use crate::lifecycle::{Counts, Lifecycle, Phase};

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The same, while the manager waits for something to end.
const BOUNDED_LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long the manager is asked to wait from the last progress on.
const EXTENSION: Duration = Duration::from_secs(60);
/// How often a wait for others is extended.
const WAIT_EXTENDED_EVERY: Duration = Duration::from_secs(20);
/// Between two counts of partitions, in which every partition of the cluster is looked at.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);

/// See the module's documentation.
pub struct Telling {
    manager: Manager,
    lifecycle: Lifecycle,
    broker: BrokerId,
    /// What each shard's logs count.
    logs: Vec<Arc<WalMetrics>>,
    images: Option<watch::Receiver<MetadataImage>>,
    share: Share,
    counted: Option<(u64, Instant)>,
    said: String,
    mark: Option<Mark>,
    extended: Option<Instant>,
}

/// What changes when the phase gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    phase: Phase,
    counts: Counts,
    /// See [`work`].
    work: u64,
}

impl Telling {
    pub fn new(manager: Manager, lifecycle: Lifecycle, broker: BrokerId, logs: Vec<Arc<WalMetrics>>) -> Telling {
        Telling {
            manager,
            lifecycle,
            broker,
            logs,
            images: None,
            share: Share::default(),
            counted: None,
            said: String::new(),
            mark: None,
            extended: None,
        }
    }

    /// Tells until the process ends; `images` come when the broker serves.
    pub async fn run(mut self, mut images: watch::Receiver<Option<watch::Receiver<MetadataImage>>>) {
        if !self.manager.is_there() {
            return;
        }
        let mut phases = self.lifecycle.phases();
        loop {
            self.images.clone_from(&images.borrow_and_update());
            self.count().await;
            self.look();
            let interval = if is_bounded(self.lifecycle.phase()) { BOUNDED_LOOK_INTERVAL } else { LOOK_INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                Ok(()) = phases.changed() => {}
                Ok(()) = images.changed() => {}
            }
        }
    }

    fn look(&mut self) {
        let (phase, counts) = (self.lifecycle.phase(), self.lifecycle.counts());
        let stale: Vec<usize> = self.lifecycle.stale().into_iter().map(|(shard, _)| shard).collect();
        let mut line = status::line(phase, &counts, &self.share, &stale);
        let errors = self.lifecycle.reload_errors();
        if errors > 0 {
            let _ = write!(line, "; the configuration was not reloaded: {errors} errors, see the log");
        }
        let mark = Mark { phase, counts, work: work(phase, self.lifecycle.replay_steps(), &self.logs) };
        let gets_on = self.mark.replace(mark) != Some(mark);
        let extension = u32::try_from(EXTENSION.as_micros()).expect("it is short");
        let mut states = Vec::new();
        if line != self.said {
            states.push(NotifyState::Status(&line));
        }
        let extended = self.extended.map(|extended| extended.elapsed());
        if stale.is_empty() && is_to_be_extended(phase, gets_on, extended) {
            states.push(NotifyState::ExtendTimeoutUsec(extension));
            self.extended = Some(Instant::now());
        }
        if !states.is_empty() {
            self.manager.tell(&states);
        }
        self.said = line;
    }

    async fn count(&mut self) {
        let Some(images) = &self.images else { return };
        let image = images.borrow().clone();
        let now = Instant::now();
        let is_due = self
            .counted
            .is_none_or(|(offset, at)| offset != image.metadata_offset() && now.duration_since(at) >= COUNT_INTERVAL);
        if !is_due || self.lifecycle.phase() != Phase::Serving {
            return;
        }
        self.counted = Some((image.metadata_offset(), now));
        let broker = self.broker;
        // Elsewhere: this thread takes part in the quorum meanwhile.
        let counting = tokio::task::spawn_blocking(move || share(&image, broker));
        self.share = counting.await.expect("a panic ends the process");
    }
}

/// The manager waits for the end of this, which is ours to get on with.
fn is_bounded(phase: Phase) -> bool {
    matches!(phase, Phase::ReplayingJournal | Phase::RecoveringLogs | Phase::Stopping)
}

/// Whether a process of which all threads turn is to have more time; it was given some `extended` ago.
fn is_to_be_extended(phase: Phase, gets_on: bool, extended: Option<Duration>) -> bool {
    match phase {
        Phase::ReplayingJournal | Phase::RecoveringLogs | Phase::Stopping => gets_on,
        Phase::Joining | Phase::WaitingForController => extended.is_none_or(|extended| extended >= WAIT_EXTENDED_EVERY),
        Phase::Serving => false,
    }
}

const _: () = assert!(WAIT_EXTENDED_EVERY.as_secs() * 2 < EXTENSION.as_secs(), "one message may be lost");

/// What the metadata says of a broker.
pub fn share(image: &MetadataImage, broker: BrokerId) -> Share {
    let mut share = Share { fenced: !image.is_unfenced(broker), ..Share::default() };
    for (_, partition) in image.topics().flat_map(|topic| topic.partitions()) {
        share.partitions += usize::from(partition.replicas.contains(&broker));
        share.leaders += usize::from(partition.leader == Some(broker));
    }
    share
}

/// What rises as a phase gets on: a long scan of one log is seen by it, which no count of logs would tell. Only what the phase
/// is about is in it: the metadata is written to all the while, also when a disk of the logs hangs.
fn work(phase: Phase, replay_steps: &Counter, logs: &[Arc<WalMetrics>]) -> u64 {
    let sum = |count: fn(&WalMetrics) -> u64| logs.iter().map(|logs| count(logs)).fold(0, u64::wrapping_add);
    match phase {
        Phase::ReplayingJournal => replay_steps.get(),
        Phase::RecoveringLogs => sum(|logs| logs.recovered_bytes.get()),
        Phase::Stopping => sum(|logs| logs.write_back_bytes.get()),
        Phase::Joining | Phase::WaitingForController | Phase::Serving => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixDatagram;

    use super::super::Socket;
    use super::*;
    use crate::shard::assignment::testing::image_of;

    #[test]
    fn a_broker_is_told_what_is_its_own() {
        let image = image_of(&[1, 2], &[(&[1, 2], Some(1), 0), (&[2, 1], Some(2), 0), (&[2], Some(2), 0)]);
        assert_eq!(share(&image, BrokerId(1)), Share { partitions: 2, leaders: 1, fenced: false });
        assert_eq!(share(&image, BrokerId(3)), Share { partitions: 0, leaders: 0, fenced: true });
    }

    #[test]
    fn the_manager_waits_longer_for_what_gets_on_and_for_others() {
        let (never, just_now, due) = (None, Some(Duration::from_secs(1)), Some(WAIT_EXTENDED_EVERY));
        for (phase, gets_on, extended, expected) in [
            (Phase::ReplayingJournal, true, just_now, true),
            (Phase::ReplayingJournal, false, due, false),
            (Phase::RecoveringLogs, true, just_now, true),
            (Phase::RecoveringLogs, false, never, false),
            (Phase::Stopping, true, just_now, true),
            (Phase::Stopping, false, due, false),
            (Phase::Joining, false, never, true),
            (Phase::Joining, true, just_now, false),
            (Phase::Joining, false, due, true),
            (Phase::WaitingForController, false, due, true),
            (Phase::WaitingForController, false, just_now, false),
            (Phase::Serving, true, never, false),
        ] {
            assert_eq!(is_to_be_extended(phase, gets_on, extended), expected, "{phase:?} {gets_on} {extended:?}");
        }
    }

    /// A manager whose messages can be read.
    fn heard_manager(directory: &std::path::Path) -> (Manager, UnixDatagram) {
        let path = directory.join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        (Manager(Some(Arc::new(Socket::open(path.as_os_str()).unwrap()))), heard)
    }

    /// Whether more time was asked for since the last call.
    fn is_extended(heard: &UnixDatagram) -> bool {
        let mut bytes = [0; 512];
        let messages = std::iter::from_fn(|| heard.recv(&mut bytes).ok().map(|count| bytes[..count].to_vec()));
        messages.fold(false, |found, message| found | message.windows(14).any(|part| part == b"EXTEND_TIMEOUT"))
    }

    #[test]
    fn only_work_on_what_is_waited_for_gives_more_time() {
        let directory = tempfile::tempdir().unwrap();
        let (manager, heard) = heard_manager(directory.path());
        let (lifecycle, logs) = (Lifecycle::new(2), vec![Arc::<WalMetrics>::default(); 1]);
        let mut telling = Telling::new(manager, lifecycle.clone(), BrokerId(1), logs.clone());
        let logs = &logs[0];
        let replays: fn(&Lifecycle, &WalMetrics) = |lifecycle, _| lifecycle.replay_steps().increment();
        let recovers: fn(&Lifecycle, &WalMetrics) = |_, logs| logs.recovered_bytes.add(1);
        let writes_back: fn(&Lifecycle, &WalMetrics) = |_, logs| logs.write_back_bytes.add(1);
        for (phase, gets_on, others) in [
            (Phase::ReplayingJournal, replays, [recovers, writes_back]),
            (Phase::RecoveringLogs, recovers, [replays, writes_back]),
            (Phase::Stopping, writes_back, [replays, recovers]),
        ] {
            lifecycle.enter(phase);
            telling.look();
            assert!(is_extended(&heard), "{phase:?} has begun");
            // The process writes, as the metadata's log does.
            let mut file = std::fs::File::create(directory.path().join("other")).unwrap();
            file.write_all(&[1; 1 << 16]).and_then(|()| file.sync_all()).unwrap();
            for other in others {
                other(&lifecycle, logs);
            }
            telling.look();
            assert!(!is_extended(&heard), "{phase:?} is stuck");
            gets_on(&lifecycle, logs);
            telling.look();
            assert!(is_extended(&heard), "{phase:?} gets on");
        }
    }
}
