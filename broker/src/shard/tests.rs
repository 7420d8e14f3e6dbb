//! A shard as it runs, told by images of a cluster of two brokers what is its own.

mod compaction;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::Sender;
use bytes::Bytes;
use futures_channel::oneshot;
use glommio::timer::Timer;
use glommio::{ExecutorJoinHandle, LocalExecutor};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    GroupId, JoinGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use metadata::image::MetadataImage;
use metadata::record::MetadataRecord;
use protocol::records::BatchBuilder;
use protocol::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::assignment::testing::{TOPIC, TOPIC_ID, created, image_of, in_sync, partition};
use super::message::{ShardCommand, ShardMessage};
use super::run::{self, ShardEvent, ShardSpec};
use crate::clock::now_ms;
use crate::config::MemoryLimits;
use crate::group_shard::GroupForward;
use crate::groups::{GroupReply, GroupRequest, RequestContext};
use crate::handlers::produce::{ProduceForward, ProduceItem};
use crate::handlers::topic_access::OFFSETS_TOPIC;
use crate::metadata_core::MetadataClient;
use crate::metrics::ShardMetrics;
use crate::metrics::topics::Totals;
use crate::partition::{Acks, AppendAck, PartitionKey};
use crate::partition_op::{PartitionOp, PartitionOpKind, PartitionOpOutput, PartitionOpResult, TIMESTAMP_LATEST};
use crate::settings::Settings;

const HERE: i32 = 1;
const OTHER: i32 = 2;
const OFFSETS_ID: TopicId = TopicId(Uuid::from_u128(9));
/// A leader elsewhere is not going to answer: waits of produces are long, so that a test that hangs on one fails.
const TIMEOUT: Duration = Duration::from_secs(60);

const NOT_LEADER: ResponseError = ResponseError::NotLeaderOrFollower;
const NOT_COORDINATOR: i16 = 16;
const LOAD_IN_PROGRESS: i16 = 14;

/// The only shard of broker 1.
struct RunningShard {
    thread: ExecutorJoinHandle<()>,
    inbox: Sender<ShardMessage>,
    commands: Sender<ShardCommand>,
    events: mpsc::UnboundedReceiver<ShardEvent>,
    metrics: Arc<ShardMetrics>,
    image: MetadataImage,
}

impl RunningShard {
    async fn start(root: &Path, image: &MetadataImage) -> RunningShard {
        RunningShard::start_with_offline(root, image, 0).await
    }

    /// So many partitions cannot be opened.
    async fn start_with_offline(root: &Path, image: &MetadataImage, expected: usize) -> RunningShard {
        let memory = MemoryLimits {
            connections_max: 1,
            connection_requests_max: 1,
            connection_request_bytes_max: 1 << 20,
            shard_request_bytes_max: 1 << 20,
            shard_response_bytes_max: 1 << 20,
            shard_tail_cache_bytes_max: 1 << 20,
            shard_read_ahead_bytes_max: 1 << 20,
            shard_journal_bytes_max: 0,
        };
        let settings = Settings::of_test(BrokerId(HERE), root.display().to_string(), memory);
        let (inbox, receiver) = async_channel::unbounded();
        let (commands, command_queue) = async_channel::unbounded();
        let (event_sender, mut events) = mpsc::unbounded_channel();
        let metrics = Arc::<ShardMetrics>::default();
        let thread = run::spawn(ShardSpec {
            index: 0,
            cpu: None,
            broker: BrokerId(HERE),
            broker_epoch: 1,
            lease: Arc::new(crate::lease::Lease::endless()),
            suspects: Arc::default(),
            settings: Arc::new(settings),
            data_dir: root.to_owned(),
            journal_dir: None,
            inbox: receiver,
            inboxes: vec![inbox.clone()],
            commands: command_queue,
            metadata: MetadataClient::new().0,
            image: image.clone(),
            metrics: metrics.clone(),
            progress: Arc::default(),
            dedupe_memory: Arc::default(),
            events: event_sender,
            high_watermarks: Arc::default(),
            notes: mpsc::unbounded_channel().0,
        })
        .unwrap();
        let ready = events.recv().await;
        assert!(matches!(ready, Some(ShardEvent::Ready { offline, .. }) if offline == expected), "{ready:?}");
        RunningShard { thread, inbox, commands, events, metrics, image: image.clone() }
    }

    async fn stop(mut self) {
        self.inbox.send(ShardMessage::Drain).await.unwrap();
        assert!(matches!(self.events.recv().await, Some(ShardEvent::Drained { .. })));
        self.inbox.send(ShardMessage::Close).await.unwrap();
        assert!(matches!(self.events.recv().await, Some(ShardEvent::Closed { .. })));
        self.thread.join().unwrap();
    }

    /// Resolves when the shard has applied the change.
    async fn apply(&mut self, records: &[MetadataRecord]) {
        let (image, deltas) = self.image.apply_batch(records).unwrap();
        self.image = image.clone();
        let (applied, done) = oneshot::channel();
        self.commands.send(ShardCommand { image, deltas: deltas.into(), applied }).await.unwrap();
        done.await.unwrap();
    }

    async fn op(&self, topic_id: TopicId, partition: i32, kind: PartitionOpKind) -> PartitionOpResult {
        let (answer, answers) = oneshot::channel();
        let key = PartitionKey { topic_id, partition: PartitionId(partition) };
        self.inbox.send(ShardMessage::Partitions { ops: vec![PartitionOp { key, kind }], answer }).await.unwrap();
        answers.await.unwrap().remove(0)
    }

    /// The end of what consumers may read.
    async fn latest(&self, topic_id: TopicId, partition: i32) -> Result<i64, ResponseError> {
        let current_leader_epoch = LeaderEpoch::UNKNOWN;
        let kind = PartitionOpKind::OffsetForTimestamp { timestamp: TIMESTAMP_LATEST, current_leader_epoch };
        match self.op(topic_id, partition, kind).await? {
            PartitionOpOutput::Offset { offset, .. } => Ok(offset.0),
            other => panic!("{other:?}"),
        }
    }

    async fn begin_produce(
        &self,
        partition: i32,
        acks: Acks,
    ) -> impl Future<Output = Result<AppendAck, ResponseError>> + use<> {
        let mut builder = BatchBuilder::new();
        builder.append(now_ms(), None, Some(b"value"), &[]);
        self.begin_produce_of(partition, acks, builder.build()).await
    }

    async fn begin_produce_of(
        &self,
        partition: i32,
        acks: Acks,
        batch: Vec<u8>,
    ) -> impl Future<Output = Result<AppendAck, ResponseError>> + use<> {
        let key = PartitionKey { topic_id: TOPIC_ID, partition: PartitionId(partition) };
        let item = ProduceItem { key, records: Bytes::from(batch), may_be_kept: false, slot: 0 };
        let forward = ProduceForward { items: vec![item], acks, timeout: TIMEOUT, version: 13 };
        let (answer, answers) = oneshot::channel();
        self.inbox.send(ShardMessage::Produce { forward, answer }).await.unwrap();
        async move { answers.await.unwrap().remove(0).result.map_err(|refused| refused.error) }
    }

    async fn produce(&self, partition: i32, acks: Acks) -> Result<AppendAck, ResponseError> {
        self.begin_produce(partition, acks).await.await
    }

    /// What was counted of each topic.
    async fn traffic(&self) -> Vec<(TopicId, Totals)> {
        let (answer, snapshot) = oneshot::channel();
        self.inbox.send(ShardMessage::Metrics { answer }).await.unwrap();
        snapshot.await.unwrap().topics
    }

    async fn begin_group(&self, api_version: i16, request: GroupRequest) -> impl Future<Output = GroupReply> + use<> {
        let context = RequestContext { api_version, client_id: StrBytes::default(), client_host: StrBytes::default() };
        let (answer, reply) = oneshot::channel();
        let forward = GroupForward { partition: PartitionId(0), request, context, answer };
        self.inbox.send(ShardMessage::Group(Box::new(forward))).await.unwrap();
        async move { reply.await.unwrap() }
    }

    /// Error of the answer to the commit of offset 5.
    async fn commit(&self) -> i16 {
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
        let topic = OffsetCommitRequestTopic::default().with_name(name(TOPIC)).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        match self.begin_group(8, GroupRequest::OffsetCommit(request)).await.await {
            GroupReply::OffsetCommit(reply) => reply.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        }
    }

    /// The committed offset, or the error.
    async fn committed(&self) -> Result<i64, i16> {
        let topic = OffsetFetchRequestTopic::default().with_name(name(TOPIC)).with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic]));
        match self.begin_group(5, GroupRequest::OffsetFetch(request)).await.await {
            GroupReply::OffsetFetch(reply) if reply.error_code == 0 => {
                Ok(reply.topics[0].partitions[0].committed_offset)
            }
            GroupReply::OffsetFetch(reply) => Err(reply.error_code),
            other => panic!("{other:?}"),
        }
    }

    async fn committed_once_loaded(&self) -> Result<i64, i16> {
        loop {
            match self.committed().await {
                Err(LOAD_IN_PROGRESS) => Timer::new(Duration::from_millis(5)).await,
                other => return other,
            };
        }
    }

    async fn listed_groups(&self) -> usize {
        let request = GroupRequest::ListGroups(ListGroupsRequest::default());
        match self.begin_group(0, request).await.await {
            GroupReply::ListGroups(reply) => {
                assert_eq!(reply.error_code, 0);
                reply.groups.len()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn name(topic: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(topic))
}

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("group"))
}

fn with_root<F: Future<Output = ()>>(test: impl FnOnce(std::path::PathBuf) -> F) {
    // Beside the test's program, because the files are opened with O_DIRECT and a temporary directory may be in memory.
    let program = std::env::current_exe().unwrap();
    let root = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    LocalExecutor::default().run(test(root.path().to_owned()));
}

fn directories(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let dirs = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: Vec<String> = dirs.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Resolves when no directory is left: what was set aside goes beside the shard's other work.
async fn all_gone(root: &Path) {
    while !directories(root).is_empty() {
        Timer::new(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_shard_has_the_replicas_that_are_assigned_to_it() {
    with_root(|root| async move {
        let partitions = [
            (&[HERE][..], Some(HERE), 0),
            (&[OTHER][..], Some(OTHER), 0),
            (&[OTHER, HERE][..], Some(OTHER), 0),
            (&[HERE][..], None, 0),
        ];
        let shard = RunningShard::start(&root, &image_of(&[HERE, OTHER], &partitions)).await;
        assert_eq!(directories(&root), ["orders-0", "orders-2", "orders-3"]);
        let mut latest = Vec::new();
        for at in 0..5 {
            latest.push(shard.latest(TOPIC_ID, at).await);
        }
        let unknown = ResponseError::UnknownTopicOrPartition;
        assert_eq!(latest, [Ok(0), Err(NOT_LEADER), Err(NOT_LEADER), Err(NOT_LEADER), Err(unknown)]);
        let bytes = shard.op(TOPIC_ID, 2, PartitionOpKind::SizeBytes).await;
        assert!(matches!(bytes, Ok(PartitionOpOutput::SizeBytes { .. })), "a follower's files are here: {bytes:?}");
        for kind in [
            PartitionOpKind::DeleteRecordsBefore { offset: Offset(-1), deadline: Instant::now() + TIMEOUT },
            PartitionOpKind::EpochEnd { epoch: LeaderEpoch(0), current_leader_epoch: LeaderEpoch(0) },
        ] {
            assert_eq!(shard.op(TOPIC_ID, 2, kind).await, Err(NOT_LEADER));
        }
        for at in [1, 2, 3] {
            assert_eq!(shard.produce(at, Acks::Leader).await, Err(NOT_LEADER));
        }
        shard.stop().await;
    });
}

#[test]
fn leadership_comes_and_goes_with_the_metadata() {
    with_root(|root| async move {
        let both: &[i32] = &[HERE, OTHER];
        let mut shard = RunningShard::start(&root, &image_of(both, &[(both, Some(HERE), 0)])).await;
        assert_eq!(shard.produce(0, Acks::Leader).await.unwrap().end, Offset(1));
        let waiting = shard.begin_produce(0, Acks::All).await;
        assert_eq!(shard.latest(TOPIC_ID, 0).await, Ok(0), "the other has not said anything");
        shard.apply(&[partition(TOPIC_ID, 0, (both, Some(OTHER), 1))]).await;
        assert_eq!(waiting.await, Err(NOT_LEADER));
        assert_eq!(shard.produce(0, Acks::Leader).await, Err(NOT_LEADER));
        assert_eq!(shard.latest(TOPIC_ID, 0).await, Err(NOT_LEADER));
        shard.apply(&[in_sync(TOPIC_ID, 0, (both, Some(HERE), 2), &[HERE])]).await;
        assert_eq!(shard.produce(0, Acks::All).await.unwrap().end, Offset(3));
        assert_eq!(shard.latest(TOPIC_ID, 0).await, Ok(3), "what was appended before is committed too");
        let epochs = shard.op(
            TOPIC_ID,
            0,
            PartitionOpKind::EpochEnd { epoch: LeaderEpoch(0), current_leader_epoch: LeaderEpoch(2) },
        );
        let expected = PartitionOpOutput::EpochEnd { epoch: LeaderEpoch(0), end_offset: Offset(2) };
        assert_eq!(epochs.await, Ok(expected));
        shard.stop().await;
    });
}

#[test]
fn a_replica_that_moves_away_takes_its_files_along() {
    with_root(|root| async move {
        let image = image_of(&[HERE, OTHER], &[(&[HERE], Some(HERE), 0)]);
        let mut shard = RunningShard::start(&root, &image).await;
        shard.produce(0, Acks::All).await.unwrap();
        shard.apply(&[partition(TOPIC_ID, 0, (&[OTHER], Some(OTHER), 1))]).await;
        assert_eq!(directories(&root), [""; 0]);
        assert_eq!(shard.produce(0, Acks::All).await, Err(NOT_LEADER));
        // Back again, and away and back in one change, which is no change for the files.
        shard.apply(&[partition(TOPIC_ID, 0, (&[HERE], Some(HERE), 2))]).await;
        assert_eq!(shard.latest(TOPIC_ID, 0).await, Ok(0), "it begins anew");
        shard.produce(0, Acks::All).await.unwrap();
        let away_and_back =
            [partition(TOPIC_ID, 0, (&[OTHER], Some(OTHER), 3)), partition(TOPIC_ID, 0, (&[HERE], Some(HERE), 4))];
        shard.apply(&away_and_back).await;
        assert_eq!(shard.latest(TOPIC_ID, 0).await, Ok(1));
        // Away while the broker is down.
        let image = shard.image.clone();
        shard.stop().await;
        let image = image.apply_batch(&[partition(TOPIC_ID, 0, (&[OTHER], Some(OTHER), 5))]).unwrap().0;
        let shard = RunningShard::start(&root, &image).await;
        assert!(!root.join("orders-0").exists());
        all_gone(&root).await;
        shard.stop().await;
    });
}

#[test]
fn a_name_that_is_used_again_in_one_change_has_the_new_topics_files() {
    with_root(|root| async move {
        let mut shard = RunningShard::start(&root, &image_of(&[HERE], &[(&[HERE], Some(HERE), 0)])).await;
        shard.produce(0, Acks::All).await.unwrap();
        let new_id = TopicId(Uuid::from_u128(8));
        let deleted = MetadataRecord::TopicDeleted { topic_id: TOPIC_ID };
        shard.apply(&[vec![deleted], created(new_id, TOPIC, &[(&[HERE], Some(HERE), 0)])].concat()).await;
        assert_eq!(shard.latest(new_id, 0).await, Ok(0));
        assert_eq!(shard.latest(TOPIC_ID, 0).await, Err(ResponseError::UnknownTopicOrPartition));
        assert_eq!(wal::read_identity(&root.join("orders-0")).unwrap().unwrap().topic_id, new_id);
        shard.stop().await;
    });
}

#[test]
fn what_was_counted_of_a_topic_goes_with_it_and_not_with_a_replica() {
    with_root(|root| async move {
        let mut shard = RunningShard::start(&root, &image_of(&[HERE, OTHER], &[(&[HERE], Some(HERE), 0)])).await;
        let new_id = TopicId(Uuid::from_u128(8));
        shard.apply(&created(new_id, "payments", &[(&[HERE], Some(HERE), 0)])).await;
        shard.produce(0, Acks::All).await.unwrap();
        let records = async |shard: &RunningShard| {
            let mut records: Vec<_> = shard.traffic().await.into_iter().map(|(id, totals)| (id, totals.0[1])).collect();
            records.sort();
            records
        };
        assert_eq!(records(&shard).await, [(TOPIC_ID, 1), (new_id, 0)]);
        shard.apply(&[partition(TOPIC_ID, 0, (&[OTHER], Some(OTHER), 1))]).await;
        shard.apply(&[MetadataRecord::TopicDeleted { topic_id: new_id }]).await;
        assert_eq!(records(&shard).await, [(TOPIC_ID, 1)]);
        shard.apply(&[MetadataRecord::TopicDeleted { topic_id: TOPIC_ID }]).await;
        assert_eq!(records(&shard).await, []);
        shard.stop().await;
    });
}

/// As when the shard that owned the dead topic's partition has yet to remove it.
#[test]
fn another_topics_files_are_waited_for_and_never_removed() {
    with_root(|root| async move {
        let image = image_of(&[HERE], &[(&[HERE], Some(HERE), 0)]);
        RunningShard::start(&root, &image).await.stop().await;
        let id = |n: u128| TopicId(Uuid::from_u128(n));
        let of_name =
            |id| MetadataImage::default().apply_batch(&created(id, TOPIC, &[(&[HERE], Some(HERE), 0)])).unwrap().0;
        let deleted = |topic_id| [MetadataRecord::TopicDeleted { topic_id }];

        let mut shard = RunningShard::start_with_offline(&root, &of_name(id(3)), 1).await;
        assert_eq!(shard.latest(id(3), 0).await, Err(ResponseError::KafkaStorageError));
        shard.apply(&deleted(id(3))).await;
        shard.stop().await;
        assert_eq!(wal::read_identity(&root.join("orders-0")).unwrap().unwrap().topic_id, TOPIC_ID);

        let shard = RunningShard::start_with_offline(&root, &of_name(id(4)), 1).await;
        std::fs::remove_dir_all(root.join("orders-0")).unwrap();
        while shard.latest(id(4), 0).await.is_err() {
            Timer::new(Duration::from_millis(5)).await;
        }
        shard.stop().await;

        // A damaged log goes with its topic.
        std::fs::write(root.join("orders-0").join("checkpoint"), b"damaged").unwrap();
        let mut shard = RunningShard::start_with_offline(&root, &of_name(id(4)), 1).await;
        shard.apply(&deleted(id(4))).await;
        assert!(!root.join("orders-0").exists());
        all_gone(&root).await;
        shard.stop().await;
    });
}

#[test]
fn groups_are_coordinated_where_their_partition_is_led() {
    with_root(|root| async move {
        let both: &[i32] = &[HERE, OTHER];
        let mut shard = RunningShard::start(&root, &image_of(both, &[(&[HERE], Some(HERE), 0)])).await;
        assert_eq!(shard.committed().await, Err(NOT_COORDINATOR), "there is no such partition yet");
        shard.apply(&created(OFFSETS_ID, OFFSETS_TOPIC, &[(both, Some(OTHER), 0)])).await;
        assert_eq!(shard.committed().await, Err(NOT_COORDINATOR));
        assert_eq!(shard.listed_groups().await, 0);
        shard.apply(&[in_sync(OFFSETS_ID, 0, (both, Some(HERE), 1), &[HERE])]).await;
        assert_eq!(shard.commit().await, 0);
        assert_eq!((shard.committed().await, shard.listed_groups().await), (Ok(5), 1));

        let range = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
        let join = JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(30_000)
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![range]);
        // Waits for others to join, as the first member of a group does.
        let joining = shard.begin_group(3, GroupRequest::JoinGroup(join)).await;
        shard.apply(&[in_sync(OFFSETS_ID, 0, (both, Some(OTHER), 2), both)]).await;
        match joining.await {
            GroupReply::JoinGroup(reply) => assert_eq!(reply.error_code, NOT_COORDINATOR),
            other => panic!("{other:?}"),
        }
        assert_eq!((shard.committed().await, shard.commit().await), (Err(NOT_COORDINATOR), NOT_COORDINATOR));
        assert_eq!(shard.listed_groups().await, 0);

        shard.apply(&[in_sync(OFFSETS_ID, 0, (both, Some(HERE), 3), both)]).await;
        assert_eq!(shard.committed_once_loaded().await, Ok(5), "loaded from the log");
        shard.stop().await;
    });
}

#[test]
fn a_coordinator_answers_nothing_from_records_that_are_not_committed() {
    with_root(|root| async move {
        let both: &[i32] = &[HERE, OTHER];
        let mut image = image_of(both, &[(&[HERE], Some(HERE), 0)]);
        let records = [
            created(OFFSETS_ID, OFFSETS_TOPIC, &[(both, Some(OTHER), 0)]),
            vec![in_sync(OFFSETS_ID, 0, (both, Some(HERE), 1), &[HERE])],
        ];
        image = image.apply_batch(&records.concat()).unwrap().0;
        let shard = RunningShard::start(&root, &image).await;
        assert_eq!(shard.commit().await, 0);
        shard.stop().await;

        // After a restart nobody knows what the others have, until they say so or leave the ISR.
        let restarted = image.apply_batch(&[in_sync(OFFSETS_ID, 0, (both, Some(HERE), 2), both)]).unwrap().0;
        let mut shard = RunningShard::start(&root, &restarted).await;
        assert_eq!(shard.committed().await, Err(LOAD_IN_PROGRESS));
        shard.apply(&[in_sync(OFFSETS_ID, 0, (both, Some(HERE), 3), &[HERE])]).await;
        assert_eq!(shard.committed_once_loaded().await, Ok(5));
        shard.stop().await;
    });
}
