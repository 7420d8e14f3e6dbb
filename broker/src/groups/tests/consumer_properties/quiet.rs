//! What has to come of it when nothing happens any more but heartbeats.

use super::super::super::StoreOutcome;
use super::super::super::consumer::ConsumerGroupState;
use super::*;

/// Long enough for sessions to end, for regular expressions to be looked at again, and for some rebalances after that.
const ROUNDS: usize = 20;
const ROUND_MS: i64 = 5_000;

impl World {
    /// The first client, and those who are in the group or on their way there, go on; nobody else does.
    pub(super) fn quiet(&mut self, assignors: Assignors) {
        let goes_on = |client: &Client| client.epoch > 0 || client.pending.is_some();
        let mut staying: Vec<usize> = (0..CLIENTS).filter(|n| *n == 0 || goes_on(&self.clients[*n])).collect();
        // Of two with the same instance id one.
        if staying.ends_with(&[4, 5]) {
            staying.pop();
        }
        for client in (0..CLIENTS).filter(|client| !staying.contains(client)) {
            self.step(&Step::Die { client });
        }
        for _ in 0..ROUNDS {
            self.round(&staying);
            self.wait(ROUND_MS);
        }
        self.check_quiet(&staying, assignors);
        let epoch = self.epoch;
        self.restart(0, false);
        self.round(&staying);
        self.check_quiet(&staying, assignors);
        assert_eq!(self.epoch, epoch, "a restart alone changes nothing");
        self.fall_silent();
    }

    fn round(&mut self, staying: &[usize]) {
        for client in staying {
            self.store_all();
            if self.clients[*client].pending.is_none() {
                self.beat(*client, false);
            }
            self.store_all();
            self.clients[*client].reconcile();
        }
    }

    fn store_all(&mut self) {
        while !self.under_way.is_empty() {
            self.end_store(StoreOutcome::Durable);
        }
    }

    fn check_quiet(&self, staying: &[usize], assignors: Assignors) {
        let group = recorded(&self.coordinator).expect("there is a member");
        assert_eq!(group.state(), ConsumerGroupState::Stable);
        assert_eq!(group.members.len(), staying.len());
        let clients: Vec<&Client> = staying.iter().map(|client| &self.clients[*client]).collect();
        for client in &clients {
            let member = group.members.get(&client.member_id).expect("it is in the group");
            assert_eq!(client.epoch, group.epoch);
            assert_eq!(client.owned, client::partitions(&member.current.assigned));
        }
        let mut wanted: BTreeSet<(TopicId, i32)> = BTreeSet::new();
        for topic in &self.environment.topics {
            let subscribers: Vec<&&Client> = clients.iter().filter(|c| c.is_subscribed_to(&topic.name)).collect();
            if subscribers.is_empty() {
                continue;
            }
            wanted.extend((0..topic.partitions).map(|partition| (topic.id, partition)));
            let of_topic = |owned: &Partitions| owned.iter().filter(|(id, _)| *id == topic.id).count();
            let all: usize = subscribers.iter().map(|client| of_topic(&client.owned)).sum();
            assert_eq!(all, topic.partitions as usize, "{} is shared among those who subscribe to it", topic.name);
            if assignors == Assignors::Range {
                let shares = subscribers.iter().map(|client| of_topic(&client.owned));
                assert!(spread(shares) <= 1, "ranges of {} differ by more than one", topic.name);
            }
        }
        let owned: BTreeSet<(TopicId, i32)> = clients.iter().flat_map(|client| client.owned.iter().copied()).collect();
        assert_eq!(owned, wanted);
        if assignors == Assignors::Default {
            self.check_uniform(&clients);
        }
    }

    /// No move of one partition brings two members closer together.
    fn check_uniform(&self, clients: &[&Client]) {
        for more in clients {
            for less in clients.iter().filter(|less| more.owned.len() > less.owned.len() + 1) {
                let may_move = more.owned.iter().find(|(id, _)| {
                    self.environment.topics.iter().any(|topic| topic.id == *id && less.is_subscribed_to(&topic.name))
                });
                assert_eq!(
                    may_move,
                    None,
                    "{} has {:?}, {} has {:?}",
                    more.member_id.as_str(),
                    more.owned,
                    less.member_id.as_str(),
                    less.owned
                );
            }
        }
    }

    fn fall_silent(&mut self) {
        self.wait(400_000);
        self.store_all();
        assert!(recorded(&self.coordinator).is_none_or(|group| group.members.is_empty()), "members that are silent");
        let counts = self.coordinator.counts();
        assert_eq!((counts.waiting_requests, counts.stores_in_flight), (0, 0));
        self.restart(0, false);
    }
}

fn spread(shares: impl Iterator<Item = usize> + Clone) -> usize {
    shares.clone().max().unwrap_or(0) - shares.min().unwrap_or(0)
}
