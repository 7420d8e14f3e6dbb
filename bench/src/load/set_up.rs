//! What has to be before load can flow: versions agreed on, topics there, one leader for all, and where the logs end.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreateTopicsRequest, DeleteTopicsRequest, ListOffsetsRequest, MetadataRequest,
    MetadataResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol::ApiKey;

use crate::client::{Connection, topic_name};
use crate::interrupt::Interrupt;
use crate::load::RunOptions;
use crate::load::error::LoadError;
use crate::load::fetch_request::{FETCH_VERSION_WITH_IDS, FETCH_VERSIONS, TopicKey};
use crate::load::produce_request::PRODUCE_VERSION;
use crate::load::workload::Workload;

/// How long a single answer, and a topic's becoming ready, may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
const API_VERSIONS_VERSION: i16 = 0;
/// The first with topic ids.
const METADATA_VERSION: i16 = 10;
const CREATE_TOPICS_VERSION: i16 = 4;
const DELETE_TOPICS_VERSION: i16 = 3;
const LIST_OFFSETS_VERSION: i16 = 5;
const EARLIEST_TIMESTAMP: i64 = -2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
/// Topics asked about in one request, so that no answer is huge.
const TOPICS_PER_REQUEST: usize = 100;

/// The ground that load flows on.
#[derive(Debug)]
pub(super) struct Ground {
    connection: Connection,
    broker: SocketAddr,
    pub(super) topics: Vec<TopicKey>,
    /// Those of the topics that were not there before.
    created: Vec<String>,
    partitions: i32,
    pub(super) fetch_version: i16,
    interrupt: Interrupt,
}

impl Ground {
    /// Agrees on versions with the broker, and creates the topics that are not there.
    pub(super) fn prepare(
        broker: SocketAddr,
        workload: &Workload,
        options: &RunOptions,
        run: u32,
        interrupt: &Interrupt,
    ) -> Result<Ground, LoadError> {
        let mut connection = Connection::open(broker, interrupt)?;
        let fetch_version = agree(&mut connection, broker)?;
        let base = options.topic.clone().unwrap_or_else(|| format!("load-{run:08x}"));
        let name = |number: usize| if workload.topics == 1 { base.clone() } else { format!("{base}-{number}") };
        let names: Vec<String> = (0..workload.topics).map(name).collect();
        let (interrupt, partitions) = (interrupt.clone(), workload.partitions);
        let (topics, created) = (Vec::new(), Vec::new());
        let mut ground = Ground { connection, broker, topics, created, partitions, fetch_version, interrupt };
        for names in names.chunks(TOPICS_PER_REQUEST) {
            ground.find_or_create(names, workload)?;
        }
        Ok(ground)
    }

    fn find_or_create(&mut self, names: &[String], workload: &Workload) -> Result<(), LoadError> {
        let metadata = self.metadata(names)?;
        for topic in &metadata.topics {
            let name = name_of(topic);
            match topic.error_code {
                0 => {}
                UNKNOWN_TOPIC_OR_PARTITION if workload.producers == 0 => {
                    return Err(LoadError::NoTopic { topic: name });
                }
                UNKNOWN_TOPIC_OR_PARTITION => {
                    self.create(&name, workload)?;
                    self.created.push(name);
                }
                code => return Err(LoadError::Metadata { topic: name, code }),
            }
        }
        for name in names {
            let client = &mut self.connection;
            client.wait_for_end_offsets(name, self.partitions, ANSWER_TIME_MAX)?;
        }
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            let metadata = self.metadata(names)?;
            let is_settling = |code| matches!(code, UNKNOWN_TOPIC_OR_PARTITION | LEADER_NOT_AVAILABLE);
            let settling = metadata.topics.iter().any(|topic| {
                is_settling(topic.error_code)
                    || topic.partitions.iter().any(|partition| is_settling(partition.error_code))
            });
            if !settling || Instant::now() > deadline {
                return self.take(names, &metadata);
            }
            self.interrupt.sleep(Duration::from_millis(5))?;
        }
    }

    /// Checks that all partitions are there and led by the broker that we talk to.
    fn take(&mut self, names: &[String], metadata: &MetadataResponse) -> Result<(), LoadError> {
        for name in names {
            let topic = metadata.topics.iter().find(|topic| name_of(topic) == *name);
            let topic = topic.ok_or_else(|| LoadError::Metadata { topic: name.clone(), code: -1 })?;
            if topic.error_code != 0 {
                return Err(LoadError::Metadata { topic: name.clone(), code: topic.error_code });
            }
            let (expected, found) = (self.partitions, topic.partitions.len());
            if found != expected as usize {
                return Err(LoadError::Partitions { topic: name.clone(), expected, found });
            }
            for partition in &topic.partitions {
                let leader = metadata.brokers.iter().find(|broker| broker.node_id == partition.leader_id);
                let address = leader.map_or_else(String::new, |leader| format!("{}:{}", leader.host, leader.port));
                // A lone broker may have any name by which others reach it.
                if metadata.brokers.len() > 1 && !resolves_to(&address, self.broker) {
                    return Err(LoadError::OtherLeader {
                        topic: name.clone(),
                        partition: partition.partition_index,
                        leader: partition.leader_id.0,
                        address,
                        broker: self.broker,
                    });
                }
            }
            self.topics.push(TopicKey { name: name.clone(), id: *topic.topic_id.as_bytes() });
        }
        Ok(())
    }

    fn metadata(&mut self, names: &[String]) -> Result<MetadataResponse, LoadError> {
        let topics = names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
        let request =
            MetadataRequest::default().with_topics(Some(topics.collect())).with_allow_auto_topic_creation(false);
        Ok(self.connection.call(&request, METADATA_VERSION, ANSWER_TIME_MAX)?)
    }

    fn create(&mut self, name: &str, workload: &Workload) -> Result<(), LoadError> {
        let creatable = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(workload.partitions)
            .with_replication_factor(workload.replication_factor);
        let timeout_ms = ANSWER_TIME_MAX.as_millis() as i32;
        let request = CreateTopicsRequest::default().with_topics(vec![creatable]).with_timeout_ms(timeout_ms);
        let response = self.connection.call(&request, CREATE_TOPICS_VERSION, ANSWER_TIME_MAX)?;
        let result = response.topics.first();
        let (code, message) = result.map_or((-1, None), |result| (result.error_code, result.error_message.as_ref()));
        if code != 0 {
            let message = message.map_or_else(String::new, StrBytes::to_string);
            return Err(LoadError::Topic { request: "CreateTopics", topic: name.to_owned(), code, message });
        }
        Ok(())
    }

    /// Where all logs end: topic by topic, partition by partition.
    pub(super) fn end_offsets(&mut self) -> Result<Vec<i64>, LoadError> {
        let mut offsets = Vec::with_capacity(self.topics.len() * self.partitions as usize);
        for topic in &self.topics {
            offsets.extend(self.connection.wait_for_end_offsets(&topic.name, self.partitions, ANSWER_TIME_MAX)?);
        }
        Ok(offsets)
    }

    /// Where all logs begin, in the same order.
    pub(super) fn log_start_offsets(&mut self) -> Result<Vec<i64>, LoadError> {
        const REQUEST: &str = "ListOffsets";
        let mut offsets = Vec::with_capacity(self.topics.len() * self.partitions as usize);
        for topic in &self.topics {
            let partition = |index| {
                ListOffsetsPartition::default()
                    .with_partition_index(index)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(EARLIEST_TIMESTAMP)
            };
            let asked = ListOffsetsTopic::default()
                .with_name(topic_name(&topic.name))
                .with_partitions((0..self.partitions).map(partition).collect());
            let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
            let mut response = self.connection.call(&request, LIST_OFFSETS_VERSION, ANSWER_TIME_MAX)?;
            let mut answered = response.topics.pop().map_or_else(Vec::new, |topic| topic.partitions);
            answered.sort_by_key(|partition| partition.partition_index);
            let (expected, found) = (self.partitions, answered.len());
            if found != expected as usize {
                return Err(LoadError::Partitions { topic: topic.name.clone(), expected, found });
            }
            if let Some(refused) = answered.iter().find(|partition| partition.error_code != 0) {
                let (topic, code) = (topic.name.clone(), refused.error_code);
                return Err(LoadError::Topic { request: REQUEST, topic, code, message: String::new() });
            }
            offsets.extend(answered.iter().map(|partition| partition.offset));
        }
        Ok(offsets)
    }

    /// Removes the topics that were created; after an interrupt too.
    pub(super) fn remove_created(&mut self) -> Result<(), LoadError> {
        if self.created.is_empty() {
            return Ok(());
        }
        let mut connection = Connection::open(self.broker, &Interrupt::default())?;
        for name in std::mem::take(&mut self.created) {
            let timeout_ms = ANSWER_TIME_MAX.as_millis() as i32;
            let request =
                DeleteTopicsRequest::default().with_topic_names(vec![topic_name(&name)]).with_timeout_ms(timeout_ms);
            let response = connection.call(&request, DELETE_TOPICS_VERSION, ANSWER_TIME_MAX)?;
            let code = response.responses.first().map_or(-1, |result| result.error_code);
            if code != 0 {
                return Err(LoadError::Topic { request: "DeleteTopics", topic: name, code, message: String::new() });
            }
        }
        Ok(())
    }
}

/// The version of Fetch to use.
fn agree(connection: &mut Connection, broker: SocketAddr) -> Result<i16, LoadError> {
    let served = connection.call(&ApiVersionsRequest::default(), API_VERSIONS_VERSION, ANSWER_TIME_MAX)?;
    let range = |api: ApiKey| {
        let found = served.api_keys.iter().find(|served| served.api_key == api as i16);
        found.map_or((-1, -1), |served| (served.min_version, served.max_version))
    };
    let (min, max) = range(ApiKey::Produce);
    if min > PRODUCE_VERSION || max < PRODUCE_VERSION {
        return Err(LoadError::Version { broker, request: "Produce", min, max, expected: "8" });
    }
    let (min, max) = range(ApiKey::Fetch);
    let version = max.min(*FETCH_VERSIONS.end());
    if !FETCH_VERSIONS.contains(&version) || min > version {
        return Err(LoadError::Version { broker, request: "Fetch", min, max, expected: "12 to 17" });
    }
    let (min, max) = range(ApiKey::Metadata);
    if min > METADATA_VERSION || max < METADATA_VERSION {
        return Err(LoadError::Version { broker, request: "Metadata", min, max, expected: "10" });
    }
    debug_assert!(FETCH_VERSIONS.contains(&FETCH_VERSION_WITH_IDS));
    Ok(version)
}

fn name_of(topic: &MetadataResponseTopic) -> String {
    topic.name.as_ref().map_or_else(String::new, |name| name.to_string())
}

fn resolves_to(address: &str, broker: SocketAddr) -> bool {
    address.to_socket_addrs().is_ok_and(|mut found| found.any(|found| found == broker))
}
