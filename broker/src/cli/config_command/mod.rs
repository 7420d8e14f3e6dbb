//! `ringlog config`: configs of topics, brokers and groups, through the Kafka port of any broker, Ringlog's or not.
//!
//! - [`resource`]: what has configs, and which.
//! - [`describe`], [`alter`]: the commands; [`args`]: what the command line may say.

mod alter;
pub(super) mod args;
mod describe;
mod resource;

use std::process::ExitCode;

pub(super) use resource::{Described, Resource, described_all, nearest_topic_config};

use args::{Change, ConfigArgs, ConfigCommand, Op};

use super::kafka::Client;
use super::progress::{BROKERS_ASKED, waiting};
use super::told::{Failure, Told, ask_kafka};

pub(super) fn run(args: &ConfigArgs) -> ExitCode {
    ask_kafka(&args.kafka, async |client| carry_out(client, &args.command).await)
}

async fn carry_out(client: &Client, command: &ConfigCommand) -> Result<Told, Failure> {
    match command {
        ConfigCommand::Describe { of, names, all, doc, json } => {
            let how = describe::How { names, all: *all, doc: *doc, as_json: *json };
            waiting(BROKERS_ASKED, describe::run(client, &of.resource(), how)).await
        }
        ConfigCommand::Set { of, changes, dry_run, json } => {
            alter::run(client, &of.resource(), changes, alter::How { dry_run: *dry_run, as_json: *json }).await
        }
        ConfigCommand::Delete { of, names, dry_run, json } => {
            let delete = |name: &String| Change { name: name.clone(), op: Op::Delete, value: None };
            let changes: Vec<Change> = names.iter().map(delete).collect();
            alter::run(client, &of.resource(), &changes, alter::How { dry_run: *dry_run, as_json: *json }).await
        }
    }
}
