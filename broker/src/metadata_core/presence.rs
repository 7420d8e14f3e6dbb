//! This broker's place in the cluster: it joins, registers, reports, and learns whether it is fenced.

use std::sync::Arc;
use std::time::Duration;

use metadata::cluster_id::ClusterId;
use metadata::controller::{BrokerStart, Heartbeat, ImpairedReplica, RECORDS_PER_REQUEST_MAX, Wish};
use metadata::raft::Handle;
use metadata::record::NodeBinding;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::controller::BrokerLife;
use super::request::{Beat, Beaten, Join, Register, ReportImpaired};
use super::router::Router;
use super::{CoreError, RequestFailed};
use crate::internal::links::{self, Links};
use crate::lease::Lease;
use crate::settings::Settings;

/// How long one attempt to reach the controller takes before it is said that there is none.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(5);
/// Before that is said again: after a power cut, others may be away for hours.
const WAITING_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Makes this process a broker of the cluster: its node joins, unless it belongs already, and the process registers. Resolves
/// with the broker epoch and the metadata offset to be caught up with; tries until it has worked or was refused.
pub async fn arrive(router: &Router, start: &BrokerStart) -> Result<(u64, u64), CoreError> {
    let node = &start.node;
    let (joined, _) = insist(|| router.ask(Join(node.clone()), ATTEMPT_PATIENCE)).await?;
    joined.map_err(CoreError::NoPlace)?;
    let (registered, metadata_offset) = insist(|| router.ask(Register(start.clone()), ATTEMPT_PATIENCE)).await?;
    let epoch = registered.map_err(CoreError::NoPlace)?;
    tracing::info!(broker = %node.node, epoch, "broker registered");
    Ok((epoch, metadata_offset))
}

/// Tells the controller of replicas that are not what it takes them for, before this broker asks to be let in.
pub async fn report_impaired(
    router: &Router,
    (broker, broker_epoch): BrokerLife,
    replicas: &[ImpairedReplica],
) -> Result<(), CoreError> {
    for replicas in replicas.chunks(RECORDS_PER_REQUEST_MAX) {
        let report = ReportImpaired { broker, broker_epoch, replicas: replicas.to_vec() };
        let (reported, _) = insist(|| router.ask(report.clone(), ATTEMPT_PATIENCE)).await?;
        reported.map_err(|refusal| CoreError::Refused(refusal.message))?;
    }
    Ok(())
}

/// Calls at the addresses that were given to join at, until this node has arrived: each end learns where the other is, also
/// when all nodes have moved at once and know each other's old addresses only. Members that cannot be asked say nothing.
///
/// # Errors
/// If one is of another cluster, which a data directory from elsewhere would lead to unnoticed.
pub async fn call_at(seeds: &[String], links: &Links, me: &NodeBinding, cluster_id: Uuid) -> Result<(), CoreError> {
    for address in seeds {
        match links::welcome(address, Some(me.clone())).await {
            Ok(welcome) if welcome.cluster_id != cluster_id => {
                return Err(CoreError::NoPlace(format!(
                    "the data directory belongs to cluster {}, and {address} that is to be joined is node {} of cluster {}",
                    ClusterId(cluster_id),
                    welcome.node,
                    ClusterId(welcome.cluster_id),
                )));
            }
            Ok(welcome) if welcome.node != me.node => links.heard_of(welcome.node, address.clone()),
            Ok(_) => {}
            Err(error) => tracing::debug!(address, %error, "a member that was given could not be asked"),
        }
    }
    Ok(())
}

async fn insist<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, CoreError>
where
    F: Future<Output = Result<T, RequestFailed>>,
{
    let (began, mut told) = (Instant::now(), None);
    loop {
        match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(error @ RequestFailed::NotController(_)) => {
                let is_due = told.is_none_or(|told: Instant| told.elapsed() >= WAITING_TOLD_EVERY);
                if is_due {
                    told = Some(Instant::now());
                    tracing::warn!(%error, waited = ?began.elapsed(), "waiting for the controller");
                }
            }
            Err(error) => return Err(CoreError::Refused(error.to_string())),
        }
    }
}

/// What a broker reports.
pub struct Reporting {
    pub raft: Handle,
    pub router: Router,
    pub settings: Arc<Settings>,
    pub epoch: u64,
    pub lease: Arc<Lease>,
    /// Metadata offset that all shards have applied.
    pub applied: watch::Receiver<u64>,
    pub wish: watch::Receiver<Wish>,
}

impl Reporting {
    /// Sends heartbeats, and at once whatever may change what the controller answers. Ends only when this process has no
    /// place in the cluster any more.
    pub async fn run(mut self) -> CoreError {
        loop {
            let (began, sent_ms) = (Instant::now(), crate::clock::boot_ms());
            let beat = Heartbeat {
                broker: self.settings.broker,
                epoch: self.epoch,
                applied: *self.applied.borrow_and_update(),
                wish: *self.wish.borrow_and_update(),
            };
            let config = self.raft.image().broker_config(self.settings.broker, &self.settings.static_config());
            let millis = |value: i32| Duration::from_millis(u64::try_from(value).unwrap_or(1).max(1));
            let patience = millis(config.broker_session_timeout_ms);
            let wants_in = beat.wish == Wish::Unfenced;
            match self.router.ask(Beat(beat), patience).await {
                Ok((Ok(Beaten { fenced, lease_ms }), metadata_offset)) => {
                    let next = began + millis(config.broker_heartbeat_interval_ms);
                    // What the controller knew may have another lead what this broker leads.
                    let mut applied = self.applied.clone();
                    let known = applied.wait_for(|applied| *applied >= metadata_offset);
                    if tokio::time::timeout_at(next, known).await.is_ok() {
                        self.lease.on_answer(sent_ms, fenced, lease_ms);
                    }
                    self.wait(next, fenced && wants_in).await;
                }
                Ok((Err(reason), _)) => return CoreError::Refused(reason),
                Err(error) => {
                    tracing::warn!(%error, "no heartbeat has reached the controller");
                    tokio::time::sleep_until(began + millis(config.broker_heartbeat_interval_ms)).await;
                }
            }
        }
    }

    /// Waits until the next heartbeat is due, by the clock or because something has changed.
    async fn wait(&mut self, next: Instant, until_applied: bool) {
        let broker = self.settings.broker;
        let mut images = self.raft.images();
        let was_unfenced = images.borrow_and_update().is_unfenced(broker);
        let fenced_meanwhile = async {
            // A broker that others have fenced says at once that it is there.
            let _ = images.wait_for(|image| was_unfenced && !image.is_unfenced(broker)).await;
        };
        let applied = async {
            match until_applied {
                true => drop(self.applied.changed().await),
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            changed = self.wish.changed() => if changed.is_err() { tokio::time::sleep_until(next).await },
            () = applied => {}
            () = fenced_meanwhile => {}
        }
    }
}
