//! `/api/v1/topics/{name}/records`: committed records of one partition, from its leader, wherever that is.
//!
//! All that is committed is shown, as a consumer with `isolation.level=read_uncommitted` sees it, transactions' ends too.

use std::sync::Arc;

use axum::extract::State;
use protocol::{BrokerId, PartitionId, TopicId};
use serde::Serialize;

use super::Console;
use super::answer::{Answered, ConsoleError, laid_out};
use super::decode::{Gathering, Line, Wanted};
use super::peers::Peers;
use super::query::{Parameters, RawName, RawParameters, name};
use crate::config::ConsoleMode;
use crate::metadata_core::inspect::NoView;
use crate::metadata_core::views::{BatchesRead, OffsetAt, READ_BYTES_MAX, ReadBatches};

/// Records in one answer at most.
const RECORDS_MAX: usize = 500;
/// Reads of [`READ_BYTES_MAX`] for one answer in one go at most.
const READS_MAX: usize = 3;
/// How often the newest records are looked for, from further back or nearer, since offsets need not all hold records.
const GOES_MAX: usize = 5;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Earliest,
    /// So that the newest records are the last ones.
    Latest,
    Offset(i64),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
}

impl From {
    fn parse(text: Option<&str>) -> Result<From, ConsoleError> {
        let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
        let from = match text.unwrap_or("latest") {
            "earliest" => Some(From::Earliest),
            "latest" => Some(From::Latest),
            other => match other.split_once(':') {
                Some(("offset", offset)) => number(offset).map(From::Offset),
                Some(("timestamp", timestamp)) => number(timestamp).map(From::Timestamp),
                _ => None,
            },
        };
        from.ok_or_else(|| ConsoleError::BadParameter {
            name: "from",
            found: text.unwrap_or("").to_owned(),
            expected: "earliest, latest, offset:N or timestamp:MS, with numbers from 0 on".to_owned(),
        })
    }
}

#[derive(Serialize)]
struct Records {
    topic: String,
    partition: i32,
    leader: i32,
    log_start: i64,
    high_watermark: i64,
    /// Where to ask from for what comes after these.
    next_offset: i64,
    /// A batch at `next_offset` is too large to be shown, or damaged: what lies behind it has to be asked for by offset.
    stuck: bool,
    /// In order of offset.
    records: Vec<Line>,
}

/// One partition, for as long as a request takes.
#[derive(Clone)]
struct Reading {
    peers: Peers,
    leader: BrokerId,
    topic: String,
    topic_id: TopicId,
    partition: PartitionId,
}

/// What was gathered, and how far the log was.
struct Read {
    gathering: Gathering,
    log_start: i64,
    high_watermark: i64,
    /// Everything up to the high watermark was read.
    to_the_end: bool,
    stuck: bool,
}

pub async fn records(State(console): State<Arc<Console>>, topic: RawName, parameters: RawParameters) -> Answered {
    if console.mode != ConsoleMode::Records {
        return Err(ConsoleError::RecordsNotShown);
    }
    let topic = name(topic)?;
    let parameters = Parameters::new(parameters)?;
    let limit = parameters.number("limit", 1..=RECORDS_MAX, 50)?;
    let from = From::parse(parameters.text("from")?)?;
    let partition = parameters.number("partition", 0..=i32::MAX, 0)?;
    let reading = Reading::of(console.peers()?, topic, partition)?;
    let read = reading.read(from, limit).await?;
    laid_out(move || {
        Ok(Records {
            leader: reading.leader.0,
            topic: reading.topic,
            partition,
            log_start: read.log_start,
            high_watermark: read.high_watermark,
            next_offset: read.gathering.next_offset(),
            stuck: read.stuck,
            records: read.gathering.into_lines(),
        })
    })
    .await
}

impl Reading {
    fn of(peers: &Peers, topic: String, partition: i32) -> Result<Reading, ConsoleError> {
        let image = peers.image();
        let Some(found) = image.topic(&topic) else { return Err(ConsoleError::NoSuchTopic { topic }) };
        let Some(state) = found.partition(PartitionId(partition)) else {
            let partitions = found.partition_count();
            return Err(ConsoleError::NoSuchPartition { topic, partition, partitions });
        };
        let Some(leader) = state.leader else { return Err(ConsoleError::NoLeader { topic, partition }) };
        Ok(Reading { peers: peers.clone(), leader, topic, topic_id: found.id, partition: PartitionId(partition) })
    }

    async fn read(&self, from: From, limit: usize) -> Result<Read, ConsoleError> {
        let offset = match from {
            From::Latest => return self.newest(limit).await,
            From::Earliest => 0,
            From::Offset(offset) => offset,
            From::Timestamp(timestamp_ms) => {
                let Reading { topic_id, partition, .. } = *self;
                let found = self.peers.ask(self.leader, OffsetAt { topic_id, partition, timestamp_ms }).await;
                // None if all are older.
                self.answered(found)?.unwrap_or(i64::MAX)
            }
        };
        self.forward(offset, Wanted::First(limit)).await
    }

    /// The last ones before the high watermark. Where they begin is not known: offsets need not all hold records, and
    /// records may be large.
    async fn newest(&self, limit: usize) -> Result<Read, ConsoleError> {
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX);
        let end = self.batches(i64::MAX).await?.high_watermark;
        let (mut back, mut nearer) = (wanted, false);
        let mut go = 1;
        loop {
            let from = end.saturating_sub(back).max(0);
            let read = self.forward(from, Wanted::Last(limit)).await?;
            let enough = read.gathering.len() >= limit || from <= read.log_start || nearer;
            if read.to_the_end && enough || go == GOES_MAX {
                return Ok(read);
            }
            go += 1;
            let reached = read.gathering.next_offset();
            back = if read.to_the_end {
                back.saturating_mul(16)
            } else if go == GOES_MAX {
                // One offset is always reached.
                1
            } else if read.stuck {
                // How far the batch goes that is in the way is not known.
                (end.saturating_sub(reached) / 2).max(1)
            } else {
                // What is nearer to the end is about as large.
                (reached.saturating_sub(from) / 4 * 3).clamp(1, back.max(2) - 1)
            };
            nearer |= !read.to_the_end;
        }
    }

    async fn forward(&self, from: i64, wanted: Wanted) -> Result<Read, ConsoleError> {
        let mut gathering = Gathering::new(wanted, from);
        let mut at = from;
        for turn in 1.. {
            let BatchesRead { log_start, high_watermark, batches, next_offset } = self.batches(at).await?;
            let stuck = batches.is_empty() && at.max(log_start) < high_watermark;
            // Decompressing takes long.
            gathering.starts_at(log_start);
            let gathered = tokio::task::spawn_blocking(move || {
                gathering.take(&batches);
                gathering
            });
            gathering = gathered.await.expect("a panic ends the process");
            at = next_offset;
            let to_the_end = at >= high_watermark && !gathering.is_short();
            if to_the_end || stuck || gathering.is_full() || turn == READS_MAX {
                gathering.ends_at(high_watermark);
                return Ok(Read { gathering, log_start, high_watermark, to_the_end, stuck });
            }
        }
        unreachable!("the turns end")
    }

    async fn batches(&self, offset: i64) -> Result<BatchesRead, ConsoleError> {
        let Reading { topic_id, partition, .. } = *self;
        let question = ReadBatches { topic_id, partition, offset, bytes_max: READ_BYTES_MAX };
        self.answered(self.peers.ask(self.leader, question).await)
    }

    fn answered<T>(&self, answer: Result<Result<T, NoView>, String>) -> Result<T, ConsoleError> {
        let what = || format!("broker {}", self.leader);
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(NoView::NotLeader)) => {
                let reason = "another broker leads the partition by now".to_owned();
                Err(ConsoleError::NotReached { what: what(), reason })
            }
            Ok(Err(NoView::Failed(reason))) | Err(reason) => Err(ConsoleError::NotReached { what: what(), reason }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_begin_is_one_of_four_things() {
        assert_eq!(From::parse(None), Ok(From::Latest));
        assert_eq!(From::parse(Some("earliest")), Ok(From::Earliest));
        assert_eq!(From::parse(Some("offset:17")), Ok(From::Offset(17)));
        assert_eq!(From::parse(Some("timestamp:0")), Ok(From::Timestamp(0)));
        for bad in ["offset", "offset:", "offset:-1", "17", "timestamp:x", "offset:99999999999999999999", "Latest", " "]
        {
            assert!(From::parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
