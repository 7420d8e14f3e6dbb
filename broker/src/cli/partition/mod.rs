//! `ringlog partition`: partitions as any member of the cluster knows them, and one as its leader sees it.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use metadata::record::NodeBinding;
use protocol::{BrokerId, PartitionId};
use serde_json::json;

use super::args::{PartitionArgs, PartitionCommand};
use super::table::table;
use super::tell;
use crate::internal::handshake::Purpose;
use crate::internal::links::{Callee, Caller, Links};
use crate::metadata_core::inspect::{self, Inspect, LeaderView, NoView, PartitionLine, Partitions};
use crate::partition::{PartitionView, ReplicaView};

/// Pause before the leader is looked for again, while leadership moves.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(args: &PartitionArgs) -> ExitCode {
    let asking = Asking {
        links: Links::new(Caller { cluster_id: None, node: None }, || 0),
        address: args.broker.internal_addr.to_string(),
        deadline: Instant::now() + Duration::from_secs(args.broker.timeout.into()),
    };
    tell(asking.carry_out(&args.command))
}

struct Asking {
    links: Links,
    /// Of the broker that was given.
    address: String,
    deadline: Instant,
}

impl Asking {
    async fn carry_out(&self, command: &PartitionCommand) -> Result<String, String> {
        match command {
            PartitionCommand::List { topic, json } => {
                let lines = self.lines(topic.clone()).await?;
                Ok(if *json { list_json(&lines) } else { list_text(&lines) })
            }
            PartitionCommand::Show { topic, partition, json } => {
                let view = self.view(topic, PartitionId(*partition)).await?;
                Ok(if *json { show_json(topic, *partition, &view) } else { show_text(topic, *partition, &view) })
            }
        }
    }

    async fn ask<I: Inspect>(&self, node: Option<&NodeBinding>, question: I) -> Result<I::Answer, String> {
        let callee = match node {
            Some(node) => Callee::node(Purpose::Inspect, node),
            None => Callee { purpose: Purpose::Inspect, node: None, address: self.address.clone() },
        };
        inspect::ask(&self.links, &callee, question, self.deadline.saturating_duration_since(Instant::now())).await
    }

    async fn lines(&self, topic: Option<String>) -> Result<Vec<PartitionLine>, String> {
        let lines = self.ask(None, Partitions { topic: topic.clone() }).await?;
        lines.ok_or_else(|| format!("there is no topic '{}'", topic.unwrap_or_default()))
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
                    ids(&line.replicas),
                    ids(&line.isr),
                    ids(&line.elr)
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

/// `1,2`; `-` for none.
fn ids(brokers: &[BrokerId]) -> String {
    if brokers.is_empty() {
        return "-".to_owned();
    }
    brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn numbers(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

fn list_text(lines: &[PartitionLine]) -> String {
    let columns = ["TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "ELIGIBLE"].map(str::to_owned);
    let rows = lines.iter().map(|line| {
        vec![
            line.topic.clone(),
            line.partition.to_string(),
            line.leader.as_ref().map_or("none".to_owned(), |(leader, _)| leader.to_string()),
            line.leader_epoch.to_string(),
            ids(&line.replicas),
            ids(&line.isr),
            ids(&line.elr),
        ]
    });
    table(&std::iter::once(columns.to_vec()).chain(rows).collect::<Vec<_>>())
}

fn list_json(lines: &[PartitionLine]) -> String {
    let partitions: Vec<_> = lines
        .iter()
        .map(|line| {
            json!({
                "topic": line.topic,
                "topic_id": line.topic_id.to_string(),
                "partition": line.partition.0,
                "leader": line.leader.as_ref().map(|(leader, _)| leader.0),
                "leader_epoch": line.leader_epoch.0,
                "replicas": numbers(&line.replicas),
                "isr": numbers(&line.isr),
                "eligible_leader_replicas": numbers(&line.elr),
            })
        })
        .collect();
    format!("{}\n", json!({ "partitions": partitions }))
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
        format!("{topic}-{partition}: leader {leader} at epoch {leader_epoch}, in sync {}\n", ids(&isr(view)));
    writeln!(text, "log {log_start} to {log_end}, high watermark {high_watermark}").expect("writing to a string");
    let columns = ["REPLICA", "ROLE", "IN SYNC", "ON DISK TO", "RECORDS BEHIND", "BYTES BEHIND", "MS BEHIND"];
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
    text.push_str(&table(&std::iter::once(columns.map(str::to_owned).to_vec()).chain(rows).collect::<Vec<_>>()));
    text
}

fn show_json(topic: &str, partition: i32, view: &PartitionView) -> String {
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
    let shown = json!({
        "topic": topic,
        "partition": partition,
        "leader": view.leader.0,
        "leader_epoch": view.leader_epoch.0,
        "isr": numbers(&isr(view)),
        "log_start": view.log_start,
        "log_end": view.log_end,
        "high_watermark": view.high_watermark,
        "replicas": replicas,
    });
    format!("{shown}\n")
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
             orders  0          2       4      1,2       2,1  -\n\
             orders  10         none    4      1,2       -    1\n"
        );
        let json: serde_json::Value = serde_json::from_str(&list_json(&lines)).unwrap();
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
             2        leader    yes      250         0               0             0\n\
             1        follower  no       4           240             9000          1500\n\
             3        follower  no       unknown     unknown         unknown       0\n"
        );
        let json: serde_json::Value = serde_json::from_str(&show_json("orders", 0, &view)).unwrap();
        assert_eq!(json["isr"], json!([2]));
        assert_eq!(json["replicas"][2]["durable_end"], json!(null));
        assert_eq!(json["replicas"][1]["records_behind"], json!(240));
    }
}
