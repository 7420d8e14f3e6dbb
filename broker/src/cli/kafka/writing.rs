//! An idempotent producer (KIP-98): one batch at a time, acknowledged by all replicas in sync, and sent again until it is.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProducerId, TopicName};
use protocol::ApiKey;
use protocol::records::BatchBuilder;

use super::client::{Client, Node};
use super::error::ClientError;
use super::leaders::{of_leader, of_partition};

const ALL_IN_SYNC: i16 = -1;
const NO_PRODUCER_ID: i64 = -1;

/// See the module's documentation.
pub(in crate::cli) struct Producer<'a> {
    client: &'a Client,
    topic: String,
    /// With their leaders, as far as they were known last.
    leaders: BTreeMap<i32, Option<Node>>,
    id: i64,
    epoch: i16,
    /// The next of each partition.
    sequences: BTreeMap<i32, i32>,
}

impl<'a> Producer<'a> {
    pub async fn open(client: &'a Client, topic: &str) -> Result<Producer<'a>, ClientError> {
        let mut producer = Producer {
            client,
            topic: topic.to_owned(),
            leaders: BTreeMap::new(),
            id: NO_PRODUCER_ID,
            epoch: 0,
            sequences: BTreeMap::new(),
        };
        producer.look_for_leaders().await?;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(ProducerId(NO_PRODUCER_ID))
            .with_producer_epoch(-1);
        loop {
            let (address, response) = client.call_any(&request).await?;
            match ResponseError::try_from_code(response.error_code) {
                None => {
                    (producer.id, producer.epoch) = (response.producer_id.0, response.producer_epoch);
                    return Ok(producer);
                }
                // Ids are handed out once the cluster is whole.
                Some(
                    ResponseError::CoordinatorLoadInProgress
                    | ResponseError::CoordinatorNotAvailable
                    | ResponseError::RequestTimedOut,
                ) if client.may_retry().await => {}
                Some(error) => return Err(ClientError::Refused { address, api: ApiKey::InitProducerId, error }),
            }
        }
    }

    /// The topic's, in order.
    pub fn partitions(&self) -> Vec<i32> {
        self.leaders.keys().copied().collect()
    }

    /// Where the batch's first record is now; `None` if the broker had it before and does not know any more. After an error
    /// that is no refusal it is not known whether it was written.
    pub async fn send(&mut self, partition: i32, batch: BatchBuilder) -> Result<Option<i64>, ClientError> {
        let api = ApiKey::Produce;
        let sequence = self.sequences.get(&partition).copied().unwrap_or(0);
        let count = i32::try_from(batch.len()).expect("a batch's records are counted so");
        let records = Bytes::from(batch.producer(protocol::ProducerId(self.id), self.epoch, sequence).build());
        let name = (self.topic.clone(), partition);
        loop {
            let refused = |address: &str, error| of_partition(address, api, &name, error);
            let (why, passes) = match self.leaders.get(&partition).cloned().flatten() {
                None => (refused(&self.client.any_address(), ResponseError::LeaderNotAvailable), true),
                Some(leader) => match self.send_to(&leader, partition, records.clone()).await {
                    Ok(Ok(offset)) => {
                        self.sequences.insert(partition, protocol::record_batch::advance_sequence(sequence, count));
                        return Ok(offset);
                    }
                    Ok(Err((error, message))) => {
                        let address = format!("{}:{}", leader.host, leader.port);
                        let what = format!("partition {}-{partition}", self.topic);
                        let passes = of_leader(error)
                            || matches!(
                                error,
                                ResponseError::NotEnoughReplicas | ResponseError::NotEnoughReplicasAfterAppend
                            );
                        (ClientError::RefusedOf { address, api, what, error, message }, passes)
                    }
                    Err(error) => {
                        let passes = error.is_of_connection();
                        (error, passes)
                    }
                },
            };
            if !passes || !self.client.may_retry().await {
                return Err(why);
            }
            self.look_for_leaders().await?;
        }
    }

    async fn look_for_leaders(&mut self) -> Result<(), ClientError> {
        let topics = self.client.topics(&BTreeSet::from([self.topic.clone()])).await?;
        self.leaders = topics.into_values().next().expect("each topic is in the outcome")?;
        Ok(())
    }

    async fn send_to(
        &self,
        leader: &Node,
        partition: i32,
        records: Bytes,
    ) -> Result<Result<Option<i64>, (ResponseError, Option<String>)>, ClientError> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
        let name = TopicName(self.topic.clone().into());
        let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(ALL_IN_SYNC)
            .with_timeout_ms(self.client.patience_ms())
            .with_topic_data(vec![topic]);
        let response = self.client.call(leader, &request).await?;
        let told = response.responses.into_iter().flat_map(|told| told.partition_responses);
        let Some(told) = told.into_iter().find(|told| told.index == partition) else {
            let address = format!("{}:{}", leader.host, leader.port);
            let what = format!("partition {}-{partition}", self.topic);
            return Err(ClientError::Silent { address, api: ApiKey::Produce, what });
        };
        Ok(match ResponseError::try_from_code(told.error_code) {
            // What was sent before has arrived after all.
            None | Some(ResponseError::DuplicateSequenceNumber) => {
                Ok(Some(told.base_offset).filter(|offset| *offset >= 0))
            }
            Some(error) => {
                let of_record = told.record_errors.into_iter().find_map(|one| one.batch_index_error_message);
                let message = told.error_message.or(of_record).map(|message| message.to_string());
                Err((error, message))
            }
        })
    }
}
