//! Which segments go, and letting them go: by age, by size, and below the log start offset.
//!
//! As in Kafka: whole segments, oldest first, never with records at or above the high watermark; by age a segment goes by
//! its newest timestamp; the active segment is rolled first if it is to go, so a log always has one.
//!
//! Order on disk: the raised log start is durable before the first file goes, so a crash in between leaves segments below
//! the log start, which the next run deletes.

use std::rc::Rc;

use protocol::Offset;

use crate::file::{IoError, Storage};
use crate::jobs::LogClosed;
use crate::log::{LogConfig, LogInner, Structure};
use crate::segment::{NameKind, Segment, SegmentSummary, file_name};
use crate::shard::FatalIo;

/// Name of a deleted segment's file that is kept to become a new segment.
pub(crate) const SPARE_FILE: &str = "spare";
/// A spare is kept only where the log fills a segment within this time.
const SPARE_WITHIN_SECONDS: u64 = 600;
/// Without an append for this long a log counts as idle.
const IDLE_MS: i64 = 60_000;

/// What a run of retention did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RetentionReport {
    /// Segments deleted.
    pub segments: usize,
    /// Bytes of their batches and frames.
    pub bytes: u64,
    /// The active segment was rolled.
    pub rolled: bool,
}

/// Why retention did not run to its end; it goes on with the next run.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error(transparent)]
    Io(IoError),
    /// The process must end.
    #[error(transparent)]
    Fatal(#[from] FatalIo),
    #[error(transparent)]
    Closed(#[from] LogClosed),
}

/// What retention is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Plan {
    /// Number of segments to delete, from the oldest.
    delete: usize,
    /// Roll the active segment first.
    roll: bool,
}

/// Pure. `segments` in offset order, the last one active.
fn plan(
    segments: &[SegmentSummary],
    config: &LogConfig,
    log_start: Offset,
    high_watermark: Offset,
    now_ms: i64,
) -> Plan {
    let Some((active, _)) = segments.split_last() else { return Plan::default() };
    let mut total_bytes: u64 = segments.iter().map(SegmentSummary::size_bytes).sum();
    let expires = |segment: &SegmentSummary| {
        config.retention_ms >= 0 && now_ms.saturating_sub(segment.retention_timestamp()) > config.retention_ms
    };
    let mut delete = 0;
    for segment in segments {
        if segment.is_empty() || segment.next_offset > high_watermark {
            break;
        }
        let too_large = config.retention_bytes >= 0
            && total_bytes.saturating_sub(segment.size_bytes()) >= config.retention_bytes as u64;
        let goes = segment.next_offset <= log_start || (config.delete_policy && (expires(segment) || too_large));
        if !goes {
            break;
        }
        total_bytes -= segment.size_bytes();
        delete += 1;
    }
    let roll = delete == segments.len() || crate::log::is_old(active, config, now_ms);
    Plan { delete, roll }
}

impl<S: Storage> LogInner<S> {
    pub(crate) async fn enforce_retention(
        self: Rc<Self>,
        now_ms: i64,
        high_watermark: Offset,
    ) -> Result<RetentionReport, RetentionError> {
        let log = self.clone();
        self.shard.jobs.run(async move { log.retain(now_ms, high_watermark).await }).await?
    }

    async fn retain(self: &Rc<Self>, now_ms: i64, high_watermark: Offset) -> Result<RetentionReport, RetentionError> {
        let mut structure = self.structure.lock().await;
        if self.is_ended() {
            return Err(LogClosed.into());
        }
        let config = self.config.get();
        // What is not durable is not deleted either: the new log start must not pass it.
        let limit = high_watermark.min(self.state.borrow().durable_end());
        let summaries: Vec<_> = self.state.borrow().segments.iter().map(|segment| segment.summary.get()).collect();
        let plan = plan(&summaries, &config, self.state.borrow().log_start, limit, now_ms);
        let mut report = RetentionReport::default();
        if plan.roll {
            self.roll(&mut structure).await?;
            report.rolled = true;
        }
        let doomed: Vec<Rc<Segment<S>>> = self.state.borrow().segments.iter().take(plan.delete).cloned().collect();
        let keep_spare = self.fills_a_segment_soon(&config, now_ms);
        if !doomed.is_empty() {
            let first_kept = self.state.borrow().segments[doomed.len()].base;
            self.raise_log_start(&mut structure, first_kept).await?;
            {
                let mut state = self.state.borrow_mut();
                state.segments.drain(..doomed.len());
                state.generation += 1;
            }
            for segment in doomed {
                report.segments += 1;
                report.bytes += segment.summary.get().size_bytes();
                self.delete_segment(&mut structure, segment, keep_spare).await?;
            }
            self.shard.metrics.deleted_segments.add(report.segments as u64);
            self.shard.metrics.deleted_bytes.add(report.bytes);
            self.shard.storage.sync_dir(&self.dir).await.map_err(|error| self.change_error(error))?;
        }
        if structure.spare_written.is_some() && !keep_spare {
            structure.spare_written = None;
            self.remove_file(SPARE_FILE).await?;
        }
        Ok(report)
    }

    fn fills_a_segment_soon(&self, config: &LogConfig, now_ms: i64) -> bool {
        let rate = self.state.borrow().rate.bytes_per_second_at(now_ms, IDLE_MS);
        rate.saturating_mul(SPARE_WITHIN_SECONDS) > config.segment_bytes
    }

    async fn delete_segment(
        &self,
        structure: &mut Structure,
        segment: Rc<Segment<S>>,
        keep_spare: bool,
    ) -> Result<(), RetentionError> {
        let path = self.dir.join(file_name(segment.base, NameKind::Log));
        // A reader that still holds the file would see what the next segment writes into it.
        let unread = segment.forget_file().is_none_or(|file| Rc::strong_count(&file) == 1);
        let changing = self.names.changing().await;
        if keep_spare && unread && structure.spare_written.is_none() && Rc::strong_count(&segment) == 1 {
            let renamed = self.shard.storage.rename(&path, &self.dir.join(SPARE_FILE)).await;
            renamed.map_err(|error| self.change_error(error))?;
            structure.spare_written = Some(segment.summary.get().end_position);
        } else {
            self.shard.storage.remove(&path).await.map_err(|error| self.change_error(error))?;
        }
        for kind in [NameKind::Index, NameKind::State] {
            self.remove_file(&file_name(segment.base, kind)).await?;
        }
        drop(changing);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
