//! A real broker process and a client that knows every byte it sends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, FetchResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, GroupId, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, ProduceResponse, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use protocol::records::BatchBuilder;

/// Generous: a bound on a hang, never on speed.
const HANG_MAX: Duration = Duration::from_secs(60);

/// A process of the binary whose lines on standard error are collected; it is killed when dropped.
pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
    hang_max: Duration,
}

impl Process {
    /// `hang_max` bounds every wait for it.
    pub fn spawn(command: &mut Command, hang_max: Duration) -> Process {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("piped");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let collected = lines.clone();
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                collected.lock().unwrap().push(line);
            }
        });
        Process { child, lines, reader: Some(reader), hang_max }
    }

    /// Waits for a line; fails if the process ends without it.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let since = Instant::now();
        loop {
            if let Some(line) = self.lines.lock().unwrap().iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let goes_on = self.child.try_wait().unwrap().is_none() && since.elapsed() < self.hang_max;
            assert!(goes_on, "no line with {text:?} in {:#?}", self.lines.lock().unwrap());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has said a line with `text` so far.
    pub fn has_logged(&self, text: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|line| line.contains(text))
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits for the end; returns the exit code (`None` when killed by a signal) and all it said.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(since.elapsed() < self.hang_max, "it does not end: {:#?}", self.lines.lock().unwrap());
            thread::sleep(Duration::from_millis(5));
        };
        self.reader.take().expect("once").join().unwrap();
        let said = self.lines.lock().unwrap().join("\n");
        (status.code(), said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A broker process.
pub struct Broker(Process);

impl Broker {
    pub fn spawn(data_dir: &Path, kafka_addr: &str, more: &[&str]) -> Broker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog"));
        command
            .args(["serve", "--kafka-addr", kafka_addr, "--http-addr", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(if more.contains(&"--internal-addr") { &[][..] } else { &["--internal-addr", "127.0.0.1:0"] })
            .args(if more.contains(&"--shards") { &[][..] } else { &["--shards", "2"] })
            .args(more);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RINGLOG_") {
                command.env_remove(name);
            }
        }
        Broker(Process::spawn(&mut command, HANG_MAX))
    }

    pub fn start(data_dir: &Path) -> (Broker, SocketAddr) {
        Broker::start_with(data_dir, &[])
    }

    pub fn start_with(data_dir: &Path, more: &[&str]) -> (Broker, SocketAddr) {
        let mut broker = Broker::spawn(data_dir, "127.0.0.1:0", more);
        let line = broker.wait_for_line("kafka listener bound");
        let address = field(&line, "addr=");
        (broker, address.parse().expect("an address"))
    }

    /// Waits for a log line; fails if the process ends without it.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        self.0.wait_for_line(text)
    }

    /// Whether a line with `text` was logged so far.
    pub fn has_logged(&self, text: &str) -> bool {
        self.0.has_logged(text)
    }

    pub fn signal(&self, name: &str) {
        self.0.signal(name);
    }

    /// Waits for the end; returns the exit code (`None` when killed by a signal) and all it logged.
    pub fn wait(self) -> (Option<i32>, String) {
        self.0.wait()
    }

    pub fn stop(self) -> String {
        self.signal("TERM");
        let (code, log) = self.wait();
        assert_eq!(code, Some(0), "{log}");
        log
    }

    pub fn kill9(self) {
        self.signal("KILL");
        assert_eq!(self.wait().0, None);
    }
}

pub fn field(line: &str, name: &str) -> String {
    let at = line.find(name).unwrap_or_else(|| panic!("no {name} in {line}")) + name.len();
    line[at..].split_whitespace().next().unwrap().to_owned()
}

/// A directory on the file system of the build, which is a real disk where `/tmp` may not be.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A connection that sends one request at a time.
pub struct Client {
    socket: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(HANG_MAX)).unwrap();
        // Length and frame are two small writes.
        socket.set_nodelay(true).unwrap();
        Client { socket, correlation_id: 0 }
    }

    pub fn call<A: Encodable, B: Decodable>(&mut self, api: ApiKey, version: i16, request: &A) -> B {
        self.try_call(api, version, request).unwrap()
    }

    /// As [`Client::call`], of a broker that may be killed meanwhile.
    fn try_call<A: Encodable, B: Decodable>(&mut self, api: ApiKey, version: i16, request: &A) -> io::Result<B> {
        self.correlation_id += 1;
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .encode(&mut frame, api.request_header_version(version))
            .unwrap();
        request.encode(&mut frame, version).unwrap();
        self.socket.write_all(&(frame.len() as u32).to_be_bytes())?;
        self.socket.write_all(&frame)?;
        let mut length = [0; 4];
        self.socket.read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut answer)?;
        let mut answer = Bytes::from(answer);
        let header = ResponseHeader::decode(&mut answer, api.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.correlation_id);
        Ok(B::decode(&mut answer, version).unwrap())
    }

    pub fn create_topic(&mut self, name: &'static str) {
        self.create_topic_of(name, 1);
    }

    pub fn create_topic_of(&mut self, name: &'static str, partitions: i32) {
        self.create_replicated(name, partitions, 1);
    }

    pub fn create_replicated(&mut self, name: &'static str, partitions: i32, replication_factor: i16) {
        let topic = CreatableTopic::default()
            .with_name(TopicName(name.into()))
            .with_num_partitions(partitions)
            .with_replication_factor(replication_factor);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let response: CreateTopicsResponse = self.call(ApiKey::CreateTopics, 5, &request);
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    }

    /// Produces one record with acks=all; the error code and its offset.
    pub fn produce(&mut self, topic: &'static str, value: &[u8]) -> (i16, i64) {
        self.produce_with(topic, value, -1)
    }

    pub fn produce_with(&mut self, topic: &'static str, value: &[u8], acks: i16) -> (i16, i64) {
        let mut batch = BatchBuilder::new();
        batch.append(1_700_000_000_000, None, Some(value), &[]);
        let data = PartitionProduceData::default().with_index(0).with_records(Some(Bytes::from(batch.build())));
        let topic = TopicProduceData::default().with_name(TopicName(topic.into())).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(vec![topic]);
        let response: ProduceResponse = self.call(ApiKey::Produce, 9, &request);
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    /// Produces one record to each of the partitions from 0 on with acks=all, in one request; error codes and offsets. Fails
    /// if the broker goes meanwhile.
    pub fn produce_to_all(&mut self, topic: &'static str, values: &[Vec<u8>]) -> io::Result<Vec<(i16, i64)>> {
        let data = values.iter().zip(0..).map(|(value, partition)| {
            let mut batch = BatchBuilder::new();
            batch.append(1_700_000_000_000, None, Some(value), &[]);
            PartitionProduceData::default().with_index(partition).with_records(Some(Bytes::from(batch.build())))
        });
        let topic = TopicProduceData::default().with_name(TopicName(topic.into())).with_partition_data(data.collect());
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
        let mut response: ProduceResponse = self.try_call(ApiKey::Produce, 9, &request)?;
        let mut partitions = std::mem::take(&mut response.responses[0].partition_responses);
        partitions.sort_by_key(|partition| partition.index);
        Ok(partitions.iter().map(|partition| (partition.error_code, partition.base_offset)).collect())
    }

    pub fn delete_topic(&mut self, name: &'static str) {
        let request =
            DeleteTopicsRequest::default().with_topic_names(vec![TopicName(name.into())]).with_timeout_ms(10_000);
        let response: DeleteTopicsResponse = self.call(ApiKey::DeleteTopics, 5, &request);
        assert_eq!(response.responses[0].error_code, 0, "{response:?}");
    }

    /// Sets a config for all brokers.
    pub fn set_broker_default(&mut self, name: &'static str, value: &'static str) {
        let config = AlterableConfig::default().with_name(name.into()).with_value(Some(value.into()));
        let resource = AlterConfigsResource::default().with_resource_type(4).with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let response: IncrementalAlterConfigsResponse = self.call(ApiKey::IncrementalAlterConfigs, 1, &request);
        assert_eq!(response.responses[0].error_code, 0, "{response:?}");
    }

    /// Commits an offset of partition 0 as a group without members; the error code.
    pub fn commit_offset(&mut self, topic: &'static str, offset: i64) -> i16 {
        let request = FindCoordinatorRequest::default().with_key("g".into());
        let found: FindCoordinatorResponse = self.call(ApiKey::FindCoordinator, 3, &request);
        assert_eq!(found.error_code, 0);
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic =
            OffsetCommitRequestTopic::default().with_name(TopicName(topic.into())).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId("g".into()))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let response: OffsetCommitResponse = self.call(ApiKey::OffsetCommit, 7, &request);
        response.topics[0].partitions[0].error_code
    }

    /// The offset committed for partition 0.
    pub fn committed_offset(&mut self, topic: &'static str) -> i64 {
        let topic =
            OffsetFetchRequestTopic::default().with_name(TopicName(topic.into())).with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default().with_group_id(GroupId("g".into())).with_topics(Some(vec![topic]));
        let response: OffsetFetchResponse = self.call(ApiKey::OffsetFetch, 5, &request);
        response.topics[0].partitions[0].committed_offset
    }

    /// Fetches from the start; the error code, the high watermark and the bytes.
    pub fn fetch(&mut self, topic: &'static str) -> (i16, i64, usize) {
        let (error, high_watermark, bytes) = self.fetch_from(topic, 0, 0);
        (error, high_watermark, bytes.len())
    }

    /// As [`Client::fetch`], of any partition from any offset on, and with the bytes themselves.
    pub fn fetch_from(&mut self, topic: &'static str, partition: i32, offset: i64) -> (i16, i64, Bytes) {
        let partition = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(1 << 20)
            .with_current_leader_epoch(-1);
        let topic = FetchTopic::default().with_topic(TopicName(topic.into())).with_partitions(vec![partition]);
        let request = FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![topic]);
        let response: FetchResponse = self.call(ApiKey::Fetch, 11, &request);
        let partition = &response.responses[0].partitions[0];
        (partition.error_code, partition.high_watermark, partition.records.clone().unwrap_or_default())
    }
}
