//! Messages between nodes in virtual time: lost, late, repeated and overtaken, and cut off by direction.

use super::{draw, happens};
use crate::raft::peers::{Transport, TransportError};
use crate::raft::{Member, MetadataRaft, wire};
use openraft::Raft;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use uuid::Uuid;

/// The network. Clones are of one.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// And the directories that they run on.
    nodes: BTreeMap<u64, (Uuid, Raft<MetadataRaft>)>,
    /// Messages from the first to the second do not arrive.
    cut: BTreeSet<(u64, u64)>,
    /// Of a hundred messages.
    lost: u64,
    repeated: u64,
    /// In milliseconds.
    late_max: u64,
}

impl Network {
    pub fn attach(&self, id: u64, directory_id: Uuid, raft: Raft<MetadataRaft>) {
        self.0.lock().unwrap().nodes.insert(id, (directory_id, raft));
    }

    pub fn detach(&self, id: u64) {
        self.0.lock().unwrap().nodes.remove(&id);
    }

    pub fn cut(&self, from: u64, to: u64) {
        self.0.lock().unwrap().cut.insert((from, to));
    }

    pub fn disturb(&self, lost: u64, repeated: u64, late_max: u64) {
        let mut state = self.0.lock().unwrap();
        (state.lost, state.repeated, state.late_max) = (lost, repeated, late_max);
    }

    pub fn heal(&self) {
        self.0.lock().unwrap().cut.clear();
        self.disturb(0, 0, 3);
    }

    /// Takes a message from one node to another, if it comes through.
    async fn travel(&self, from: u64, to: u64) -> bool {
        let (arrives, late) = {
            let state = self.0.lock().unwrap();
            (!state.cut.contains(&(from, to)) && !happens(state.lost), draw(0..=state.late_max))
        };
        tokio::time::sleep(Duration::from_millis(late)).await;
        arrives
    }

    /// A question's way, its answer, and the answer's way back.
    async fn round_trip(&self, from: u64, to: u64, directory_id: Uuid, question: &[u8]) -> Option<Vec<u8>> {
        if !self.travel(from, to).await {
            return None;
        }
        let (found, target) = self.0.lock().unwrap().nodes.get(&to).cloned()?;
        // The handshake of the real network.
        if found != directory_id {
            return None;
        }
        let answer = wire::answer(&target, question).await;
        self.travel(to, from).await.then_some(answer)
    }
}

/// One node's way into the network.
#[derive(Clone)]
pub struct Link {
    pub network: Network,
    pub from: u64,
}

impl Transport for Link {
    /// Messages go on when the node that sent them is killed.
    async fn ask(
        &self,
        to: u64,
        member: &Member,
        question: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let (said, answered) = oneshot::channel();
        let repeated = happens(self.network.0.lock().unwrap().repeated);
        for said in [Some(said), None].into_iter().take(1 + usize::from(repeated)) {
            let (network, from, question) = (self.network.clone(), self.from, question.clone());
            let directory_id = member.directory_id;
            tokio::spawn(async move {
                if let Some(answer) = network.round_trip(from, to, directory_id, &question).await
                    && let Some(said) = said
                {
                    let _ = said.send(answer);
                }
            });
        }
        let refused = |reason: &str| TransportError { to, address: member.address.clone(), reason: reason.to_owned() };
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(refused("lost")),
            Err(_) => Err(refused("late")),
        }
    }
}
