//! `ringlog cluster`: asks the controller over the internal port, whichever broker is given.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use metadata::raft::QuorumStatus;
use protocol::BrokerId;
use serde_json::json;

use super::args::{ClusterArgs, ClusterCommand};
use super::table::table;
use super::tell;
use crate::internal::handshake::Purpose;
use crate::internal::links::{Callee, Caller, Links};
use crate::metadata_core::controller::{NotDone, Reply};
use crate::metadata_core::request::{Ask, BrokerLine, DescribeBrokers, DescribeQuorum, RemoveNode, Request};
use crate::metadata_core::router;

/// Pause before the question goes out again, while there is no controller.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

pub(super) fn run(args: &ClusterArgs) -> ExitCode {
    let asking = Asking {
        links: Links::new(Caller { cluster_id: None, node: None }, || 0),
        address: args.broker.internal_addr.to_string(),
        patience: Duration::from_secs(args.broker.timeout.into()),
    };
    tell(asking.carry_out(args.command))
}

struct Asking {
    links: Links,
    /// Of the broker that was given.
    address: String,
    patience: Duration,
}

impl Asking {
    async fn carry_out(&self, command: ClusterCommand) -> Result<String, String> {
        match command {
            ClusterCommand::Status { json } => {
                let brokers = self.ask(DescribeBrokers).await?;
                let quorum = self.ask(DescribeQuorum).await?;
                Ok(if json { status_json(&brokers, &quorum) } else { status_text(&brokers, &quorum) })
            }
            ClusterCommand::Remove { node } => match self.ask(RemoveNode(BrokerId(node))).await? {
                Ok(()) => Ok(format!("node {node} was removed\n")),
                Err(refusal) => Err(refusal.message),
            },
            ClusterCommand::Voters => Ok(voters_text(&self.ask(DescribeQuorum).await?)),
        }
    }

    /// Asks the broker that was given, and then whomever it names as controller.
    async fn ask<R: Ask>(&self, request: R) -> Result<R::Answer, String> {
        let deadline = Instant::now() + self.patience;
        let request: Request = request.into();
        let message = postcard::to_allocvec(&request).expect("requests hold nothing that postcard cannot write");
        let mut address = self.address.clone();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let callee = Callee { purpose: Purpose::Controller, node: None, address: address.clone() };
            let why = match self.links.ask(&callee, message.clone(), left).await {
                Ok(answer) => match postcard::from_bytes::<Reply>(&answer) {
                    Ok(Ok(done)) => return router::decode::<R>(&done.answer).map_err(|error| error.to_string()),
                    Ok(Err(NotDone::Refused(refusal))) => return Err(refusal.message),
                    Ok(Err(NotDone::NotController { leader: Some((_, leader)) })) if leader != address => {
                        address = leader;
                        continue;
                    }
                    Ok(Err(NotDone::NotController { .. })) => "no controller is elected".to_owned(),
                    Err(error) => return Err(format!("{address}: its answer cannot be read: {error}")),
                },
                Err(error) => error.to_string(),
            };
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(why);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            // The controller may be another one by now.
            address.clone_from(&self.address);
        }
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
