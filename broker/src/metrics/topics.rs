//! Traffic by topic, within a bound on series.
//!
//! A topic that has series of its own keeps them as long as it lives on this broker, so that no counter goes back because
//! others came; places that are free go to topics in the order of their names. Of all the others, what was added since the
//! scrape before is added to one pair of series, which therefore never goes back either.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use instruments::Counter;
use protocol::TopicId;

use super::shard::Records;

/// The name that stands for topics without series of their own; no topic can have it.
pub const OTHERS: &str = "(others)";

/// What a shard counts of one topic, for all of its partitions there.
#[derive(Debug, Default)]
pub struct TopicTraffic {
    of_shard: Arc<Records>,
    produced_bytes: Counter,
    produced_records: Counter,
    fetched_bytes: Counter,
    fetched_records: Counter,
}

impl TopicTraffic {
    pub fn produced(&self, bytes: usize, records: i32) {
        self.produced_bytes.add(bytes as u64);
        let records = u64::try_from(records).unwrap_or(0);
        self.produced_records.add(records);
        self.of_shard.produced.add(records);
    }

    pub fn fetched(&self, bytes: usize, records: u64) {
        self.fetched_bytes.add(bytes as u64);
        self.fetched_records.add(records);
        self.of_shard.fetched.add(records);
    }

    pub fn totals(&self) -> Totals {
        Totals(
            [&self.produced_bytes, &self.produced_records, &self.fetched_bytes, &self.fetched_records]
                .map(Counter::get),
        )
    }
}

/// A shard's topics. What was counted of one stays until the topic is gone, wherever its partitions go.
#[derive(Debug, Default)]
pub struct ShardTopics {
    records: Arc<Records>,
    topics: HashMap<TopicId, Rc<TopicTraffic>>,
}

impl ShardTopics {
    /// Of a shard whose records are counted here.
    pub fn new(records: Arc<Records>) -> ShardTopics {
        ShardTopics { records, topics: HashMap::new() }
    }

    pub fn of(&mut self, topic: TopicId) -> Rc<TopicTraffic> {
        let traffic = || Rc::new(TopicTraffic { of_shard: self.records.clone(), ..TopicTraffic::default() });
        self.topics.entry(topic).or_insert_with(traffic).clone()
    }

    /// Forgets topics that are gone, whoever still holds what was counted of them.
    pub fn keep(&mut self, lives: impl Fn(TopicId) -> bool) {
        self.topics.retain(|topic, _| lives(*topic));
    }

    /// What was counted of each. One that is gone may be among them: a fetch that was under way when it went is counted, too.
    pub fn told(&self) -> Vec<(TopicId, Totals)> {
        self.topics.iter().map(|(topic, traffic)| (*topic, traffic.totals())).collect()
    }
}

/// Bytes and records produced, bytes and records fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals(pub [u64; 4]);

impl Totals {
    pub fn add(&mut self, other: Totals) {
        self.0.iter_mut().zip(other.0).for_each(|(n, more)| *n = n.wrapping_add(more));
    }

    fn since(self, before: Totals) -> Totals {
        let mut since = self;
        since.0.iter_mut().zip(before.0).for_each(|(n, before)| *n = n.saturating_sub(before));
        since
    }
}

/// Which topics have series, from one scrape to the next. Pure.
#[derive(Debug, Default)]
pub struct TopicSeries {
    /// Those that have their own.
    own: BTreeMap<TopicId, Arc<str>>,
    /// What was seen of the others when it was added to theirs.
    seen: HashMap<TopicId, Totals>,
    others: Totals,
}

/// As it is to be shown.
#[derive(Debug, PartialEq, Eq)]
pub struct TopicsShown {
    /// In the order of their names.
    pub topics: Vec<(Arc<str>, Totals)>,
    pub others: Totals,
    pub omitted: usize,
}

impl TopicSeries {
    /// `topics`: all that this broker has, by name. At most `max` have their own series.
    pub fn show(&mut self, topics: &BTreeMap<Arc<str>, (TopicId, Totals)>, max: usize) -> TopicsShown {
        self.own.retain(|id, name| topics.get(name).is_some_and(|(now, _)| now == id));
        for (name, (id, _)) in topics {
            if self.own.len() >= max {
                break;
            }
            self.own.entry(*id).or_insert_with(|| name.clone());
        }
        let mut shown = TopicsShown { topics: Vec::with_capacity(self.own.len()), others: self.others, omitted: 0 };
        let mut seen = HashMap::new();
        for (name, (id, totals)) in topics {
            if self.own.contains_key(id) {
                shown.topics.push((name.clone(), *totals));
                continue;
            }
            shown.omitted += 1;
            shown.others.add(totals.since(self.seen.get(id).copied().unwrap_or_default()));
            seen.insert(*id, *totals);
        }
        (self.seen, self.others) = (seen, shown.others);
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn topics(of: &[(&str, u128, u64)]) -> BTreeMap<Arc<str>, (TopicId, Totals)> {
        let topic = |&(name, id, n): &(&str, u128, u64)| (name.into(), (TopicId(Uuid::from_u128(id)), Totals([n; 4])));
        of.iter().map(topic).collect()
    }

    fn shown(series: &mut TopicSeries, of: &[(&str, u128, u64)]) -> (Vec<(String, u64)>, u64, usize) {
        let TopicsShown { topics, others, omitted } = series.show(&topics(of), 2);
        (topics.iter().map(|(name, totals)| (name.to_string(), totals.0[0])).collect(), others.0[0], omitted)
    }

    #[test]
    fn what_does_not_fit_is_summed_and_counted() {
        let mut series = TopicSeries::default();
        let (own, others, omitted) = shown(&mut series, &[("d", 4, 40), ("c", 3, 30), ("b", 2, 20), ("a", 1, 10)]);
        assert_eq!(own, [("a".to_owned(), 10), ("b".to_owned(), 20)]);
        assert_eq!((others, omitted), (70, 2));
    }

    #[test]
    fn a_topic_keeps_its_series_when_others_come_before_it() {
        let mut series = TopicSeries::default();
        assert_eq!(
            shown(&mut series, &[("m", 1, 5), ("n", 2, 6)]),
            (vec![("m".to_owned(), 5), ("n".to_owned(), 6)], 0, 0)
        );
        let (own, others, omitted) = shown(&mut series, &[("a", 3, 100), ("m", 1, 7), ("n", 2, 8)]);
        assert_eq!(own, [("m".to_owned(), 7), ("n".to_owned(), 8)]);
        assert_eq!((others, omitted), (100, 1));
        // A place that is free again goes to whoever is next; what the others had stays theirs.
        let (own, others, omitted) = shown(&mut series, &[("a", 3, 110), ("b", 4, 1), ("n", 2, 8)]);
        assert_eq!(own, [("a".to_owned(), 110), ("n".to_owned(), 8)]);
        assert_eq!((others, omitted), (101, 1));
    }

    #[test]
    fn the_others_sum_never_goes_back() {
        let mut series = TopicSeries::default();
        let all = [("a", 1, 1), ("b", 2, 1), ("c", 3, 50), ("d", 4, 5)];
        assert_eq!(shown(&mut series, &all).1, 55);
        assert_eq!(shown(&mut series, &all[..2]).1, 55, "topics that are deleted");
        // One of the same name is another, and begins with nothing.
        assert_eq!(shown(&mut series, &[("a", 1, 1), ("b", 2, 1), ("c", 9, 2)]).1, 57);
        assert_eq!(shown(&mut series, &[("a", 1, 1), ("b", 2, 1), ("c", 9, 9)]).1, 64);
    }

    #[test]
    fn a_topic_made_anew_under_its_name_begins_anew() {
        let mut series = TopicSeries::default();
        shown(&mut series, &[("a", 1, 90), ("b", 2, 1)]);
        assert_eq!(shown(&mut series, &[("a", 7, 3), ("b", 2, 1)]).0, [("a".to_owned(), 3), ("b".to_owned(), 1)]);
    }

    #[test]
    fn a_shard_remembers_a_topic_whose_partitions_went_elsewhere() {
        let mut shard = ShardTopics::default();
        let id = TopicId(Uuid::from_u128(1));
        shard.of(id).produced(100, 2);
        assert_eq!(shard.told(), [(id, Totals([100, 2, 0, 0]))]);
        shard.of(id).fetched(50, 1);
        assert_eq!(shard.told(), [(id, Totals([100, 2, 50, 1]))]);
        shard.keep(|topic| topic == id);
        assert_eq!(shard.told(), [(id, Totals([100, 2, 50, 1]))]);
        let _held = shard.of(id);
        shard.keep(|_| false);
        assert_eq!(shard.told(), []);
    }
}
