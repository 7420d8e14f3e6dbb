//! Producers, consumers, and somebody who deletes old records.

use super::bug::Bug;
use super::checks::{lease, min_insync};
use super::events::Event;
use super::leading::Waiting;
use super::log::Batch;
use super::shell::Role;
use super::world::World;

impl World {
    /// A producer appends where it believes the leader to be, which is any broker that believes so itself.
    pub fn produce(&mut self, producer: usize) {
        if self.quiet {
            return;
        }
        // Whoever has to catch up must be able to.
        let most = if self.healed { 150_000 } else { self.mood.produce_us_max };
        self.within(500, most, Event::Produce { producer });
        if self.healed && self.mood.idle && !self.is_whole() {
            return;
        }
        let partition = self.random.index(self.partitions);
        let Some(broker) = self.anybody(|world, broker| world.leading(broker, partition).is_some()) else { return };
        for _ in 0..self.random.between(1, 3) {
            self.append(broker, partition, producer);
        }
    }

    /// Any broker that is such; drawn, so that nobody is preferred.
    fn anybody(&mut self, is_such: impl Fn(&World, usize) -> bool) -> Option<usize> {
        let such: Vec<usize> = (0..self.brokers.len()).filter(|broker| is_such(self, *broker)).collect();
        if such.is_empty() { None } else { Some(such[self.random.index(such.len())]) }
    }

    fn append(&mut self, broker: usize, partition: usize, producer: usize) {
        let acks_all = self.random.happens(self.mood.acks_all_percent);
        let leader = &self.leading(broker, partition).expect("it leads").leader;
        let epoch = leader.leader_epoch().0;
        if acks_all && !leader.has_min_insync_replicas() {
            return;
        }
        let base = self.brokers[broker].disk[partition].end;
        let (last, number) = (base + self.random.below(4) as i64, self.next_batch);
        let batch = Batch { base, last, epoch, number };
        self.next_batch += 1;
        self.produced[producer] += 1;
        self.checks[partition].order.on_produced(number, producer, self.produced[producer]);
        self.brokers[broker].disk[partition].append(batch);
        if self.has(Bug::AppendTwice) && self.random.happens(1) {
            let again = Batch { base: batch.next(), last: batch.next() + last - base, ..batch };
            self.brokers[broker].disk[partition].append(again);
        }
        self.note(|| format!("broker {broker} appends {batch:?} to partition {partition}, acks=all: {acks_all}"));
        if self.has(Bug::AnswerBeforeSync) && !acks_all {
            self.checks[partition].same_disk.on_acknowledged(epoch, batch);
        }
        let leading = self.leading_mut(broker, partition).expect("it leads");
        leading.waiting.push(Waiting { batch, acks_all });
        self.on_appended(broker, partition);
    }

    /// Answers the produces that what is on disk, or what is committed, suffices for.
    pub fn answer_produces(&mut self, broker: usize, partition: usize) {
        let durable = self.brokers[broker].disk[partition].durable;
        let high_watermark = self.part(broker, partition).high_watermark;
        let Some(leading) = self.leading_mut(broker, partition) else { return };
        let epoch = leading.leader.leader_epoch().0;
        let is_done = |waiting: &Waiting| {
            let reached = if waiting.acks_all { high_watermark } else { durable };
            reached >= waiting.batch.next()
        };
        let (done, rest) = std::mem::take(&mut leading.waiting).into_iter().partition(is_done);
        leading.waiting = rest;
        let done: Vec<Waiting> = done;
        // Whoever cannot be sure to lead answers with an error: nobody knows what becomes of it.
        if !self.may_serve(broker, partition) && !self.has(Bug::AcknowledgeWithoutLease) {
            self.counts.without_lease += done.len() as u64;
            return;
        }
        if done.is_empty() {
            return;
        }
        let checked = lease::check(broker, self.is_silenced(broker, partition), "acknowledges");
        self.check(checked);
        // What an unclean election has given up is not looked for: only a broker that is being stopped can get here.
        if epoch < self.checks[partition].valid_from {
            return;
        }
        let replicas = self.leading(broker, partition).map_or(0, |leading| leading.leader.followers().count() + 1);
        let replicas = replicas.min(self.controller.partition(partition).replicas.len());
        for Waiting { batch, acks_all } in done {
            if !acks_all {
                self.checks[partition].same_disk.on_acknowledged(epoch, batch);
                continue;
            }
            let leads_later = |at: &usize| self.led_epoch(*at, partition).is_some_and(|led| led.0 > epoch);
            let later: Vec<usize> = (0..self.brokers.len()).filter(leads_later).collect();
            let logs = later.into_iter().map(|at| (at, &self.brokers[at].disk[partition]));
            let checks = &mut self.checks[partition];
            let deleted_to = checks.committed.deleted_to;
            let checked = checks.acknowledged.on_acknowledged(epoch, batch, deleted_to, logs);
            self.check(checked);
            let wanted = usize::try_from(self.mood.min_insync).expect("it is small");
            // A later leader may have deleted it by now.
            if batch.base >= deleted_to {
                let has = |at: &usize| {
                    let log = &self.brokers[*at].disk[partition];
                    let had = || self.checks[partition].counted.had(*at, epoch, batch.next());
                    log.holds(&batch) && log.durable >= batch.next() || had()
                };
                let found = (0..self.brokers.len()).filter(has).count();
                let checked = min_insync::check(&batch, wanted.min(replicas), found);
                self.check(checked);
            }
        }
    }

    /// A consumer reads from the leader, or from a follower that believes that it is in sync (KIP-392).
    pub fn read(&mut self) {
        self.within(5_000, 60_000, Event::Read);
        let partition = self.random.index(self.partitions);
        let Some(broker) = self.anybody(|world, broker| world.serves(broker, partition)) else { return };
        let log = &self.brokers[broker].disk[partition];
        let high_watermark = self.part(broker, partition).high_watermark;
        let end = if self.has(Bug::ServeAboveHighWatermark) { log.end } else { high_watermark };
        let from = log.start + self.random.below((end - log.start).max(0) as u64 + 1) as i64;
        let log = &self.brokers[broker].disk[partition];
        let batches: Vec<Batch> = log.from(from).take_while(|batch| batch.next() <= end).take(8).copied().collect();
        let epoch = self.part(broker, partition).role.epoch().map_or(0, |epoch| epoch.0);
        let checked = [
            lease::check(broker, self.is_silenced(broker, partition), "is read from"),
            self.checks[partition].on_read(broker, epoch, &batches),
        ];
        checked.into_iter().for_each(|checked| self.check(checked));
    }

    fn serves(&self, broker: usize, partition: usize) -> bool {
        let Some(process) = self.brokers[broker].process.as_ref() else { return false };
        match &process.parts[partition].role {
            Role::None => false,
            _ if !self.may_serve(broker, partition) && !self.has(Bug::ReadWithoutLease) => false,
            Role::Leader(_) => true,
            Role::Follower(following) => following.in_sync,
        }
    }

    /// DeleteRecords: the leader's log begins later, and the followers' after it.
    pub fn delete(&mut self) {
        if self.healed {
            return;
        }
        self.within(100_000, 1_500_000, Event::Delete);
        let partition = self.random.index(self.partitions);
        let Some(broker) = self.anybody(|world, broker| world.leading(broker, partition).is_some()) else { return };
        let high_watermark = self.part(broker, partition).high_watermark;
        let log = &mut self.brokers[broker].disk[partition];
        let room = high_watermark - log.start;
        if room <= 0 {
            return;
        }
        let to = log.start + 1 + self.random.below(room as u64) as i64;
        log.raise_start(to);
        let committed = &mut self.checks[partition].committed;
        committed.deleted_to = committed.deleted_to.max(to);
        self.note(|| format!("broker {broker} deletes records of partition {partition} before {to}"));
        self.tell_followers(broker, partition);
    }
}
