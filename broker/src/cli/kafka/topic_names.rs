//! What to say of a topic that does not exist.

use super::client::Client;
use super::error::ClientError;
use crate::config::nearest;

impl Client {
    /// Whether there is a topic of this name.
    pub async fn has_topic(&self, name: &str) -> Result<bool, String> {
        let (_, response) = self.metadata(&[name.to_owned()]).await.map_err(|error: ClientError| error.to_string())?;
        Ok(response.topics.iter().any(|topic| topic.error_code == 0))
    }

    /// `topic 'ordres' does not exist: did you mean orders?`
    pub async fn unknown_topic(&self, name: &str) -> String {
        let names = match self.metadata_of_all().await {
            Ok((_, response)) => response.topics.into_iter().filter_map(|topic| topic.name).collect(),
            // What went wrong first is worth more.
            Err(_) => Vec::new(),
        };
        match nearest(name, names.iter().map(|name| name.0.as_str())) {
            Some(near) => format!("topic '{name}' does not exist: did you mean {near}?"),
            None => format!(
                "topic '{name}' does not exist; `ringlog topic list` prints those that do, `ringlog topic create {name}` \
                 creates it"
            ),
        }
    }
}
