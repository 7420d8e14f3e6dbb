//! What the controller does without being asked: it fences brokers that are silent or dead, elects where nobody leads, balances
//! leaders, gives `__consumer_offsets` the replicas that it lacks, and brings the quorum's membership to what the image says.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use metadata::config::BrokerConfig;
use metadata::controller::{self, LogEnds, Sessions, next_membership_change};
use metadata::image::MetadataImage;
use metadata::raft::{Handle, NodeStopped, Outcome};
use metadata::record::{MetadataRecord, NodeBinding};
use metadata::store::Effect;
use protocol::BrokerId;

use super::Controller;
use crate::internal::links;

/// After so long it is looked again whether somebody can be elected uncleanly, though the metadata is the same: logs may be open
/// by then.
const UNCLEAN_INTERVAL: Duration = Duration::from_secs(5);

/// What a controller remembers while it leads.
pub(super) struct Term {
    of: u64,
    sessions: Sessions,
    /// When it was last looked whether somebody is to be elected uncleanly, and the metadata offset of the image then.
    looked: (u64, Duration),
    balanced: Duration,
    /// Metadata offset of the image in which `__consumer_offsets` lacked nothing that it can have.
    offsets_topic_complete_at: Option<u64>,
}

impl Controller {
    /// Begins to count sessions, and looks for brokers that may have died, as soon as this node leads.
    pub(super) fn note_term(&mut self) {
        if self.raft.leads_in_term().is_some() {
            self.term(self.began.elapsed());
        }
    }

    /// What this leader has remembered since it leads.
    fn term(&mut self, now: Duration) -> &mut Term {
        let of = self.raft.leads_in_term().unwrap_or_default();
        if self.term.as_ref().is_none_or(|term| term.of != of) {
            let (sessions, looked) = (Sessions::begin(now), (0, now));
            self.term = Some(Term { of, sessions, looked, balanced: now, offsets_topic_complete_at: None });
            // The controller before this one may have died, and others whose end it would have seen.
            let image = self.raft.image();
            let serving = image.unfenced_brokers().filter_map(|broker| image.node(broker.broker));
            serving.for_each(|node| self.look_for(node.as_ref().clone()));
        }
        self.term.as_mut().expect("set above")
    }

    pub(super) async fn look(&mut self) -> Result<(), NodeStopped> {
        let leads = self.raft.leads_in_term().is_some();
        let (image, now) = (self.raft.image(), self.began.elapsed());
        while let Ok((broker, epoch)) = self.heard.try_recv() {
            if leads {
                self.term(now).sessions.heard(broker, epoch, now);
            }
        }
        if !leads {
            return Ok(());
        }
        let config = self.config(&image);
        let timeout = Duration::from_millis(u64::try_from(config.broker_session_timeout_ms).unwrap_or(0));
        for broker in self.term(now).sessions.silent(&image, timeout, now) {
            // It fences itself no more than it lets itself in: a controller is heard by itself.
            tracing::warn!(%broker, ?timeout, "no heartbeat within the session timeout");
            self.fence(broker).await?;
        }
        self.elect_unclean(&config, now).await?;
        self.balance_leaders(&config, now).await?;
        self.raise_offsets_topic(&config, now).await?;
        self.change_membership();
        Ok(())
    }

    pub(super) async fn fence(&mut self, broker: BrokerId) -> Result<(), NodeStopped> {
        let ends = self.poll_without(broker).await;
        if self.carry_out(|image, _| controller::fence(image, broker, &ends)).await? > 0 {
            tracing::warn!(%broker, "broker fenced");
        }
        Ok(())
    }

    /// Has replicas lead that may lack committed records, where nobody else can and it is allowed
    /// (`unclean.leader.election.enable`).
    async fn elect_unclean(&mut self, config: &BrokerConfig, now: Duration) -> Result<(), NodeStopped> {
        let image = self.raft.image();
        let (looked_at, looked) = self.term(now).looked;
        if looked_at == image.metadata_offset() && now.saturating_sub(looked) < UNCLEAN_INTERVAL {
            return Ok(());
        }
        self.term(now).looked = (image.metadata_offset(), now);
        if controller::elect_unclean(&image, config, &LogEnds::default()).is_empty() {
            return Ok(());
        }
        let ends = self.poll(controller::questions_unclean(&image, config)).await;
        let elected = self.carry_out(|image, config| controller::elect_unclean(image, config, &ends)).await?;
        if elected > 0 {
            tracing::error!(
                elected,
                "partitions are led by replicas that may lack committed records: nobody else could"
            );
        }
        Ok(())
    }

    /// Gives leadership back to first replicas (`auto.leader.rebalance.enable`).
    async fn balance_leaders(&mut self, config: &BrokerConfig, now: Duration) -> Result<(), NodeStopped> {
        let seconds = u64::try_from(config.leader_imbalance_check_interval_seconds).unwrap_or(0);
        let is_due = now.saturating_sub(self.term(now).balanced) >= Duration::from_secs(seconds);
        if !is_due || !config.auto_leader_rebalance_enable {
            return Ok(());
        }
        let moved = self.carry_out(|image, _| controller::balance_leaders(image)).await?;
        if moved > 0 {
            tracing::info!(moved, "leadership went back to first replicas");
        }
        // With as many as go at once there may be more.
        if moved < controller::BALANCED_AT_ONCE_MAX {
            self.term(now).balanced = now;
        }
        Ok(())
    }

    /// Has `__consumer_offsets` get the replicas that it could not have when it was made (`offsets.topic.replication.factor`).
    async fn raise_offsets_topic(&mut self, config: &BrokerConfig, now: Duration) -> Result<(), NodeStopped> {
        let image = self.raft.image();
        let factor = config.offsets_topic_replication_factor;
        if self.term(now).offsets_topic_complete_at == Some(image.metadata_offset()) {
            return Ok(());
        }
        if controller::raise_offsets_replication_factor(&image, factor).is_empty() {
            self.term(now).offsets_topic_complete_at = Some(image.metadata_offset());
            return Ok(());
        }
        // It is not worth the last space for metadata.
        if self.directory.check_room(|| Effect::Grows).is_err() {
            return Ok(());
        }
        let decide = |image: &MetadataImage, config: &BrokerConfig| {
            controller::raise_offsets_replication_factor(image, config.offsets_topic_replication_factor)
        };
        let partitions = self.carry_out(decide).await?;
        if partitions > 0 {
            tracing::info!(partitions, factor, "partitions of __consumer_offsets get more replicas");
        }
        Ok(())
    }

    /// Decides something by itself, and has the quorum agree; gives the number of records. Left to the next controller where
    /// another leads by now.
    async fn carry_out(
        &self,
        decide: impl Fn(&MetadataImage, &BrokerConfig) -> Vec<MetadataRecord>,
    ) -> Result<usize, NodeStopped> {
        loop {
            let image = self.raft.image();
            let records = decide(&image, &self.config(&image));
            let count = records.len();
            if records.is_empty() || self.raft.leads_in_term().is_none() {
                return Ok(0);
            }
            match self.propose(image.metadata_offset(), records).await? {
                Ok(Outcome::Applied { .. }) => return Ok(count),
                Ok(Outcome::Stale { .. }) => {}
                Ok(outcome) => {
                    tracing::error!(?outcome, "a decision of the controller's own was not carried out");
                    return Ok(0);
                }
                Err(_) => return Ok(0),
            }
        }
    }

    /// Finds out whether a node whose connection ended has ended itself: a broker that has is fenced, and a leader of the quorum
    /// that has is succeeded. Anything but a refused connection is left to time-outs.
    ///
    /// Whoever called may have claimed to be any node: only the one that belongs, where it belongs, is looked for.
    pub(super) fn look_for(&self, node: NodeBinding) {
        let image = self.raft.image();
        let is_it = image.node(node.node).is_some_and(|bound| **bound == node);
        if !is_it || node.node == self.settings.broker {
            return;
        }
        let serving = image.broker(node.node).filter(|broker| !broker.is_fenced());
        let leads = self.raft.leads_in_term().is_some();
        let life = serving.filter(|_| leads).map(|serving| (node.node, serving.epoch));
        let was_controller = self.raft.leader() == Some(node.node);
        if life.is_none() && !was_controller || !lock(&self.looked_for).insert((node.node, was_controller)) {
            return;
        }
        let (raft, dead, looked_for) = (self.raft.clone(), self.dead.0.clone(), self.looked_for.clone());
        tokio::spawn(async move {
            if links::is_refused(&node.address).await {
                if let Some(life) = life {
                    let _ = dead.send(life);
                }
                if was_controller {
                    tracing::info!(controller = %node.node, "the controller's process has ended");
                    // Raft's end is told elsewhere.
                    let _ = raft.succeed(node.node, || links::is_refused(&node.address)).await;
                }
            }
            lock(&looked_for).remove(&(node.node, was_controller));
        });
    }

    /// Makes the next change of the membership, one at a time and beside everything else.
    fn change_membership(&mut self) {
        if self.changing.as_ref().is_some_and(|changing| !changing.is_finished()) {
            return;
        }
        let voters_max = self.settings.quorum_voters_max;
        let next = move |raft: &Handle| next_membership_change(&raft.image(), &raft.quorum()?, voters_max);
        let (raft, watched) = (self.raft.clone(), self.raft.clone());
        if next(&raft).is_none() {
            return;
        }
        let change = async move {
            // A new leader's image may be behind what it has taken over.
            let Ok(()) = raft.ensure_current().await else { return };
            let Some(change) = next(&raft) else { return };
            match raft.change_membership(change.clone()).await {
                Ok(()) => tracing::info!(?change, "membership of the metadata quorum changed"),
                Err(error) => tracing::debug!(?change, %error, "membership of the metadata quorum not changed"),
            }
        };
        self.changing = Some(tokio::spawn(async move {
            tokio::select! {
                () = change => {}
                () = watched.deposed() => {}
            }
        }));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with the lock")
}
