//! `ringlog topic read`: fetches from the partitions' leaders, and prints as it goes.
//!
//! Memory is bounded by what one answer of each leader may hold, and of a compressed batch by one record at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use protocol::record_batch::{BatchError, batches};
use protocol::records::{DECOMPRESSED_BYTES_MAX_DEFAULT, RecordReader};

use super::args::ReadArgs;
use super::from::From;
use super::partitions_of;
use super::shown_record::write_record;
use crate::cli::kafka::{At, Client, ClientError, FetchFrom, Fetched, Node, PartitionName, of_leader, refused};
use crate::cli::told::{Failure, Told};

/// How long a leader waits for something new.
const WAIT_MS: i32 = 500;

/// A partition that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    next: i64,
    /// Where to end; `None` for never.
    end: Option<i64>,
}

impl Cursor {
    fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

pub(super) async fn run(client: &Client, args: &ReadArgs) -> Result<Told, Failure> {
    let partitions = partitions_of(client, &args.topic, &args.partition).await?;
    let mut told = Told::default();
    let cursors = cursors(client, args, &partitions).await?;
    let out = BufWriter::new(io::stdout().lock());
    let mut reader =
        Reader { client, args, cursors, leaders: BTreeMap::new(), left: args.max.unwrap_or(u64::MAX), out };
    match reader.read().await {
        Ok(()) => {}
        // Whoever read has enough.
        Err(Stopped::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(Stopped::Output(error)) => told.problems.push(format!("cannot write to standard output: {error}")),
        Err(Stopped::Read(why)) => {
            let _ = reader.out.flush();
            told.problems.push(why);
        }
    }
    Ok(told)
}

async fn offsets(
    client: &Client,
    topic: &str,
    partitions: &BTreeSet<i32>,
    at: At,
) -> Result<BTreeMap<i32, Option<i64>>, Failure> {
    let names: BTreeSet<PartitionName> = partitions.iter().map(|partition| (topic.to_owned(), *partition)).collect();
    let mut offsets = BTreeMap::new();
    for ((_, partition), offset) in client.offsets(&names, at).await? {
        offsets.insert(partition, offset?);
    }
    Ok(offsets)
}

async fn cursors(
    client: &Client,
    args: &ReadArgs,
    partitions: &BTreeSet<i32>,
) -> Result<BTreeMap<i32, Cursor>, Failure> {
    let ask = async |at| offsets(client, &args.topic, partitions, at).await;
    let starts = ask(At::Earliest).await?;
    let ends = ask(At::Latest).await?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let of_time = match args.from {
        From::Timestamp(ms) => Some(ask(At::Timestamp(ms)).await?),
        From::Ago(ms) => Some(ask(At::Timestamp(now_ms.saturating_sub(ms).max(0))).await?),
        From::Earliest | From::Latest | From::Offset(_) | From::BeforeEnd(_) => None,
    };
    let cursor = |partition: &i32| {
        let known = |offsets: &BTreeMap<i32, Option<i64>>| offsets.get(partition).copied().flatten();
        let (start, end) = (known(&starts).unwrap_or(0), known(&ends).unwrap_or(0));
        let next = match args.from {
            From::Earliest => start,
            From::Latest => end,
            From::Offset(offset) => offset.max(start),
            From::BeforeEnd(count) => end.saturating_sub(count).max(start),
            // None is that new.
            From::Timestamp(_) | From::Ago(_) => of_time.as_ref().and_then(known).unwrap_or(end),
        };
        (*partition, Cursor { next, end: (!args.follow).then_some(end) })
    };
    Ok(partitions.iter().map(cursor).collect())
}

/// Why reading ended early.
enum Stopped {
    Output(io::Error),
    Read(String),
}

struct Reader<'a> {
    client: &'a Client,
    args: &'a ReadArgs,
    cursors: BTreeMap<i32, Cursor>,
    leaders: BTreeMap<i32, Option<Node>>,
    /// Records that may still be printed.
    left: u64,
    out: BufWriter<io::StdoutLock<'static>>,
}

impl Reader<'_> {
    async fn read(&mut self) -> Result<(), Stopped> {
        self.client.begin_step();
        while self.left > 0 && self.cursors.values().any(|cursor| !cursor.is_done()) {
            match self.round().await? {
                // What is there is shown before more is waited for.
                Ok(()) => {
                    self.out.flush().map_err(Stopped::Output)?;
                    self.client.begin_step();
                }
                Err(why) => {
                    if !self.client.may_retry().await {
                        return Err(Stopped::Read(why));
                    }
                    self.leaders.clear();
                }
            }
        }
        self.out.flush().map_err(Stopped::Output)
    }

    /// Asks each leader once. The inner error passes.
    async fn round(&mut self) -> Result<Result<(), String>, Stopped> {
        if self.leaders.is_empty() {
            let failed = |error: ClientError| Stopped::Read(error.to_string());
            let topics = self.client.topics(&BTreeSet::from([self.args.topic.clone()])).await.map_err(failed)?;
            self.leaders = topics.into_values().next().expect("each topic is in the outcome").map_err(failed)?;
        }
        let mut by_leader: BTreeMap<Node, Vec<FetchFrom>> = BTreeMap::new();
        for (partition, cursor) in self.cursors.iter().filter(|(_, cursor)| !cursor.is_done()) {
            match self.leaders.get(partition).cloned().flatten() {
                Some(leader) => {
                    let from = FetchFrom { partition: *partition, offset: cursor.next };
                    by_leader.entry(leader).or_default().push(from);
                }
                None => return Ok(Err(format!("partition {}-{partition} has no leader now", self.args.topic))),
            }
        }
        let (client, topic) = (self.client, self.args.topic.as_str());
        let fetches = by_leader.iter().map(|(leader, from)| client.fetch(leader, topic, from, WAIT_MS));
        let (mut passing, mut fetched) = (None, Vec::new());
        for outcome in join_all(fetches).await {
            match outcome {
                Ok(of_leader) => fetched.extend(of_leader),
                Err(error) if error.is_of_connection() => passing = Some(error.to_string()),
                Err(error) => return Err(Stopped::Read(error.to_string())),
            }
        }
        fetched.sort_by_key(|fetched| fetched.partition);
        for fetched in fetched {
            passing = self.take(fetched)?.or(passing);
        }
        Ok(passing.map_or(Ok(()), Err))
    }

    /// Prints what came of one partition; gives back an error that passes.
    fn take(&mut self, fetched: Fetched) -> Result<Option<String>, Stopped> {
        let partition = fetched.partition;
        let name = format!("{}-{partition}", self.args.topic);
        let records = match fetched.records {
            Ok(records) => records,
            Err(ResponseError::OffsetOutOfRange) => {
                let next = self.cursors[&partition].next;
                return Err(Stopped::Read(format!(
                    "partition {name} has no offset {next}: it goes from {} to {}; retention may have removed what was \
                     to be read next",
                    fetched.log_start, fetched.high_watermark
                )));
            }
            Err(error) if of_leader(error) => return Ok(Some(format!("partition {name}: {}", refused(error, None)))),
            Err(error) => return Err(Stopped::Read(format!("partition {name}: {}", refused(error, None)))),
        };
        for batch in batches(&records) {
            let (header, bytes) = match batch {
                Ok(batch) => batch,
                // The answer had no room for more of it.
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => return Err(Stopped::Read(format!("partition {name}: {error}"))),
            };
            let broken = |error: &dyn std::fmt::Display| {
                Stopped::Read(format!("partition {name}, batch at offset {}: {error}", header.base_offset))
            };
            header.verify(bytes).map_err(|error| broken(&error))?;
            if !header.is_control() {
                let mut reader =
                    RecordReader::open(bytes, DECOMPRESSED_BYTES_MAX_DEFAULT).map_err(|error| broken(&error))?;
                while let Some(record) = reader.next_record().map_err(|error| broken(&error))? {
                    let cursor = self.cursors[&partition];
                    if record.offset.0 < cursor.next || cursor.end.is_some_and(|end| record.offset.0 >= end) {
                        continue;
                    }
                    if self.left == 0 {
                        return Ok(None);
                    }
                    write_record(&mut self.out, self.args.format, &self.args.topic, partition, &record)
                        .map_err(Stopped::Output)?;
                    self.left -= 1;
                    self.cursors.get_mut(&partition).expect("it is read").next = record.offset.0 + 1;
                }
            }
            let cursor = self.cursors.get_mut(&partition).expect("it is read");
            cursor.next = cursor.next.max(header.next_offset().0);
        }
        Ok(None)
    }
}
