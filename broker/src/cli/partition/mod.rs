//! `ringlog partition`: partitions as any member of the cluster knows them, and one as its leader sees it.
//!
//! These ask the internal port. [`elect_leader`] and [`reassign`] change something, through the Kafka port of any broker.

pub(super) mod args;
mod elect_leader;
mod reassign;

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use metadata::record::NodeBinding;
use protocol::{BrokerId, PartitionId};
use serde_json::{Value, json};

use self::args::{PartitionArgs, PartitionCommand};
use super::internal_port::obstacle;
use super::progress::{BROKERS_ASKED, waiting};
use super::table::{Table, list, numbers, words};
use super::told::{self, Told, ask_kafka};
use crate::config::nearest;
use crate::internal::handshake::Purpose;
use crate::internal::links::{Callee, Caller, Links};
use crate::metadata_core::inspect::{self, Inspect, LeaderView, NoView, PartitionLine, Partitions};
use crate::partition::{PartitionView, ReplicaView};

/// Pause before the leader is looked for again, while leadership moves.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(args: &PartitionArgs) -> ExitCode {
    let (PartitionCommand::List { broker, .. } | PartitionCommand::Show { broker, .. }) = &args.command else {
        return match &args.command {
            PartitionCommand::ElectLeader(elect) => {
                ask_kafka(&elect.kafka, async |client| elect_leader::run(client, elect).await)
            }
            PartitionCommand::Reassign(moving) => {
                ask_kafka(&moving.kafka, async |client| reassign::run(client, moving).await)
            }
            PartitionCommand::List { .. } | PartitionCommand::Show { .. } => unreachable!("they are above"),
        };
    };
    let asking = Asking {
        links: Links::new(Caller { cluster_id: None, node: None }, || 0),
        address: broker.internal_addr.to_string(),
        deadline: Instant::now() + Duration::from_secs(broker.timeout.into()),
    };
    told::carry_out(asking.carry_out(&args.command))
}

struct Asking {
    links: Links,
    /// Of the broker that was given.
    address: String,
    deadline: Instant,
}

impl Asking {
    async fn carry_out(&self, command: &PartitionCommand) -> Result<Told, String> {
        match command {
            PartitionCommand::List { topic, json, .. } => {
                let lines = waiting(BROKERS_ASKED, self.lines(topic.clone())).await?;
                Ok(if *json { Told::json(&list_json(&lines)) } else { Told::text(list_text(&lines)) })
            }
            PartitionCommand::Show { topic, partition, json, .. } => {
                let view = waiting(BROKERS_ASKED, self.view(topic, PartitionId(*partition))).await?;
                Ok(match json {
                    true => Told::json(&show_json(topic, *partition, &view)),
                    false => Told::text(show_text(topic, *partition, &view)),
                })
            }
            PartitionCommand::ElectLeader(_) | PartitionCommand::Reassign(_) => {
                unreachable!("they are asked of the Kafka port")
            }
        }
    }

    async fn ask<I: Inspect>(&self, node: Option<&NodeBinding>, question: I) -> Result<I::Answer, String> {
        let callee = match node {
            Some(node) => Callee::node(Purpose::Inspect, node),
            None => Callee { purpose: Purpose::Inspect, node: None, address: self.address.clone() },
        };
        let left = self.deadline.saturating_duration_since(Instant::now());
        match inspect::ask(&self.links, &callee, question, left).await {
            Err(why) if node.is_none() => Err(obstacle(&self.address).await.unwrap_or(why)),
            outcome => outcome,
        }
    }

    async fn lines(&self, topic: Option<String>) -> Result<Vec<PartitionLine>, String> {
        let lines = self.ask(None, Partitions { topic: topic.clone() }).await?;
        match (lines, topic) {
            (Some(lines), _) => Ok(lines),
            (None, None) => Err("the broker says nothing of its partitions".to_owned()),
            (None, Some(topic)) => Err(self.unknown_topic(&topic).await),
        }
    }

    async fn unknown_topic(&self, name: &str) -> String {
        // What went wrong first is worth more.
        let all = self.ask(None, Partitions { topic: None }).await.ok().flatten().unwrap_or_default();
        match nearest(name, all.iter().map(|line| line.topic.as_str())) {
            Some(near) => format!("topic '{name}' does not exist: did you mean {near}?"),
            None => {
                format!("topic '{name}' does not exist; `ringlog partition list` prints all partitions that there are")
            }
        }
    }

    /// Asks the leader, and looks for it again where leadership moves meanwhile.
    async fn view(&self, topic: &str, partition: PartitionId) -> Result<PartitionView, String> {
        let name = format!("{topic}-{partition}");
        let mut unreachable = None;
        loop {
            let lines = self.lines(Some(topic.to_owned())).await?;
            let count = lines.len();
            let line = lines.into_iter().find(|line| line.partition == partition);
            let line = line.ok_or_else(|| format!("topic '{topic}' has no partition {partition}: it has {count}"))?;
            let Some((leader, node)) = line.leader else {
                return Err(format!(
                    "{name} has no leader now: its replicas are {}, in sync {}, eligible {}",
                    list(&line.replicas),
                    list(&line.isr),
                    list(&line.elr)
                ));
            };
            let node = node.ok_or_else(|| format!("it is not known where broker {leader} is, which leads {name}"))?;
            let question = LeaderView { topic_id: line.topic_id, partition };
            let why = match self.ask(Some(&node), question).await {
                Ok(Ok(view)) => return Ok(view),
                Ok(Err(NoView::Failed(why))) => {
                    return Err(format!("broker {leader}, which leads {name}, cannot say: {why}"));
                }
                Ok(Err(NoView::NotLeader)) => format!("broker {leader} was said to lead {name}, and does not"),
                Err(why) => {
                    let why = format!("broker {leader}, which leads {name}, cannot be reached: {why}");
                    // Another may lead by now.
                    if unreachable.replace(leader) == Some(leader) {
                        return Err(why);
                    }
                    why
                }
            };
            if Instant::now() + RETRY_PAUSE >= self.deadline {
                return Err(why);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

fn id_numbers(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

fn list_text(lines: &[PartitionLine]) -> String {
    let columns = [
        words("TOPIC"),
        numbers("PARTITION"),
        numbers("LEADER"),
        numbers("EPOCH"),
        words("REPLICAS"),
        words("ISR"),
        words("ELIGIBLE"),
    ];
    let rows = lines.iter().map(|line| {
        vec![
            line.topic.clone(),
            line.partition.to_string(),
            line.leader.as_ref().map_or("none".to_owned(), |(leader, _)| leader.to_string()),
            line.leader_epoch.to_string(),
            list(&line.replicas),
            list(&line.isr),
            list(&line.elr),
        ]
    });
    Table::new(columns, rows).text()
}

fn list_json(lines: &[PartitionLine]) -> Value {
    let partitions: Vec<_> = lines
        .iter()
        .map(|line| {
            json!({
                "topic": line.topic,
                "topic_id": line.topic_id.to_string(),
                "partition": line.partition.0,
                "leader": line.leader.as_ref().map(|(leader, _)| leader.0),
                "leader_epoch": line.leader_epoch.0,
                "replicas": id_numbers(&line.replicas),
                "isr": id_numbers(&line.isr),
                "eligible_leader_replicas": id_numbers(&line.elr),
            })
        })
        .collect();
    json!({ "partitions": partitions })
}

/// Records of the leader's log that a replica lacks on its disk.
fn behind_records(view: &PartitionView, replica: &ReplicaView) -> Option<i64> {
    replica.durable_end.map(|end| view.log_end.saturating_sub(end.max(view.log_start)).max(0))
}

fn isr(view: &PartitionView) -> Vec<BrokerId> {
    view.replicas.iter().filter(|replica| replica.in_sync).map(|replica| replica.broker).collect()
}

fn show_text(topic: &str, partition: i32, view: &PartitionView) -> String {
    let PartitionView { leader, leader_epoch, log_start, log_end, high_watermark, .. } = view;
    let mut text =
        format!("{topic}-{partition}: leader {leader} at epoch {leader_epoch}, in sync {}\n", list(&isr(view)));
    writeln!(text, "log {log_start} to {log_end}, high watermark {high_watermark}").expect("writing to a string");
    let columns = [
        numbers("REPLICA"),
        words("ROLE"),
        words("IN SYNC"),
        numbers("ON DISK TO"),
        numbers("RECORDS BEHIND"),
        numbers("BYTES BEHIND"),
        numbers("MS BEHIND"),
    ];
    let rows = view.replicas.iter().map(|replica| {
        fn known(number: Option<impl ToString>) -> String {
            number.map_or("unknown".to_owned(), |number| number.to_string())
        }
        vec![
            replica.broker.to_string(),
            if replica.broker == *leader { "leader" } else { "follower" }.to_owned(),
            if replica.in_sync { "yes" } else { "no" }.to_owned(),
            known(replica.durable_end),
            known(behind_records(view, replica)),
            known(replica.behind_bytes),
            replica.behind_ms.to_string(),
        ]
    });
    text.push_str(&Table::new(columns, rows).text());
    text
}

fn show_json(topic: &str, partition: i32, view: &PartitionView) -> Value {
    let replicas: Vec<_> = view
        .replicas
        .iter()
        .map(|replica| {
            json!({
                "broker": replica.broker.0,
                "in_sync": replica.in_sync,
                "durable_end": replica.durable_end,
                "records_behind": behind_records(view, replica),
                "bytes_behind": replica.behind_bytes,
                "ms_behind": replica.behind_ms,
            })
        })
        .collect();
    json!({
        "topic": topic,
        "partition": partition,
        "leader": view.leader.0,
        "leader_epoch": view.leader_epoch.0,
        "isr": id_numbers(&isr(view)),
        "log_start": view.log_start,
        "log_end": view.log_end,
        "high_watermark": view.high_watermark,
        "replicas": replicas,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{LeaderEpoch, TopicId};

    #[test]
    fn partitions_are_listed_one_a_line() {
        let line = |partition, leader: Option<i32>, isr: &[i32], elr: &[i32]| PartitionLine {
            topic: "orders".to_owned(),
            topic_id: TopicId::ZERO,
            partition: PartitionId(partition),
            leader: leader.map(|leader| (BrokerId(leader), None)),
            leader_epoch: LeaderEpoch(4),
            replicas: vec![BrokerId(1), BrokerId(2)],
            isr: isr.iter().copied().map(BrokerId).collect(),
            elr: elr.iter().copied().map(BrokerId).collect(),
        };
        let lines = [line(0, Some(2), &[2, 1], &[]), line(10, None, &[], &[1])];
        assert_eq!(
            list_text(&lines),
            "TOPIC   PARTITION  LEADER  EPOCH  REPLICAS  ISR  ELIGIBLE\n\
             orders          0       2      4  1,2       2,1  -\n\
             orders         10    none      4  1,2       -    1\n"
        );
        let json = list_json(&lines);
        assert_eq!(json["partitions"][1]["eligible_leader_replicas"], json!([1]));
        assert_eq!(json["partitions"][1]["leader"], json!(null));
    }

    #[test]
    fn a_partition_is_shown_with_what_each_replica_lacks() {
        let replica = |broker, in_sync, durable_end: Option<i64>, behind_bytes, behind_ms| ReplicaView {
            broker: BrokerId(broker),
            in_sync,
            durable_end,
            behind_bytes,
            behind_ms,
        };
        let view = PartitionView {
            leader: BrokerId(2),
            leader_epoch: LeaderEpoch(4),
            log_start: 10,
            log_end: 250,
            high_watermark: 249,
            replicas: vec![
                replica(2, true, Some(250), Some(0), 0),
                replica(1, false, Some(4), Some(9000), 1500),
                replica(3, false, None, None, 0),
            ],
        };
        assert_eq!(
            show_text("orders", 0, &view),
            "orders-0: leader 2 at epoch 4, in sync 2\n\
             log 10 to 250, high watermark 249\n\
             REPLICA  ROLE      IN SYNC  ON DISK TO  RECORDS BEHIND  BYTES BEHIND  MS BEHIND\n\
             \x20     2  leader    yes             250               0             0          0\n\
             \x20     1  follower  no                4             240          9000       1500\n\
             \x20     3  follower  no          unknown         unknown       unknown          0\n"
        );
        let json = show_json("orders", 0, &view);
        assert_eq!(json["isr"], json!([2]));
        assert_eq!(json["replicas"][2]["durable_end"], json!(null));
        assert_eq!(json["replicas"][1]["records_behind"], json!(240));
    }
}
