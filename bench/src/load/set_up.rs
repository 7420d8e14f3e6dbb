//! What has to be before load can flow: versions agreed on, topics there, their leaders known and ready, all replicas in
//! sync, and where the logs end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, MetadataResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol::ApiKey;

use crate::client::{Connection, EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, topic_name};
use crate::interrupt::Interrupt;
use crate::load::RunOptions;
use crate::load::error::LoadError;
use crate::load::fetch_request::{FETCH_VERSION_WITH_IDS, FETCH_VERSIONS, TopicKey};
use crate::load::leaders::Leaders;
use crate::load::new_topic::new_topic;
use crate::load::produce_request::PRODUCE_VERSION;
use crate::load::settling::{Settling, name_of, settled};
use crate::load::workload::Workload;

/// How long a single answer, and a topic's becoming ready, may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// How long between two looks at what is not ready yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
const API_VERSIONS_VERSION: i16 = 0;
/// The first with topic ids.
const METADATA_VERSION: i16 = 10;
const CREATE_TOPICS_VERSION: i16 = 4;
const DELETE_TOPICS_VERSION: i16 = 3;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// Topics asked about in one request, so that no answer is huge.
const TOPICS_PER_REQUEST: usize = 100;

/// The ground that load flows on.
#[derive(Debug)]
pub(super) struct Ground {
    /// To the broker that we were told of.
    connection: Connection,
    broker: SocketAddr,
    pub(super) topics: Vec<TopicKey>,
    /// Those of the topics that were not there before.
    created: Vec<String>,
    partitions: i32,
    pub(super) leaders: Leaders,
    /// To each leader, by its number.
    to_leaders: Vec<Connection>,
    pub(super) fetch_version: i16,
    interrupt: Interrupt,
}

impl Ground {
    /// Agrees on versions with the broker, creates the topics that are not there, and finds their leaders.
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
        let mut ground = Ground {
            connection,
            broker,
            topics: Vec::new(),
            created: Vec::new(),
            partitions,
            leaders: Leaders::new(&[], partitions),
            to_leaders: Vec::new(),
            fetch_version,
            interrupt,
        };
        match ground.find(&names, workload) {
            Ok(()) => Ok(ground),
            Err(error) => {
                // The error says more than that a topic cannot be removed either.
                let _ = ground.remove_created();
                Err(error)
            }
        }
    }

    fn find(&mut self, names: &[String], workload: &Workload) -> Result<(), LoadError> {
        let mut of_slots = Vec::with_capacity(workload.partitions_total());
        for names in names.chunks(TOPICS_PER_REQUEST) {
            self.create_missing(names, workload)?;
            of_slots.extend(self.settle(names)?);
        }
        self.leaders = Leaders::new(&of_slots, self.partitions);
        self.leaders.check(workload)?;
        self.to_leaders = self.connect()?;
        Ok(())
    }

    fn create_missing(&mut self, names: &[String], workload: &Workload) -> Result<(), LoadError> {
        let metadata = self.metadata(names)?;
        for topic in &metadata.topics {
            let name = name_of(topic);
            match topic.error_code {
                0 => {}
                UNKNOWN_TOPIC_OR_PARTITION if workload.producers == 0 => {
                    return Err(LoadError::NoTopic { topic: name });
                }
                UNKNOWN_TOPIC_OR_PARTITION => {
                    self.create(&name, workload, &metadata)?;
                    self.created.push(name);
                }
                code => return Err(LoadError::Metadata { topic: name, code }),
            }
        }
        Ok(())
    }

    /// Waits until all partitions have leaders that say so themselves and all replicas are in sync; gives the leader of
    /// each, in their order. Metadata is asked for anew as long as a leader is none, or not yet.
    fn settle(&mut self, names: &[String]) -> Result<Vec<SocketAddr>, LoadError> {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            let metadata = self.metadata(names)?;
            let settling = match settled(names, self.partitions, self.broker, &metadata)? {
                Ok(of_slots) if self.all_ready(names, &of_slots)? => {
                    let topic = |name: &String| metadata.topics.iter().find(|topic| name_of(topic) == *name);
                    let key = |topic: &MetadataResponseTopic| TopicKey {
                        name: name_of(topic),
                        id: *topic.topic_id.as_bytes(),
                    };
                    self.topics.extend(names.iter().filter_map(topic).map(key));
                    return Ok(of_slots);
                }
                Ok(_) => {
                    Settling { topic: names[0].clone(), partition: 0, found: "its leader is not ready".to_owned() }
                }
                Err(settling) => settling,
            };
            if Instant::now() > deadline {
                let Settling { topic, partition, found } = settling;
                return Err(LoadError::NotSettled { topic, partition, limit: ANSWER_TIME_MAX, found });
            }
            self.interrupt.sleep(LOOK_INTERVAL)?;
        }
    }

    /// Whether each leader of these topics says of itself that it leads.
    fn all_ready(&self, names: &[String], of_slots: &[SocketAddr]) -> Result<bool, LoadError> {
        let leaders = Leaders::new(of_slots, self.partitions);
        for leader in 0..leaders.count() {
            let mut connection = Connection::open(leaders.address(leader), &self.interrupt)?;
            for led in &leaders.led(leader).topics {
                let (name, partitions) = (&names[led.topic], &led.partitions);
                if connection.offsets(name, partitions, LATEST_TIMESTAMP, ANSWER_TIME_MAX)?.is_none() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn connect(&self) -> Result<Vec<Connection>, LoadError> {
        let leaders = 0..self.leaders.count();
        leaders.map(|leader| Ok(Connection::open(self.leaders.address(leader), &self.interrupt)?)).collect()
    }

    fn metadata(&mut self, names: &[String]) -> Result<MetadataResponse, LoadError> {
        let topics = names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
        let request =
            MetadataRequest::default().with_topics(Some(topics.collect())).with_allow_auto_topic_creation(false);
        Ok(self.connection.call(&request, METADATA_VERSION, ANSWER_TIME_MAX)?)
    }

    fn create(&mut self, name: &str, workload: &Workload, metadata: &MetadataResponse) -> Result<(), LoadError> {
        let creatable = new_topic(name, workload, self.broker, &metadata.brokers)?;
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
        self.offsets(LATEST_TIMESTAMP)
    }

    /// Where all logs begin, in the same order.
    pub(super) fn log_start_offsets(&mut self) -> Result<Vec<i64>, LoadError> {
        self.offsets(EARLIEST_TIMESTAMP)
    }

    fn offsets(&mut self, timestamp: i64) -> Result<Vec<i64>, LoadError> {
        let mut offsets = vec![0; self.topics.len() * self.partitions as usize];
        for (leader, connection) in self.to_leaders.iter_mut().enumerate() {
            for led in &self.leaders.led(leader).topics {
                let name = &self.topics[led.topic].name;
                let found = connection.wait_for_offsets(name, &led.partitions, timestamp, ANSWER_TIME_MAX)?;
                for (partition, offset) in led.partitions.iter().zip(found) {
                    offsets[led.topic * self.partitions as usize + *partition as usize] = offset;
                }
            }
        }
        Ok(offsets)
    }

    /// An error if a replica has fallen behind and out of the in-sync replicas: what was measured then is not what was to be.
    pub(super) fn check_in_sync(&mut self) -> Result<(), LoadError> {
        let names: Vec<String> = self.topics.iter().map(|topic| topic.name.clone()).collect();
        for names in names.chunks(TOPICS_PER_REQUEST) {
            for topic in &self.metadata(names)?.topics {
                for partition in &topic.partitions {
                    let (replicas, in_sync) = (partition.replica_nodes.len(), partition.isr_nodes.len());
                    if in_sync < replicas {
                        let (topic, partition) = (name_of(topic), partition.partition_index);
                        return Err(LoadError::OutOfSync { topic, partition, replicas, in_sync });
                    }
                }
            }
        }
        Ok(())
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
