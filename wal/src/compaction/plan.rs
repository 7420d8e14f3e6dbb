//! What of a log is dirty, whether it is to be compacted now, and which segments become one. Pure.
//!
//! As Kafka's `LogCleanerManager` and `Cleaner.groupSegmentsBySize` decide.

use std::ops::Range;

use protocol::Offset;

use crate::segment::SegmentSummary;

/// A topic's settings for compaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionRules {
    /// Share of the log that must be dirty (`min.cleanable.dirty.ratio`).
    pub min_cleanable_ratio: f64,
    /// Milliseconds that a record stays as it is at least (`min.compaction.lag.ms`).
    pub min_compaction_lag_ms: i64,
    /// Milliseconds after which a segment is compacted whatever the ratio is (`max.compaction.lag.ms`), counted from the largest
    /// timestamp of its first batch; records without timestamps are never overdue.
    pub max_compaction_lag_ms: i64,
    /// Milliseconds from the first compaction of a tombstone on that it stays (`delete.retention.ms`).
    pub delete_retention_ms: i64,
    /// Segments are put together up to this size (`segment.bytes`).
    pub segment_bytes: u64,
}

/// A segment, as far as the plan needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentExtent {
    pub(crate) base: Offset,
    pub(crate) summary: SegmentSummary,
}

/// How dirty a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanable {
    /// Where the dirty part begins.
    pub first_dirty: Offset,
    /// Up to here it may be compacted now.
    pub end: Offset,
    /// Bytes of the segments before the dirty part, and of those in it that may be compacted.
    pub clean_bytes: u64,
    pub dirty_bytes: u64,
    /// A dirty segment is older than `max.compaction.lag.ms`.
    pub is_overdue: bool,
}

impl Cleanable {
    /// Share of the log that is dirty, 0 to 1.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        let total = self.clean_bytes + self.dirty_bytes;
        if total == 0 { 0.0 } else { self.dirty_bytes as f64 / total as f64 }
    }

    /// Whether a pass is due.
    #[must_use]
    pub fn is_due(&self, rules: &CompactionRules) -> bool {
        self.dirty_bytes > 0 && (self.is_overdue || self.ratio() > rules.min_cleanable_ratio)
    }
}

/// Looks at a log. `segments` in offset order, the last one active; `first_dirty` as it was noted, whatever became of the log
/// since; `limit` as in [`super::CompactionTask`].
pub(crate) fn cleanable(
    segments: &[SegmentExtent],
    log_start: Offset,
    first_dirty: Offset,
    limit: Offset,
    rules: &CompactionRules,
    now_ms: i64,
) -> Cleanable {
    let Some((active, sealed)) = segments.split_last() else { unreachable!("a log has an active segment") };
    let log_end = active.summary.next_offset;
    // Retention or DeleteRecords went further, or the log is shorter than it was.
    let is_usable = (log_start..=log_end).contains(&first_dirty);
    let first_dirty = if is_usable { first_dirty } else { log_start };
    let readable = sealed.iter().filter(|segment| segment.summary.next_offset > log_start);
    let newest_ms = now_ms.saturating_sub(rules.min_compaction_lag_ms.max(0));
    let oldest_ms = now_ms.saturating_sub(rules.max_compaction_lag_ms.max(0));
    let mut found = Cleanable { first_dirty, end: first_dirty, clean_bytes: 0, dirty_bytes: 0, is_overdue: false };
    for SegmentExtent { summary, .. } in readable.clone() {
        if summary.next_offset <= first_dirty {
            found.clean_bytes += summary.size_bytes();
            continue;
        }
        let too_young = rules.min_compaction_lag_ms > 0 && summary.retention_timestamp() > newest_ms;
        if summary.next_offset > limit || too_young {
            break;
        }
        found.dirty_bytes += summary.size_bytes();
        found.end = summary.next_offset;
    }
    let mut dirty = readable.filter(|segment| segment.summary.next_offset > first_dirty);
    found.is_overdue = dirty.any(|segment| (1..oldest_ms).contains(&segment.summary.first_batch_timestamp));
    found
}

/// Runs of segments that become one each: as many as fit `segment_bytes` together by what they have now.
pub(crate) fn groups(segments: &[SegmentExtent], segment_bytes: u64) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (at, segment) in segments.iter().enumerate() {
        let size = segment.summary.size_bytes();
        match groups.last_mut() {
            Some(group) if bytes + size <= segment_bytes => {
                group.end = at + 1;
                bytes += size;
            }
            _ => {
                groups.push(at..at + 1);
                bytes = size;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::FIRST_FRAME_POSITION;

    const RULES: CompactionRules = CompactionRules {
        min_cleanable_ratio: 0.5,
        min_compaction_lag_ms: 0,
        max_compaction_lag_ms: i64::MAX,
        delete_retention_ms: 0,
        segment_bytes: 1_000,
    };

    /// Segments of ten offsets each, of so many bytes; the time of each is ten times its first offset.
    fn segments(bytes: &[u64]) -> Vec<SegmentExtent> {
        let extent = |(at, bytes): (usize, &u64)| {
            let base = Offset(at as i64 * 10);
            let mut summary = SegmentSummary::empty(base);
            summary.next_offset = base.advance(10);
            summary.end_position = FIRST_FRAME_POSITION + bytes;
            summary.max_timestamp = base.0 * 10;
            summary.first_batch_timestamp = base.0 * 10;
            SegmentExtent { base, summary }
        };
        bytes.iter().enumerate().map(extent).collect()
    }

    fn look(first_dirty: i64, limit: i64, rules: &CompactionRules) -> Cleanable {
        cleanable(&segments(&[100, 200, 300, 400, 50]), Offset(0), Offset(first_dirty), Offset(limit), rules, 1_000)
    }

    #[test]
    fn the_active_segment_and_what_reaches_above_the_limit_stay_out() {
        let all = look(0, 50, &RULES);
        assert_eq!((all.end, all.clean_bytes, all.dirty_bytes), (Offset(40), 0, 1_000));
        let committed = look(0, 39, &RULES);
        assert_eq!((committed.end, committed.dirty_bytes), (Offset(30), 600));
        let nothing = look(0, 5, &RULES);
        assert_eq!((nothing.end, nothing.dirty_bytes, nothing.is_due(&RULES)), (Offset(0), 0, false));
    }

    #[test]
    fn a_pass_is_due_above_the_ratio() {
        let half = look(20, 50, &RULES);
        assert_eq!((half.clean_bytes, half.dirty_bytes), (300, 700));
        assert!(half.is_due(&RULES) && !half.is_due(&CompactionRules { min_cleanable_ratio: 0.7, ..RULES }));
        // A segment that a pass came only half through is dirty.
        assert_eq!(look(25, 50, &RULES), Cleanable { first_dirty: Offset(25), ..half });
        let zero = CompactionRules { min_cleanable_ratio: 0.0, ..RULES };
        assert!(look(0, 50, &zero).is_due(&zero) && !look(40, 50, &zero).is_due(&zero), "no byte is dirty");
    }

    #[test]
    fn what_is_too_young_stays_and_what_is_too_old_does_not_wait() {
        let lag = CompactionRules { min_compaction_lag_ms: 800, ..RULES };
        assert_eq!(
            look(0, 50, &lag).end,
            Offset(30),
            "the segment from 200 ms is 800 ms old, the one from 300 ms is not"
        );
        let overdue = CompactionRules { max_compaction_lag_ms: 750, min_cleanable_ratio: 1.0, ..RULES };
        assert!(look(20, 50, &overdue).is_due(&overdue));
        assert!(!look(30, 50, &overdue).is_due(&overdue));
        // One that cannot be compacted yet makes what can be due, as in Kafka; where nothing can be, nothing is due.
        let (some, none) = (look(0, 10, &overdue), look(0, 5, &overdue));
        assert!(some.end == Offset(10) && some.is_due(&overdue) && none.is_overdue && !none.is_due(&overdue));
        let first = CompactionRules { max_compaction_lag_ms: 950, ..overdue };
        assert!(!look(0, 50, &first).is_overdue, "0 is no timestamp");
    }

    #[test]
    fn a_first_dirty_offset_outside_of_the_log_counts_for_nothing() {
        let from = |log_start, first_dirty| {
            let segments = segments(&[100, 200, 300]);
            cleanable(&segments, Offset(log_start), Offset(first_dirty), Offset(30), &RULES, 1_000)
        };
        assert_eq!(from(12, 5).first_dirty, Offset(12));
        assert_eq!(from(0, 31).first_dirty, Offset(0));
        // What nobody reads any more is neither clean nor dirty.
        assert_eq!((from(10, 10).clean_bytes, from(10, 10).dirty_bytes), (0, 200));
    }

    #[test]
    fn segments_are_put_together_up_to_the_size_of_one() {
        let groups = |bytes: &[u64]| groups(&segments(bytes), 1_000);
        assert_eq!(groups(&[400, 600, 1, 999, 1_500, 10, 20]), [0..2, 2..4, 4..5, 5..7]);
        assert!(groups(&[]).is_empty());
    }
}
