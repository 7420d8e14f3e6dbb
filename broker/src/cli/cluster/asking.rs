//! Questions to the controller, whichever broker is given, and to single brokers.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use metadata::record::NodeBinding;

use super::no_controller::{self, NoAnswer};
use crate::cli::internal_port::obstacle;
use crate::internal::handshake::Purpose;
use crate::internal::links::{Callee, Caller, Links};
use crate::metadata_core::controller::{NotDone, Reply};
use crate::metadata_core::inspect::{self, Inspect};
use crate::metadata_core::request::{Ask, DescribePlacement, PlacementSeen, Request};
use crate::metadata_core::router;

/// Pause before the question goes out again, while there is no controller.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long one node may take where others can be asked.
const NODE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Asking {
    links: Links,
    /// Of the broker that was given, and of others that were heard of: the given one may go away meanwhile.
    addresses: RefCell<Vec<String>>,
    /// Somebody has answered: who does not any more may come back.
    answered: Cell<bool>,
    pub patience: Duration,
}

impl Asking {
    pub fn new(address: String, patience: Duration) -> Asking {
        let links = Links::new(Caller { cluster_id: None, node: None }, || 0);
        Asking { links, addresses: RefCell::new(vec![address]), answered: Cell::new(false), patience }
    }

    /// Asks the broker that was given, or another that is known, and then whomever it names as controller. A request may be
    /// carried out twice, if it was first and the answer was lost.
    pub async fn ask<R: Ask>(&self, request: R) -> Result<R::Answer, NoAnswer> {
        let deadline = Instant::now() + self.patience;
        let request: Request = request.into();
        let message = postcard::to_allocvec(&request).expect("requests hold nothing that postcard cannot write");
        let mut turn = 0;
        let (mut address, mut others) = self.address(turn);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = if others { left.min(NODE_PATIENCE) } else { left };
            let callee = Callee { purpose: Purpose::Controller, node: None, address: address.clone() };
            let asked = self.links.ask(&callee, message.clone(), left).await;
            self.answered.set(self.answered.get() || asked.is_ok());
            if !self.answered.get()
                && let Some(obstacle) = obstacle(&address).await
            {
                return Err(obstacle.into());
            }
            let why = match asked {
                Ok(answer) => match postcard::from_bytes::<Reply>(&answer) {
                    Ok(Ok(done)) => return router::decode::<R>(&done.answer).map_err(|error| error.to_string().into()),
                    Ok(Err(NotDone::Refused(refusal))) => return Err(refusal.message.into()),
                    Ok(Err(NotDone::NotController { leader: Some((_, leader)) })) if leader != address => {
                        address = leader;
                        continue;
                    }
                    Ok(Err(NotDone::NotController { .. })) => "no controller is elected".to_owned(),
                    Err(error) => return Err(format!("{address}: its answer cannot be read: {error}").into()),
                },
                Err(error) => error.to_string(),
            };
            if Instant::now() + RETRY_PAUSE >= deadline {
                let addresses = self.addresses.borrow().clone();
                let quorum = no_controller::look(&self.links, &addresses).await.map(Box::new);
                return Err(NoAnswer { why, quorum });
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            // The controller may be another one by now.
            turn += 1;
            (address, others) = self.address(turn);
        }
    }

    /// Whom to ask next, and whether there are others.
    fn address(&self, turn: usize) -> (String, bool) {
        let addresses = self.addresses.borrow();
        (addresses[turn % addresses.len()].clone(), addresses.len() > 1)
    }

    /// Where replicas are; also learns where the brokers are.
    pub async fn placement(&self, topics: Option<Vec<String>>) -> Result<PlacementSeen, NoAnswer> {
        let seen = self.ask(DescribePlacement { topics }).await?;
        let mut addresses = self.addresses.borrow_mut();
        addresses.truncate(1);
        let given = addresses[0].clone();
        addresses.extend(seen.nodes.iter().map(|node| node.address.clone()).filter(|address| *address != given));
        Ok(seen)
    }

    /// Asks one broker about itself, once.
    pub async fn inspect<I: Inspect>(
        &self,
        node: &NodeBinding,
        question: I,
        patience: Duration,
    ) -> Result<I::Answer, String> {
        inspect::ask(&self.links, &Callee::node(Purpose::Inspect, node), question, patience).await
    }
}
