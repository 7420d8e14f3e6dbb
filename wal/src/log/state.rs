//! The bookkeeping of an open log: ends, the active segment's ranges, the write buffer.
//!
//! Synchronous and without I/O; positions are bytes from the begin of the active segment's file.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset};

use crate::appender::Appender;
use crate::file::{Storage, block_ceil};
use crate::frame::{FrameInfo, Incarnation};
use crate::group_commit::FlushProof;
use crate::log::LogConfig;
use crate::segment::{Segment, SegmentSummary};

/// No zeros are being written.
pub(crate) const ZEROING_NONE: Range<u64> = 0..0;

/// Zeros that a write-back takes along: so many times its size, at most so many bytes.
const WRITE_BACK_ZEROS_FACTOR: u64 = 8;
const WRITE_BACK_ZEROS_MAX: u64 = 256 << 10;

/// Shortest time over which a rate is taken.
const RATE_WINDOW_MS: i64 = 200;

/// Bytes per second that a log takes lately, from the clock that comes with each append.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AppendRate {
    window_start_ms: i64,
    window_bytes: u64,
    bytes_per_second: u64,
}

impl AppendRate {
    fn note(&mut self, bytes: u64, now_ms: i64) {
        let elapsed_ms = now_ms.saturating_sub(self.window_start_ms);
        if !(0..RATE_WINDOW_MS).contains(&elapsed_ms) {
            let rate = self.window_bytes.saturating_mul(1000).checked_div(elapsed_ms.max(0) as u64).unwrap_or(0);
            self.bytes_per_second = self.bytes_per_second / 2 + rate / 2;
            self.window_start_ms = now_ms;
            self.window_bytes = 0;
        }
        self.window_bytes += bytes;
    }

    pub(crate) fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// The rate, or 0 if the last append is longer ago than `idle_ms`.
    pub(crate) fn bytes_per_second_at(&self, now_ms: i64, idle_ms: i64) -> u64 {
        if now_ms.saturating_sub(self.window_start_ms) > idle_ms { 0 } else { self.bytes_per_second }
    }
}

/// Why an append must wait for [`crate::Log::reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// A structural change is under way.
    Blocked,
    /// Too much waits for its commit.
    Gathered,
    /// The active segment is full or old.
    Roll,
    /// The active segment needs more reserved space.
    Space,
}

/// Invariants:
/// - `log_start <= durable_end <= log_end`, and the durable end is at most the larger of `written_end` and `journaled_end`.
/// - `written_position <= end_position <= allocated`, and `clean_until >= block_ceil(written_position)` between commits.
/// - `zeroing` and `ahead` begin at or after `block_ceil(end_position)` when they are chosen.
pub(crate) struct LogState<S: Storage> {
    /// Sealed ones in offset order, then the active one; never empty.
    pub(crate) segments: VecDeque<Rc<Segment<S>>>,
    pub(crate) active_file: Rc<S::File>,
    pub(crate) appender: Option<Appender<S>>,
    /// Bytes of the partly filled last block that a commit has taken.
    pub(crate) tail: Vec<u8>,
    /// Where the next frame begins.
    pub(crate) end_position: u64,
    /// Up to here reads from the file see whole frames.
    pub(crate) written_position: u64,
    /// Up to here writes cannot run out of space.
    pub(crate) allocated: u64,
    /// Up to here every block was written and then synced through this file: a flush of the device is enough for it.
    pub(crate) clean_until: u64,
    /// As `clean_until`, for a range further ahead.
    pub(crate) ahead: Range<u64>,
    /// Zeros are being written here right now.
    pub(crate) zeroing: Range<u64>,
    /// Prewriting hit the end of the space; a successful reservation lifts it.
    pub(crate) prewrite_paused: bool,
    pub(crate) prewrite_queued: bool,
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    /// Everything below is in the segments' files.
    pub(crate) written_end: Offset,
    /// Everything below is in the segments' files or in the journal.
    journaled_end: Offset,
    durable_end: Offset,
    pub(crate) last_epoch: LeaderEpoch,
    pub(crate) incarnation: Incarnation,
    /// Rises when readers must look at the segments anew: truncation, deletion.
    pub(crate) generation: u64,
    /// In the shard's list of dirty logs.
    pub(crate) dirty: bool,
    pub(crate) in_commit: bool,
    /// What the journal has is being written to the active segment.
    pub(crate) writing_back: bool,
    /// Somebody waits for that, or the journal needs the room.
    pub(crate) write_back_wanted: bool,
    /// Lap of the journal with the oldest frames of the write buffer; none if it has no frames in the journal.
    pub(crate) buffer_lap: Option<u64>,
    /// The same of what is being written back.
    pub(crate) writing_back_lap: Option<u64>,
    /// Structural changes that keep appends away.
    pub(crate) blocked: u32,
    pub(crate) closed: bool,
    /// An append of up to that much was let in by the shard's [`crate::gather::GatherRoom`].
    pub(crate) pass_bytes: u64,
    pub(crate) rate: AppendRate,
    /// What recent commits had, for the next write buffer's size.
    pub(crate) expected_commit_bytes: usize,
    /// Bytes of its commits, averaged over the last few.
    pub(crate) usual_commit_bytes: u64,
    /// Where recent disk reads ended (segment uid, position): a read that begins there is sequential.
    pub(crate) recent_read_ends: [(u64, u64); 4],
    pub(crate) recent_read_at: usize,
}

/// What [`LogState::new`] needs to know of the active segment.
pub(crate) struct ActiveSegment<S: Storage> {
    pub(crate) file: Rc<S::File>,
    pub(crate) tail: Vec<u8>,
    pub(crate) allocated: u64,
    pub(crate) clean_until: u64,
}

impl<S: Storage> LogState<S> {
    /// A log that was recovered: everything in `segments` is durable.
    pub(crate) fn new(
        segments: VecDeque<Rc<Segment<S>>>,
        active: ActiveSegment<S>,
        log_start: Offset,
        last_epoch: LeaderEpoch,
        incarnation: Incarnation,
    ) -> LogState<S> {
        let summary = segments.back().expect("a log has an active segment").summary.get();
        let log_end = summary.next_offset;
        assert!(log_start <= log_end, "log start {log_start} above log end {log_end}");
        LogState {
            segments,
            active_file: active.file,
            appender: None,
            tail: active.tail,
            end_position: summary.end_position,
            written_position: summary.end_position,
            allocated: active.allocated,
            clean_until: active.clean_until,
            ahead: ZEROING_NONE,
            zeroing: ZEROING_NONE,
            prewrite_paused: false,
            prewrite_queued: false,
            log_start,
            log_end,
            written_end: log_end,
            journaled_end: log_end,
            durable_end: log_end,
            last_epoch,
            incarnation,
            generation: 0,
            dirty: false,
            in_commit: false,
            writing_back: false,
            write_back_wanted: false,
            buffer_lap: None,
            writing_back_lap: None,
            blocked: 0,
            closed: false,
            pass_bytes: 0,
            rate: AppendRate::default(),
            expected_commit_bytes: 0,
            usual_commit_bytes: 0,
            recent_read_ends: [(0, 0); 4],
            recent_read_at: 0,
        }
    }

    pub(crate) fn durable_end(&self) -> Offset {
        let secured = self.written_end.max(self.journaled_end);
        assert!(
            self.durable_end <= secured && secured <= self.log_end,
            "durable {} written {} journaled {} log end {}",
            self.durable_end,
            self.written_end,
            self.journaled_end,
            self.log_end
        );
        self.durable_end
    }

    /// The only way that the durable end advances.
    pub(crate) fn advance_durable(&mut self, end: Offset, _proof: &FlushProof) {
        let secured = self.written_end.max(self.journaled_end);
        assert!(end <= secured, "synced end {end} was not written: {secured}");
        assert!(end >= self.durable_end, "durable end {} would fall to {end}", self.durable_end);
        self.durable_end = end;
    }

    /// A record of the journal that holds everything below `end` was written and synced.
    pub(crate) fn note_journaled(&mut self, end: Offset, proof: &FlushProof) {
        self.journaled_end = end;
        self.advance_durable(end, proof);
    }

    /// Whether the journal's lap holds frames of this log that are nowhere else durable.
    pub(crate) fn holds_lap(&self, lap: u64) -> bool {
        !self.closed && [self.buffer_lap, self.writing_back_lap].contains(&Some(lap))
    }

    /// After a truncation that is durable itself.
    pub(crate) fn cut_ends(&mut self, end: Offset) {
        assert!(end <= self.durable_end, "only what is durable is cut: {end} above {}", self.durable_end);
        self.log_end = end;
        self.written_end = end;
        self.journaled_end = end;
        self.durable_end = end;
    }

    /// After a restart that is durable itself, with nothing waiting or under way: what was here is gone, and so is
    /// everything that said where it lay.
    pub(crate) fn restart(&mut self, segment: Segment<S>, active: ActiveSegment<S>, incarnation: Incarnation) {
        assert!(self.is_quiet(), "a write into a log that is gone");
        let begin = segment.base;
        let segments = VecDeque::from([Rc::new(segment)]);
        *self = LogState {
            generation: self.generation + 1,
            // The shard's queues and those who wait still count on these.
            dirty: self.dirty,
            prewrite_queued: self.prewrite_queued,
            blocked: self.blocked,
            pass_bytes: self.pass_bytes,
            rate: self.rate,
            expected_commit_bytes: self.expected_commit_bytes,
            usual_commit_bytes: self.usual_commit_bytes,
            ..LogState::new(segments, active, begin, LeaderEpoch(0), incarnation)
        };
    }

    pub(crate) fn active(&self) -> &Rc<Segment<S>> {
        self.segments.back().expect("a log has an active segment")
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.summary.get().size_bytes()).sum()
    }

    /// Nothing waits for a commit or to be written back, neither is in flight, no zeros are being written.
    pub(crate) fn is_quiet(&self) -> bool {
        self.appender.is_none() && !self.in_commit && !self.writing_back && self.zeroing.is_empty()
    }

    /// Whether the active segment is full or old for a frame of `frame_bytes`.
    pub(crate) fn must_roll(&self, frame_bytes: u64, config: &LogConfig, now_ms: i64) -> bool {
        let summary = self.active().summary.get();
        if summary.is_empty() {
            return false;
        }
        self.end_position + frame_bytes > config.segment_bytes || is_old(&summary, config, now_ms)
    }

    /// Takes a batch in, for which there is room. `small_bytes_max`: a frame that may go to the journal.
    pub(crate) fn append(
        &mut self,
        storage: &S,
        info: FrameInfo,
        batch: &[&[u8]],
        stamped: &BatchHeader,
        now_ms: i64,
        small_bytes_max: u64,
    ) {
        let seed = self.active().seed;
        // What goes to the journal stays in the buffer for long, so that one begins small.
        let expected = if info.frame_bytes() <= small_bytes_max { 0 } else { self.expected_commit_bytes };
        let position = self.end_position;
        let tail = &self.tail;
        let appender = self.appender.get_or_insert_with(|| Appender::new(storage, position, tail, expected));
        appender.append(storage, seed, info, batch);
        self.end_position = appender.end();
        assert!(self.end_position <= self.allocated, "{} above {}", self.end_position, self.allocated);
        let active = self.active();
        let mut summary = active.summary.get();
        active.with_index(|index| index.note(info.base_offset, position, summary.max_timestamp));
        summary.note(stamped, self.end_position, now_ms);
        active.summary.set(summary);
        self.log_end = info.next_offset();
        self.last_epoch = info.leader_epoch;
        self.rate.note(info.frame_bytes(), now_ms);
    }

    /// Whether a flush of the device is enough for these whole blocks.
    pub(crate) fn is_clean(&self, blocks: &Range<u64>) -> bool {
        blocks.end <= self.clean_until || (self.ahead.start <= blocks.start && blocks.end <= self.ahead.end)
    }

    /// A write-back that must sync the file itself takes zeros along, as much as was appended lately some times over, so
    /// that the next ones need no more than a flush of the device. Gives where they end; [`Self::prewrite_queued`] keeps
    /// others from writing there until they are clean.
    pub(crate) fn claim_zeros_behind(&mut self, end: u64, segment_bytes: u64) -> u64 {
        let wanted = block_ceil(WRITE_BACK_ZEROS_FACTOR * self.expected_commit_bytes as u64).min(WRITE_BACK_ZEROS_MAX);
        let limit = (end + wanted).min(self.allocated).min(block_ceil(segment_bytes));
        let free = self.ahead.is_empty() && self.zeroing.is_empty() && !self.prewrite_queued && self.blocked == 0;
        if !free || limit <= end {
            return end;
        }
        self.prewrite_queued = true;
        limit
    }

    /// These blocks were written, and synced through the file itself or as clean ones.
    pub(crate) fn note_clean(&mut self, blocks: &Range<u64>) {
        if blocks.start <= self.clean_until {
            self.clean_until = self.clean_until.max(blocks.end);
        }
        self.merge_ahead();
    }

    pub(crate) fn note_prewritten(&mut self, blocks: Range<u64>) {
        if blocks.start <= self.clean_until {
            self.clean_until = self.clean_until.max(blocks.end);
        } else if self.ahead.end == blocks.start && !self.ahead.is_empty() {
            self.ahead.end = blocks.end;
        } else {
            self.ahead = blocks;
        }
        self.merge_ahead();
    }

    fn merge_ahead(&mut self) {
        if self.ahead.start <= self.clean_until {
            self.clean_until = self.clean_until.max(self.ahead.end);
            self.ahead = ZEROING_NONE;
        }
    }

    /// Index of the segment that contains `offset`, or would.
    pub(crate) fn segment_at(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    /// Where frames end in the file of `segment`, as far as they can be read.
    pub(crate) fn readable_end(&self, segment: &Segment<S>) -> u64 {
        if segment.uid == self.active().uid { self.written_position } else { segment.summary.get().end_position }
    }

    /// First position that prewriting may touch.
    pub(crate) fn first_free_block(&self) -> u64 {
        block_ceil(self.end_position)
    }
}

pub(crate) fn is_old(summary: &SegmentSummary, config: &LogConfig, now_ms: i64) -> bool {
    !summary.is_empty() && now_ms.saturating_sub(summary.first_append_ms) >= config.segment_ms
}
