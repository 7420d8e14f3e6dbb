//! `ringlog cluster`: asks the controller over the internal port, whichever broker is given; [`brokers`] asks the Kafka port.
//!
//! - [`asking`]: whom, and again until there is an answer; [`no_controller`]: what is known where there is none.
//! - [`moving`]: `drain` and `rebalance`, which carry out what [`metadata::placement`] plans; [`throttle`]: at which rate;
//!   [`progress`]: how far they are; [`plan_table`]: what they would do.

pub(super) mod args;
mod asking;
mod brokers;
mod moving;
mod no_controller;
mod plan_table;
mod progress;
mod throttle;

use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::ResponseError;
use metadata::raft::QuorumStatus;
use protocol::BrokerId;
use serde_json::{Value, json};

use self::args::{ClusterArgs, ClusterCommand};
use self::asking::Asking;
use self::moving::Goal;
use self::no_controller::NoAnswer;
use super::progress::{BROKERS_ASKED, waiting};
use super::table::{Table, known, numbers, words};
use super::told::{self, Deeds, Told, ask_kafka};
use crate::metadata_core::refusal::Refusal;
use crate::metadata_core::request::{BrokerLine, DescribeBrokers, DescribeQuorum, RemoveNode};

/// What somebody at a terminal waits for.
const CONTROLLER_ASKED: &str = "asking the controller";

pub(super) fn run(args: &ClusterArgs) -> ExitCode {
    let (ClusterCommand::Status { broker, .. }
    | ClusterCommand::Remove { broker, .. }
    | ClusterCommand::Voters { broker, .. }
    | ClusterCommand::Drain { broker, .. }
    | ClusterCommand::Rebalance { broker, .. }) = &args.command
    else {
        let ClusterCommand::Brokers { kafka, json } = &args.command else { unreachable!("all others are above") };
        return ask_kafka(kafka, async |client| waiting(BROKERS_ASKED, brokers::run(client, *json)).await);
    };
    let asking = Asking::new(broker.internal_addr.to_string(), Duration::from_secs(broker.timeout.into()));
    told::carry_out(carry_out(&asking, &args.command))
}

async fn carry_out(asking: &Asking, command: &ClusterCommand) -> Result<Told, String> {
    match command {
        ClusterCommand::Status { json, .. } => {
            let described = async {
                let brokers = asking.ask(DescribeBrokers).await?;
                Ok::<_, NoAnswer>((brokers, asking.ask(DescribeQuorum).await?))
            };
            match (waiting(CONTROLLER_ASKED, described).await, *json) {
                (Ok((brokers, quorum)), true) => Ok(Told::json(&status_json(&brokers, &quorum))),
                (Ok((brokers, quorum)), false) => Ok(Told::text(status_text(&brokers, &quorum))),
                (Err(no_answer), as_json) => no_answer.told(as_json),
            }
        }
        ClusterCommand::Remove { node, json, .. } => {
            let answer = waiting(CONTROLLER_ASKED, asking.ask(RemoveNode(BrokerId(*node)))).await?;
            let mut deeds = Deeds::new("nodes", *json);
            let outcome = answer.map(|()| format!("node {node} was removed")).map_err(|refusal| not_removed(&refusal));
            deeds.add(json!({ "node": node }), outcome);
            Ok(deeds.told())
        }
        ClusterCommand::Voters { json, .. } => {
            match (waiting(CONTROLLER_ASKED, asking.ask(DescribeQuorum)).await, *json) {
                (Ok(quorum), true) => Ok(Told::json(&voters_json(&quorum))),
                (Ok(quorum), false) => Ok(Told::text(voters_text(&quorum))),
                (Err(no_answer), as_json) => no_answer.told(as_json),
            }
        }
        ClusterCommand::Drain { node, moving, .. } => moving::run(asking, Goal::Drain(BrokerId(*node)), *moving).await,
        ClusterCommand::Rebalance { moving, .. } => moving::run(asking, Goal::Rebalance, *moving).await,
        ClusterCommand::Brokers { .. } => unreachable!("it is asked of the Kafka port"),
    }
}

/// Why, and what to do.
fn not_removed(refusal: &Refusal) -> String {
    let advice = match refusal.is(ResponseError::BrokerIdNotRegistered) {
        true => "; `ringlog cluster status` prints the nodes that there are",
        false => "",
    };
    format!("{}{advice}", refusal.message)
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
    let columns = [
        numbers("NODE"),
        words("STATE"),
        words("QUORUM"),
        numbers("LAG"),
        numbers("EPOCH"),
        words("KAFKA"),
        words("INTERNAL"),
        words("DIRECTORY"),
    ];
    let rows = brokers.iter().map(|line| {
        let node = line.node.node;
        let broker = line.broker.as_ref();
        vec![
            node.to_string(),
            state(line).to_owned(),
            role(quorum, node).to_owned(),
            known(lag(quorum, node)),
            known(broker.map(|(_, epoch, _)| epoch)),
            known(broker.map(|(kafka, _, _)| kafka)),
            line.node.address.clone(),
            line.node.directory_id.to_string(),
        ]
    });
    Table::new(columns, rows).text()
}

fn status_json(brokers: &[BrokerLine], quorum: &QuorumStatus) -> Value {
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
    json!({ "leader": leader, "term": quorum.term, "log_end": quorum.applied, "nodes": nodes })
}

fn voters(quorum: &QuorumStatus) -> impl Iterator<Item = (BrokerId, &str, bool)> {
    let voters = quorum.members.iter().filter(|member| member.is_voter);
    voters.map(|member| (member.node.node, member.node.address.as_str(), quorum.leader == Some(member.node.node)))
}

fn voters_text(quorum: &QuorumStatus) -> String {
    let rows = voters(quorum).map(|(node, address, leads)| {
        vec![node.to_string(), address.to_owned(), if leads { "leader" } else { "voter" }.to_owned()]
    });
    Table::new([numbers("NODE"), words("INTERNAL"), words("QUORUM")], rows).text()
}

fn voters_json(quorum: &QuorumStatus) -> Value {
    let voters = voters(quorum)
        .map(|(node, address, leads)| json!({ "node": node.0, "internal": address, "is_leader": leads }))
        .collect::<Vec<_>>();
    json!({ "voters": voters })
}
