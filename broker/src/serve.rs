//! `ringlog serve`: the process around the shards.
//!
//! The main thread becomes the metadata core; each shard has a thread of its own, and one more accepts connections. The
//! order of a start: claim the ports, tell of health, lock and open the metadata, find the cluster and register, catch up, replay the
//! journals, recover the logs, be let in, then listen. The order of a stop: leave the cluster, stop listening, let requests
//! finish, close the logs, remove the journals.
//!
//! What cannot be undone ends the process at once and loudly: a failed write or sync, or a panic in any thread. What is
//! on disk then is for recovery to decide.

mod directory;
mod full_disk;
mod join_advice;
mod live_config;
mod ports;
mod recovery;
mod signals;
mod stop;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::acceptor::Acceptor;
use crate::config::ServeConfig;
use crate::connection::ConnectionLimits;
use crate::exit_status;
use crate::group_lag::Lag;
use crate::high_watermarks;
use crate::http::console::{self, Console};
use crate::http::health::{self, Health};
use crate::http::{self, scrape};
use crate::journal_dir::{JournalDir, JournalDirError};
use crate::lease::Lease;
use crate::lifecycle::{Lifecycle, Phase};
use crate::live::Live;
use crate::logging::limit;
use crate::metadata_core::{Announced, MetadataClient, MetadataCore};
use crate::metrics::{Scraper, ShardMetrics};
use crate::settings::Settings;
use crate::shard::dedupe_memory::DedupeMemory;
use crate::shard::run::{self, ShardEvent, ShardSpec};
use crate::suspects::Suspects;
use crate::systemd::telling::Telling;
use crate::systemd::{self, Manager, watchdog};
use crate::terminal;
use live_config::LiveConfig;
use ports::Ports;
use recovery::{log_replay, recovered};
use signals::StopSignals;
use stop::Stopping;

/// Why the broker did not start, or ended by itself. [`crate::exit_status`] says with which status it ends.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot use the data directory {dir}: {source}{}", directory::advice(source))]
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
        Err(error) => return failed(&ServeError::Runtime(error), &Manager::default()),
    };
    let manager = Manager::of_environment();
    let dirs = [config.data_dir.clone(), config.journal_dir.clone()];
    let ended = runtime.block_on(serve(config, &manager));
    // A disk that hangs may keep a thread that works for a start that was told to stop: nothing is waited for any more.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(advice) = full_disk::advice(&error, &[&dirs[0], &dirs[1]]) {
                tracing::error!("{advice}");
            }
            failed(&error, &manager)
        }
    }
}

fn failed(error: &ServeError, manager: &Manager) -> ExitCode {
    let text = crate::handlers::describe(error);
    tracing::error!(error = %text, "ringlog ends");
    manager.failed(error, &text.to_string());
    exit_status::of_serve(error).into()
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

async fn serve(config: ServeConfig, manager: &Manager) -> Result<(), ServeError> {
    let started = Instant::now();
    let dir = config.data_dir.display().to_string();
    std::fs::create_dir_all(&config.data_dir).map_err(|source| ServeError::DataDir { dir: dir.clone(), source })?;
    let data_dir = config.data_dir.canonicalize().map_err(|source| ServeError::DataDir { dir, source })?;
    let Ports { kafka, internal, http } = Ports::claim(&config)?;
    let (kafka_addr, advertised) = (kafka.bound, kafka.advertised());
    let internal_address = internal.advertised().to_string();

    let lifecycle = Lifecycle::new(config.shards);
    let (tell_images, told_images) = watch::channel(None);
    let metrics: Vec<_> = (0..config.shards).map(|_| Arc::new(ShardMetrics::default())).collect();
    let logs = metrics.iter().map(|metrics| metrics.wal.clone()).collect();
    tokio::spawn(Telling::new(manager.clone(), lifecycle.clone(), config.node_id, logs).run(told_images));
    if let Some(patience) = systemd::watchdog_patience() {
        tokio::spawn(watchdog::feed(manager.clone(), lifecycle.clone(), patience));
    }
    tokio::spawn(limit::tell_suppressed());
    tokio::spawn(terminal::show_start(lifecycle.clone()));
    // From now on SIGHUP does not end the process; it is heeded when the broker serves.
    let hangup = signal(SignalKind::hangup()).map_err(ServeError::Runtime)?;
    let mut stop = StopSignals::new(manager.clone()).map_err(ServeError::Runtime)?;
    // Before the cluster is found: whoever waits for others is alive.
    let dedupe_memory = Arc::<DedupeMemory>::default();
    let health = Health::new(lifecycle.clone());
    let lag = Arc::new(Lag::default());
    let scraper = Scraper::new(metrics.clone().into(), lag.clone(), config.series, disks(&config, &data_dir));
    let live = Arc::new(Live::default());
    tokio::spawn(live.clone().sample_for_ever(Arc::<[_]>::from(metrics.clone())));
    let console = Console::new(config.console, &config.http);
    let routes =
        health::routes(health.clone()).merge(scrape::routes(scraper.clone())).merge(console::routes(console.clone()));
    let http_addr = http.listen(|claimed| http::serve(claimed, routes))?;
    tracing::info!(addr = %http_addr, "http listener bound");

    let (publish, published) = mpsc::unbounded_channel();
    let begun = tokio::select! {
        begun = directory::open(&config, &data_dir, &internal_address, publish) => begun?,
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
    let settings = Arc::new(Settings::new(&config, cluster_id, data_dir.display().to_string()));
    let announced = Announced {
        internal_address,
        host: advertised.host.to_string(),
        port: advertised.port,
        shards: u32::try_from(config.shards).expect("bounded by the configuration"),
    };
    let mut core =
        MetadataCore::start(directory, opened, published, settings.clone(), announced, internal.into_claimed(), live)
            .await?;
    scraper.core_started(core.observed());
    let epoch = tokio::select! {
        arrived = core.arrive() => arrived?,
        signal = stop.recv() => {
            tracing::info!(signal, "stopping before this broker was registered");
            stop_early(core, &lifecycle, &mut stop).await;
            return Ok(());
        }
    };
    console.joined(core.peers(), settings.clone());
    lifecycle.enter(Phase::ReplayingJournal);
    let (client, requests) = MetadataClient::new();
    let commands: Vec<_> = (0..config.shards).map(|_| async_channel::unbounded()).collect();
    let command_senders = commands.iter().map(|(sender, _)| sender.clone()).collect();
    let (lease, suspects) = (Arc::new(Lease::default()), Arc::new(Suspects::default()));
    let publishing = core.publish(epoch, lease.clone(), command_senders, requests);
    let (dir, image, steps) = (data_dir.clone(), publishing.image.clone(), lifecycle.replay_steps().clone());
    // Elsewhere: this node takes part in the quorum meanwhile.
    let orphans = tokio::task::spawn_blocking(move || crate::orphans::remove(&dir, &image, &steps));
    let preparing = async {
        let leftovers = |source| ServeError::Leftovers { dir: data_dir.display().to_string(), source };
        orphans.await.expect("a panic ends the process").map_err(leftovers)?;
        let journal_dir = JournalDir::open(&data_dir, &config.journal_dir, settings.journal_config().is_some())?;
        if journal_dir.needs_replay() {
            log_replay(&journal_dir.replay(lifecycle.replay_steps().clone()).await?, started);
        }
        Ok::<_, ServeError>(journal_dir)
    };
    let journal_dir = tokio::select! {
        prepared = preparing => prepared?,
        failed = core.failed() => return Err(failed.into()),
        signal = stop.recv() => {
            // The next start begins the replay anew, which writes the same.
            tracing::info!(signal, "stopping before the logs were opened");
            stop_early(core, &lifecycle, &mut stop).await;
            return Ok(());
        }
    };
    let journal = journal_dir.of_shards().map(Path::to_owned);
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
    let cpus = config.shard_cpus();
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
            progress: lifecycle.shards()[index].clone(),
            dedupe_memory: Arc::clone(&dedupe_memory),
            events: events.clone(),
            high_watermarks: known_high_watermarks.clone(),
            notes: notes.clone(),
        };
        threads.push(run::spawn(spec).map_err(ServeError::Thread)?);
    }
    drop(events);
    lifecycle.enter(Phase::RecoveringLogs);

    let recovered = tokio::select! {
        recovered = recovered(threads.len(), &mut shard_events) => recovered?,
        failed = core.failed() => return Err(failed.into()),
        signal = stop.recv() => {
            // Nothing was served yet, so there is nothing to finish.
            tracing::info!(signal, "stopping during recovery");
            return Ok(());
        }
    };
    let partitions_offline = recovered.partitions_offline;
    if partitions_offline > 0 {
        tracing::error!(partitions_offline, "serving without the partitions whose logs could not be opened; see above");
    }
    lifecycle.enter(Phase::WaitingForController);
    let journal_dir = journal_begun.await.expect("a panic ends the process")?;
    let (applied, known) = (publishing.applied.clone(), publishing.applied.clone());
    let reconfigure = publishing.reconfigure.clone();
    publishing.begin();
    core.shards_started(inboxes.clone());
    scraper.shards_started(inboxes.clone(), lease.clone());
    let (lag_config, lag_configs) = watch::channel(config.group_lag);
    core.collect_lag(lag_configs, lag);
    let serving = async {
        core.report_impaired(epoch, &recovered.impaired).await?;
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
    // What limits it is told before anybody is accepted.
    let limits = ConnectionLimits::new(0, 0);
    let live = LiveConfig {
        running: config,
        settings,
        limits: limits.clone(),
        lag: lag_config,
        reconfigure,
        images: core.images(),
        manager: manager.clone(),
        lifecycle: lifecycle.clone(),
    };
    live.limit_connections();
    scraper.clients_may_come(limits.clone());
    tokio::spawn(live.run(hangup));
    let acceptor = kafka.listen(|claimed| Acceptor::spawn(claimed, limits, inboxes.clone()))?;
    health.serves(health::Serving { observer: core.observer(), lease });
    tell_images.send_replace(Some(core.images()));
    lifecycle.enter(Phase::Serving);
    tracing::info!(addr = %kafka_addr, advertised = %advertised, took = ?started.elapsed(), "kafka listener bound");
    manager.ready();

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
        failed(&failure, manager);
        std::process::exit(1);
    }
    lifecycle.enter(Phase::Stopping);
    tokio::select! {
        () = core.leave(known) => {}
        signal = stop.recv() => {
            tracing::warn!(signal, "told to stop again: others are not waited for that would lead what this broker leads");
        }
    }
    acceptor.stop();
    let mut ending = pin!(Stopping { threads, inboxes, events: shard_events, journal_dir, notes, noting }.run());
    loop {
        tokio::select! {
            ended = &mut ending => match ended {
                Ok(()) => break,
                Err(failure) => {
                    failed(&failure, manager);
                    std::process::exit(1);
                }
            },
            signal = stop.recv() => match stop.received() {
                ..=2 => tracing::warn!(
                    signal,
                    "told to stop again: requests are answered and logs closed; once more ends the process at once"
                ),
                _ => {
                    tracing::warn!(signal, "told to stop for the third time: ending at once; the next start scans the logs");
                    std::process::exit(1);
                }
            }
        }
    }
    core.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Before anything is served nothing is to be finished but what the metadata writes. Where a disk hangs that may take for ever: the
/// service manager's patience is not extended for it, and a third signal ends it.
async fn stop_early(core: MetadataCore, lifecycle: &Lifecycle, stop: &mut StopSignals) {
    lifecycle.enter(Phase::Stopping);
    let mut ending = pin!(core.stop());
    loop {
        tokio::select! {
            () = &mut ending => return,
            signal = stop.recv() => if stop.received() > 2 {
                tracing::warn!(signal, "told to stop for the third time: ending at once");
                std::process::exit(1);
            }
        }
    }
}

/// Directories whose space is told.
fn disks(config: &ServeConfig, data_dir: &Path) -> Vec<(&'static str, PathBuf)> {
    let mut dirs = vec![("data", data_dir.to_owned())];
    // One below the data directory is on its file system, as a rule.
    if !config.journal_dir.starts_with(&config.data_dir) {
        dirs.push(("journal", config.journal_dir.clone()));
    }
    dirs
}
