//! `replica.selector.class`: who chooses the replica that a consumer reads from (KIP-392).

/// Kafka's two classes by their names there, and short names.
pub(super) const REPLICA_SELECTORS: &[&str] = &["leader", "rack", "spread", LEADER_CLASS, RACK_CLASS];
const LEADER_CLASS: &str = "org.apache.kafka.common.replica.LeaderSelector";
const RACK_CLASS: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReplicaSelector {
    /// Consumers read from the leader.
    #[default]
    Leader,
    /// From a replica in their own rack, if there is one in sync.
    Rack,
    /// From any replica in sync, each consumer from the same one.
    Spread,
}

impl ReplicaSelector {
    pub(super) fn named(name: &str) -> Option<ReplicaSelector> {
        match name {
            "leader" | LEADER_CLASS => Some(ReplicaSelector::Leader),
            "rack" | RACK_CLASS => Some(ReplicaSelector::Rack),
            "spread" => Some(ReplicaSelector::Spread),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerConfig, ConfigLayers, StaticConfig};

    #[test]
    fn selectors_have_kafkas_names_and_short_ones_and_no_others() {
        assert!(REPLICA_SELECTORS.iter().all(|name| ReplicaSelector::named(name).is_some()));
        let selector = |name: &str| {
            let parsed = StaticConfig::parse([("replica.selector.class", name)]).map_err(|error| error.to_string())?;
            Ok(BrokerConfig::resolve(&ConfigLayers::of_static(&parsed)).replica_selector)
        };
        assert_eq!(selector(RACK_CLASS), Ok(ReplicaSelector::Rack));
        assert_eq!(selector("spread"), Ok(ReplicaSelector::Spread));
        let refused: Result<_, String> = selector("com.example.Nearest");
        let allowed = REPLICA_SELECTORS.join(", ");
        assert_eq!(
            refused.unwrap_err(),
            format!(
                "Invalid value com.example.Nearest for configuration replica.selector.class: String must be one of: {allowed}"
            )
        );
        assert_eq!(BrokerConfig::resolve(&ConfigLayers::default()).replica_selector, ReplicaSelector::Leader);
    }
}
