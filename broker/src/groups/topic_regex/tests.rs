//! Expressions beside RE2/J 1.8, which Kafka 4.3.0 uses.

use super::*;

/// The names that were tried.
const TOPICS: &str = "a b aa ab abc A foo Foo FOO foo.bar foo-bar foo_bar foobar _ - . 0 12 x1 topic-1 topic-22 __internal k z \
                      E QE aaa aaaaa Ab d w s";

#[test]
fn all() {
    let mut bad = 0;
    for line in include_str!("re2j.txt").lines() {
        let (pattern, verdict) = line.rsplit_once('\t').expect("a pattern and a verdict");
        let ours = match TopicRegex::new(pattern) {
            Ok(regex) => {
                let matching = TOPICS.split_whitespace().filter(|topic| regex.matches(topic));
                std::iter::once("=").chain(matching).collect::<Vec<_>>().join(" ")
            }
            Err(TopicRegexError::Syntax(error)) => format!("!{}", error.kind),
            Err(error) => format!("? {error}"),
        };
        if ours != verdict {
            bad += 1;
            println!("{pattern:?}: {verdict} but {ours}   [{:?}]", translate::translate(pattern));
        }
    }
    println!("bad {bad}");
}
