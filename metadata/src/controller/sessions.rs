//! Which brokers have been silent for too long, as the controller counts it (`broker.session.timeout.ms`).
//!
//! Time is a monotonic clock's, as the time since any moment that stays the same. A controller that slept itself (stopped,
//! swapped out, its machine suspended) has heard nobody meanwhile through its own fault: all sessions begin anew then.

use crate::image::MetadataImage;
use protocol::newtypes::BrokerId;
use std::collections::BTreeMap;
use std::time::Duration;

/// What one controller remembers of brokers' heartbeats, from when it began to lead.
#[derive(Clone, Debug)]
pub struct Sessions {
    heard: BTreeMap<BrokerId, Heard>,
    /// Until all brokers of the image that was taken over are counted.
    began: Option<Duration>,
    looked: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    epoch: u64,
    at: Duration,
}

/// A session that a controller takes over ends so much earlier than one session timeout after that, and so much shorter than a
/// session are leases: about the time in which a controller that falls silent is succeeded.
const TAKEN_OVER_MS: u64 = 600;

/// How long after a broker has sent a heartbeat that was answered no controller fences it for silence, where this is the session
/// timeout; both in milliseconds.
#[must_use]
pub fn lease_ms(timeout_ms: u64) -> u64 {
    timeout_ms - TAKEN_OVER_MS.min(timeout_ms / 2)
}

impl Sessions {
    /// Of a controller that begins to lead at `now`: it gives every broker the length of a lease.
    #[must_use]
    pub fn begin(now: Duration) -> Sessions {
        Sessions { heard: BTreeMap::new(), began: Some(now), looked: now }
    }

    /// A heartbeat has come.
    pub fn heard(&mut self, broker: BrokerId, epoch: u64, now: Duration) {
        let heard = self.heard.entry(broker).or_insert(Heard { epoch, at: now });
        // One that was long under way says nothing about the process that runs now.
        if epoch >= heard.epoch {
            *heard = Heard { epoch, at: now };
        }
    }

    /// Unfenced brokers that were silent for `timeout`. To be asked several times within the timeout.
    pub fn silent(&mut self, image: &MetadataImage, timeout: Duration, now: Duration) -> Vec<BrokerId> {
        if now.saturating_sub(self.looked) > timeout / 2 {
            self.heard.values_mut().for_each(|heard| heard.at = now);
        }
        self.looked = now;
        self.heard.retain(|broker, _| image.broker(*broker).is_some());
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let taken_over = Duration::from_millis(timeout_ms - lease_ms(timeout_ms));
        let first = self.began.take().map_or(now, |began| began.saturating_sub(taken_over));
        let mut silent = Vec::new();
        for broker in image.unfenced_brokers() {
            let epoch = broker.epoch;
            let heard = self.heard.entry(broker.broker).or_insert(Heard { epoch, at: first });
            if heard.epoch < epoch {
                *heard = Heard { epoch, at: now };
            }
            if now.saturating_sub(heard.at) >= timeout {
                silent.push(broker.broker);
            }
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::image_with_broker;

    const TIMEOUT: Duration = Duration::from_secs(9);
    const ONE: BrokerId = BrokerId(1);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Looks every second up to a moment; who is silent then.
    fn look_until(sessions: &mut Sessions, from: u64, to: u64) -> Vec<BrokerId> {
        let image = image_with_broker();
        (from..=to).fold(Vec::new(), |_, now| sessions.silent(&image, TIMEOUT, at(now)))
    }

    #[test]
    fn a_broker_is_silent_after_the_whole_timeout_and_not_before() {
        let epoch = image_with_broker().broker(ONE).unwrap().epoch;
        let mut sessions = Sessions::begin(at(100));
        assert_eq!(look_until(&mut sessions, 100, 108), []);
        sessions.heard(ONE, epoch, at(108));
        assert_eq!(look_until(&mut sessions, 109, 116), []);
        assert_eq!(look_until(&mut sessions, 117, 117), [ONE]);
    }

    #[test]
    fn a_session_that_is_taken_over_is_as_long_as_a_lease() {
        let image = image_with_broker();
        let lease = Duration::from_millis(lease_ms(9000));
        assert_eq!(lease, Duration::from_millis(8400));
        let mut sessions = Sessions::begin(at(100));
        assert_eq!(look_until(&mut sessions, 100, 108), []);
        let just_before = at(100) + lease - Duration::from_millis(1);
        assert_eq!(sessions.silent(&image, TIMEOUT, just_before), []);
        assert_eq!(sessions.silent(&image, TIMEOUT, at(100) + lease), [ONE]);
        // From then on it is a whole session, and of a short one half is left.
        sessions.heard(ONE, image.broker(ONE).unwrap().epoch, at(109));
        assert_eq!(look_until(&mut sessions, 109, 117), []);
        assert_eq!(look_until(&mut sessions, 118, 118), [ONE]);
        assert_eq!((lease_ms(1000), lease_ms(0)), (500, 0));
    }

    #[test]
    fn an_earlier_process_is_not_heard() {
        let epoch = image_with_broker().broker(ONE).unwrap().epoch;
        let mut sessions = Sessions::begin(at(0));
        assert_eq!(look_until(&mut sessions, 0, 5), []);
        sessions.heard(ONE, epoch - 1, at(5));
        assert_eq!(look_until(&mut sessions, 6, 9), [ONE]);
    }

    #[test]
    fn a_controller_that_slept_begins_anew() {
        let mut sessions = Sessions::begin(at(0));
        assert_eq!(look_until(&mut sessions, 0, 2), []);
        assert_eq!(look_until(&mut sessions, 60, 60), [], "it was asleep for 58 s");
        assert_eq!(look_until(&mut sessions, 61, 68), []);
        assert_eq!(look_until(&mut sessions, 69, 69), [ONE]);
    }
}
