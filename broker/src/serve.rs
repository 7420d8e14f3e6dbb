//! `ringlog serve`: the process around the shards.
//!
//! The main thread becomes the metadata core; each shard has a thread of its own, and one more accepts connections. The
//! order of a start: claim the ports, lock and open the metadata, find the cluster and register, catch up, replay the
//! journals, recover the logs, be let in, then listen. The order of a stop: leave the cluster, stop listening, let requests
//! finish, close the logs, remove the journals.
//!
//! What cannot be undone ends the process at once and loudly: a failed write or sync, or a panic in any thread. What is
//! on disk then is for recovery to decide.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use glommio::ExecutorJoinHandle;
use metadata::cluster_id::ClusterId;
use metadata::config::{BrokerConfig, ConfigLayers};
use metadata::controller::bootstrap_records;
use metadata::image::MetadataImage;
use metadata::raft::{Opened, Published};
use metadata::store::{Beginning, DataDirectory};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use wal::journal::ReplayReport;

use crate::acceptor::{self, Acceptor, Claimed};
use crate::config::{HostPort, ServeConfig};
use crate::connection::ConnectionLimits;
use crate::group_lag::Lag;
use crate::high_watermarks::{self, Note};
use crate::http::health::{self, Health, Readiness};
use crate::http::{self, scrape};
use crate::internal::links;
use crate::journal_dir::{JournalDir, JournalDirError};
use crate::lease::Lease;
use crate::metadata_core::{Announced, MetadataClient, MetadataCore};
use crate::metrics::ShardMetrics;
use crate::settings::Settings;
use crate::shard::dedupe_memory::DedupeMemory;
use crate::shard::message::ShardMessage;
use crate::shard::run::{self, ShardEvent, ShardSpec};
use crate::suspects::Suspects;

/// Pause before members of the cluster to join are asked again.
const JOIN_RETRY: Duration = Duration::from_secs(1);

/// Why the broker did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("cannot create the data directory {dir}: {source}")]
    DataDir { dir: String, source: io::Error },
    #[error("cannot remove leftovers of deleted topics from {dir}: {source}")]
    Leftovers { dir: String, source: io::Error },
    #[error(transparent)]
    Journal(#[from] JournalDirError),
    #[error(transparent)]
    Store(#[from] metadata::store::OpenError),
    #[error(transparent)]
    Metadata(#[from] crate::metadata_core::CoreError),
    #[error("--{setting} {address}: the name cannot be resolved: {source}")]
    Resolve { setting: &'static str, address: String, source: io::Error },
    #[error("--{setting} {address}: {source}; is another process listening there?")]
    Bind { setting: &'static str, address: String, source: io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot set up the metadata core's runtime: {0}")]
    Runtime(io::Error),
    #[error("shard {shard} cannot go on: {error}")]
    Shard { shard: usize, error: String },
}

/// Runs the broker until it is told to stop.
pub fn run(config: ServeConfig) -> ExitCode {
    end_process_on_panic();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&ServeError::Runtime(error)),
    };
    match runtime.block_on(serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &ServeError) -> ExitCode {
    tracing::error!(error = %crate::handlers::describe(error), "ringlog ends");
    ExitCode::FAILURE
}

/// A shard without its thread would leave its partitions silently unserved.
fn end_process_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        tracing::error!(%info, "a thread panicked: the process ends; recovery at the next start decides what is on disk");
        std::process::abort();
    }));
}

async fn serve(config: ServeConfig) -> Result<(), ServeError> {
    let started = Instant::now();
    let dir = config.data_dir.display().to_string();
    std::fs::create_dir_all(&config.data_dir).map_err(|source| ServeError::DataDir { dir: dir.clone(), source })?;
    let data_dir = config.data_dir.canonicalize().map_err(|source| ServeError::DataDir { dir, source })?;
    // Claimed now, so that a port in use is known before a long recovery; connections are refused until we listen.
    let kafka = claim("kafka-addr", &config.kafka.listen)?;
    let internal = claim("internal-addr", &config.internal.listen)?;
    let http = claim("http-addr", &config.http.listen)?;
    let kafka_addr = kafka.local_addr().map_err(|source| bind_error("kafka-addr", &config.kafka.listen, source))?;
    let advertised = config.kafka.advertised_as(kafka_addr.port());
    let internal_addr =
        internal.local_addr().map_err(|source| bind_error("internal-addr", &config.internal.listen, source))?;
    let internal_address = config.internal.advertised_as(internal_addr.port()).to_string();

    let mut stop = StopSignals::new().map_err(ServeError::Runtime)?;
    let (publish, published) = mpsc::unbounded_channel();
    let begun = tokio::select! {
        begun = open_directory(&config, &data_dir, &internal_address, publish) => begun?,
        signal = stop.recv() => {
            tracing::info!(signal, "stopping before the cluster was found");
            return Ok(());
        }
    };
    let (directory, opened) = begun;
    let cluster_id = directory.identity().cluster_id.to_string();
    tracing::info!(
        node = %config.node_id, cluster = cluster_id, data_dir = %data_dir.display(), shards = config.shards,
        internal = internal_address, version = env!("CARGO_PKG_VERSION"), "ringlog starts"
    );
    let dedupe_memory = Arc::<DedupeMemory>::default();
    let metrics: Vec<_> = (0..config.shards).map(|_| Arc::new(ShardMetrics::default())).collect();
    let health = Health::new(Readiness::Joining);
    let lag = Arc::new(Lag::default());
    let sources = scrape::Sources { shards: metrics.clone().into(), lag: lag.clone() };
    let routes = health::routes(health.clone()).merge(scrape::routes(sources));
    let http_addr = http::serve(http, routes).map_err(|e| bind_error("http-addr", &config.http.listen, e))?;
    tracing::info!(addr = %http_addr, "http listener bound");

    let settings = Arc::new(Settings::new(&config, cluster_id, data_dir.display().to_string()));
    let announced = Announced {
        internal_address,
        host: advertised.host.to_string(),
        port: advertised.port,
        shards: u32::try_from(config.shards).expect("bounded by the configuration"),
    };
    let mut core = MetadataCore::start(directory, opened, published, settings.clone(), announced, internal).await?;
    let epoch = tokio::select! {
        arrived = core.arrive() => arrived?,
        signal = stop.recv() => {
            tracing::info!(signal, "stopping before this broker was registered");
            core.stop().await;
            return Ok(());
        }
    };
    health.set(Readiness::Recovering);
    let (client, requests) = MetadataClient::new();
    let commands: Vec<_> = (0..config.shards).map(|_| async_channel::unbounded()).collect();
    let command_senders = commands.iter().map(|(sender, _)| sender.clone()).collect();
    let (lease, suspects) = (Arc::new(Lease::default()), Arc::new(Suspects::default()));
    let publishing = core.publish(epoch, lease.clone(), command_senders, requests);
    let (dir, image) = (data_dir.clone(), publishing.image.clone());
    // Elsewhere: this node takes part in the quorum meanwhile.
    tokio::task::spawn_blocking(move || crate::orphans::remove(&dir, &image))
        .await
        .expect("a panic ends the process")
        .map_err(|source| ServeError::Leftovers { dir: data_dir.display().to_string(), source })?;
    let journal_dir = JournalDir::open(&data_dir, &config.journal_dir, settings.journal_config().is_some())?;
    let journal = journal_dir.of_shards().map(Path::to_owned);
    if journal_dir.needs_replay() {
        log_replay(&journal_dir.replay().await?, started);
    }
    // Beside what follows: nothing is appended before clients are listened to.
    let journal_begun = tokio::task::spawn_blocking(move || journal_dir.begin().map(|()| journal_dir));

    let channels: Vec<_> = (0..config.shards).map(|_| async_channel::unbounded()).collect();
    let inboxes: Vec<_> = channels.iter().map(|(sender, _)| sender.clone()).collect();
    let (events, mut shard_events) = mpsc::unbounded_channel();
    let mut known_high_watermarks = high_watermarks::load(&data_dir);
    known_high_watermarks.retain(|key, _| publishing.image.topic_by_id(key.topic_id).is_some());
    let known_high_watermarks = Arc::new(known_high_watermarks);
    let (notes, noted) = mpsc::unbounded_channel();
    let mut threads = Vec::with_capacity(config.shards);
    let cpus = pinning(&config);
    for (index, ((_, inbox), (_, commands))) in channels.into_iter().zip(commands).enumerate() {
        let spec = ShardSpec {
            index,
            cpu: cpus.as_ref().map(|cpus| cpus[index]),
            broker: config.node_id,
            broker_epoch: epoch,
            lease: lease.clone(),
            suspects: suspects.clone(),
            settings: settings.clone(),
            data_dir: data_dir.clone(),
            journal_dir: journal.clone(),
            inbox,
            inboxes: inboxes.clone(),
            commands,
            metadata: client.clone(),
            image: publishing.image.clone(),
            metrics: metrics[index].clone(),
            dedupe_memory: Arc::clone(&dedupe_memory),
            events: events.clone(),
            high_watermarks: known_high_watermarks.clone(),
            notes: notes.clone(),
        };
        threads.push(run::spawn(spec).map_err(ServeError::Thread)?);
    }
    drop(events);

    let (mut ready, mut partitions_offline, mut impaired) = (0, 0, Vec::new());
    while ready < threads.len() {
        tokio::select! {
            event = shard_events.recv() => match event {
                Some(ShardEvent::Ready { shard, partitions, offline, impaired: found }) => {
                    tracing::debug!(shard, partitions, "shard ready");
                    partitions_offline += offline;
                    impaired.extend(found);
                    ready += 1;
                }
                Some(ShardEvent::Fatal { shard, error }) => return Err(ServeError::Shard { shard, error }),
                Some(ShardEvent::Drained { .. } | ShardEvent::Closed { .. }) => {
                    unreachable!("nobody was told to drain yet")
                }
                None => return Err(ServeError::Shard { shard: 0, error: "all shards ended during recovery".into() }),
            },
            failed = core.failed() => return Err(failed.into()),
            signal = stop.recv() => {
                // Nothing was served yet, so there is nothing to finish.
                tracing::info!(signal, "stopping during recovery");
                return Ok(());
            }
        }
    }
    if partitions_offline > 0 {
        tracing::error!(partitions_offline, "serving without the partitions whose logs could not be opened; see above");
    }
    let journal_dir = journal_begun.await.expect("a panic ends the process")?;
    let (applied, known) = (publishing.applied.clone(), publishing.applied.clone());
    let limits = connection_limits(&publishing.image, &settings);
    publishing.begin();
    core.shards_started(inboxes.clone());
    core.collect_lag(config.group_lag, lag);
    let serving = async {
        core.report_impaired(epoch, &impaired).await?;
        core.serve(applied).await
    };
    tokio::select! {
        let_in = serving => let_in?,
        event = shard_events.recv() => {
            let error = format!("unexpected end of a shard: {event:?}");
            return Err(ServeError::Shard { shard: 0, error });
        }
        signal = stop.recv() => {
            tracing::info!(signal, "stopping before this broker was let in");
            return Ok(());
        }
    }
    // Not before the controller has heard of logs that end below what was noted: the next start is to find it too.
    let noting = tokio::spawn(high_watermarks::run(data_dir.clone(), (*known_high_watermarks).clone(), noted));
    let acceptor = Acceptor::spawn(kafka, limits, inboxes.clone())
        .map_err(|source| bind_error("kafka-addr", &config.kafka.listen, source))?;
    health.follow(core.images(), config.node_id);
    tracing::info!(addr = %kafka_addr, advertised = %advertised, took = ?started.elapsed(), "kafka listener bound");

    let failure = tokio::select! {
        signal = stop.recv() => {
            tracing::info!(signal, "stopping");
            None
        }
        event = shard_events.recv() => Some(match event {
            Some(ShardEvent::Fatal { shard, error }) => ServeError::Shard { shard, error },
            other => ServeError::Shard { shard: 0, error: format!("unexpected end of a shard: {other:?}") },
        }),
        failed = core.failed() => Some(failed.into()),
    };
    if let Some(failure) = failure {
        // Not one more acknowledgement may leave this process.
        failed(&failure);
        std::process::exit(1);
    }
    health.set(Readiness::Stopping);
    core.leave(known).await;
    acceptor.stop();
    let ending = async {
        for inbox in &inboxes {
            let _ = inbox.try_send(ShardMessage::Drain);
        }
        let mut draining = inboxes.len();
        while draining > 0 {
            match shard_events.recv().await {
                Some(ShardEvent::Drained { shard }) => {
                    tracing::debug!(shard, "shard drained");
                    draining -= 1;
                }
                Some(ShardEvent::Fatal { shard, error }) => return Err(ServeError::Shard { shard, error }),
                Some(ShardEvent::Ready { .. } | ShardEvent::Closed { .. }) => {}
                None => break,
            }
        }
        for inbox in &inboxes {
            let _ = inbox.try_send(ShardMessage::Close);
        }
        let mut with_journal = inboxes.len();
        let mut note = |event| match event {
            ShardEvent::Closed { shard, journal_removed } => {
                if !journal_removed {
                    tracing::warn!(shard, "its journal is still needed: the next start replays it");
                }
                with_journal -= usize::from(journal_removed);
                Ok(())
            }
            ShardEvent::Fatal { shard, error } => Err(ServeError::Shard { shard, error }),
            ShardEvent::Ready { .. } | ShardEvent::Drained { .. } => Ok(()),
        };
        let mut ended = std::pin::pin!(join_all(threads));
        loop {
            tokio::select! {
                () = &mut ended => break,
                Some(event) = shard_events.recv() => note(event)?,
            }
        }
        while let Ok(event) = shard_events.try_recv() {
            note(event)?;
        }
        if with_journal == 0 {
            journal_dir.end()?;
        }
        let _ = notes.send(Note::End);
        noting.await.expect("a panic ends the process");
        Ok(())
    };
    tokio::select! {
        ended = ending => match ended {
            Ok(()) => {}
            Err(failure) => {
                failed(&failure);
                std::process::exit(1);
            }
        },
        signal = stop.recv() => {
            tracing::warn!(signal, "told to stop again: ending at once; the next start scans the logs");
            std::process::exit(1);
        }
    }
    core.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Opens the data directory. An empty one becomes a cluster's first, or, where there is a cluster to join, one of a node of
/// that: then some member must say which cluster it is.
async fn open_directory(
    config: &ServeConfig,
    data_dir: &Path,
    internal_address: &str,
    publish: mpsc::UnboundedSender<Published>,
) -> Result<(DataDirectory, Opened), ServeError> {
    let open = |beginning| DataDirectory::open(data_dir, config.node_id, internal_address, beginning, publish);
    if config.join.is_empty() || !DataDirectory::is_new(data_dir)? {
        let layers = ConfigLayers::of_static(&config.static_config);
        let min_insync_replicas = BrokerConfig::resolve(&layers).topic_defaults.min_insync_replicas;
        let records = bootstrap_records(ClusterId(uuid::Uuid::new_v4()), min_insync_replicas);
        return Ok(open(Beginning::Form(&records))?);
    }
    loop {
        for address in &config.join {
            match links::welcome(&address.to_string(), None).await {
                Ok(welcome) => {
                    let cluster_id = ClusterId(welcome.cluster_id);
                    tracing::info!(%address, cluster = %cluster_id, member = %welcome.node, "cluster found");
                    return Ok(open(Beginning::Join(cluster_id))?);
                }
                Err(error) => tracing::warn!(%address, %error, "no member of a cluster could be asked here"),
            }
        }
        tokio::time::sleep(JOIN_RETRY).await;
    }
}

/// Says what a replay did.
fn log_replay(report: &ReplayReport, started: Instant) {
    let ReplayReport { journals, records, bytes, segments, stale_entries, unplaced_entries, ref kept, .. } = *report;
    if journals > 0 {
        let took = started.elapsed();
        tracing::info!(journals, records, bytes, segments, stale_entries, ?took, "journal replayed into the logs");
    }
    if unplaced_entries > 0 {
        tracing::error!(
            unplaced_entries,
            ?kept,
            "acknowledged records in the journal have no place in the logs, because partitions' files are damaged or \
             missing; the journal's files were kept under these names and are not read again"
        );
    }
}

fn claim(setting: &'static str, address: &HostPort) -> Result<Claimed, ServeError> {
    let text = address.to_string();
    let resolved = address.resolve().map_err(|source| ServeError::Resolve { setting, address: text, source })?;
    acceptor::claim(&resolved).map_err(|source| bind_error(setting, address, source))
}

fn bind_error(setting: &'static str, address: &HostPort, source: io::Error) -> ServeError {
    ServeError::Bind { setting, address: address.to_string(), source }
}

/// The CPU of each shard, if there is one for each and one left for the metadata core. On one or two CPUs threads share
/// them, and the scheduler knows better than we do.
fn pinning(config: &ServeConfig) -> Option<Vec<usize>> {
    (config.cpus.len() > 2 && config.shards < config.cpus.len()).then(|| config.cpus[1..=config.shards].to_vec())
}

fn connection_limits(image: &MetadataImage, settings: &Settings) -> Arc<ConnectionLimits> {
    let kafka = image.broker_config(settings.broker, settings.static_config());
    let limit = |n: i32| usize::try_from(n).unwrap_or(0);
    ConnectionLimits::new(
        limit(kafka.max_connections).min(settings.memory().connections_max),
        limit(kafka.max_connections_per_ip),
    )
}

/// Resolves when every thread has ended.
async fn join_all(threads: Vec<ExecutorJoinHandle<()>>) {
    let (done, joined) = oneshot::channel();
    std::thread::spawn(move || {
        for thread in threads {
            if let Err(error) = thread.join() {
                tracing::error!(%error, "a shard's thread did not end in order");
            }
        }
        let _ = done.send(());
    });
    let _ = joined.await;
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> io::Result<StopSignals> {
        Ok(StopSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
