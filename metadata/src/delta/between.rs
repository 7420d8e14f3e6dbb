//! What changed between two images of which one is not simply some records ahead of the other: after a snapshot was
//! installed, all that is known of the way from one to the other are its ends.

use super::MetadataDelta;
use crate::config::ConfigOverrides;
use crate::image::{MetadataImage, TopicImage};
use crate::record::ConfigResource;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) fn between(before: &MetadataImage, after: &MetadataImage) -> Vec<MetadataDelta> {
    let mut deltas = Vec::new();
    // First what is gone: a topic that was created anew has the name of one that was deleted.
    for topic in before.topics().filter(|topic| after.topic_by_id(topic.id).is_none()) {
        deltas.push(MetadataDelta::TopicDeleted {
            topic_id: topic.id,
            topic: Arc::clone(&topic.name),
            partition_count: topic.partition_count(),
        });
    }
    for topic in after.topics() {
        topic_between(before.topic_by_id(topic.id), topic, &mut deltas);
        let resource = ConfigResource::Topic(topic.name.to_string());
        let earlier = match before.topic_by_id(topic.id) {
            Some(_) => before.overrides(&resource),
            None => ConfigOverrides::default(),
        };
        let changes = changes_between(&earlier, &after.overrides(&resource));
        deltas.extend(changes.into_iter().map(|(name, value)| MetadataDelta::TopicConfigChanged {
            topic_id: topic.id,
            topic: Arc::clone(&topic.name),
            name,
            value,
        }));
    }
    let resources: BTreeSet<&ConfigResource> =
        before.lasting_config_resources().chain(after.lasting_config_resources()).collect();
    for resource in resources {
        let changes = changes_between(&before.overrides(resource), &after.overrides(resource));
        deltas.extend(changes.into_iter().filter_map(|(name, value)| match resource {
            ConfigResource::Broker(broker) => {
                Some(MetadataDelta::BrokerConfigChanged { broker: Some(*broker), name, value })
            }
            ConfigResource::BrokerDefault => Some(MetadataDelta::BrokerConfigChanged { broker: None, name, value }),
            ConfigResource::Group(group) => {
                Some(MetadataDelta::GroupConfigChanged { group: group.as_str().into(), name, value })
            }
            ConfigResource::Topic(_) => None,
        }));
    }
    for gone in before.brokers().filter(|broker| after.broker(broker.broker).is_none()) {
        deltas.push(MetadataDelta::BrokerRemoved(gone.broker));
    }
    for broker in after.brokers() {
        if before.broker(broker.broker) != Some(broker) {
            deltas.push(MetadataDelta::BrokerChanged(Arc::clone(broker)));
        }
    }
    deltas
}

fn topic_between(before: Option<&Arc<TopicImage>>, after: &Arc<TopicImage>, deltas: &mut Vec<MetadataDelta>) {
    match before {
        Some(before) if Arc::ptr_eq(before, after) => return,
        Some(_) => {}
        None => {
            deltas.push(MetadataDelta::TopicCreated { topic_id: after.id, topic: Arc::clone(&after.name) });
        }
    }
    for (partition, state) in after.partitions() {
        if before.and_then(|topic| topic.partition(partition)) != Some(state) {
            deltas.push(MetadataDelta::PartitionChanged {
                topic_id: after.id,
                topic: Arc::clone(&after.name),
                partition,
                state: state.clone(),
            });
        }
    }
}

/// Values set and taken away, by name.
fn changes_between(before: &ConfigOverrides, after: &ConfigOverrides) -> Vec<(String, Option<String>)> {
    let gone = before.iter().filter(|(name, _)| after.get(name).is_none()).map(|(name, _)| (name.to_owned(), None));
    let set = after
        .iter()
        .filter(|(name, value)| before.get(name) != Some(value))
        .map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    gone.chain(set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::PartitionImage;
    use crate::record::{BrokerState, MetadataRecord};
    use crate::testing::{history, request};
    use proptest::prelude::*;
    use protocol::newtypes::{BrokerId, PartitionId, TopicId};
    use std::collections::BTreeMap;

    /// All that a shard can know from deltas alone.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct View {
        topics: BTreeMap<TopicId, String>,
        partitions: BTreeMap<(TopicId, PartitionId), PartitionImage>,
        topic_configs: BTreeMap<(TopicId, String), String>,
        broker_configs: BTreeMap<(Option<BrokerId>, String), String>,
        group_configs: BTreeMap<(String, String), String>,
        brokers: BTreeMap<BrokerId, BrokerState>,
    }

    fn set<K: Ord>(map: &mut BTreeMap<K, String>, key: K, value: &Option<String>) {
        match value {
            Some(value) => map.insert(key, value.clone()),
            None => map.remove(&key),
        };
    }

    impl View {
        fn apply(&mut self, delta: &MetadataDelta) {
            match delta {
                MetadataDelta::TopicCreated { topic_id, topic } => {
                    assert!(self.topics.insert(*topic_id, topic.to_string()).is_none(), "{topic} was there");
                }
                MetadataDelta::PartitionChanged { topic_id, partition, state, .. } => {
                    assert!(self.topics.contains_key(topic_id), "a partition of no topic");
                    self.partitions.insert((*topic_id, *partition), state.clone());
                }
                MetadataDelta::TopicDeleted { topic_id, partition_count, .. } => {
                    assert!(self.topics.remove(topic_id).is_some(), "a topic that was not there");
                    let partitions = self.partitions.len();
                    self.partitions.retain(|(topic, _), _| topic != topic_id);
                    assert_eq!(partitions - self.partitions.len(), *partition_count as usize);
                    self.topic_configs.retain(|(topic, _), _| topic != topic_id);
                }
                MetadataDelta::TopicConfigChanged { topic_id, name, value, .. } => {
                    assert!(self.topics.contains_key(topic_id), "a config of no topic");
                    set(&mut self.topic_configs, (*topic_id, name.clone()), value);
                }
                MetadataDelta::BrokerConfigChanged { broker, name, value } => {
                    set(&mut self.broker_configs, (*broker, name.clone()), value);
                }
                MetadataDelta::GroupConfigChanged { group, name, value } => {
                    set(&mut self.group_configs, (group.to_string(), name.clone()), value);
                }
                MetadataDelta::BrokerChanged(state) => {
                    self.brokers.insert(state.broker, state.as_ref().clone());
                }
                MetadataDelta::BrokerRemoved(broker) => {
                    assert!(self.brokers.remove(broker).is_some(), "a broker that was not there");
                }
            }
        }
    }

    fn fold(batches: &[Vec<MetadataRecord>]) -> (MetadataImage, View) {
        let (mut image, mut view) = (MetadataImage::default(), View::default());
        for batch in batches {
            let (next, deltas) = image.apply_batch(batch).unwrap();
            deltas.iter().for_each(|delta| view.apply(delta));
            image = next;
        }
        (image, view)
    }

    proptest! {
        #[test]
        fn a_jump_leads_where_every_step_does(requests in proptest::collection::vec(request(), 0..25), cut in 0..27_usize) {
            let batches = history(&requests);
            let (before, mut view) = fold(&batches[..cut.min(batches.len())]);
            let (after, expected) = fold(&batches);
            for delta in between(&before, &after) {
                view.apply(&delta);
            }
            prop_assert_eq!(view, expected);
            prop_assert_eq!(between(&after, &after), []);
        }

        #[test]
        fn an_image_that_was_built_anew_is_the_same(requests in proptest::collection::vec(request(), 0..25)) {
            let (image, _) = fold(&history(&requests));
            let records: Vec<MetadataRecord> = image.to_records().collect();
            let anew = MetadataImage::default().apply_batch(&records).unwrap().0;
            prop_assert_eq!(between(&image, &anew), []);
        }
    }
}
