//! Whether what was acknowledged is what the logs hold: counted by partition when all producers are through.

use std::borrow::Borrow;
use std::time::{Duration, Instant};

use crate::load::context::Context;
use crate::load::error::LoadError;
use crate::load::producer::{Acknowledged, ProducerState};
use crate::load::set_up::Ground;
use crate::load::workload::Acks;

/// How long the logs' ends may stand still short of what was acknowledged or sent.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(20);

/// Records that the producers had acknowledged since the run began.
pub(super) fn records<S: Borrow<ProducerState>>(context: &Context<'_>, states: impl Iterator<Item = S>) -> u64 {
    let batches = |state: S| state.borrow().acknowledged.iter().map(|slot| slot.batches).sum::<u64>();
    states.map(batches).sum::<u64>() * u64::from(context.template.records())
}

/// Checks acknowledged offsets and the ends of all logs, which it gives by slot.
pub(super) fn settle<S: Borrow<ProducerState>>(
    ground: &mut Ground,
    context: &Context<'_>,
    states: &[S],
) -> Result<Vec<i64>, LoadError> {
    let mut expected = Vec::with_capacity(context.start_offsets.len());
    for slot in 0..context.start_offsets.len() {
        let producers = states.iter().map(|state| &state.borrow().acknowledged[slot]);
        expected.push(slot_end(context, slot, producers)?);
    }
    let by = if context.workload.acks == Acks::None { "sent" } else { "acknowledged" };
    let (mut last_sum, mut deadline) = (i64::MIN, Instant::now());
    loop {
        let found = ground.end_offsets()?;
        let sum = found.iter().sum();
        // What was sent without acknowledgement may be in many large buffers still.
        if sum > last_sum {
            (last_sum, deadline) = (sum, Instant::now() + SETTLE_TIME_MAX);
        }
        let Some(slot) = (0..found.len()).find(|slot| found[*slot] != expected[*slot]) else { return Ok(found) };
        let (expected, found) = (expected[slot], found[slot]);
        if found > expected || Instant::now() > deadline {
            let (topic, partition) = context.place(slot);
            return Err(LoadError::EndOffset { topic, partition, by, expected, found });
        }
        context.interrupt.sleep(Duration::from_millis(10))?;
    }
}

/// Where a partition must end by what its producers know.
fn slot_end<'a>(
    context: &Context<'_>,
    slot: usize,
    producers: impl Iterator<Item = &'a Acknowledged>,
) -> Result<i64, LoadError> {
    let (mut batches, mut sum) = (0_u64, 0_u64);
    for producer in producers {
        batches += producer.batches;
        sum = sum.wrapping_add(producer.offsets_sum);
    }
    let records = i64::from(context.template.records());
    let start = context.start_offsets[slot];
    let end = start + batches as i64 * records;
    if context.workload.acks != Acks::None && sum != expected_sum(batches, records) {
        let (topic, partition) = context.place(slot);
        return Err(LoadError::AcknowledgedTwice { topic, partition, batches, first: start, end });
    }
    Ok(end)
}

/// What the offsets of so many batches of `records` records add up to if each is given once.
fn expected_sum(batches: u64, records: i64) -> u64 {
    let terms = (0..batches as i64).map(|batch| Acknowledged::term(batch * records));
    terms.fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_and_a_repeated_offset_show_in_the_sum() {
        let sum = |offsets: &[i64]| offsets.iter().fold(0, |sum: u64, o| sum.wrapping_add(Acknowledged::term(*o)));
        assert_eq!(sum(&[6, 0, 3, 9]), expected_sum(4, 3));
        for wrong in [[0, 3, 6, 6], [0, 3, 6, 12], [3, 6, 9, 12], [0, 0, 9, 9], [0, 1, 8, 9], [1, 2, 6, 9]] {
            assert_ne!(sum(&wrong), expected_sum(4, 3), "{wrong:?}");
        }
    }
}
