//! Whole runs against a broker that lies: whatever it does to acknowledgements, logs or answers is found and placed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, CreateTopicsResponse, DeleteTopicsResponse, FetchRequest, FetchResponse,
    ListOffsetsResponse, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use protocol::ApiKey;
use protocol::newtypes::{LeaderEpoch, Offset};
use protocol::record_batch::{BatchHeader, stamp};

use super::*;
use crate::client::topic_name;
use crate::interrupt::Interrupt;

/// The batch, counted from 0 over the whole run, that the lie is about.
const LIE_AT: usize = 40;
const BATCH_RECORDS: i64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// An error code instead of an acknowledgement.
    Refuse,
    /// The batch is acknowledged one batch further.
    SkipOffsets,
    /// The batch is acknowledged where the one before was.
    SameOffset,
    /// The batch is acknowledged and not kept; those after it close up.
    Forget,
    /// The batch is acknowledged and kept, and later left out of what is read.
    Hide,
    /// Instead of the batch the one before is read again.
    Repeat,
    /// A byte of the batch is another when it is read.
    Damage,
    /// The answer has the number of another request.
    Renumber,
    /// The answer is about another partition.
    Misplace,
    /// Instead of an answer the connection ends.
    HangUp,
    /// Metadata says that another broker leads, and there is none where that is said to be.
    Elsewhere,
    /// No lie: first there is no leader, then it does not know of it yet, then a replica is not in sync yet.
    Settling,
    /// A replica falls out of sync while load flows.
    FallBehind,
    /// No lie: each batch takes 20 ms.
    Slow,
}

/// The one partition's log, as batches with their base offsets.
struct Log {
    batches: Vec<Vec<u8>>,
    seen: usize,
    lie: Lie,
    /// How often metadata was asked for since the topic is there, and offsets were.
    metadata_asked: usize,
    offsets_asked: usize,
}

impl Log {
    fn end_offset(&self) -> i64 {
        self.batches.len() as i64 * BATCH_RECORDS
    }

    /// Error code and base offset.
    fn append(&mut self, batch: &[u8]) -> (i16, i64) {
        let header = BatchHeader::parse(batch).unwrap();
        header.verify(batch).unwrap();
        assert_eq!(i64::from(header.record_count), BATCH_RECORDS);
        let (offset, is_lie) = (self.end_offset(), self.seen == LIE_AT);
        self.seen += 1;
        if is_lie && self.lie == Lie::Refuse {
            return (87, -1);
        }
        if !(is_lie && self.lie == Lie::Forget) {
            let mut batch = batch.to_vec();
            stamp(&mut batch, Offset(offset), LeaderEpoch(0));
            self.batches.push(batch);
        }
        match self.lie {
            Lie::SkipOffsets if is_lie => (0, offset + BATCH_RECORDS),
            Lie::SameOffset if is_lie => (0, offset - BATCH_RECORDS),
            _ => (0, offset),
        }
    }

    /// Some batches from `offset` on.
    fn read(&self, offset: i64) -> Vec<u8> {
        let first = (offset / BATCH_RECORDS) as usize;
        let mut read = Vec::new();
        for number in first..self.batches.len().min(first + 7) {
            let mut batch = self.batches[number].clone();
            if number == LIE_AT {
                match self.lie {
                    Lie::Hide => continue,
                    Lie::Damage => *batch.last_mut().unwrap() ^= 1,
                    Lie::Repeat => {
                        batch = self.batches[number - 1].clone();
                        stamp(&mut batch, Offset(number as i64 * BATCH_RECORDS), LeaderEpoch(0));
                    }
                    _ => {}
                }
            }
            read.extend_from_slice(&batch);
        }
        read
    }
}

fn lying_broker(lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let log = Arc::new(Mutex::new(Log { batches: Vec::new(), seen: 0, lie, metadata_asked: 0, offsets_asked: 0 }));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, log) = (stream.unwrap(), log.clone());
            thread::spawn(move || serve(stream, &log));
        }
    });
    address
}

fn serve(mut stream: TcpStream, log: &Mutex<Log>) {
    loop {
        let mut length = [0; 4];
        if stream.read_exact(&mut length).is_err() {
            return;
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        if stream.read_exact(&mut frame).is_err() {
            return;
        }
        let Some(answer) = answer(Bytes::from(frame), log, stream.local_addr().unwrap()) else { return };
        let length = (answer.len() as u32).to_be_bytes();
        if stream.write_all(&length).and_then(|()| stream.write_all(&answer)).is_err() {
            return;
        }
    }
}

fn answer(mut frame: Bytes, log: &Mutex<Log>, address: SocketAddr) -> Option<BytesMut> {
    let api = ApiKey::from_key(i16::from_be_bytes([frame[0], frame[1]])).unwrap();
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let header_version = if api.is_flexible(version) { 2 } else { 1 };
    let header = RequestHeader::decode(&mut frame, header_version).unwrap();
    let lie = log.lock().unwrap().lie;
    let topic = topic_name("t");
    let id = uuid::Uuid::from_bytes([7; 16]);
    let mut correlation_id = header.correlation_id;
    let mut body = BytesMut::new();
    match api {
        ApiKey::ApiVersions => {
            let range = |api: ApiKey| {
                let served = api.served();
                ApiVersion::default().with_api_key(api as i16).with_min_version(served.min).with_max_version(served.max)
            };
            let all = ApiKey::ALL.iter().map(|api| range(*api)).collect();
            ApiVersionsResponse::default().with_api_keys(all).encode(&mut body, version).unwrap();
        }
        ApiKey::Metadata => {
            let broker = |id: i32, port: u16| {
                MetadataResponseBroker::default()
                    .with_node_id(BrokerId(id))
                    .with_host(StrBytes::from_static_str("127.0.0.1"))
                    .with_port(i32::from(port))
            };
            let mut log = log.lock().unwrap();
            log.metadata_asked += 1;
            let leader = match lie {
                Lie::Elsewhere => 1,
                Lie::Settling if log.metadata_asked == 2 => -1,
                _ => 0,
            };
            let is_behind = match lie {
                Lie::Settling => log.metadata_asked == 4,
                Lie::FallBehind => log.seen > LIE_AT,
                _ => false,
            };
            let in_sync = if is_behind { vec![BrokerId(0)] } else { vec![BrokerId(0), BrokerId(1)] };
            let partition = MetadataResponsePartition::default()
                .with_leader_id(BrokerId(leader))
                .with_replica_nodes(vec![BrokerId(0), BrokerId(1)])
                .with_isr_nodes(in_sync);
            let topic = MetadataResponseTopic::default()
                .with_name(Some(topic))
                .with_topic_id(id)
                .with_partitions(vec![partition]);
            let response = MetadataResponse::default()
                .with_brokers(vec![broker(0, address.port()), broker(1, address.port() ^ 1)])
                .with_topics(vec![topic]);
            response.encode(&mut body, version).unwrap();
        }
        ApiKey::CreateTopics => {
            let result = CreatableTopicResult::default().with_name(topic);
            CreateTopicsResponse::default().with_topics(vec![result]).encode(&mut body, version).unwrap();
        }
        ApiKey::DeleteTopics => {
            let result = DeletableTopicResult::default();
            DeleteTopicsResponse::default().with_responses(vec![result]).encode(&mut body, version).unwrap();
        }
        ApiKey::ListOffsets => {
            let mut log = log.lock().unwrap();
            log.offsets_asked += 1;
            let is_early = lie == Lie::Settling && log.offsets_asked == 1;
            let (code, offset) = if is_early { (6, -1) } else { (0, log.end_offset()) };
            let partition = ListOffsetsPartitionResponse::default().with_error_code(code).with_offset(offset);
            let topic = ListOffsetsTopicResponse::default().with_name(topic).with_partitions(vec![partition]);
            ListOffsetsResponse::default().with_topics(vec![topic]).encode(&mut body, version).unwrap();
        }
        ApiKey::Produce => {
            let request = ProduceRequest::decode(&mut frame, version).unwrap();
            let batch = request.topic_data[0].partition_data[0].records.clone().unwrap();
            let mut log = log.lock().unwrap();
            let is_lie = log.seen == LIE_AT;
            if lie == Lie::Slow {
                thread::sleep(Duration::from_millis(20));
            }
            let (code, offset) = log.append(&batch);
            if is_lie && lie == Lie::HangUp {
                return None;
            }
            correlation_id += i32::from(is_lie && lie == Lie::Renumber);
            let partition = PartitionProduceResponse::default()
                .with_index(i32::from(is_lie && lie == Lie::Misplace))
                .with_error_code(code)
                .with_base_offset(offset);
            let topic = TopicProduceResponse::default().with_name(topic).with_partition_responses(vec![partition]);
            ProduceResponse::default().with_responses(vec![topic]).encode(&mut body, version).unwrap();
        }
        ApiKey::Fetch => {
            let request = FetchRequest::decode(&mut frame, version).unwrap();
            let read = log.lock().unwrap().read(request.topics[0].partitions[0].fetch_offset);
            if read.is_empty() {
                // As a poll that waits for records does, so that the test does not spin.
                thread::sleep(Duration::from_millis(1));
            }
            let partition = PartitionData::default().with_records(Some(Bytes::from(read)));
            let topic = FetchableTopicResponse::default().with_topic_id(id).with_partitions(vec![partition]);
            FetchResponse::default().with_responses(vec![topic]).encode(&mut body, version).unwrap();
        }
        _ => panic!("{api:?} is not asked for"),
    }
    let mut answer = BytesMut::new();
    let header_version = i16::from(api.is_flexible(version) && api != ApiKey::ApiVersions);
    ResponseHeader::default().with_correlation_id(correlation_id).encode(&mut answer, header_version).unwrap();
    answer.extend_from_slice(&body);
    Some(answer)
}

fn run_against(lie: Lie, producers: usize) -> Result<outcome::Outcome, LoadError> {
    run_as(lie, producers, "records = 1000")
}

fn run_as(lie: Lie, producers: usize, more: &str) -> Result<outcome::Outcome, LoadError> {
    let text = format!(
        "name = 'w'\npartitions = 1\nrecord_size = 100\nrecords_per_batch = {BATCH_RECORDS}\nproducers = {producers}\n\
         consumer_groups = 1\n{more}"
    );
    let workload = Workload::parse("w", &text, &[]).unwrap();
    let options = RunOptions { topic: Some("t".to_owned()), ..RunOptions::default() };
    run(lying_broker(lie), &workload, &options, &mut |_| {}, &Interrupt::default())
}

#[test]
fn an_honest_broker_is_believed() {
    for producers in [1, 3] {
        let outcome = run_against(Lie::None, producers).unwrap();
        assert!((1000..=1008).contains(&outcome.verified.acknowledged_records), "{:?}", outcome.verified);
        assert_eq!(outcome.verified.read_records, outcome.verified.acknowledged_records);
        assert_eq!(outcome.roles[0].total.records, outcome.verified.acknowledged_records);
        assert_eq!(outcome.roles[0].total.latency.len(), outcome.roles[0].total.requests);
    }
}

#[test]
fn what_is_not_ready_yet_is_waited_for() {
    let outcome = run_against(Lie::Settling, 2).unwrap();
    assert_eq!(outcome.verified.read_records, outcome.verified.acknowledged_records);
    assert_eq!(outcome.leading_brokers, 1);
}

#[test]
fn every_lie_is_found_and_placed() {
    let offset = LIE_AT as i64 * BATCH_RECORDS;
    for (lie, producers, said) in [
        (Lie::Refuse, 1, "Produce of producer 0 for t partition 0 gave error code 87".to_owned()),
        (Lie::SkipOffsets, 1, format!("acknowledged at offset {}, expected {offset}", offset + BATCH_RECORDS)),
        (Lie::SkipOffsets, 3, "t partition 0".to_owned()),
        (Lie::SameOffset, 1, format!("acknowledged at offset {}, expected {offset}", offset - BATCH_RECORDS)),
        (Lie::SameOffset, 3, "t partition 0".to_owned()),
        (Lie::Forget, 1, format!("acknowledged at offset {offset}, expected {}", offset + BATCH_RECORDS)),
        (Lie::Forget, 3, "t partition 0".to_owned()),
        (Lie::Hide, 1, format!("t partition 0 at offset {offset}: the batch begins at offset")),
        (Lie::Repeat, 1, format!("t partition 0 at offset {offset}: batch 39 of producer 0 comes again")),
        (Lie::Repeat, 3, format!("t partition 0 at offset {offset}: batch")),
        (Lie::Damage, 3, format!("t partition 0 at offset {offset}: the batch is damaged")),
        (Lie::Renumber, 1, "the answer has correlation id 41, expected 40".to_owned()),
        (Lie::Misplace, 1, "the answer is about partition 1 of t".to_owned()),
        // Closed, or reset, depending on what was on its way.
        (Lie::HangUp, 3, "producer".to_owned()),
        (Lie::Elsewhere, 1, "connecting failed".to_owned()),
        (Lie::FallBehind, 1, "t partition 0 ends with 1 of 2 replicas in sync".to_owned()),
    ] {
        let found = run_against(lie, producers).expect_err("a lie was believed").to_string();
        assert!(found.contains(&said), "{lie:?} with {producers} producers: {found}");
    }
}

#[test]
fn what_a_slow_broker_cannot_take_is_given_up_and_not_forgotten() {
    // 250 requests are due in 0.25 s, and in all the time that is given the broker can take 35, and ten are on their way.
    let rate = format!("rate = {}\nduration_seconds = 0.25\ngive_up_seconds = 0.45", 1000 * BATCH_RECORDS);
    let outcome = run_as(Lie::Slow, 2, &rate).unwrap();
    let total = &outcome.roles[0].total;
    let (sent, due) = (total.requests, total.latency.len());
    assert_eq!(due, 250);
    assert!((1..due / 2).contains(&sent), "{sent}");
    assert_eq!(outcome.given_up, Some((due - sent) as f64 / due as f64));
    assert_eq!(outcome.verified.acknowledged_records, sent * BATCH_RECORDS as u64);
    assert_eq!(outcome.verified.read_records, outcome.verified.acknowledged_records);
    // What was given up had waited from its intended time on: 0.45 s at least.
    let median = Duration::from_nanos(total.latency.value_at_quantile(0.5));
    assert!(median >= Duration::from_millis(450), "{median:?}");
}
