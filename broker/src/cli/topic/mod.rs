//! `ringlog topic`: topics and their records, through the Kafka port of any broker, Ringlog's or not.
//!
//! - [`seen`]: topics as brokers describe them; [`list`], [`describe`]: what is printed of them.
//! - [`create`], [`delete`], [`add_partitions`]: change something.
//! - [`read`] with [`shown_record`], [`write`] with [`lines`] and [`partitioner`]: records.
//! - [`args`], [`from`]: what the command line may say.

mod add_partitions;
pub(super) mod args;
mod create;
mod delete;
mod describe;
mod from;
mod lines;
mod list;
mod partitioner;
mod read;
mod seen;
mod shown_record;
mod write;

use std::process::ExitCode;

use args::{TopicArgs, TopicCommand};

use super::kafka::Client;
use super::told::{Failure, Told, ask_kafka};

pub(super) fn run(args: &TopicArgs) -> ExitCode {
    ask_kafka(&args.kafka, async |client| carry_out(client, &args.command).await)
}

async fn carry_out(client: &Client, command: &TopicCommand) -> Result<Told, Failure> {
    match command {
        TopicCommand::List { internal, json } => list::run(client, *internal, *json).await,
        TopicCommand::Create(args) => create::run(client, args).await,
        TopicCommand::Describe(args) => describe::run(client, args).await,
        TopicCommand::Delete { topics, yes, if_exists, json } => {
            delete::run(client, topics, delete::How { yes: *yes, if_exists: *if_exists, as_json: *json }).await
        }
        TopicCommand::AddPartitions { topic, total, dry_run, json } => {
            add_partitions::run(client, topic, *total, *dry_run, *json).await
        }
        TopicCommand::Read(args) => read::run(client, args).await,
        TopicCommand::Write(args) => write::run(client, args).await,
    }
}
