//! What a topic may be called.

use crate::shown::shown;

/// Kafka's limit, in characters; leaves room for the partition in a directory's name.
const LENGTH_MAX: usize = 249;

/// The log of Kafka's own metadata quorum, which no client may create here either.
pub(super) const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";
/// The topic of committed offsets and group metadata.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
const INTERNAL_TOPICS: [&str; 3] = [OFFSETS_TOPIC, "__transaction_state", "__share_group_state"];

/// Why a name is no topic name (INVALID_TOPIC_EXCEPTION).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    #[error("Topic name is invalid: '{name}' is not allowed")]
    Dots { name: String },
    #[error("Topic name is invalid: the length of '{name}' is longer than the max allowed length {LENGTH_MAX}")]
    TooLong { name: String },
    #[error(
        "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    )]
    BadCharacters { name: String },
}

/// Checks a name by Kafka's rules. A name that passes is safe as part of a file's name.
pub fn check_topic_name(name: &str) -> Result<(), TopicNameError> {
    let shown = || shown(name);
    if name.is_empty() {
        Err(TopicNameError::Empty)
    } else if name == "." || name == ".." {
        Err(TopicNameError::Dots { name: shown() })
    } else if name.chars().count() > LENGTH_MAX {
        Err(TopicNameError::TooLong { name: shown() })
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        Err(TopicNameError::BadCharacters { name: shown() })
    } else {
        Ok(())
    }
}

/// Whether clients should hide the topic (Metadata's `IsInternal`).
#[must_use]
pub fn is_internal_topic(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}
