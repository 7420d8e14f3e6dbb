//! `ringlog group`: consumer groups, through the Kafka port of any broker, Ringlog's or not.
//!
//! What is printed has the columns and words of `kafka-consumer-groups`, in the form that all commands have
//! ([`super::told`]).
//!
//! - [`described`], [`committed`]: what coordinators say of groups and their offsets, for all commands.
//! - [`list`], [`describe`] with [`lines`], [`reset`] with [`plan`], [`delete`]: the commands.
//! - [`look`]: what the console shows.
//! - [`args`], [`scope`], [`moment`]: what the command line may say.

pub(super) mod args;
mod committed;
mod delete;
mod describe;
mod described;
mod lines;
mod list;
pub(crate) mod look;
mod moment;
mod plan;
mod reset;
mod scope;

use std::process::ExitCode;

pub(super) use moment::{ago_ms, date_ms, datetime_ms};

use args::{GroupArgs, GroupCommand};

use super::kafka::{Client, ClientError};
use super::progress::{BROKERS_ASKED, waiting};
use super::told::{Told, ask_kafka};

pub(super) fn run(args: &GroupArgs) -> ExitCode {
    ask_kafka(&args.kafka, async |client| waiting(BROKERS_ASKED, carry_out(client, &args.command)).await)
}

/// Of all groups, as far as brokers answer.
pub(super) async fn names(client: &Client) -> Vec<String> {
    list::all(client).await.map_or_else(|_| Vec::new(), |(groups, _)| groups.into_keys().collect())
}

async fn carry_out(client: &Client, command: &GroupCommand) -> Result<Told, String> {
    match command {
        GroupCommand::List { state, r#type, json } => list::run(client, state, *r#type, *json).await,
        GroupCommand::Describe(args) => describe::run(client, args).await,
        GroupCommand::ResetOffsets(args) => reset::run(client, args).await,
        GroupCommand::Delete { groups, json } => delete::groups(client, groups, *json).await,
        GroupCommand::DeleteOffsets { group, topic, json } => delete::offsets(client, group, topic, *json).await,
    }
}

/// Why a group could not be looked at.
fn of_group(group: &str, error: &ClientError) -> String {
    match error.refusal() {
        Some(kafka_protocol::ResponseError::GroupIdNotFound) => no_such_group(group),
        _ => format!("group '{group}': {error}"),
    }
}

fn no_such_group(group: &str) -> String {
    format!(
        "group '{group}' does not exist (as a classic or consumer group); `ringlog group list` prints those that do"
    )
}
