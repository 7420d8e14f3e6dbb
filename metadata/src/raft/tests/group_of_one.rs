//! A group of one member, with the real openraft: what a broker that stands alone runs on.

use super::*;
use crate::config::{BrokerConfig, ConfigLayers};
use crate::controller::{NewTopic, create_topics};
use crate::raft::node::config;
use crate::raft::peers::{Alone, Peers};
use crate::raft::wire::{self, AnswerError};
use openraft::Raft;
use openraft::raft::AppendEntriesRequest;
use protocol::newtypes::TopicId;
use std::time::Duration;

struct Node {
    raft: Raft<MetadataRaft>,
    published: mpsc::UnboundedReceiver<Published>,
    thread: WriterThread,
    image: MetadataImage,
}

impl Node {
    async fn start(directory: &Path) -> Node {
        let (Opened { log, state_machine, thread }, published) = open_in(directory);
        let image = state_machine.image().clone();
        let raft = Raft::new(1, Arc::new(config(20, 5)), Peers(Alone), log, state_machine).await.unwrap();
        Node { raft, published, thread, image }
    }

    async fn lead(&self) {
        self.raft.wait(Some(Duration::from_secs(10))).current_leader(1, "it leads").await.unwrap();
        self.raft.ensure_linearizable().await.unwrap();
    }

    async fn write(&self, decided_at: u64, records: Vec<MetadataRecord>) -> Outcome {
        self.raft.client_write(Command { decided_at, records: records.into() }).await.unwrap().data
    }

    fn image(&mut self) -> &MetadataImage {
        while let Ok(Published { image, .. }) = self.published.try_recv() {
            self.image = image;
        }
        &self.image
    }

    async fn stop(self) {
        self.raft.shutdown().await.unwrap();
        drop(self.raft);
        self.thread.join();
    }
}

#[test]
fn what_was_acknowledged_is_there_after_restarts_with_snapshots_between() {
    let directory = TempDir::new().unwrap();
    let mut expected = MetadataImage::default();
    run(async {
        let node = Node::start(directory.path()).await;
        node.raft.initialize(BTreeMap::from([(1, member(1))])).await.unwrap();
        node.lead().await;
        let outcome = node.write(0, bootstrap()).await;
        assert_eq!(outcome, Outcome::Applied { metadata_offset: 2 });
        expected = expected.apply_batch(&bootstrap()).unwrap().0;
        node.stop().await;
    });
    for round in 0..4 {
        run(async {
            let mut node = Node::start(directory.path()).await;
            node.lead().await;
            assert_eq!(*node.image(), expected, "round {round}");
            for next in 1..=30 {
                let ids = MetadataRecord::ProducerIdsAllocated { next: ProducerId(round * 100 + next) };
                let offset = expected.metadata_offset();
                let outcome = node.write(offset, vec![ids.clone()]).await;
                assert_eq!(outcome, Outcome::Applied { metadata_offset: offset + 1 });
                assert_eq!(node.write(offset, vec![ids.clone()]).await, Outcome::Stale { metadata_offset: offset + 1 });
                expected = expected.apply_batch(&[ids]).unwrap().0;
            }
            assert_eq!(*node.image(), expected, "round {round}");
            let behind_snapshot = |metrics: &openraft::RaftMetrics<u64, Member>| metrics.purged.is_some();
            node.raft
                .wait(Some(Duration::from_secs(10)))
                .metrics(behind_snapshot, "the log was cut behind a snapshot")
                .await
                .unwrap();
            node.stop().await;
        });
    }
}

/// A new group that has begun with the usual records.
async fn begin(directory: &Path) -> Node {
    let mut node = Node::start(directory).await;
    node.raft.initialize(BTreeMap::from([(1, member(1))])).await.unwrap();
    node.lead().await;
    let outcome = node.write(0, bootstrap()).await;
    assert_eq!(outcome, Outcome::Applied { metadata_offset: 2 });
    assert_eq!(node.image().metadata_offset(), 2);
    node
}

#[test]
fn ten_thousand_partitions_are_kept() {
    let directory = TempDir::new().unwrap();
    let expected = run(async {
        let mut node = begin(directory.path()).await;
        node.write(2, vec![MetadataRecord::BrokerRegistered(crate::testing::registration(1, 0))]).await;
        let broker = BrokerConfig::resolve(&ConfigLayers::default());
        for name in ["t", "u"] {
            let topic =
                NewTopic { name: name.into(), num_partitions: 5000, replication_factor: 1, ..NewTopic::default() };
            let (records, _) = create_topics(node.image(), &broker, &[topic], || TopicId(Uuid::new_v4()));
            let decided_at = node.image().metadata_offset();
            assert!(matches!(node.write(decided_at, records).await, Outcome::Applied { .. }));
        }
        let image = node.image().clone();
        node.stop().await;
        image
    });
    assert_eq!(expected.partition_count(), 10_000);
    // Once from the log, once from a snapshot.
    for _ in 0..2 {
        run(async {
            let mut node = Node::start(directory.path()).await;
            node.lead().await;
            assert_eq!(*node.image(), expected);
            node.raft.trigger().snapshot().await.unwrap();
            let last = node.raft.metrics().borrow().last_applied;
            node.raft.wait(Some(Duration::from_secs(10))).snapshot(last.unwrap(), "it is made").await.unwrap();
            node.stop().await;
        });
    }
    let (opened, _) = open_in(directory.path());
    assert_eq!(*opened.state_machine.image(), expected, "all of it is in the snapshot");
}

#[test]
fn snapshots_keep_the_file_in_proportion_to_the_image() {
    let directory = TempDir::new().unwrap();
    let size = || std::fs::metadata(directory.path().join("raft.redb")).unwrap().len();
    run(async {
        let node = begin(directory.path()).await;
        let mut size_early = 0;
        for change in 0..600_u64 {
            let ids = MetadataRecord::ProducerIdsAllocated { next: ProducerId(change as i64 + 1) };
            assert_eq!(node.write(change + 2, vec![ids]).await, Outcome::Applied { metadata_offset: change + 3 });
            if change == 100 {
                size_early = size();
            }
        }
        // The database keeps what it freed for later; how much of it depends on the order of its pages.
        assert!(size() < 2 * size_early, "{size_early} bytes after 100 changes, {} after 600", size());
        node.stop().await;
    });
}

#[test]
fn garbage_from_a_member_is_answered_with_an_error_and_changes_nothing() {
    let directory = TempDir::new().unwrap();
    run(async {
        let node = begin(directory.path()).await;
        let question = wire::install_question(Vote::new_committed(99, 1), &vec![7; 50].into());
        for garbage in [&b""[..], b"garbage", &question] {
            let answer = wire::answer(&node.raft, garbage).await;
            assert!(matches!(wire::installed(&answer), Err(AnswerError::Failed(_))), "{garbage:?}");
        }
        let answer =
            wire::answer(&node.raft, &wire::vote_question(&openraft::raft::VoteRequest::new(Vote::default(), None)))
                .await;
        assert!(!wire::voted(&answer).unwrap().vote_granted);
        assert!(matches!(wire::appended(&answer), Err(AnswerError::Misplaced)));
        assert!(matches!(wire::voted(b"garbage"), Err(AnswerError::Codec(_))));
        let append = |previous, entries| {
            wire::append_question(&AppendEntriesRequest {
                vote: Vote::new_committed(99, 2),
                prev_log_id: previous,
                entries,
                leader_commit: None,
            })
        };
        let gaps = [
            append(Some(log_id(3)), vec![command(5, 0, bootstrap())]),
            append(None, vec![command(0, 0, bootstrap()), command(0, 0, bootstrap())]),
            append(Some(LogId::new(CommittedLeaderId::new(7, 1), 3)), vec![command(4, 0, bootstrap())]),
        ];
        for question in gaps {
            let answer = wire::appended(&wire::answer(&node.raft, &question).await);
            assert!(
                matches!(&answer, Err(AnswerError::Failed(reason)) if reason.contains("does not follow")),
                "{answer:?}"
            );
        }
        node.lead().await;
        node.stop().await;
    });
}
