//! Finding batches by timestamp, for `ListOffsets`: by the segments' largest timestamps, their indexes, and batch headers.

use std::rc::Rc;

use bytes::Bytes;
use protocol::Offset;
use protocol::record_batch::BatchHeader;

use super::ReadError;
use crate::file::Storage;
use crate::log::LogInner;
use crate::segment::SegmentSummary;
use crate::segment_index::SegmentIndex;

impl<S: Storage> LogInner<S> {
    pub(crate) async fn first_batch_at_or_after_timestamp(
        self: &Rc<Self>,
        timestamp: i64,
        up_to: Offset,
    ) -> Result<Option<Bytes>, ReadError> {
        self.find_batch(
            up_to,
            |segment| segment.max_timestamp >= timestamp,
            |index| index.floor_by_timestamp(timestamp),
            |batch| batch.max_timestamp >= timestamp,
        )
        .await
    }

    pub(crate) async fn batch_with_max_timestamp(self: &Rc<Self>, up_to: Offset) -> Result<Option<Bytes>, ReadError> {
        let best = {
            let state = self.state.borrow();
            let visible = state.segments.iter().map(|segment| segment.summary.get());
            let best =
                visible.filter(|summary| summary.max_timestamp >= 0).rev().max_by_key(|summary| summary.max_timestamp);
            let Some(best) = best else { return Ok(None) };
            let reachable = best.max_timestamp_offset >= state.log_start && best.max_timestamp_offset < up_to;
            reachable.then_some(best)
        };
        if let Some(best) = best {
            let found = self.read(best.max_timestamp_offset, up_to, 0, usize::MAX).await?;
            if found.bytes > 0 {
                return Ok(Some(found.contiguous()));
            }
        }
        // The largest of all cannot be seen: look at every batch that can.
        let mut largest = -1;
        let mut last_found = None;
        while let Some(batch) = self
            .find_batch(
                up_to,
                |segment| segment.max_timestamp > largest,
                |index| index.floor_by_timestamp(largest + 1),
                |batch| batch.max_timestamp > largest,
            )
            .await?
        {
            largest = BatchHeader::parse(&batch).map_or(i64::MAX, |header| header.max_timestamp);
            last_found = Some(batch);
        }
        Ok(last_found)
    }

    /// The first batch below `up_to` that `wanted` accepts, in a segment that `candidate` accepts, from the place that
    /// `place` finds in its index.
    async fn find_batch(
        self: &Rc<Self>,
        up_to: Offset,
        candidate: impl Fn(&SegmentSummary) -> bool,
        place: impl Fn(&mut SegmentIndex) -> u64,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<Bytes>, ReadError> {
        loop {
            let log_start = self.state.borrow().log_start;
            self.check_range(log_start)?;
            self.wait_written(up_to).await?;
            let generation = self.state.borrow().generation;
            let result = self.find_in_segments(up_to, &candidate, &place, &wanted).await;
            if result.is_err() && self.state.borrow().generation != generation {
                continue;
            }
            return result;
        }
    }

    async fn find_in_segments(
        &self,
        up_to: Offset,
        candidate: &impl Fn(&SegmentSummary) -> bool,
        place: &impl Fn(&mut SegmentIndex) -> u64,
        wanted: &impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<Bytes>, ReadError> {
        let (segments, log_start, up_to) = {
            let state = self.state.borrow();
            let segments: Vec<_> = state.segments.iter().cloned().collect();
            (segments, state.log_start, up_to.min(state.written_end))
        };
        for segment in segments.into_iter().filter(|segment| candidate(&segment.summary.get())) {
            let start = self.floor(&segment, place).await?;
            let mut cursor = self.cursor(segment, start).await?;
            while let Some(info) = cursor.peek().await? {
                if info.last_offset >= log_start {
                    let batch = cursor.batch(&info).await?;
                    if info.next_offset() > up_to {
                        return Ok(None);
                    }
                    if BatchHeader::parse(batch).is_ok_and(|header| wanted(&header)) {
                        return Ok(Some(Bytes::copy_from_slice(batch)));
                    }
                }
                cursor.skip(&info);
            }
        }
        Ok(None)
    }
}
