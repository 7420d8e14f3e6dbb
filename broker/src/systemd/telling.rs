//! Keeps the service manager's idea of the broker up to date.
//!
//! While logs are recovered and while the broker stops, the manager's patience is extended, but only as long as something
//! gets on: a recovery or a stop that is stuck ends as the unit's `TimeoutStartSec=` and `TimeoutStopSec=` say.
//!
//! Waiting for other brokers is extended for as long as it takes, by a process that lives: this runs on the metadata core's
//! thread, and every shard must turn. To start such a broker anew would only have it begin the same wait again, and have the
//! manager give it up after some times, just when the others come.

use std::time::Duration;

use metadata::image::MetadataImage;
use protocol::BrokerId;
use tokio::sync::watch;
use tokio::time::Instant;

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
    images: Option<watch::Receiver<MetadataImage>>,
    share: Share,
    counted: Option<(u64, Instant)>,
    said: String,
    mark: Option<Mark>,
    extended: Option<Instant>,
}

/// What changes when something gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    phase: Phase,
    counts: Counts,
    /// From and to disks.
    bytes: u64,
}

impl Telling {
    pub fn new(manager: Manager, lifecycle: Lifecycle, broker: BrokerId) -> Telling {
        Telling {
            manager,
            lifecycle,
            broker,
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
        let line = status::line(phase, &counts, &self.share, &stale);
        let mark = Mark { phase, counts, bytes: disk_bytes() };
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

/// The manager waits for the end of this, and something gets on here meanwhile.
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

/// What this process has read from disks and written to them; 0 where the system does not say. A long scan of one log is
/// seen by it, which no count of logs would tell.
fn disk_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let value = |line: &str| {
        let (name, value) = line.split_once(':')?;
        matches!(name, "read_bytes" | "write_bytes").then(|| value.trim().parse().unwrap_or(0))
    };
    text.lines().filter_map(value).fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
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
}
