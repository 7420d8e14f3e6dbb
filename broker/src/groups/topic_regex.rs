//! Regular expressions that stand for topics (`SubscribedTopicRegex` of ConsumerGroupHeartbeat, KIP-848).
//!
//! # Contract
//! [`TopicRegex::new`] takes an expression in the syntax of RE2/J 1.8, with which Kafka 4.3 reads them;
//! [`TopicRegex::matches`] says whether it matches a topic's whole name. What RE2/J refuses is refused here, for the same
//! reason where it gives one. Kafka's error for it is INVALID_REGULAR_EXPRESSION.
//!
//! # How
//! The crate `regex` has RE2's semantics and its linear time, but a syntax of its own: it refuses some of what RE2 knows
//! (`\Q..\E`, octal characters, a group name that begins with a digit), and takes some for something else (`[a&&b]`, `[[a]`,
//! `\<`, `a{,3}`, `a**`). So [`translate`] reads RE2's syntax and writes what the crate takes for the same.
//!
//! A topic's name has none but the ASCII characters that Kafka allows in it. Therefore `.` and `[^a]` stand for single bytes,
//! and Unicode classes for the ASCII characters in them, which keeps programs small.
//!
//! # Bounds
//! Two limits are ours and not RE2/J's: a program has at most [`PROGRAM_BYTES_MAX`], and groups are nested at most
//! [`NESTING_MAX`] deep. A match takes time in proportion to the name's length and the program's size at worst.
//!
//! # Deliberately absent
//! A repetition of what stands before flags, `a(?i)*`, which RE2/J takes for `a*`.

mod translate;

#[cfg(test)]
mod tests;

use regex::bytes::{Regex, RegexBuilder};

pub use self::translate::SyntaxError;

/// How large a compiled expression may be: enough for `.{1000}` a few times over.
pub const PROGRAM_BYTES_MAX: usize = 256 * 1024;

/// How much memory a match may use to be fast; with less, it is slower.
const CACHE_BYTES_MAX: usize = 256 * 1024;

/// How deep groups may be nested.
pub const NESTING_MAX: usize = 100;

/// A regular expression that stands for topics.
#[derive(Clone, Debug)]
pub struct TopicRegex {
    regex: Regex,
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicRegexError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("compiled, it would take more than {PROGRAM_BYTES_MAX} bytes; repeat less")]
    TooLarge,
    #[error("the engine does not take it: {reason}")]
    Engine { reason: String },
}

impl TopicRegex {
    /// `pattern` must match a topic's name from beginning to end.
    pub fn new(pattern: &str) -> Result<TopicRegex, TopicRegexError> {
        let translated = translate::translate(pattern)?;
        let regex = RegexBuilder::new(&format!(r"\A(?:{translated})\z"))
            .unicode(false)
            .size_limit(PROGRAM_BYTES_MAX)
            .dfa_size_limit(CACHE_BYTES_MAX)
            // To the crate, a group is up to four levels: alternatives, a sequence, a repetition and the group itself.
            .nest_limit(4 * NESTING_MAX as u32 + 16)
            .build();
        match regex {
            Ok(regex) => Ok(TopicRegex { regex }),
            Err(regex::Error::CompiledTooBig(_)) => Err(TopicRegexError::TooLarge),
            Err(error) => Err(TopicRegexError::Engine { reason: error.to_string() }),
        }
    }

    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.regex.is_match(topic.as_bytes())
    }
}
