//! Reading what a fetch asks for from all shards concerned, within its limit.
//!
//! The shards read at once, each within its share of the limit, so that together they read no more than is sent. What one
//! does not need of its share goes to partitions that another left out for want of it.
//!
//! As in Kafka the first partition that has anything gives a batch, however large. Whose partition that is no shard knows by
//! itself, so each reads one at least, if it is no larger than most are; together they may be over the limit then, and the
//! later ones are dropped. A larger one is read by its shard alone, once it is known to be the first.

use std::rc::Rc;
use std::sync::Arc;

use futures_channel::oneshot;
use kafka_protocol::ResponseError;

use super::preferred_replica::Consumer;
use super::{
    FetchForward, FetchedPartition, Outcome, PartitionRead, RESPONSE_BYTES_LEAST, ReadMode, find_topic, read_here,
};
use crate::fetch_session::{FetchKey, PartitionFetch};
use crate::partition::PartitionKey;
use crate::purgatory::Watch;
use crate::shard::Shard;
use crate::shard::message::ShardMessage;

/// Partitions that were left out are asked for once more if so much of the limit is left: one part of so many.
const WORTH_SHARE: usize = 4;

/// What all of a fetch's reads have in common.
pub struct Gathering<'a> {
    pub shard: &'a Rc<Shard>,
    pub fetches: &'a [(FetchKey, PartitionFetch)],
    pub consumer: Option<Arc<Consumer>>,
    pub watch: &'a Arc<Watch>,
}

impl Gathering<'_> {
    /// How much there is to be read, within the limits of partitions alone.
    pub async fn estimate(&self) -> Vec<Outcome> {
        let (mut outcomes, by_shard) = self.sort();
        self.read_at_once(by_shard, ReadMode::Estimate, |_| (usize::MAX, 0), &mut outcomes).await;
        outcomes.into_iter().map(or_failed).collect()
    }

    /// Reads within `max_bytes` all together; but at least one batch of up to `first_max` bytes, if there is one.
    ///
    /// Where several shards read, only that of the partition in the slot `first` takes so large a one; without, none of them
    /// takes one that is larger than most.
    pub async fn read(&self, max_bytes: usize, first_max: usize, first: Option<usize>) -> Vec<Outcome> {
        let (mut outcomes, by_shard) = self.sort();
        let shards = by_shard.iter().filter(|reads| !reads.is_empty()).count();
        let all_asked = by_shard.iter().map(|reads| asked(reads)).fold(0, usize::saturating_add);
        let has_first = |reads: &[PartitionRead]| reads.iter().any(|read| Some(read.slot) == first);
        let limits = |reads: &[PartitionRead]| {
            let may_all = shards == 1 || has_first(reads);
            let first_max = if may_all { first_max } else { first_max.min(RESPONSE_BYTES_LEAST) };
            (share(max_bytes, asked(reads), all_asked), first_max)
        };
        self.read_at_once(by_shard, ReadMode::Read, limits, &mut outcomes).await;
        let mut outcomes: Vec<Outcome> = outcomes.into_iter().map(or_failed).collect();
        let read = keep_within(&mut outcomes, max_bytes);
        if shards > 1 {
            self.read_left_out(&mut outcomes, max_bytes.saturating_sub(read), max_bytes).await;
        }
        outcomes
    }

    /// Partitions by the shard that owns them; those that are unknown have failed.
    fn sort(&self) -> (Vec<Option<Outcome>>, Vec<Vec<PartitionRead>>) {
        let shard = self.shard;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; self.fetches.len()];
        let mut by_shard: Vec<Vec<PartitionRead>> = (0..shard.count()).map(|_| Vec::new()).collect();
        let image = shard.image();
        for (slot, (key, fetch)) in self.fetches.iter().enumerate() {
            match find_topic(&image, &key.topic) {
                Err(error) => outcomes[slot] = Some(Outcome::failed(error)),
                Ok(topic) if topic.partition(key.partition).is_none() => {
                    outcomes[slot] = Some(Outcome::failed(ResponseError::UnknownTopicOrPartition));
                }
                Ok(topic) => {
                    let key = PartitionKey { topic_id: topic.id, partition: key.partition };
                    by_shard[shard.owner_of(key)].push(PartitionRead { slot, key, fetch: *fetch });
                }
            }
        }
        (outcomes, by_shard)
    }

    fn forward(&self, reads: Vec<PartitionRead>, max_bytes: usize, mode: ReadMode, first_max: usize) -> FetchForward {
        FetchForward { reads, max_bytes, first_max, mode, consumer: self.consumer.clone(), watch: self.watch.clone() }
    }

    /// `limits`: of a shard, by what it is asked for: the bytes of all that it reads, and of its first batch.
    async fn read_at_once(
        &self,
        by_shard: Vec<Vec<PartitionRead>>,
        mode: ReadMode,
        limits: impl Fn(&[PartitionRead]) -> (usize, usize),
        outcomes: &mut [Option<Outcome>],
    ) {
        let mut local = None;
        let mut remote = Vec::new();
        for (owner, reads) in by_shard.into_iter().enumerate() {
            if reads.is_empty() {
                continue;
            }
            let (max_bytes, first_max) = limits(&reads);
            let forward = self.forward(reads, max_bytes, mode, first_max);
            if owner == self.shard.index() {
                local = Some(forward);
            } else {
                remote.push(self.send(owner, forward));
            }
        }
        if let Some(forward) = local {
            for fetched in read_here(self.shard, forward).await {
                outcomes[fetched.slot] = Some(fetched.outcome);
            }
        }
        for receiver in remote {
            for fetched in receiver.await.unwrap_or_default() {
                outcomes[fetched.slot] = Some(fetched.outcome);
            }
        }
    }

    fn send(&self, owner: usize, forward: FetchForward) -> oneshot::Receiver<Vec<FetchedPartition>> {
        let (answer, receiver) = oneshot::channel();
        self.shard.send(owner, ShardMessage::Fetch { forward, answer });
        receiver
    }

    /// Reads partitions that have something and had no share for it, one shard after the other, within `left` of `max_bytes`.
    async fn read_left_out(&self, outcomes: &mut [Outcome], mut left: usize, max_bytes: usize) {
        if left == 0 || left < max_bytes / WORTH_SHARE {
            return;
        }
        let mut by_shard: Vec<Vec<PartitionRead>> = Vec::new();
        for (slot, outcome) in outcomes.iter().enumerate().filter(|(_, outcome)| outcome.was_left_out()) {
            let (key, fetch) = &self.fetches[slot];
            let key = PartitionKey { topic_id: outcome.topic_id, partition: key.partition };
            by_shard.resize_with(self.shard.count(), Vec::new);
            by_shard[self.shard.owner_of(key)].push(PartitionRead { slot, key, fetch: *fetch });
        }
        for (owner, reads) in by_shard.into_iter().enumerate().filter(|(_, reads)| !reads.is_empty()) {
            let forward = self.forward(reads, left, ReadMode::Read, 0);
            let fetched = match owner == self.shard.index() {
                true => read_here(self.shard, forward).await,
                false => self.send(owner, forward).await.unwrap_or_default(),
            };
            for FetchedPartition { slot, outcome } in fetched {
                left = left.saturating_sub(outcome.bytes);
                outcomes[slot] = outcome;
            }
            if left == 0 {
                return;
            }
        }
    }
}

fn or_failed(outcome: Option<Outcome>) -> Outcome {
    outcome.unwrap_or_else(|| Outcome::failed(ResponseError::KafkaStorageError))
}

/// What partitions are asked for at most.
fn asked(reads: &[PartitionRead]) -> usize {
    reads.iter().map(|read| read.fetch.bytes_max()).fold(0, usize::saturating_add)
}

/// A shard's share of `max_bytes`, of which `asked` of `all_asked` bytes are asked: all that it is asked for where all of
/// them have room for that.
fn share(max_bytes: usize, asked: usize, all_asked: usize) -> usize {
    if all_asked <= max_bytes || asked == all_asked {
        return max_bytes;
    }
    let share = max_bytes as u128 * asked as u128 / all_asked as u128;
    usize::try_from(share).expect("no more than the whole")
}

/// Drops what is over the limit, but for the first that has something; gives how much is left of them.
fn keep_within(outcomes: &mut [Outcome], max_bytes: usize) -> usize {
    let mut total: usize = 0;
    for outcome in outcomes {
        if total > 0 && total.saturating_add(outcome.bytes) > max_bytes {
            outcome.drop_records();
        }
        total += outcome.bytes;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use protocol::Offset;

    fn outcome(bytes: usize) -> Outcome {
        let records = if bytes == 0 { Vec::new() } else { vec![Bytes::from(vec![0; bytes])] };
        Outcome { error: None, records, bytes, record_count: 1, ..Outcome::failed(ResponseError::UnknownServerError) }
    }

    fn kept(bytes: &[usize], max_bytes: usize) -> Vec<usize> {
        let mut outcomes: Vec<Outcome> = bytes.iter().map(|bytes| outcome(*bytes)).collect();
        let total = keep_within(&mut outcomes, max_bytes);
        assert_eq!(total, outcomes.iter().map(|o| o.records.iter().map(Bytes::len).sum::<usize>()).sum::<usize>());
        assert!(outcomes.iter().all(|o| o.bytes > 0 || o.records.is_empty()));
        outcomes.iter().map(|o| o.bytes).collect()
    }

    #[test]
    fn the_first_that_has_something_is_kept_whatever_its_size() {
        assert_eq!(kept(&[0, 500, 10, 0], 100), [0, 500, 0, 0]);
        assert_eq!(kept(&[60, 50, 40], 100), [60, 0, 40]);
        assert_eq!(kept(&[50, 50, 1], 100), [50, 50, 0]);
        assert_eq!(kept(&[7], 0), [7]);
    }

    #[test]
    fn shares_are_never_more_than_the_whole_together() {
        let shares = |max_bytes, asked: &[usize]| -> Vec<usize> {
            let all = asked.iter().sum();
            asked.iter().map(|asked| share(max_bytes, *asked, all)).collect()
        };
        assert_eq!(shares(100, &[100, 300]), [25, 75]);
        assert_eq!(shares(10, &[7, 7, 7]), [3, 3, 3]);
        assert_eq!(shares(100, &[0, 200]), [0, 100]);
        assert_eq!(shares(100, &[1 << 40]), [100], "one shard has it all");
        assert_eq!(shares(0, &[5, 5]), [0, 0]);
        // Nobody can take too much here, so nobody has to be held back.
        assert_eq!(shares(100, &[30, 70]), [100, 100]);
        assert_eq!(share(usize::MAX, usize::MAX / 2, usize::MAX), usize::MAX);
    }

    #[test]
    fn what_has_records_and_gave_none_was_left_out() {
        let has = |bytes| Outcome { has_more: true, high_watermark: Offset(5), ..outcome(bytes) };
        assert!(has(0).was_left_out() && !has(1).was_left_out());
        assert!(!outcome(0).was_left_out());
        let mut dropped = has(10);
        dropped.drop_records();
        assert!(dropped.was_left_out() && dropped.record_count == 0);
    }
}
