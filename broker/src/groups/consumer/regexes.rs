//! Resolves a group's regular expressions into topics.
//!
//! That is a step of its own behind the heartbeat that asked for it, as in Kafka, where another thread does it: all
//! expressions of the group at once, so that one look at the topics leads to one new epoch at most.

use std::collections::BTreeSet;
use std::rc::Rc;

use kafka_protocol::protocol::StrBytes;

use super::super::api::Environment;
use super::super::coordinator::GroupCoordinator;
use super::super::counts::count;
use super::super::records::consumer_group::{
    ConsumerGroupMetadataValue as GroupEpoch, ConsumerGroupRegularExpressionValue as ResolvedRegex,
};
use super::super::topic_regex::TopicRegex;
use super::change::Change;
use super::subscription::{metadata_hash, topic_ids};
use super::work::Work;

impl GroupCoordinator {
    pub(in crate::groups) fn resolve_regexes(&mut self, now_ms: i64, id: &StrBytes, environment: &dyn Environment) {
        let Some(group) = self.consumers.remove(id) else { return };
        let mut work = Work::on(group);
        work.resolve_regexes(now_ms, environment);
        self.finish(now_ms, work, None);
    }
}

impl Work {
    fn resolve_regexes(&mut self, now_ms: i64, environment: &dyn Environment) {
        let recorded = self.group.recorded();
        // One that does not compile any more (of another version's syntax) stands for nothing.
        let mut found: Vec<(StrBytes, Option<TopicRegex>, BTreeSet<StrBytes>)> = self
            .group
            .regexes()
            .keys()
            .map(|regex| (regex.clone(), TopicRegex::new(regex).ok(), BTreeSet::new()))
            .collect();
        environment.each_topic(&mut |topic| {
            for (_, regex, topics) in &mut found {
                if regex.as_ref().is_some_and(|regex| regex.matches(topic)) {
                    topics.insert(StrBytes::from_string(topic.to_owned()));
                }
            }
        });
        let mut topics = self.group.topics().clone();
        let mut raise = false;
        for (regex, _, now) in found {
            let before = recorded.regexes.get(&regex);
            let is_news = match before {
                Some(before) => before.topics != now,
                None => !now.is_empty() || self.has_more_than_named(&regex, environment),
            };
            if is_news {
                raise = true;
                now.iter().for_each(|topic| count(&mut topics, topic, true));
                before.iter().flat_map(|before| &before.topics).for_each(|topic| count(&mut topics, topic, false));
            }
            let resolved = ResolvedRegex { topics: now, version: environment.topics_version(), timestamp_ms: now_ms };
            self.changes.push(Change::Regex(regex, Some(Rc::new(resolved))));
        }
        let hash = metadata_hash(topics.keys(), environment);
        if raise || hash != recorded.metadata_hash {
            let epoch = recorded.epoch.saturating_add(1);
            self.changes.push(Change::Group(Some(GroupEpoch { epoch, metadata_hash: hash })));
        }
    }
    /// Whether a member with this expression is to have partitions of other topics than it names: it came from another
    /// expression, and what it leaves is for others.
    fn has_more_than_named(&self, regex: &StrBytes, environment: &dyn Environment) -> bool {
        self.group.members().values().filter(|member| member.regex() == Some(regex)).any(|member| {
            let named = topic_ids(&member.metadata.subscribed_topic_names, environment);
            let target = self.group.target(&member.id);
            target.is_some_and(|target| target.partitions.keys().any(|topic| !named.contains_key(topic)))
        })
    }
}
