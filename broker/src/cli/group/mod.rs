//! `ringlog group`: consumer groups, through the Kafka port of any broker, Ringlog's or not.
//!
//! What is printed has the columns and words of `kafka-consumer-groups`. Standard output holds what was asked for, standard
//! error what is to be said of it; the exit status is 1 if anything that was asked for is missing or was not done.
//!
//! - [`described`], [`committed`]: what coordinators say of groups and their offsets, for all commands.
//! - [`list`], [`describe`] with [`lines`], [`reset`] with [`plan`], [`delete`]: the commands.
//! - [`args`], [`scope`], [`moment`]: what the command line may say.

pub(super) mod args;
mod committed;
mod delete;
mod describe;
mod described;
mod lines;
mod list;
mod moment;
mod plan;
mod reset;
mod scope;

use std::process::ExitCode;
use std::time::Duration;

use args::{GroupArgs, GroupCommand};

use super::kafka::{Client, ClientError};
use super::{failed, print};

/// What a command has to say.
#[derive(Debug, Default)]
struct Told {
    /// For standard output.
    text: String,
    /// What else is worth knowing.
    notes: Vec<String>,
    /// What is missing or was not done.
    problems: Vec<String>,
}

pub(super) fn run(args: &GroupArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot set up a runtime: {error}")),
    };
    let client = Client::new(args.bootstrap_server.clone(), Duration::from_secs(args.timeout.into()));
    let told = match runtime.block_on(carry_out(&client, &args.command)) {
        Ok(told) => told,
        Err(reason) => return failed(&reason),
    };
    // A resolver that still blocks is not waited for.
    runtime.shutdown_background();
    print(&told.text);
    told.notes.iter().for_each(|note| eprintln!("{note}"));
    told.problems.iter().for_each(|problem| eprintln!("error: {problem}"));
    if told.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn carry_out(client: &Client, command: &GroupCommand) -> Result<Told, String> {
    match command {
        GroupCommand::List { state, r#type, json } => list::run(client, state, *r#type, *json).await,
        GroupCommand::Describe(args) => describe::run(client, args).await,
        GroupCommand::ResetOffsets(args) => reset::run(client, args).await,
        GroupCommand::Delete { groups } => delete::groups(client, groups).await,
        GroupCommand::DeleteOffsets { group, topic } => delete::offsets(client, group, topic).await,
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
