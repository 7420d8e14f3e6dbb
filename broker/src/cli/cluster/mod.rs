//! `ringlog cluster`: asks the controller over the internal port, whichever broker is given.
//!
//! - [`moving`]: `drain` and `rebalance`, which carry out what [`metadata::placement`] plans; [`throttle`]: at which rate;
//!   [`progress`]: how far they are; [`plan_table`]: what they would do.

mod asking;
mod moving;
mod plan_table;
mod progress;
mod throttle;

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use metadata::raft::QuorumStatus;
use protocol::BrokerId;
use serde_json::json;

use self::asking::Asking;
use self::moving::Goal;
use super::args::{ClusterArgs, ClusterCommand};
use super::table::table;
use super::tell;
use crate::metadata_core::request::{BrokerLine, DescribeBrokers, DescribeQuorum, RemoveNode};

pub(super) fn run(args: &ClusterArgs) -> ExitCode {
    let asking = Asking::new(args.broker.internal_addr.to_string(), Duration::from_secs(args.broker.timeout.into()));
    tell(carry_out(&asking, args.command))
}

async fn carry_out(asking: &Asking, command: ClusterCommand) -> Result<String, String> {
    match command {
        ClusterCommand::Status { json } => {
            let brokers = asking.ask(DescribeBrokers).await?;
            let quorum = asking.ask(DescribeQuorum).await?;
            Ok(if json { status_json(&brokers, &quorum) } else { status_text(&brokers, &quorum) })
        }
        ClusterCommand::Remove { node } => match asking.ask(RemoveNode(BrokerId(node))).await? {
            Ok(()) => Ok(format!("node {node} was removed\n")),
            Err(refusal) => Err(refusal.message),
        },
        ClusterCommand::Voters => Ok(voters_text(&asking.ask(DescribeQuorum).await?)),
        ClusterCommand::Drain { node, moving } => moving::run(asking, Goal::Drain(BrokerId(node)), moving).await,
        ClusterCommand::Rebalance { moving } => moving::run(asking, Goal::Rebalance, moving).await,
    }
}

/// What a node is in the quorum.
fn role(quorum: &QuorumStatus, node: BrokerId) -> &'static str {
    match quorum.members.iter().find(|member| member.node.node == node) {
        _ if quorum.leader == Some(node) => "leader",
        Some(member) if member.is_voter => "voter",
        Some(_) => "observer",
        None => "joining",
    }
}

/// Entries that a node lacks of what the leader has.
fn lag(quorum: &QuorumStatus, node: BrokerId) -> Option<u64> {
    let end = |node| quorum.members.iter().find(|member| Some(member.node.node) == node)?.log_end;
    Some(end(quorum.leader)?.saturating_sub(end(Some(node))?))
}

fn state(line: &BrokerLine) -> &'static str {
    match &line.broker {
        None => "never started",
        Some((_, _, true)) => "fenced",
        Some((_, _, false)) => "alive",
    }
}

fn status_text(brokers: &[BrokerLine], quorum: &QuorumStatus) -> String {
    let columns = ["NODE", "STATE", "QUORUM", "LAG", "EPOCH", "KAFKA", "INTERNAL", "DIRECTORY"].map(str::to_owned);
    let rows = brokers.iter().map(|line| {
        let node = line.node.node;
        let (kafka, epoch) =
            line.broker.as_ref().map_or(("-", None), |(kafka, epoch, _)| (kafka.as_str(), Some(epoch)));
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        vec![
            node.to_string(),
            state(line).to_owned(),
            role(quorum, node).to_owned(),
            number(lag(quorum, node)),
            number(epoch.copied()),
            kafka.to_owned(),
            line.node.address.clone(),
            line.node.directory_id.to_string(),
        ]
    });
    table(&std::iter::once(columns.to_vec()).chain(rows).collect::<Vec<_>>())
}

fn status_json(brokers: &[BrokerLine], quorum: &QuorumStatus) -> String {
    let nodes: Vec<_> = brokers
        .iter()
        .map(|line| {
            let node = line.node.node;
            json!({
                "node": node.0,
                "state": state(line),
                "quorum": role(quorum, node),
                "lag": lag(quorum, node),
                "broker_epoch": line.broker.as_ref().map(|(_, epoch, _)| epoch),
                "kafka": line.broker.as_ref().map(|(kafka, _, _)| kafka),
                "internal": line.node.address,
                "directory": line.node.directory_id.to_string(),
            })
        })
        .collect();
    let leader = quorum.leader.map(|leader| leader.0);
    format!("{}\n", json!({ "leader": leader, "term": quorum.term, "log_end": quorum.applied, "nodes": nodes }))
}

fn voters_text(quorum: &QuorumStatus) -> String {
    let voters = quorum.members.iter().filter(|member| member.is_voter);
    voters.fold(String::new(), |mut text, member| {
        let leads = if quorum.leader == Some(member.node.node) { "  leader" } else { "" };
        writeln!(text, "{}  {}{leads}", member.node.node, member.node.address).expect("writing to a string");
        text
    })
}
