//! Expressions beside RE2/J 1.8, which Kafka 4.3.0 uses. Each line of `re2j.txt` has an expression and, behind a tab, what
//! RE2/J said: `=` and those of [`TOPICS`] that match, or `!` and why it refused.

use super::translate::SyntaxErrorKind;
use super::*;

/// The names that were tried.
const TOPICS: &str = "a b aa ab abc A foo Foo FOO foo.bar foo-bar foo_bar foobar _ - . 0 12 x1 topic-1 topic-22 __internal k z \
                      E QE aaa aaaaa Ab d w s";

/// In the words of the file.
fn verdict(pattern: &str) -> String {
    match TopicRegex::new(pattern) {
        Ok(regex) => {
            let matching = TOPICS.split_whitespace().filter(|topic| regex.matches(topic));
            std::iter::once("=").chain(matching).collect::<Vec<_>>().join(" ")
        }
        Err(TopicRegexError::Syntax(error)) => format!("!{}", error.kind),
        Err(error) => format!("?{error}"),
    }
}

fn kind(pattern: &str) -> Option<SyntaxErrorKind> {
    match TopicRegex::new(pattern) {
        Err(TopicRegexError::Syntax(error)) => Some(error.kind),
        _ => None,
    }
}

#[test]
fn expressions_match_what_they_match_in_kafka() {
    let mut compared = 0;
    for line in include_str!("re2j.txt").lines() {
        let (pattern, expected) = line.rsplit_once('\t').expect("a pattern and a verdict");
        match TopicRegex::new(pattern) {
            // What the documentation says is absent, or limited.
            Err(TopicRegexError::TooLarge) => assert!(pattern.contains("0}){10"), "{pattern:?}"),
            Err(TopicRegexError::Syntax(error)) if error.kind == SyntaxErrorKind::RepetitionBehindFlags => {
                assert!(pattern.contains("(?"), "{pattern:?}");
            }
            // RE2/J calls it an internal error.
            Err(TopicRegexError::Syntax(error)) if error.kind == SyntaxErrorKind::UnopenedGroup => {
                assert_eq!(expected, "!regexp/syntax: internal error", "{pattern:?}");
            }
            _ => {
                let translated = translate::translate(pattern);
                assert_eq!(verdict(pattern), expected, "{pattern:?}, translated {translated:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 400, "{compared} expressions");
}

#[test]
fn limits_are_clear() {
    assert_eq!(verdict("a(?i)*"), "!a repetition operator behind flags is not supported; put the flags first");
    assert_eq!(TopicRegex::new("(a{1000}){1000}").err(), Some(TopicRegexError::TooLarge));
    assert_eq!(kind(r"a\"), Some(SyntaxErrorKind::TrailingBackslash));
    assert!(TopicRegex::new(".{1000}").is_ok());
    let nested = |depth| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(TopicRegex::new(&nested(NESTING_MAX)).is_ok());
    assert_eq!(kind(&nested(NESTING_MAX + 1)), Some(SyntaxErrorKind::Nesting));
    let most = format!("{}a{}", "(b|c".repeat(NESTING_MAX), "d|e)?f".repeat(NESTING_MAX));
    assert!(TopicRegex::new(&most).is_ok());
    // As long as a request's string can be, and unfriendly.
    for piece in ["(", "[", "a|", r"\pL", "(?i)", "{1}", "(?:a*)*", "\u{e9}", "[^a]"] {
        let _ = TopicRegex::new(&piece.repeat(32_767 / piece.len()));
    }
}

#[test]
fn errors_say_where() {
    let cases = [("foo(", 4), ("foo)", 3), ("ab**", 3), (r"ab\C", 2), ("a[z-a]", 2), ("a{1001}", 1)];
    for (pattern, at) in cases {
        let Err(TopicRegexError::Syntax(error)) = TopicRegex::new(pattern) else { panic!("{pattern:?} is taken") };
        assert_eq!(error.at, at, "{pattern:?}: {error}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        failure_persistence: None,
        ..proptest::prelude::ProptestConfig::default()
    })]

    /// No panic, and nothing that the engine refuses though the translation takes it, but for its limits.
    #[test]
    fn any_text_is_taken_or_refused(pattern in r"[a-c0-2é(){}|*+?^$.\[\]\\:<>,&~pPQExdDwi-]{0,24}", topic in "[a-c0-2._-]{0,8}") {
        match TopicRegex::new(&pattern) {
            Ok(regex) => {
                let _ = regex.matches(&topic);
            }
            Err(error) => assert!(!matches!(error, TopicRegexError::Engine { .. }), "{pattern:?}: {error}"),
        }
    }
}
