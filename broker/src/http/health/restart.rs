//! `/health/safe-to-restart`: what would be lost if this broker stopped now.
//!
//! The controller is asked first, and the answer is given from metadata that is no older than its: a broker that cannot reach
//! the controller does not know, and says so. Brokers that are not fenced count as alive, and a broker that has just died is
//! fenced when the controller notices it. Two brokers that ask at once may both be told yes: stop one at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::BrokerId;
use serde_json::{Value, json};

use super::decision::{self, Affected, AffectedPartitions, PartitionsSeen, QuorumSeen};
use super::{Check, Health, Report};
use crate::handlers::topic_access::OFFSETS_TOPIC;
use crate::lifecycle::Phase;

/// Partitions that the page names of each kind; the others are counted.
const LISTED_MAX: usize = 100;
/// How long the controller may take. Probes give up later.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn report(health: &Health) -> Report {
    let serving = match (health.lifecycle.phase(), health.serving.get()) {
        (Phase::Serving, Some(serving)) => serving,
        (Phase::Stopping, _) => return unknown("stopping already"),
        _ => return unknown("cannot know: this broker does not serve yet"),
    };
    let alone = health.asking.clone().lock_owned().await;
    let observer = &serving.observer;
    let me = observer.broker();
    let (image, quorum) = match observer.current(PATIENCE).await {
        Ok(current) => current,
        Err(error) => return unknown(&format!("cannot know: {error}")),
    };
    if !image.is_unfenced(me) {
        return unknown("cannot know: the controller has fenced this broker");
    }
    let voters = quorum.members.iter().filter(|member| member.is_voter).map(|member| member.node.node).collect();
    let decided = tokio::task::spawn_blocking(move || {
        // Elsewhere: there may be very many partitions, and this thread takes part in the quorum meanwhile.
        let partitions = decision::partitions(&image, me, OFFSETS_TOPIC, LISTED_MAX);
        let quorum = decision::quorum(&voters, me, |voter| image.is_unfenced(voter));
        // This goes on where the client has hung up.
        drop(alone);
        (partitions, quorum)
    });
    let (partitions, quorum_seen) = decided.await.expect("a panic ends the process");
    let heard = match quorum.leader {
        Some(leader) if leader == me => "this broker is the controller".to_owned(),
        Some(leader) => format!("broker {leader} has answered"),
        None => "has answered".to_owned(),
    };
    told(heard, &partitions, &quorum_seen)
}

fn unknown(reason: &str) -> Report {
    Report::of(vec![Check::new("controller", false, reason)], "")
}

fn told(heard: String, partitions: &PartitionsSeen, quorum: &QuorumSeen) -> Report {
    let checks = vec![
        Check::new("controller", true, heard),
        affected("partitions", "", &partitions.of_topics),
        affected(OFFSETS_TOPIC, " of __consumer_offsets", &partitions.of_offsets_topic),
        voters(quorum),
    ];
    Report::of(checks, "nothing would be lost if this broker stopped now")
}

fn affected(name: &str, of: &str, affected: &AffectedPartitions) -> Check {
    let reason = match affected.count {
        0 => "enough replicas would be left in sync".to_owned(),
        1 => format!("1 partition{of} would have too few replicas in sync"),
        count => format!("{count} partitions{of} would have too few replicas in sync"),
    };
    let listed: Vec<Value> = affected.listed.iter().map(line).collect();
    Check::new(name, affected.count == 0, reason).with("affected", affected.count).with("listed", listed)
}

fn line(affected: &Affected) -> Value {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|broker| broker.0).collect::<Vec<i32>>();
    json!({
        "topic": affected.topic,
        "partition": affected.partition.0,
        "loss": affected.loss.name(),
        "replicas": ids(&affected.replicas),
        "in_sync_left": ids(&affected.in_sync_left),
        "min_insync_replicas": affected.min_insync_replicas,
    })
}

fn voters(quorum: &QuorumSeen) -> Check {
    let ids = |voters: &BTreeSet<BrokerId>| voters.iter().map(|voter| voter.0).collect::<Vec<i32>>();
    let (left, majority) = (quorum.voters_left.len(), quorum.majority);
    let reason = match quorum.is_safe {
        true => "the metadata quorum would keep its majority".to_owned(),
        false => {
            let voters = if left == 1 { "voter" } else { "voters" };
            format!("the metadata quorum would have {left} {voters} left, and {majority} are its majority")
        }
    };
    Check::new("metadata-quorum", quorum.is_safe, reason)
        .with("voters", ids(&quorum.voters))
        .with("voters_left", ids(&quorum.voters_left))
        .with("majority", majority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::health::Status;
    use crate::http::health::decision::Loss;
    use protocol::PartitionId;

    fn ids(ids: &[i32]) -> BTreeSet<BrokerId> {
        ids.iter().map(|id| BrokerId(*id)).collect()
    }

    fn safe_quorum() -> QuorumSeen {
        QuorumSeen { voters: ids(&[1, 2, 3]), voters_left: ids(&[2, 3]), majority: 2, is_safe: true }
    }

    #[test]
    fn a_broker_without_which_all_goes_on_may_stop() {
        let report = told("broker 2 has answered".into(), &PartitionsSeen::default(), &safe_quorum());
        assert_eq!(report.status, Status::Ok);
        let names: Vec<&str> = report.checks.iter().map(|check| &*check.name).collect();
        assert_eq!(names, ["controller", "partitions", "__consumer_offsets", "metadata-quorum"]);
    }

    #[test]
    fn all_that_speaks_against_it_is_told() {
        let affected = Affected {
            topic: "t".into(),
            partition: PartitionId(3),
            loss: Loss::BelowMinIsr,
            replicas: vec![BrokerId(1), BrokerId(2)],
            in_sync_left: vec![BrokerId(2)],
            min_insync_replicas: 2,
        };
        let partitions = PartitionsSeen {
            of_topics: AffectedPartitions { count: 250, listed: vec![affected] },
            ..PartitionsSeen::default()
        };
        let quorum = QuorumSeen { voters_left: ids(&[2]), is_safe: false, ..safe_quorum() };
        let report = told("broker 2 has answered".into(), &partitions, &quorum);
        let expected = "250 partitions would have too few replicas in sync; \
                        the metadata quorum would have 1 voter left, and 2 are its majority";
        assert_eq!((report.status, &*report.reason), (Status::Unavailable, expected));
        let check = &report.checks[1];
        assert_eq!(
            (check.more["affected"].as_u64(), check.more["listed"][0]["loss"].as_str()),
            (Some(250), Some("below-min-isr"))
        );
    }
}
