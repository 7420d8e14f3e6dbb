//! `ringlog topic`: topics and their records, through the Kafka port of any broker, Ringlog's or not.
//!
//! - [`seen`]: topics as brokers describe them; [`list`], [`describe`]: what is printed of them.
//! - [`create`], [`delete`], [`delete_records`], [`add_partitions`]: change something.
//! - [`read`] with [`shown_record`], [`write`] with [`lines`] and [`partitioner`]: records.
//! - [`args`], [`from`]: what the command line may say.

mod add_partitions;
pub(super) mod args;
mod create;
mod delete;
mod delete_records;
mod describe;
mod from;
mod lines;
mod list;
mod partitioner;
mod read;
mod seen;
mod shown_record;
mod write;

use std::collections::BTreeSet;
use std::process::ExitCode;

use args::{TopicArgs, TopicCommand};
use kafka_protocol::ResponseError;

use super::kafka::Client;
use super::progress::{BROKERS_ASKED, waiting};
use super::told::{Failure, Told, ask_kafka};

pub(super) fn run(args: &TopicArgs) -> ExitCode {
    ask_kafka(&args.kafka, async |client| carry_out(client, &args.command).await)
}

async fn carry_out(client: &Client, command: &TopicCommand) -> Result<Told, Failure> {
    match command {
        TopicCommand::List { internal, json } => waiting(BROKERS_ASKED, list::run(client, *internal, *json)).await,
        TopicCommand::Create(args) => create::run(client, args).await,
        TopicCommand::Describe(args) => waiting(BROKERS_ASKED, describe::run(client, args)).await,
        TopicCommand::Delete { topics, yes, if_exists, json } => {
            delete::run(client, topics, delete::How { yes: *yes, if_exists: *if_exists, as_json: *json }).await
        }
        TopicCommand::DeleteRecords(args) => delete_records::run(client, args).await,
        TopicCommand::AddPartitions { topic, total, dry_run, json } => {
            add_partitions::run(client, topic, *total, *dry_run, *json).await
        }
        TopicCommand::Read(args) => read::run(client, args).await,
        TopicCommand::Write(args) => write::run(client, args).await,
    }
}

/// The partitions of a topic that are named, or all if none is.
async fn partitions_of(client: &Client, topic: &str, named: &[i32]) -> Result<BTreeSet<i32>, Failure> {
    let known = client.topics(&BTreeSet::from([topic.to_owned()])).await?;
    let known: BTreeSet<i32> = match known.into_values().next().expect("each topic is in the outcome") {
        Ok(known) => known.into_keys().collect(),
        Err(error) if error.refusal() == Some(ResponseError::UnknownTopicOrPartition) => {
            return Err(Failure::Failed(client.unknown_topic(topic).await));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(missing) = named.iter().find(|partition| !known.contains(partition)) {
        let count = known.len();
        return Err(Failure::Failed(format!("topic '{topic}' has no partition {missing}: it has {count}, from 0 on")));
    }
    Ok(if named.is_empty() { known } else { named.iter().copied().collect() })
}
