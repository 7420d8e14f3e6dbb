//! The journal at run time: a ring of regions, and which logs still need which of them.
//!
//! Regions are used in turn; each time one is begun anew is a *lap*. A log *holds* the lap of its oldest frames that are
//! not in its own file yet, and a region is free for the next lap when nobody holds the one it had before.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use super::record::{FIRST_RECORD_POSITION, RegionHeader, Sequence};
use super::replay::remove;
use super::{JournalConfig, JournalPlace, region_name};
use crate::file::{BLOCK_BYTES, IoError, Storage, StorageFile};
use crate::group_commit::FlushProof;
use crate::log::LogInner;
use crate::shard::ShardInner;
use crate::sidecar::STAGED_SUFFIX;

/// Commits without the journal after a region could not be made, for lack of space for example.
const COMMITS_BEFORE_RETRY: u32 = 10_000;

/// The time of a region from its first record until it is begun anew.
struct Lap<S: Storage> {
    number: u64,
    first_sequence: Sequence,
    /// Logs that held this lap when they were noted, each at most twice.
    holders: Vec<Weak<LogInner<S>>>,
}

/// Where the next record goes.
pub(crate) struct RecordRoom<S: Storage> {
    pub(crate) file: Rc<S::File>,
    pub(crate) position: u64,
    pub(crate) lap: u64,
    pub(crate) sequence: Sequence,
    pub(crate) settled_before: Sequence,
}

/// What a commit gets from the journal.
pub(crate) enum Room<S: Storage> {
    Record(RecordRoom<S>),
    /// For a record without entries, which must be durable before there is more room.
    Settle(RecordRoom<S>),
    None,
}

enum NextLap {
    Begun,
    /// Its region is being made, or will be.
    Missing,
    /// Logs need what its region holds.
    Held,
    /// Nobody needs what its region holds, but no durable record says so.
    Unsettled,
}

/// See the module's contract.
pub(crate) struct Journal<S: Storage> {
    pub(crate) place: JournalPlace<S>,
    /// In the order of their making; the ring has its full size when all are made.
    regions: RefCell<Vec<Rc<S::File>>>,
    is_making: Cell<bool>,
    /// Commits to come before a region may be made.
    wait_commits: Cell<u32>,
    /// From the oldest that may be held to the current one.
    laps: RefCell<VecDeque<Lap<S>>>,
    /// First sequences of the current lap and of those before it, one for each region at most.
    lap_starts: RefCell<VecDeque<Sequence>>,
    /// In the current lap's region.
    position: Cell<u64>,
    next_sequence: Cell<Sequence>,
    /// What the newest durable record says is settled.
    settled_on_disk: Cell<Sequence>,
}

impl<S: Storage> Journal<S> {
    pub(crate) fn new(place: JournalPlace<S>) -> Journal<S> {
        assert!(place.config.regions >= 2, "a ring needs two regions");
        let wait_commits = Cell::new(place.config.commits_before_use);
        Journal {
            place,
            regions: RefCell::default(),
            is_making: Cell::new(false),
            wait_commits,
            laps: RefCell::default(),
            lap_starts: RefCell::default(),
            position: Cell::new(FIRST_RECORD_POSITION),
            next_sequence: Cell::new(Sequence(1)),
            settled_on_disk: Cell::new(Sequence(0)),
        }
    }

    /// From the beginning of the oldest lap that may be held on.
    pub(crate) fn used_bytes(&self) -> u64 {
        let before = self.laps.borrow().len().saturating_sub(1) as u64;
        if self.laps.borrow().is_empty() { 0 } else { before * self.config().region_bytes + self.position.get() }
    }

    /// Of the files made so far.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.regions.borrow().len() as u64 * self.config().region_bytes
    }

    pub(crate) fn config(&self) -> &JournalConfig {
        &self.place.config
    }

    /// Whether nothing in the journal is needed any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.let_go();
        let laps = self.laps.borrow();
        laps.len() <= 1 && laps.front().is_none_or(|lap| lap.holders.is_empty())
    }

    /// Room for a record of `bytes`, whole blocks, or what comes first. What room is given must be written to.
    pub(crate) fn take_room(&self, shard: &Rc<ShardInner<S>>, bytes: u64) -> Room<S> {
        // The last block is for a record that says how far all is settled.
        let limit = self.place.config.region_bytes - BLOCK_BYTES as u64;
        if FIRST_RECORD_POSITION + bytes > limit {
            return Room::None;
        }
        self.let_go();
        if !self.laps.borrow().is_empty() && self.position.get() + bytes <= limit {
            return self.room(bytes).map_or(Room::None, Room::Record);
        }
        match self.begin_lap(shard) {
            NextLap::Begun => self.room(bytes).map_or(Room::None, Room::Record),
            // Once only: behind it the region is full.
            NextLap::Unsettled if self.position.get() <= limit => {
                self.position.set(limit);
                self.room(BLOCK_BYTES as u64).map_or(Room::None, Room::Settle)
            }
            NextLap::Unsettled | NextLap::Missing | NextLap::Held => Room::None,
        }
    }

    fn room(&self, bytes: u64) -> Option<RecordRoom<S>> {
        let sequence = self.next_sequence.get();
        let (lap, settled_before) = {
            let laps = self.laps.borrow();
            let (oldest, current) = (laps.front()?, laps.back()?);
            let nobody_holds = oldest.number == current.number && oldest.holders.is_empty();
            (current.number, if nobody_holds { sequence } else { oldest.first_sequence })
        };
        let file = self.regions.borrow()[self.region_of(lap)].clone();
        let position = self.position.get();
        self.position.set(position + bytes);
        self.next_sequence.set(sequence.next());
        Some(RecordRoom { file, position, lap, sequence, settled_before })
    }

    /// The record in `room` is durable.
    pub(crate) fn note_durable(&self, room: &RecordRoom<S>, _proof: &FlushProof) {
        self.settled_on_disk.set(self.settled_on_disk.get().max(room.settled_before));
    }

    fn region_of(&self, lap: u64) -> usize {
        (lap % self.place.config.regions as u64) as usize
    }

    /// Goes on to the next region, if it is there and free, and a durable record says so: what remains of its last lap
    /// when its first block is overwritten must not look like something lost.
    fn begin_lap(&self, shard: &Rc<ShardInner<S>>) -> NextLap {
        let regions = self.place.config.regions as u64;
        let number = self.laps.borrow().back().map_or(0, |lap| lap.number + 1);
        if self.regions.borrow().len() <= self.region_of(number) {
            self.make_region(shard);
            return NextLap::Missing;
        }
        if self.laps.borrow().front().is_some_and(|oldest| oldest.number + regions <= number) {
            self.write_back_laps_before(number + 1 - regions);
            return NextLap::Held;
        }
        // The lap after the one whose region is taken: whatever one more record says is settled, it is that far.
        let needed = self.lap_starts.borrow().get(1).copied();
        if number >= regions && needed.is_some_and(|needed| self.settled_on_disk.get() < needed) {
            return NextLap::Unsettled;
        }
        let first_sequence = self.next_sequence.get();
        {
            let mut starts = self.lap_starts.borrow_mut();
            if starts.len() as u64 == regions {
                starts.pop_front();
            }
            starts.push_back(first_sequence);
        }
        self.laps.borrow_mut().push_back(Lap { number, first_sequence, holders: Vec::new() });
        self.position.set(FIRST_RECORD_POSITION);
        // By the time this region is full, the next one is to be there and free.
        if self.regions.borrow().len() < regions as usize {
            self.make_region(shard);
        }
        self.write_back_laps_before((number + 2).saturating_sub(regions));
        NextLap::Begun
    }

    /// `log` has frames in `lap` that are nowhere else durable.
    pub(crate) fn note_holder(&self, lap: u64, log: &Rc<LogInner<S>>) {
        let mut laps = self.laps.borrow_mut();
        let current = laps.back_mut().expect("a record was written in it");
        assert_eq!(current.number, lap, "only the current lap gets records");
        current.holders.push(Rc::downgrade(log));
    }

    fn write_back_laps_before(&self, number: u64) {
        let laps = self.laps.borrow();
        let old = laps.iter().take_while(|lap| lap.number < number);
        let holding = old.flat_map(|lap| lap.holders.iter().filter_map(|log| held_by(log, lap.number)));
        let holders: Vec<Rc<LogInner<S>>> = holding.collect();
        drop(laps);
        for log in holders {
            log.want_write_back();
        }
    }

    /// Forgets laps that nobody holds any more.
    fn let_go(&self) {
        let mut laps = self.laps.borrow_mut();
        loop {
            let is_current = laps.len() == 1;
            let Some(oldest) = laps.front_mut() else { return };
            let number = oldest.number;
            while oldest.holders.pop_if(|log| held_by(log, number).is_none()).is_some() {}
            if is_current || !oldest.holders.is_empty() {
                return;
            }
            laps.pop_front();
        }
    }

    /// Removes the journal's files, if nothing in them is needed any more; gives whether that is so. No commit may be under
    /// way or come after it.
    pub(crate) async fn remove(&self) -> Result<bool, IoError> {
        if !self.is_settled() {
            return Ok(false);
        }
        let JournalPlace { storage, dir, shard, .. } = &self.place;
        let made = self.regions.take().len();
        let regions = (0..made).map(|region| (dir.join(region_name(*shard, region)), self.header(region)));
        remove(storage, dir, regions.collect(), self.next_sequence.get()).await?;
        Ok(true)
    }

    fn header(&self, region: usize) -> RegionHeader {
        RegionHeader {
            journal: self.place.id,
            shard: self.place.shard,
            region: region as u32,
            region_bytes: self.place.config.region_bytes,
            done_before: Sequence(0),
        }
    }

    /// Makes one more region in the background.
    fn make_region(&self, shard: &Rc<ShardInner<S>>) {
        if self.is_making.get() {
            return;
        }
        if self.wait_commits.get() > 0 {
            self.wait_commits.set(self.wait_commits.get() - 1);
            return;
        }
        let shard = shard.clone();
        let queue = shard.clone();
        let work = async move {
            let Some(journal) = &shard.journal else { return };
            let region = journal.regions.borrow().len();
            let created = journal.create_region(region).await;
            match created {
                Ok(file) => journal.regions.borrow_mut().push(Rc::new(file)),
                Err(error) if error.is_fatal() => shard.fail(error),
                Err(error) => {
                    tracing::warn!(%error, "no journal for now: commits of many partitions are slower");
                    journal.wait_commits.set(COMMITS_BEFORE_RETRY);
                }
            }
            journal.is_making.set(false);
        };
        self.is_making.set(queue.background.submit(work).is_ok());
    }

    /// A region's file, written to its end and synced, under a durable name.
    async fn create_region(&self, region: usize) -> Result<S::File, IoError> {
        let JournalPlace { storage, dir, shard, config, .. } = &self.place;
        let name = region_name(*shard, region);
        let staged = dir.join(format!("{name}{STAGED_SUFFIX}"));
        let file = storage.create(&staged).await?;
        let filled = async {
            file.allocate(config.region_bytes).await?;
            self.fill_region(&file, region).await
        };
        if let Err(error) = filled.await {
            if !error.is_fatal() {
                // It would take space where there is none. What cannot be removed now goes at the next start.
                let _ = storage.remove(&staged).await;
            }
            return Err(error);
        }
        storage.rename(&staged, &dir.join(&name)).await?;
        storage.sync_dir(dir).await?;
        Ok(file)
    }

    async fn fill_region(&self, file: &S::File, region: usize) -> Result<(), IoError> {
        let JournalPlace { storage, config, .. } = &self.place;
        let mut block = storage.allocate_buffer(BLOCK_BYTES);
        let header = self.header(region).encode();
        block.as_mut().fill(0);
        block.as_mut()[..header.len()].copy_from_slice(&header);
        file.write_at(block, 0).await?;
        file.write_zeros(BLOCK_BYTES as u64..config.region_bytes).await?;
        file.sync_data().await
    }
}

/// The log, if it still holds the lap.
fn held_by<S: Storage>(log: &Weak<LogInner<S>>, lap: u64) -> Option<Rc<LogInner<S>>> {
    log.upgrade().filter(|log| log.state.borrow().holds_lap(lap))
}
