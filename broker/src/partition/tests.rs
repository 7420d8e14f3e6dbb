//! Changes of role on a real log: who waits is answered, and nothing is acknowledged that must not be.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use glommio::LocalExecutor;
use kafka_protocol::ResponseError;
use metadata::config::{BrokerConfig, ConfigLayers};
use metadata::image::PartitionImage;
use protocol::records::BatchBuilder;
use protocol::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId};
use wal::log::{Log, LogIdentity};
use wal::shard::{ShardWal, ShardWalConfig};

use super::{Acks, AppendAck, Appending, Opening, Partition, PartitionKey, Refused, walk_budget};
use crate::clock::{boot_ms, now_ms};
use crate::lease::Lease;
use crate::purgatory::Watch;

const HERE: i32 = 1;
const OTHER: i32 = 2;

/// What the metadata says: replicas here and on the other broker.
pub fn assignment(leader: Option<i32>, epoch: i32, isr: &[i32]) -> PartitionImage {
    PartitionImage {
        replicas: [BrokerId(HERE), BrokerId(OTHER)].into(),
        isr: isr.iter().map(|id| BrokerId(*id)).collect(),
        leader: leader.map(BrokerId),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: epoch,
        reassignment: None,
        elr: Default::default(),
        last_known_elr: Default::default(),
    }
}

/// Leader at epoch 1, with these brokers in sync.
pub fn leading(isr: &[i32]) -> PartitionImage {
    assignment(Some(HERE), 1, isr)
}

/// Runs `test` with an empty partition in a directory of its own.
pub fn with_partition<F: Future<Output = ()>>(assignment: PartitionImage, test: impl FnOnce(Rc<Partition>) -> F) {
    with_leased_partition(Lease::endless(), assignment, |partition, _| test(partition));
}

/// As [`with_partition`], on a broker with this lease.
fn with_leased_partition<F: Future<Output = ()>>(
    lease: Lease,
    assignment: PartitionImage,
    test: impl FnOnce(Rc<Partition>, Arc<Lease>) -> F,
) {
    let lease = Arc::new(lease);
    // Beside the test's program, because the files are opened with O_DIRECT and a temporary directory may be in memory.
    let program = std::env::current_exe().unwrap();
    let root = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    LocalExecutor::default().run(async {
        let storage = crate::storage::open(root.path()).await.unwrap();
        let wal = ShardWal::new(storage, root.path().to_owned(), ShardWalConfig::default());
        let (commits, background) = (wal.clone(), wal.clone());
        let commits = glommio::spawn_local(async move { commits.run_commits().await }).detach();
        let background = glommio::spawn_local(async move { background.run_background().await }).detach();
        let key = PartitionKey { topic_id: TopicId(uuid::Uuid::from_u128(7)), partition: PartitionId(0) };
        let identity = LogIdentity { topic_id: key.topic_id, partition: key.partition };
        let config = Rc::new(BrokerConfig::resolve(&ConfigLayers::default()).topic_defaults);
        let dir = root.path().join("orders-0");
        let opened = Log::open(&wal, &dir, identity, crate::storage::log_config(&config), now_ms()).await;
        let opening = Opening {
            key,
            topic: "orders".into(),
            config,
            broker: BrokerId(HERE),
            assignment: &assignment,
            high_watermark: None,
            lag_time_max_ms: 30_000,
            lease: lease.clone(),
            traffic: Rc::default(),
        };
        let partition = Partition::new(opened.unwrap().0, opening);
        test(partition, lease).await;
        wal.stop();
        commits.await.unwrap().unwrap();
        background.await.unwrap().unwrap();
    });
}

pub fn begin_append(partition: &Rc<Partition>) -> Appending {
    let mut builder = BatchBuilder::new();
    builder.append(now_ms(), None, Some(b"value"), &[]);
    let batch = Bytes::from(builder.build());
    let mut budget = walk_budget(batch.len());
    partition.append(batch, false, 13, now_ms(), &mut budget)
}

pub async fn append(partition: &Rc<Partition>) -> Result<AppendAck, Refused> {
    match begin_append(partition) {
        Appending::Done(result) => result,
        Appending::Queued(receiver) => receiver.await.expect("the queue is drained"),
    }
}

fn error(result: Result<AppendAck, Refused>) -> Option<ResponseError> {
    result.err().map(|refused| refused.error)
}

#[test]
fn a_follower_takes_nothing_and_answers_nothing() {
    with_partition(assignment(Some(OTHER), 4, &[HERE, OTHER]), |partition| async move {
        let not_leader = ResponseError::NotLeaderOrFollower;
        assert_eq!(error(append(&partition).await), Some(not_leader));
        assert_eq!(partition.check_leader(LeaderEpoch::UNKNOWN), Err(not_leader));
        assert_eq!(partition.check_leader(LeaderEpoch(4)), Err(not_leader));
        assert_eq!(partition.check_leader(LeaderEpoch(3)), Err(ResponseError::FencedLeaderEpoch));
        assert_eq!(partition.check_leader(LeaderEpoch(5)), Err(ResponseError::UnknownLeaderEpoch));
        assert_eq!(partition.log.log_end_offset(), Offset(0));
        partition.apply_assignment(&assignment(Some(HERE), 5, &[HERE]));
        assert_eq!(partition.check_leader(LeaderEpoch(5)), Ok(()));
        assert_eq!(append(&partition).await.unwrap().end, Offset(1));
        assert_eq!(partition.log.latest_epoch(), Some(LeaderEpoch(5)));
    });
}

#[test]
fn who_waits_is_answered_when_the_leadership_goes() {
    with_partition(leading(&[HERE, OTHER]), |partition| async move {
        let ack = append(&partition).await.unwrap();
        partition.log.wait_ackable(ack.end).await.unwrap();
        assert_eq!(partition.high_watermark(), Offset(0), "the other has not said anything");
        let mut produce = partition.wait_for(Acks::All, &ack).expect("not committed");
        let fetch = Watch::new();
        partition.watchers().borrow_mut().add(&fetch);
        assert!((&mut produce).now_or_never().is_none());
        partition.apply_assignment(&assignment(Some(OTHER), 2, &[HERE, OTHER]));
        assert!(produce.now_or_never().is_some_and(|wait| wait.is_err()));
        assert!(fetch.fired().now_or_never().is_some());
    });
}

/// A lease that has just ended, as that of a broker that slept over its end.
fn over() -> Lease {
    let lease = Lease::default();
    lease.extend(boot_ms(), 0);
    lease
}

#[test]
fn without_a_lease_a_leader_of_several_replicas_takes_acknowledges_and_serves_nothing() {
    with_leased_partition(over(), leading(&[HERE]), |partition, lease| async move {
        let not_leader = ResponseError::NotLeaderOrFollower;
        assert_eq!(error(append(&partition).await), Some(not_leader));
        assert_eq!(partition.check_leader(LeaderEpoch::UNKNOWN), Err(not_leader));
        assert_eq!(partition.check_reader(LeaderEpoch(1), true), Err(not_leader));
        assert_eq!(partition.log.log_end_offset(), Offset(0));
        lease.extend(boot_ms(), 60_000);
        let ack = append(&partition).await.unwrap();
        partition.log.wait_ackable(ack.end).await.unwrap();
        assert!(partition.wait_for(Acks::Leader, &ack).is_none(), "the controller has been heard of");
        assert_eq!(partition.check_reader(LeaderEpoch(1), true), Ok(()));
    });
}

#[test]
fn nothing_is_acknowledged_after_the_lease_although_it_was_appended_before() {
    with_leased_partition(Lease::default(), leading(&[HERE]), |partition, lease| async move {
        // However long an append takes on this machine.
        let mut for_ms = 1;
        let ack = loop {
            lease.extend(boot_ms(), for_ms);
            match append(&partition).await {
                Ok(ack) => break ack,
                Err(_) => for_ms *= 2,
            }
        };
        while lease.holds(boot_ms()) {
            glommio::timer::sleep(std::time::Duration::from_millis(1)).await;
        }
        partition.log.wait_ackable(ack.end).await.unwrap();
        for acks in [Acks::Leader, Acks::All] {
            let wait = partition.wait_for(acks, &ack).expect("refused");
            assert!(wait.now_or_never().is_some_and(|wait| wait.is_err()), "{acks:?}");
        }
    });
}

#[test]
fn a_follower_without_a_lease_is_read_no_more() {
    with_leased_partition(over(), assignment(Some(OTHER), 4, &[HERE, OTHER]), |partition, lease| async move {
        assert_eq!(partition.check_reader(LeaderEpoch(4), true), Err(ResponseError::NotLeaderOrFollower));
        lease.extend(boot_ms(), 60_000);
        assert_eq!(partition.check_reader(LeaderEpoch(4), true), Ok(()));
    });
}

#[test]
fn the_only_replica_needs_no_lease() {
    let alone = PartitionImage { replicas: [BrokerId(HERE)].into(), ..leading(&[HERE]) };
    with_leased_partition(over(), alone, |partition, _| async move {
        let ack = append(&partition).await.unwrap();
        partition.log.wait_ackable(ack.end).await.unwrap();
        assert!(partition.wait_for(Acks::All, &ack).is_none());
        partition.lease_ended();
        assert_eq!(partition.check_leader(LeaderEpoch(1)), Ok(()));
    });
}

#[test]
fn who_waits_is_answered_when_the_lease_ends() {
    with_partition(leading(&[HERE, OTHER]), |partition| async move {
        let ack = append(&partition).await.unwrap();
        let produce = partition.wait_for(Acks::All, &ack).expect("not committed");
        let fetch = Watch::new();
        partition.watchers().borrow_mut().add(&fetch);
        partition.lease_ended();
        assert!(produce.now_or_never().is_some_and(|wait| wait.is_err()));
        assert!(fetch.fired().now_or_never().is_some());
    });
}

#[test]
fn what_was_appended_in_another_term_is_never_acknowledged() {
    with_partition(leading(&[HERE]), |partition| async move {
        let ack = append(&partition).await.unwrap();
        let later = append(&partition).await.unwrap();
        partition.log.wait_ackable(later.end).await.unwrap();
        assert!(partition.wait_for(Acks::All, &ack).is_none(), "committed");
        partition.apply_assignment(&assignment(None, 2, &[HERE]));
        for assignment in [assignment(None, 3, &[HERE]), assignment(Some(HERE), 4, &[HERE])] {
            partition.apply_assignment(&assignment);
            for acks in [Acks::Leader, Acks::All] {
                let wait = partition.wait_for(acks, &ack).expect("refused");
                assert!(wait.now_or_never().is_some_and(|wait| wait.is_err()), "{acks:?} {assignment:?}");
            }
            assert_eq!(partition.high_watermark(), Offset(2), "it never goes back");
        }
    });
}

#[test]
fn appends_that_wait_for_room_are_refused() {
    with_partition(leading(&[HERE]), |partition| async move {
        // A new log has no room reserved: the first waits for it, and the second behind the first.
        let queued: Vec<Appending> = (0..2).map(|_| begin_append(&partition)).collect();
        glommio::executor().yield_task_queue_now().await;
        partition.apply_assignment(&assignment(Some(OTHER), 2, &[HERE, OTHER]));
        // The leadership comes back before the room does.
        partition.apply_assignment(&assignment(Some(HERE), 3, &[HERE]));
        for append in queued {
            let Appending::Queued(receiver) = append else { panic!("there was room") };
            assert_eq!(error(receiver.await.unwrap()), Some(ResponseError::NotLeaderOrFollower));
        }
        assert_eq!(partition.log.log_end_offset(), Offset(0));
        assert_eq!(append(&partition).await.unwrap().end, Offset(1), "the queue goes on");
    });
}

#[test]
fn replicas_that_are_added_make_waits_look_again() {
    let alone = PartitionImage { replicas: [BrokerId(HERE)].into(), ..leading(&[HERE]) };
    with_partition(alone, |partition| async move {
        append(&partition).await.unwrap();
        let Appending::Done(Ok(ack)) = begin_append(&partition) else { panic!("there is room now") };
        let wait = partition.wait_for(Acks::All, &ack).expect("not durable yet");
        partition.apply_assignment(&assignment(Some(HERE), 2, &[HERE, OTHER]));
        assert_eq!(wait.now_or_never(), Some(Ok(())));
        assert!(partition.needs_others() && partition.wait_for(Acks::All, &ack).is_some());
        partition.log.wait_ackable(ack.end).await.unwrap();
        let wait = partition.wait_for(Acks::All, &ack).expect("not committed");
        partition.apply_assignment(&assignment(Some(HERE), 3, &[HERE]));
        assert_eq!(wait.now_or_never(), Some(Ok(())), "the other left the ISR");
        assert!(partition.wait_for(Acks::All, &ack).is_none());
    });
}

#[test]
fn a_replica_that_was_taken_away_says_why() {
    for why in [ResponseError::NotLeaderOrFollower, ResponseError::UnknownTopicOrPartition] {
        with_partition(leading(&[HERE, OTHER]), |partition| async move {
            let ack = append(&partition).await.unwrap();
            let wait = partition.wait_for(Acks::All, &ack).expect("not committed");
            partition.mark_removed(why);
            assert!(wait.now_or_never().is_some_and(|wait| wait.is_err()));
            assert_eq!(error(append(&partition).await), Some(why));
            assert_eq!(partition.check_leader(LeaderEpoch::UNKNOWN), Err(why));
            assert!(partition.wait_for(Acks::Leader, &ack).is_some());
        });
    }
}

#[test]
fn consumers_read_from_a_follower_while_it_is_in_sync_and_hear_when_it_is_not() {
    with_partition(assignment(Some(OTHER), 4, &[HERE, OTHER]), |partition| async move {
        let not_leader = Err(ResponseError::NotLeaderOrFollower);
        let read = |believed| partition.check_reader(LeaderEpoch(believed), true);
        assert_eq!([read(-1), read(4)], [Ok(()), Ok(())]);
        assert_eq!(partition.check_reader(LeaderEpoch(4), false), not_leader, "whom only the leader serves");
        assert_eq!(read(3), Err(ResponseError::FencedLeaderEpoch));
        assert_eq!(read(5), Err(ResponseError::UnknownLeaderEpoch));
        let told = Watch::new();
        partition.watchers().borrow_mut().add(&told);
        partition.on_told(Offset(0));
        assert!(told.fired().now_or_never().is_none(), "no news");
        partition.on_told(Offset(1));
        assert!(told.fired().now_or_never().is_some());
        let waits = Watch::new();
        partition.watchers().borrow_mut().add(&waits);
        // It leaves the ISR, comes back, and then nobody leads.
        partition.apply_assignment(&PartitionImage { partition_epoch: 5, ..assignment(Some(OTHER), 4, &[OTHER]) });
        assert!(waits.fired().now_or_never().is_some());
        assert_eq!(read(4), not_leader);
        partition.apply_assignment(&assignment(Some(OTHER), 6, &[OTHER, HERE]));
        assert_eq!(read(6), Ok(()));
        partition.apply_assignment(&assignment(None, 7, &[OTHER, HERE]));
        assert_eq!(read(7), not_leader);
        partition.apply_assignment(&assignment(Some(OTHER), 8, &[OTHER, HERE]));
        partition.mark_removed(ResponseError::NotLeaderOrFollower);
        assert_eq!(read(8), not_leader);
    });
}
