//! One pass over a log: reading keys, writing segments anew.

use std::rc::Rc;

use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset};

use super::plan::{SegmentExtent, cleanable, groups};
use super::retention::{Fate, Judged, Retention, note_keys};
use super::writer::SegmentWriter;
use super::{Cleanable, CompactionError, CompactionReport, CompactionRules, CompactionTask, OffsetMap, Pace};
use crate::file::Storage;
use crate::frame::Incarnation;
use crate::log::{Log, LogInner};
use crate::recovery::{Corruption, IncarnationRule, Refusal, ScanPlace, ScannedFrame, Scanner};
use crate::segment::{FIRST_FRAME_POSITION, NameKind, Segment, file_name};
use crate::sync::yield_now;

/// After so many bytes of records, or read and written, others go on. That is not free, so a small batch is no reason for it.
const WORK_BYTES: usize = 64 << 10;

impl<S: Storage> Log<S> {
    /// How dirty the log is; see [`CompactionTask`] for `limit`.
    #[must_use]
    pub fn cleanable(&self, rules: &CompactionRules, limit: Offset, now_ms: i64) -> Cleanable {
        self.inner.look_for_dirt(rules, limit, now_ms)
    }

    /// Compacts what may be compacted, whether or not a pass is due; one at a time per log. Appends and reads go on meanwhile.
    ///
    /// # Errors
    /// Whatever it is, no record is lost that should stay; [`CompactionError::Fatal`] ends the process as elsewhere.
    pub async fn compact(&self, task: &CompactionTask, pace: &impl Pace) -> Result<CompactionReport, CompactionError> {
        let cleanable = self.cleanable(&task.rules, task.limit, task.now_ms);
        let report = CompactionReport { first_dirty: cleanable.first_dirty, ..CompactionReport::default() };
        if cleanable.dirty_bytes == 0 {
            return Ok(report);
        }
        let incarnation = self.incarnation();
        Pass { log: &self.inner, task, pace, incarnation, report, work_bytes: 0, io_bytes: 0 }.run(cleanable).await
    }
}

impl<S: Storage> LogInner<S> {
    fn look_for_dirt(&self, rules: &CompactionRules, limit: Offset, now_ms: i64) -> Cleanable {
        let state = self.state.borrow();
        let extents: Vec<_> = state.segments.iter().map(|segment| extent(segment)).collect();
        // What is not durable is not replaced either.
        let limit = limit.min(state.durable_end());
        cleanable(&extents, state.log_start, self.first_dirty.get(), limit, rules, now_ms)
    }
}

fn extent<S: Storage>(segment: &Segment<S>) -> SegmentExtent {
    SegmentExtent { base: segment.base, summary: segment.summary.get() }
}

struct Pass<'a, S: Storage, P: Pace> {
    log: &'a Rc<LogInner<S>>,
    task: &'a CompactionTask,
    pace: &'a P,
    /// The log's when the pass began.
    incarnation: Incarnation,
    report: CompactionReport,
    /// Since others went on last.
    work_bytes: usize,
    /// Read and written, and not told the pace yet.
    io_bytes: u64,
}

impl<S: Storage, P: Pace> Pass<'_, S, P> {
    async fn run(mut self, cleanable: Cleanable) -> Result<CompactionReport, CompactionError> {
        let segments: Vec<Rc<Segment<S>>> = {
            let state = self.log.state.borrow();
            let is_readable = |segment: &&Rc<Segment<S>>| {
                segment.base < cleanable.end && segment.summary.get().next_offset > state.log_start
            };
            state.segments.iter().filter(is_readable).cloned().collect()
        };
        let (map, map_end) = self.read_keys(&segments, &cleanable).await?;
        self.report.keys = map.len();
        self.report.is_partial = map_end < cleanable.end;
        let last_of_producers = self.log.producers.borrow().last_offsets();
        let (now_ms, delete_retention_ms) = (self.task.now_ms, self.task.rules.delete_retention_ms);
        let retention =
            Retention { map: &map, map_end, last_of_producers: &last_of_producers, now_ms, delete_retention_ms };
        let reached: Vec<_> = segments.into_iter().filter(|segment| segment.base < map_end).collect();
        let extents: Vec<_> = reached.iter().map(|segment| extent(segment)).collect();
        for group in groups(&extents, self.task.rules.segment_bytes) {
            self.rewrite(&reached[group], &retention).await?;
        }
        self.note_progress(map_end).await?;
        Ok(self.report)
    }

    /// The last offset of each key in the dirty part, and up to where they found room.
    async fn read_keys(
        &mut self,
        segments: &[Rc<Segment<S>>],
        cleanable: &Cleanable,
    ) -> Result<(OffsetMap, Offset), CompactionError> {
        let Cleanable { first_dirty, end, .. } = *cleanable;
        let keys = (end.0 - first_dirty.0).unsigned_abs();
        let mut map = OffsetMap::new(self.task.map_bytes, keys, self.task.hashers.clone());
        for segment in segments.iter().filter(|segment| segment.summary.get().next_offset > first_dirty) {
            let mut frames = Frames::open(self.log, segment).await?;
            while let Some(frame) = frames.next().await? {
                self.took(frames.take_read_bytes(), 0).await?;
                if frame.info.last_offset < first_dirty {
                    self.worked(frame.info.frame_bytes() as usize).await?;
                    continue;
                }
                let batch = frames.batch(&frame).await?;
                let (reached, bytes) = note_keys(&mut map, batch, first_dirty)
                    .map_err(|source| CompactionError::Records { offset: frame.batch.base_offset, source })?;
                if reached < frame.info.next_offset() {
                    return Ok((map, reached));
                }
                self.worked(bytes).await?;
            }
        }
        Ok((map, end))
    }

    /// Makes one segment of `old`, unless that is one and would stay as it is.
    async fn rewrite(&mut self, old: &[Rc<Segment<S>>], retention: &Retention<'_>) -> Result<(), CompactionError> {
        let log = self.log;
        let bytes_before = old.iter().map(|segment| segment.summary.get().size_bytes()).sum::<u64>();
        self.report.bytes_before += bytes_before;
        self.report.segments_before += old.len();
        self.report.segments_after += 1;
        let mut same_below = old[0].base;
        if let [segment] = old {
            match self.first_change(segment, retention).await? {
                Some(offset) => same_below = offset,
                None => {
                    self.report.bytes_after += bytes_before;
                    return Ok(());
                }
            }
        }
        let (storage, interval) = (&log.shard.storage, log.config.get().index_interval_bytes);
        let created = SegmentWriter::create(storage, &log.dir, log.identity, old[0].base, interval).await;
        let mut writer = created.map_err(|error| log.change_error(error))?;
        if let Err(error) = self.copy(old, retention, same_below, &mut writer).await {
            writer.discard().await;
            return Err(error);
        }
        self.report.bytes_after += writer.size_bytes();
        let written = writer.finish(self.incarnation).await;
        let mut written = written.map_err(|error| log.change_error(error))?;
        let appended = |segment: &Rc<Segment<S>>| {
            let summary = segment.summary.get();
            (summary.first_append_ms, summary.last_append_ms)
        };
        written.summary.first_append_ms = old.iter().map(|segment| appended(segment).0).min().unwrap_or(-1);
        written.summary.last_append_ms = old.iter().map(|segment| appended(segment).1).max().unwrap_or(-1);
        log.install_compacted(old.to_vec(), written).await
    }

    /// Where the first frame begins that would not stay as it is; `None` if all would. Most segments without one hold nothing
    /// that was written anew since they were compacted, and are not written again.
    async fn first_change(
        &mut self,
        segment: &Rc<Segment<S>>,
        retention: &Retention<'_>,
    ) -> Result<Option<Offset>, CompactionError> {
        let end = segment.summary.get().next_offset;
        let mut records = 0;
        let mut frames = Frames::open(self.log, segment).await?;
        while let Some(frame) = frames.next().await? {
            self.took(frames.take_read_bytes(), 0).await?;
            let judged = judge(&mut frames, &frame, retention, end).await?;
            if judged.fate != Fate::Copy {
                return Ok(Some(frame.info.base_offset));
            }
            records += judged.records_before;
            self.worked(judged.records_bytes).await?;
        }
        self.report.records_before += records;
        self.report.records_after += records;
        Ok(None)
    }

    /// Writes what stays of `old`, of which all stays below `same_below`.
    async fn copy(
        &mut self,
        old: &[Rc<Segment<S>>],
        retention: &Retention<'_>,
        same_below: Offset,
        writer: &mut SegmentWriter<S>,
    ) -> Result<(), CompactionError> {
        let end = old.last().expect("a group has a segment").summary.get().next_offset;
        let mut written_bytes = 0;
        for segment in old {
            let mut frames = Frames::open(self.log, segment).await?;
            while let Some(frame) = frames.next().await? {
                let written = writer.size_bytes();
                self.took(frames.take_read_bytes(), written - written_bytes).await?;
                written_bytes = written;
                let Judged { fate, records_before, records_after, records_bytes } =
                    if frame.info.base_offset < same_below {
                        Judged::copied(&frame.batch)
                    } else {
                        judge(&mut frames, &frame, retention, end).await?
                    };
                self.report.records_before += records_before;
                self.report.records_after += records_after;
                let batch = frames.batch(&frame).await?;
                let added = match &fate {
                    Fate::Copy => writer.append(&frame.info, batch, &frame.batch).await,
                    Fate::Replace(batch) => {
                        let header = BatchHeader::parse(batch).expect("it was just built");
                        writer.append(&frame.info, batch, &header).await
                    }
                    Fate::Drop => Ok(()),
                };
                added.map_err(|error| self.log.change_error(error))?;
                self.worked(records_bytes).await?;
            }
        }
        self.took(0, writer.size_bytes() - written_bytes).await
    }

    /// So much was read and written.
    async fn took(&mut self, read_bytes: u64, written_bytes: u64) -> Result<(), CompactionError> {
        self.report.read_bytes += read_bytes;
        self.report.written_bytes += written_bytes;
        self.io_bytes += read_bytes + written_bytes;
        if self.io_bytes >= WORK_BYTES as u64 { self.pause().await } else { Ok(()) }
    }

    /// So many bytes of records were gone through.
    async fn worked(&mut self, bytes: usize) -> Result<(), CompactionError> {
        self.work_bytes += bytes;
        if self.work_bytes >= WORK_BYTES { self.pause().await } else { Ok(()) }
    }

    /// Lets others go on, for as long as the pace says.
    async fn pause(&mut self) -> Result<(), CompactionError> {
        self.work_bytes = 0;
        yield_now().await;
        if self.pace.took(std::mem::take(&mut self.io_bytes)).await { Ok(()) } else { Err(CompactionError::Stopped) }
    }

    async fn note_progress(&mut self, map_end: Offset) -> Result<(), CompactionError> {
        let log = self.log.clone();
        let incarnation = self.incarnation;
        let work = async move {
            let structure = log.structure.lock().await;
            log.check_open()?;
            if structure.checkpoint.incarnation != incarnation {
                return Err(CompactionError::Changed);
            }
            Ok(log.store_progress(map_end).await?)
        };
        self.log.shard.jobs.run(work).await??;
        self.report.first_dirty = map_end;
        Ok(())
    }
}

/// What becomes of the batch in a frame of a segment that ends at `end`.
async fn judge<S: Storage>(
    frames: &mut Frames<'_, S>,
    frame: &ScannedFrame,
    retention: &Retention<'_>,
    end: Offset,
) -> Result<Judged, CompactionError> {
    let must_stay = frame.info.next_offset() == end;
    let judged = retention.judge(frames.batch(frame).await?, must_stay);
    judged.map_err(|source| CompactionError::Records { offset: frame.batch.base_offset, source })
}

/// The frames of a segment in order, each with both checksums checked.
struct Frames<'a, S: Storage> {
    log: &'a LogInner<S>,
    segment: &'a Segment<S>,
    scanner: Scanner<S>,
    place: ScanPlace,
    /// Of what the scanner has read.
    told_bytes: u64,
}

impl<'a, S: Storage> Frames<'a, S> {
    async fn open(log: &'a Rc<LogInner<S>>, segment: &'a Rc<Segment<S>>) -> Result<Frames<'a, S>, CompactionError> {
        let file = log.sealed_file(segment).await?;
        let rule = IncarnationRule { current: log.state.borrow().incarnation, settled_position: u64::MAX };
        let scanner = Scanner::new(file, segment.seed, rule).await.map_err(CompactionError::Io)?;
        let place = ScanPlace {
            position: FIRST_FRAME_POSITION,
            offset: segment.base,
            epoch: LeaderEpoch(0),
            incarnation: Incarnation(0),
        };
        Ok(Frames { log, segment, scanner: scanner.in_turns(log.shard.clone()), place, told_bytes: 0 })
    }

    /// `None` after the last.
    async fn next(&mut self) -> Result<Option<ScannedFrame>, CompactionError> {
        let summary = self.segment.summary.get();
        if self.place.offset == summary.next_offset {
            return Ok(None);
        }
        match self.scanner.next(&self.place).await.map_err(CompactionError::Io)? {
            Ok(frame) => {
                self.place.follow(&frame);
                Ok(Some(frame))
            }
            Err(found) => {
                let corruption = Corruption {
                    path: self.log.dir.join(file_name(self.segment.base, NameKind::Log)),
                    position: self.place.position,
                    offset: self.place.offset,
                    found,
                    refusal: Refusal::SealedDamaged,
                    synced: summary.next_offset,
                    valid_frames_beyond: 0,
                };
                Err(Box::new(corruption).into())
            }
        }
    }

    /// The batch of the frame that was given last.
    async fn batch(&mut self, frame: &ScannedFrame) -> Result<&[u8], CompactionError> {
        self.scanner.payload(frame).await.map_err(CompactionError::Io)
    }

    fn take_read_bytes(&mut self) -> u64 {
        let read_bytes = self.scanner.read_bytes;
        read_bytes - std::mem::replace(&mut self.told_bytes, read_bytes)
    }
}
