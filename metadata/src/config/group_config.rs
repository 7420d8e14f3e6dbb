//! A group's configs, resolved and typed: what its coordinator reads.

use super::broker_config::BrokerConfig;
use super::error::ConfigError;
use super::group_table::{
    CONSUMER_ASSIGNMENT_INTERVAL_MS, CONSUMER_HEARTBEAT_INTERVAL_MS, CONSUMER_SESSION_TIMEOUT_MS,
};
use super::layers::ConfigOverrides;
use super::{Scope, definition, value};

/// Everything about one group that is configured. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    pub consumer_session_timeout_ms: i32,
    pub consumer_heartbeat_interval_ms: i32,
    pub consumer_assignment_interval_ms: i32,
}

/// One config with what brokers have for it.
struct Bounded {
    name: &'static str,
    default: i32,
    min: (&'static str, i32),
    max: (&'static str, i32),
}

impl Bounded {
    fn heartbeat_interval(broker: &BrokerConfig) -> Bounded {
        Bounded {
            name: CONSUMER_HEARTBEAT_INTERVAL_MS,
            default: broker.group_consumer_heartbeat_interval_ms,
            min: ("group.consumer.min.heartbeat.interval.ms", broker.group_consumer_min_heartbeat_interval_ms),
            max: ("group.consumer.max.heartbeat.interval.ms", broker.group_consumer_max_heartbeat_interval_ms),
        }
    }

    fn session_timeout(broker: &BrokerConfig) -> Bounded {
        Bounded {
            name: CONSUMER_SESSION_TIMEOUT_MS,
            default: broker.group_consumer_session_timeout_ms,
            min: ("group.consumer.min.session.timeout.ms", broker.group_consumer_min_session_timeout_ms),
            max: ("group.consumer.max.session.timeout.ms", broker.group_consumer_max_session_timeout_ms),
        }
    }

    fn assignment_interval(broker: &BrokerConfig) -> Bounded {
        Bounded {
            name: CONSUMER_ASSIGNMENT_INTERVAL_MS,
            default: broker.group_consumer_assignment_interval_ms,
            min: ("group.consumer.min.assignment.interval.ms", broker.group_consumer_min_assignment_interval_ms),
            max: ("group.consumer.max.assignment.interval.ms", broker.group_consumer_max_assignment_interval_ms),
        }
    }

    /// The group's own value, or the broker's. A stored one that this version does not accept counts as not set.
    fn of(&self, overrides: &ConfigOverrides) -> i32 {
        let own = overrides.get(self.name).and_then(|text| {
            let own = value::parse(definition(Scope::Group, self.name)?, text).ok()?;
            i32::try_from(own.as_integer()).ok()
        });
        own.unwrap_or(self.default)
    }

    /// As [`Bounded::of`], kept within the broker's bounds: they may be other ones than when the value was set.
    fn within_bounds(&self, overrides: &ConfigOverrides) -> i32 {
        // The bounds of brokers are in order, as they are checked at the start.
        self.of(overrides).min(self.max.1).max(self.min.1)
    }

    fn check(&self, overrides: &ConfigOverrides) -> Result<i32, ConfigError> {
        let value = self.of(overrides);
        if value < self.min.1 {
            return Err(ConfigError::GroupBelowMinimum { name: self.name, minimum: self.min.0 });
        }
        if value > self.max.1 {
            return Err(ConfigError::GroupAboveMaximum { name: self.name, maximum: self.max.0 });
        }
        Ok(value)
    }
}

impl GroupConfig {
    /// What a group has with these configs of its own, on a broker with those.
    #[must_use]
    pub fn resolve(overrides: &ConfigOverrides, broker: &BrokerConfig) -> GroupConfig {
        GroupConfig {
            consumer_session_timeout_ms: Bounded::session_timeout(broker).within_bounds(overrides),
            consumer_heartbeat_interval_ms: Bounded::heartbeat_interval(broker).within_bounds(overrides),
            consumer_assignment_interval_ms: Bounded::assignment_interval(broker).within_bounds(overrides),
        }
    }

    /// Checks the configs that a group is to have against a broker's, in Kafka's order (`GroupConfig.validate`).
    pub fn check(overrides: &ConfigOverrides, broker: &BrokerConfig) -> Result<(), ConfigError> {
        for (name, text) in overrides.iter() {
            super::parse(Scope::Group, name, text)?;
        }
        let heartbeat_ms = Bounded::heartbeat_interval(broker).check(overrides)?;
        let session_ms = Bounded::session_timeout(broker).check(overrides)?;
        Bounded::assignment_interval(broker).check(overrides)?;
        if session_ms <= heartbeat_ms {
            return Err(ConfigError::GroupSessionTooShort);
        }
        Ok(())
    }
}
