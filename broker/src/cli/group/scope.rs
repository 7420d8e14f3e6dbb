//! Which partitions are meant: `TOPIC` or `TOPIC:0,1,2`, and lines of `topic,partition,offset`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::cli::kafka::PartitionName;

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct TopicScope {
    pub topic: String,
    /// All if `None`.
    pub partitions: Option<BTreeSet<i32>>,
}

impl FromStr for TopicScope {
    type Err = String;

    fn from_str(text: &str) -> Result<TopicScope, String> {
        let (topic, partitions) = match text.split_once(':') {
            None => (text, None),
            Some((topic, partitions)) => {
                let numbers = partitions.split(',').map(|number| match number.trim().parse::<i32>() {
                    Ok(number) if number >= 0 => Ok(number),
                    _ => Err(format!("'{number}' is no partition; write TOPIC or TOPIC:0,1,2")),
                });
                (topic, Some(numbers.collect::<Result<BTreeSet<i32>, String>>()?))
            }
        };
        if topic.is_empty() {
            return Err("the topic's name is missing; write TOPIC or TOPIC:0,1,2".to_owned());
        }
        Ok(TopicScope { topic: topic.to_owned(), partitions })
    }
}

/// Offsets by partition out of lines of `topic,partition,offset`; the topic may be quoted, as Kafka's tool exports long ones.
pub(super) fn parse_csv(text: &str) -> Result<BTreeMap<PartitionName, i64>, String> {
    let mut offsets = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let wrong = |why: &str| format!("line {}: {why}; expected topic,partition,offset, found: {line}", at + 1);
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [topic, partition, offset] = fields[..] else {
            return Err(wrong(&format!("it has {} field(s)", fields.len())));
        };
        let topic = topic.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(topic);
        if topic.is_empty() || topic.contains('"') {
            return Err(wrong("the topic's name is missing, or no topic's name"));
        }
        let partition = partition.parse().ok().filter(|partition: &i32| *partition >= 0);
        let partition = partition.ok_or_else(|| wrong("the partition is no number from 0 on"))?;
        let offset = offset.parse().map_err(|_| wrong("the offset is no number"))?;
        if offsets.insert((topic.to_owned(), partition), offset).is_some() {
            return Err(wrong("the partition was there before"));
        }
    }
    if offsets.is_empty() { Err("it has no line of topic,partition,offset".to_owned()) } else { Ok(offsets) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_topic_or_some_of_its_partitions() {
        let scope = |topic: &str, partitions: Option<&[i32]>| TopicScope {
            topic: topic.to_owned(),
            partitions: partitions.map(|partitions| partitions.iter().copied().collect()),
        };
        assert_eq!("t".parse(), Ok(scope("t", None)));
        assert_eq!("t:0".parse(), Ok(scope("t", Some(&[0]))));
        assert_eq!("t.x:2,1, 2".parse(), Ok(scope("t.x", Some(&[1, 2]))));
        for text in ["", ":1", "t:", "t:-1", "t:a", "t:1,", "t:1:2", "t:99999999999"] {
            assert!(text.parse::<TopicScope>().is_err(), "{text}");
        }
    }

    #[test]
    fn lines_are_topic_partition_and_offset() {
        let name = |topic: &str, partition| (topic.to_owned(), partition);
        let found = parse_csv("t,0,5\n\n \"u\" , 1 ,-3\r\n").unwrap();
        assert_eq!(found, BTreeMap::from([(name("t", 0), 5), (name("u", 1), -3)]));
        for (text, why) in [
            ("", "no line"),
            ("t,0", "line 1: it has 2 field(s)"),
            ("g,t,0,5", "line 1: it has 4 field(s)"),
            ("t,0,5\nt,0,6", "line 2: the partition was there before"),
            ("t,-1,5", "the partition is no number"),
            ("t,0,x", "the offset is no number"),
            (",0,5", "the topic's name is missing"),
            ("\"t,0,5", "the topic's name"),
        ] {
            let found = parse_csv(text).unwrap_err();
            assert!(found.contains(why), "{text}: {found}");
        }
    }
}
