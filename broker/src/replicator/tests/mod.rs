//! Replication as it runs: real shards with logs on disk, told by images what is theirs, and over a real connection a test that
//! plays the leader or the follower. What the decisions are is tested where they are made, in the crate `replication`.

mod bad_input;
mod batches;
mod cutting;
mod end_to_end;
mod following;
mod in_sync;
mod leading;
mod links;
mod peers;

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, mpsc as std_mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use async_channel::Sender;
use bytes::Bytes;
use futures_channel::oneshot;
use glommio::ExecutorJoinHandle;
use kafka_protocol::ResponseError;
use metadata::image::MetadataImage;
use metadata::record::{BrokerState, ConfigResource, MetadataRecord, NodeBinding};
use protocol::{BrokerId, LeaderEpoch, Offset, PartitionId};
use tokio::sync::mpsc;
use uuid::Uuid;

use self::batches::{batch, empty_at, headers, large_batch, tail, unsent_batch};
use crate::config::MemoryLimits;
use crate::fetch_session::PartitionFetch;
use crate::handlers::fetch::{Consumer, FetchForward, Outcome, PartitionRead, ReadMode};
use crate::handlers::produce::{ProduceForward, ProduceItem, ProducedPartition};
use crate::metadata_core::request::{AlterPartition, Answers, Ask, Request};
use crate::metadata_core::{MetadataClient, RequestFailed, ShardRequest};
use crate::partition::{Acks, PartitionKey, PartitionView};
use crate::partition_op::{PartitionOp, PartitionOpKind, PartitionOpOutput};
use crate::purgatory::Watch;
use crate::settings::Settings;
use crate::shard::assignment::testing::{TOPIC, TOPIC_ID, image_of, in_sync, partition};
use crate::shard::message::{ShardCommand, ShardMessage};
use crate::shard::run::{self, ShardEvent, ShardSpec};

const HERE: i32 = 1;
const OTHER: i32 = 2;
const THIRD: i32 = 3;
const ALL: &[i32] = &[HERE, OTHER, THIRD];
const BOTH: &[i32] = &[HERE, OTHER];
/// How long anything may take before the test gives up on it. Nothing that succeeds waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shard wants a connection to a shard of another broker.
struct Connect {
    to: i32,
    shard: u32,
    reply: oneshot::Sender<Result<TcpStream, String>>,
}

type Answer = <AlterPartition as Ask>::Answer;

/// The shard asks for changed ISRs.
struct Asked {
    request: AlterPartition,
    reply: oneshot::Sender<Result<Vec<u8>, RequestFailed>>,
}

impl Asked {
    /// The ISR that is asked for, of one partition.
    fn isr(&self) -> Vec<(i32, u64)> {
        let [change] = &self.request.changes[..] else { panic!("{:?}", self.request) };
        change.new_isr.iter().map(|(id, epoch)| (id.0, *epoch)).collect()
    }

    fn answer(self, answer: Result<i32, ResponseError>) {
        let change = &self.request.changes[0];
        let answer = answer.map_err(|error| crate::metadata_core::refusal::Refusal::new(error, &"refused"));
        let answers: Answers<_, i32> = vec![((change.topic_id, change.partition), answer)];
        let answer: Answer = Ok(answers);
        self.reply.send(Ok(postcard::to_allocvec(&answer).unwrap())).unwrap();
    }
}

/// The only shard of a broker.
struct RunningShard {
    thread: ExecutorJoinHandle<()>,
    inbox: Sender<ShardMessage>,
    commands: Sender<ShardCommand>,
    events: mpsc::UnboundedReceiver<ShardEvent>,
    image: MetadataImage,
    connects: std_mpsc::Receiver<Connect>,
    asks: std_mpsc::Receiver<Asked>,
}

impl RunningShard {
    /// Of broker 1.
    fn start(root: &Path, image: &MetadataImage) -> RunningShard {
        RunningShard::start_as(HERE, root, image, 1 << 20)
    }

    fn start_as(broker: i32, root: &Path, image: &MetadataImage, shard_tail_cache_bytes_max: u64) -> RunningShard {
        std::fs::create_dir_all(root).unwrap();
        let memory = MemoryLimits {
            connections_max: 1,
            connection_requests_max: 1,
            connection_request_bytes_max: 1 << 20,
            shard_request_bytes_max: 1 << 20,
            shard_response_bytes_max: 1 << 20,
            shard_tail_cache_bytes_max,
            shard_read_ahead_bytes_max: 1 << 20,
            shard_journal_bytes_max: 0,
        };
        let settings = Settings::of_test(BrokerId(broker), root.display().to_string(), memory);
        let (inbox, receiver) = async_channel::unbounded();
        let (commands, command_queue) = async_channel::unbounded();
        let (event_sender, mut events) = mpsc::unbounded_channel();
        let (metadata, requests) = MetadataClient::new();
        let (connects, asks) = sorted(requests);
        let thread = run::spawn(ShardSpec {
            index: 0,
            cpu: None,
            broker: BrokerId(broker),
            broker_epoch: 0,
            lease: Arc::new(crate::lease::Lease::endless()),
            suspects: Arc::default(),
            settings: Arc::new(settings),
            data_dir: root.to_owned(),
            journal_dir: None,
            inbox: receiver,
            inboxes: vec![inbox.clone()],
            commands: command_queue,
            metadata,
            image: image.clone(),
            metrics: Arc::default(),
            progress: Arc::default(),
            dedupe_memory: Arc::default(),
            events: event_sender,
            high_watermarks: Arc::default(),
            notes: mpsc::unbounded_channel().0,
        })
        .unwrap();
        let ready = wait(events.recv());
        assert!(matches!(ready, Some(ShardEvent::Ready { offline: 0, .. })), "{ready:?}");
        RunningShard { thread, inbox, commands, events, image: image.clone(), connects, asks }
    }

    fn stop(mut self) {
        self.inbox.send_blocking(ShardMessage::Drain).unwrap();
        let drained = wait(self.events.recv());
        assert!(matches!(drained, Some(ShardEvent::Drained { .. })), "{drained:?}");
        self.inbox.send_blocking(ShardMessage::Close).unwrap();
        let closed = wait(self.events.recv());
        assert!(matches!(closed, Some(ShardEvent::Closed { .. })), "{closed:?}");
        self.thread.join().unwrap();
    }

    /// Gives the shard a change to apply; resolves when it has.
    fn begin_apply(&mut self, records: &[MetadataRecord]) -> oneshot::Receiver<()> {
        let (image, deltas) = self.image.apply_batch(records).unwrap();
        self.image = image.clone();
        let (applied, done) = oneshot::channel();
        self.commands.send_blocking(ShardCommand { image, deltas: deltas.into(), applied }).unwrap();
        done
    }

    fn apply(&mut self, records: &[MetadataRecord]) {
        wait(self.begin_apply(records)).unwrap();
    }

    /// From now on it leads a partition in this epoch, alone in sync: all of its log is committed.
    fn lead_alone(&mut self, partition: i32, epoch: i32) {
        self.apply(&[in_sync(TOPIC_ID, partition, (BOTH, Some(HERE), epoch), &[HERE])]);
    }

    /// A connection that the shard asks for, to a shard of this broker.
    fn asked_to_connect(&self, to: i32) -> Connect {
        let connect = self.connects.recv_timeout(PATIENCE).expect("no connection is asked for");
        assert_eq!((connect.to, connect.shard), (to, 0));
        connect
    }

    fn asked_to_alter(&self) -> Asked {
        self.asks.recv_timeout(PATIENCE).expect("no ISR is proposed")
    }

    fn begin_produce(&self, items: Vec<(i32, Vec<u8>)>, acks: Acks) -> oneshot::Receiver<Vec<ProducedPartition>> {
        let item = |(partition, batch)| ProduceItem {
            key: key(partition),
            records: Bytes::from(batch),
            may_be_kept: false,
            slot: 0,
        };
        let items = items.into_iter().map(item).collect();
        let forward = ProduceForward { items, acks, timeout: PATIENCE, version: 13 };
        let (answer, answers) = oneshot::channel();
        self.inbox.send_blocking(ShardMessage::Produce { forward, answer }).unwrap();
        answers
    }

    /// Appends a batch of so many bytes, roughly, and waits for this shard's disk. Gives its base offset.
    fn produce(&self, partition: i32, bytes: usize) -> i64 {
        let answers = wait(self.begin_produce(vec![(partition, unsent_batch(bytes))], Acks::Leader)).unwrap();
        answers[0].result.as_ref().unwrap().base_offset.0
    }

    fn produce_many(&self, partition: i32, batches: usize) {
        for _ in 0..batches {
            self.produce(partition, 100);
        }
    }

    /// Reads as a consumer does that may read from a follower.
    fn fetch(&self, partition: i32, from: i64, watch: &Arc<Watch>) -> Outcome {
        let consumer =
            Consumer { rack: String::new(), client_id: "test".to_owned(), address: IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let fetch = PartitionFetch {
            fetch_offset: Offset(from),
            max_bytes: i32::MAX,
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            last_fetched_epoch: LeaderEpoch::UNKNOWN,
        };
        let forward = FetchForward {
            reads: vec![PartitionRead { slot: 0, key: key(partition), fetch }],
            max_bytes: usize::MAX,
            first_max: usize::MAX,
            mode: ReadMode::Read,
            consumer: Some(Arc::new(consumer)),
            watch: watch.clone(),
        };
        let (answer, answers) = oneshot::channel();
        self.inbox.send_blocking(ShardMessage::Fetch { forward, answer }).unwrap();
        wait(answers).unwrap().remove(0).outcome
    }

    /// What consumers may read, from offset `from` to `end`, as soon as they may.
    fn read(&self, partition: i32, mut from: i64, end: i64) -> Vec<u8> {
        let (mut bytes, watch) = (Vec::new(), Watch::new());
        while from < end {
            let outcome = self.fetch(partition, from, &watch);
            assert_eq!(outcome.error, None);
            if outcome.records.is_empty() {
                wait(watch.fired());
                continue;
            }
            let records = outcome.records.concat();
            from = headers(&records).last().unwrap().next_offset().0;
            bytes.extend(records);
        }
        assert_eq!(from, end);
        bytes
    }

    /// Up to where consumers may read.
    fn high_watermark(&self, partition: i32) -> i64 {
        let outcome = self.fetch(partition, 0, &Watch::new());
        // Where the log begins later, that is told with the error.
        assert!(matches!(outcome.error, None | Some(ResponseError::OffsetOutOfRange)), "{outcome:?}");
        outcome.high_watermark.0
    }

    /// What it knows of a partition that it leads.
    fn view(&self, partition: i32) -> PartitionView {
        let (answer, answers) = oneshot::channel();
        let ops = vec![PartitionOp { key: key(partition), kind: PartitionOpKind::View }];
        self.inbox.send_blocking(ShardMessage::Partitions { ops, answer }).unwrap();
        match wait(answers).unwrap().remove(0) {
            Ok(PartitionOpOutput::View(view)) => view,
            other => panic!("{other:?}"),
        }
    }
}

/// What a shard asks, each kind in a queue of its own.
fn sorted(
    mut requests: mpsc::UnboundedReceiver<ShardRequest>,
) -> (std_mpsc::Receiver<Connect>, std_mpsc::Receiver<Asked>) {
    let ((connects, connect_queue), (asks, ask_queue)) = (std_mpsc::channel(), std_mpsc::channel());
    std::thread::spawn(move || {
        while let Some(request) = requests.blocking_recv() {
            match request {
                ShardRequest::Connect { to, shard, reply } => {
                    // The test may be over.
                    let _ = connects.send(Connect { to: to.0, shard, reply });
                }
                ShardRequest::Ask { request: Request::AlterPartition(request), reply, .. } => {
                    let _ = asks.send(Asked { request, reply });
                }
                ShardRequest::Ask { request, .. } => panic!("{request:?}"),
            }
        }
    });
    (connect_queue, ask_queue)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits, in this thread, for what another one does.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let (mut future, waker) = (pin!(future), Waker::from(Arc::new(Unpark(std::thread::current()))));
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        assert!(Instant::now() < deadline, "what is waited for does not come");
        std::thread::park_timeout(PATIENCE);
    }
}

/// Tries again until there is a result.
fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < deadline, "what is waited for does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn with_root(test: impl FnOnce(PathBuf)) {
    // Beside the test's program, because the files are opened with O_DIRECT and a temporary directory may be in memory.
    let program = std::env::current_exe().unwrap();
    let root = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    test(root.path().to_owned());
}

fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic_id: TOPIC_ID, partition: PartitionId(partition) }
}

/// An image with settings of the topic, or of broker 1.
fn configured(image: &MetadataImage, topic: &[(&str, &str)], broker: &[(&str, &str)]) -> MetadataImage {
    let of = |resource: ConfigResource| {
        move |(name, value): &(&str, &str)| MetadataRecord::ConfigChanged {
            resource: resource.clone(),
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
        }
    };
    let topic = topic.iter().map(of(ConfigResource::Topic(TOPIC.to_owned())));
    let records: Vec<_> = topic.chain(broker.iter().map(of(ConfigResource::Broker(BrokerId(HERE))))).collect();
    image.apply_batch(&records).unwrap().0
}

/// A process of a broker that is not fenced.
fn registered(broker: i32, epoch: u64) -> [MetadataRecord; 2] {
    let broker = BrokerId(broker);
    let bound = NodeBinding { node: broker, directory_id: Uuid::from_u128(1), address: "host:9093".to_owned() };
    let state = BrokerState {
        broker,
        incarnation: Uuid::from_u128(u128::from(epoch)),
        epoch,
        host: format!("host{broker}"),
        port: 9000,
        rack: None,
        shards: 1,
        fenced_at: None,
    };
    [MetadataRecord::NodeBound(bound), MetadataRecord::BrokerChanged(state)]
}
