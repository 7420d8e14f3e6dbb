//! `ringlog topic write`: lines of standard input become records.
//!
//! Lines that come at once go together; a line that comes alone goes alone, so that what somebody types is there for readers. Deliberately absent: compression, and times of records' own.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_protocol::ResponseError;
use protocol::records::BatchBuilder;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::args::WriteArgs;
use super::lines::{self, LineError};
use super::partitioner::partition_of_key;
use crate::cli::kafka::{Client, ClientError, Producer};
use crate::cli::told::{Failure, Told};

/// Bytes of keys and values that go together; brokers take batches of 1 MiB by default. Larger records go alone.
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// What comes so soon after the line before goes with it.
const LINGER: Duration = Duration::from_millis(5);
/// Records that go together, at most.
const BATCH_RECORDS_MAX: usize = 10_000;

/// A line, taken apart.
struct Record {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl Record {
    fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// What was written to a partition.
#[derive(Clone, Copy, Debug)]
struct Written {
    records: u64,
    /// First and last, as far as the broker said.
    offsets: Option<(i64, i64)>,
}

pub(super) async fn run(client: &Client, args: &WriteArgs) -> Result<Told, Failure> {
    let topic = &args.topic;
    let producer = match Producer::open(client, topic).await {
        Ok(producer) => producer,
        Err(error) if error.refusal() == Some(ResponseError::UnknownTopicOrPartition) => {
            return Err(Failure::Failed(client.unknown_topic(topic).await));
        }
        Err(error) => return Err(error.into()),
    };
    let partitions = producer.partitions();
    if let Some(partition) = args.partition
        && !partitions.contains(&partition)
    {
        let count = partitions.len();
        return Err(Failure::Failed(format!(
            "topic '{topic}' has no partition {partition}: it has {count}, from 0 on"
        )));
    }
    if std::io::stdin().is_terminal() {
        eprintln!("every line is a record; Ctrl-D ends");
    }
    let mut writer = Writer { client, args, producer, partitions, turn: 0, line: 0, written: BTreeMap::new() };
    let outcome = writer.write(&mut lines::of_stdin()).await;
    let mut told = writer.told();
    told.problems.extend(outcome.err());
    Ok(told)
}

struct Writer<'a> {
    client: &'a Client,
    args: &'a WriteArgs,
    producer: Producer<'a>,
    partitions: Vec<i32>,
    /// Batches without keys go to one partition after the other.
    turn: usize,
    /// Lines that were read.
    line: u64,
    written: BTreeMap<i32, Written>,
}

impl Writer<'_> {
    async fn write(&mut self, lines: &mut mpsc::Receiver<Result<Vec<u8>, LineError>>) -> Result<(), String> {
        let mut next = lines.recv().await;
        while let Some(first) = next.take() {
            let mut records = Vec::new();
            let mut bytes = 0;
            let mut outcome = Ok(());
            let mut line = Some(first);
            while let Some(read) = line.take() {
                match read.map_err(|error| error.to_string()).and_then(|read| self.record(read)) {
                    Ok(record) => {
                        bytes += record.bytes();
                        records.push(record);
                    }
                    Err(why) => {
                        outcome = Err(why);
                        break;
                    }
                }
                if bytes < BATCH_BYTES_MAX && records.len() < BATCH_RECORDS_MAX {
                    line = timeout(LINGER, lines.recv()).await.ok().flatten();
                }
            }
            // What was well before a line that was not is written.
            self.send(records).await?;
            outcome?;
            next = lines.recv().await;
        }
        Ok(())
    }

    fn record(&mut self, line: Vec<u8>) -> Result<Record, String> {
        self.line += 1;
        let (key, value) = match &self.args.key_separator {
            None => (None, line),
            Some(separator) => {
                let at = line.windows(separator.len()).position(|window| window == separator.as_bytes());
                let at = at.ok_or_else(|| format!("line {} has no '{separator}': no key ends there", self.line))?;
                (Some(line[..at].to_vec()), line[at + separator.len()..].to_vec())
            }
        };
        let is_null = self.args.null_marker.as_ref().is_some_and(|marker| marker.as_bytes() == value);
        Ok(Record { key, value: (!is_null).then_some(value) })
    }

    async fn send(&mut self, records: Vec<Record>) -> Result<(), String> {
        self.client.begin_step();
        let without_key = self.partitions[self.turn % self.partitions.len()];
        self.turn += 1;
        let mut by_partition: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
        for record in records {
            let partition = match (self.args.partition, &record.key) {
                (Some(partition), _) => partition,
                (None, Some(key)) => self.partitions[partition_of_key(key, self.partitions.len())],
                (None, None) => without_key,
            };
            by_partition.entry(partition).or_default().push(record);
        }
        for (partition, records) in by_partition {
            let mut batch = BatchBuilder::new();
            for record in &records {
                if !batch.is_empty() && batch.size_bytes() + record.bytes() > BATCH_BYTES_MAX {
                    let full = std::mem::replace(&mut batch, BatchBuilder::new());
                    self.send_batch(partition, full).await?;
                }
                self.append(&mut batch, record);
            }
            self.send_batch(partition, batch).await?;
        }
        Ok(())
    }

    fn append(&self, batch: &mut BatchBuilder, record: &Record) {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let headers = self.args.header.iter();
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            headers.map(|header| (header.key.as_bytes(), Some(header.value.as_bytes()))).collect();
        let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        batch.append(now_ms, record.key.as_deref(), record.value.as_deref(), &headers);
    }

    async fn send_batch(&mut self, partition: i32, batch: BatchBuilder) -> Result<(), String> {
        let count = i64::try_from(batch.len()).unwrap_or(i64::MAX);
        let sent = self.producer.send(partition, batch).await;
        let first = sent.map_err(|error| not_written(&self.args.topic, &error))?;
        let written = self.written.entry(partition).or_insert(Written { records: 0, offsets: None });
        written.records += count.unsigned_abs();
        if let Some(first) = first {
            let begin = written.offsets.map_or(first, |(begin, _)| begin);
            written.offsets = Some((begin, first + count - 1));
        }
        Ok(())
    }

    fn told(&self) -> Told {
        let topic = &self.args.topic;
        let total: u64 = self.written.values().map(|written| written.records).sum();
        if self.args.json {
            let partitions = self.written.iter().map(|(partition, written)| {
                json!({
                    "partition": partition,
                    "records": written.records,
                    "first_offset": written.offsets.map(|(first, _)| first),
                    "last_offset": written.offsets.map(|(_, last)| last),
                })
            });
            let partitions: Vec<_> = partitions.collect();
            return Told::json(&json!({ "topic": topic, "records": total, "partitions": partitions }));
        }
        let places = self.written.iter().map(|(partition, written)| match written.offsets {
            None => format!("{topic}-{partition}"),
            Some((first, last)) if first == last => format!("{topic}-{partition} at offset {first}"),
            Some((first, last)) => format!("{topic}-{partition} at offsets {first} to {last}"),
        });
        let places: Vec<String> = places.collect();
        let colon = if places.is_empty() { "" } else { ": " };
        Told::text(format!("{total} record(s) written{colon}{}\n", places.join(", ")))
    }
}

/// What became of records that were sent, and what to do.
fn not_written(topic: &str, error: &ClientError) -> String {
    match error.refusal() {
        Some(ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge) => format!(
            "{error}; `ringlog config describe --topic {topic} max.message.bytes` prints what is taken, and `ringlog config set` \
             allows more"
        ),
        Some(ResponseError::NotEnoughReplicas) => {
            format!(
                "{error}; `ringlog topic describe {topic} --under-min-isr` prints the partitions that lack replicas"
            )
        }
        Some(_) => error.to_string(),
        None => format!("not acknowledged, so written or not: {error}"),
    }
}
