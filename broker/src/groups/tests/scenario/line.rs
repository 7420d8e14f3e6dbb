//! The language of scenarios, of which the module above has the words.

use std::collections::HashMap;

use protocol::TopicId;

use super::{OTHER_TOPIC_ID, topic_id};

/// A command taken apart: `verb word word key=value flag`.
pub(super) struct Line<'a> {
    pub(super) verb: &'a str,
    pub(super) words: Vec<&'a str>,
    options: HashMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    /// Options; `t-0=5` is a word.
    const VALUED: [&'static str; 19] = [
        "v",
        "i",
        "p",
        "type",
        "session",
        "rebalance",
        "as",
        "gen",
        "assign",
        "meta",
        "retention",
        "e",
        "s",
        "re",
        "own",
        "assignor",
        "id",
        "interval",
        "assign-every",
    ];
    const FLAGS: [&'static str; 2] = ["new", "stable"];

    pub(super) fn parse(command: &'a str) -> Line<'a> {
        let mut words = command.split_whitespace();
        let mut line = Line { verb: words.next().expect("a verb"), words: Vec::new(), options: HashMap::new() };
        for word in words {
            match word.split_once('=') {
                Some((key, value)) if Self::VALUED.contains(&key) => line.options.insert(key, value),
                None if Self::FLAGS.contains(&word) => line.options.insert(word, ""),
                _ => {
                    line.words.push(word);
                    None
                }
            };
        }
        line
    }

    pub(super) fn word(&self, place: usize) -> &'a str {
        self.words[place]
    }

    pub(super) fn option(&self, key: &str) -> Option<&'a str> {
        self.options.get(key).copied()
    }

    pub(super) fn topic_id(&self, name: &str) -> TopicId {
        match self.option("id") {
            Some("other") => OTHER_TOPIC_ID,
            Some(unknown) => panic!("unknown id {unknown}"),
            None => topic_id(name),
        }
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.options.contains_key(key)
    }

    pub(super) fn number(&self, key: &str, default: i64) -> i64 {
        self.option(key).map_or(default, |value| value.parse().expect("a number"))
    }
}
