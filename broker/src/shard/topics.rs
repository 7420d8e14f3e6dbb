//! Topics that the broker creates by itself: those that clients ask about, and the one of committed offsets.

use std::collections::HashMap;
use std::rc::Rc;

use kafka_protocol::ResponseError;
use metadata::config::ConfigLayers;
use metadata::controller::NewTopic;

use super::Shard;
use crate::handlers::topic_access::OFFSETS_TOPIC;
use crate::metadata_core::RequestFailed;
use crate::metadata_core::request::CreateTopics;

impl Shard {
    /// Where this broker's configs come from, as of now.
    pub fn config_layers(&self) -> ConfigLayers {
        self.image().config_layers(self.broker_id(), &self.settings().static_config())
    }

    /// Creates the topics with the broker's defaults; returns those that could not be, and why.
    pub async fn auto_create_topics(self: &Rc<Self>, names: Vec<String>) -> HashMap<String, ResponseError> {
        let topics = names.iter().map(|name| self.new_topic(name)).collect();
        let answers = self.metadata().ask(CreateTopics { topics, validate_only: false }).await;
        match answers {
            Ok(answers) => answers
                .into_iter()
                .filter_map(|(name, answer)| match answer {
                    Ok(_) => {
                        tracing::info!(topic = name, "topic created on demand");
                        None
                    }
                    // Another request was faster.
                    Err(refusal) if refusal.is(ResponseError::TopicAlreadyExists) => None,
                    Err(refusal) => Some((name, refusal.error())),
                })
                .collect(),
            Err(error) => names.into_iter().map(|name| (name, error.code())).collect(),
        }
    }

    /// Creates the topic of committed offsets unless it is there.
    pub async fn ensure_offsets_topic(self: &Rc<Self>) -> Result<(), RequestFailed> {
        if self.image().topic(OFFSETS_TOPIC).is_some() {
            return Ok(());
        }
        let topics = vec![self.new_topic(OFFSETS_TOPIC)];
        let answers = self.metadata().ask(CreateTopics { topics, validate_only: false }).await?;
        for (_, answer) in answers {
            match answer {
                Ok(_) => {}
                Err(refusal) if refusal.is(ResponseError::TopicAlreadyExists) => {}
                Err(refusal) => return Err(RequestFailed::Refused(refusal)),
            }
        }
        Ok(())
    }

    fn new_topic(&self, name: &str) -> NewTopic {
        let config = self.broker_config();
        if name != OFFSETS_TOPIC {
            return NewTopic {
                name: name.to_owned(),
                num_partitions: config.num_partitions,
                replication_factor: config.default_replication_factor,
                ..NewTopic::default()
            };
        }
        // As many replicas as there are brokers, up to what is asked for: a small cluster must be able to have groups.
        let brokers = i16::try_from(self.image().unfenced_brokers().count()).unwrap_or(i16::MAX);
        let set = |name: &str, value: String| (name.to_owned(), Some(value));
        NewTopic {
            name: name.to_owned(),
            num_partitions: config.offsets_topic_num_partitions,
            replication_factor: config.offsets_topic_replication_factor.min(brokers),
            configs: vec![
                set("cleanup.policy", "compact".into()),
                set("compression.type", "producer".into()),
                set("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
            ],
            ..NewTopic::default()
        }
    }
}
