//! What of the configuration changes while the broker serves: by SIGHUP, which has file and environment read again, and, for
//! the limits of connections, by Kafka's dynamic configs.
//!
//! A configuration that is wrong changes nothing. What needs a restart is said by name, at every reload until that restart.

use std::sync::Arc;

use metadata::config::ConfigOverrides;
use metadata::image::MetadataImage;
use metadata::record::ConfigResource;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};

use crate::config::ServeConfig;
use crate::config::changes::changes;
use crate::connection::ConnectionLimits;
use crate::group_lag::LagConfig;
use crate::lifecycle::{Lifecycle, Phase};
use crate::logging;
use crate::settings::Settings;
use crate::systemd::Manager;

/// Keeps what acts on the configuration up to date.
pub struct LiveConfig {
    /// What is in force.
    pub running: ServeConfig,
    pub settings: Arc<Settings>,
    pub limits: Arc<ConnectionLimits>,
    pub lag: watch::Sender<LagConfig>,
    /// Has shards resolve the broker's configs anew.
    pub reconfigure: mpsc::UnboundedSender<()>,
    pub images: watch::Receiver<MetadataImage>,
    pub manager: Manager,
    pub lifecycle: Lifecycle,
}

impl LiveConfig {
    /// Runs until the process ends.
    pub async fn run(mut self, mut hangup: Signal) {
        let mut known = self.overrides();
        loop {
            tokio::select! {
                received = hangup.recv() => match received {
                    Some(()) => self.reload(),
                    None => return,
                },
                changed = self.images.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Most changes are of partitions, and come often.
                    let now = self.overrides();
                    if now != known {
                        known = now;
                        self.limit_connections();
                    }
                }
            }
        }
    }

    fn reload(&mut self) {
        // READY=1 would tell the manager that the broker does not stop any more.
        if self.lifecycle.phase() == Phase::Stopping {
            tracing::info!("SIGHUP while the broker stops: the configuration is not read again");
            return;
        }
        tracing::info!("SIGHUP: the configuration is read again");
        self.manager.reloading();
        let errors = self.try_reload();
        if errors > 0 {
            tracing::error!(errors, "the configuration was not reloaded: nothing has changed");
        }
        // What tells the manager how the broker is says it too, until a reload succeeds.
        self.lifecycle.reloaded(errors);
        self.manager.ready();
    }

    /// Returns how many errors kept it from happening.
    fn try_reload(&mut self) -> usize {
        let new = match self.running.load_again(std::env::vars_os()) {
            Ok(new) => new,
            Err(errors) => {
                errors.0.iter().for_each(|error| tracing::error!(%error, "in the configuration"));
                return errors.0.len();
            }
        };
        let reloaded = match self.running.reloaded(&new) {
            Ok(reloaded) => reloaded,
            Err(error) => {
                tracing::error!(%error, "in the configuration");
                return 1;
            }
        };
        let changes = changes(&self.running, &new);
        let (at_once, later): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.at_once);
        for change in &at_once {
            tracing::info!(setting = change.name, old = change.old, new = change.new, "setting changed");
        }
        for change in &later {
            let (setting, old, new) = (change.name, &change.old, &change.new);
            tracing::warn!(
                setting,
                old,
                new,
                "a setting was changed that needs a restart: the old value stays in force"
            );
        }
        tracing::info!(changed = at_once.len(), need_restart = later.len(), "configuration reloaded");
        self.apply(reloaded);
        0
    }

    fn apply(&mut self, reloaded: ServeConfig) {
        if reloaded.static_config != self.running.static_config {
            self.settings.set_static_config(reloaded.static_config.clone());
            // Shards end with the process only.
            let _ = self.reconfigure.send(());
        }
        self.lag.send_if_modified(|lag| std::mem::replace(lag, reloaded.group_lag) != reloaded.group_lag);
        // Last, so that what was said above was said as before.
        if let Some(output) = logging::output() {
            output.configure(&reloaded.logging);
        }
        self.running = reloaded;
        self.limit_connections();
    }

    /// To be called before anybody is accepted, too.
    pub fn limit_connections(&self) {
        let (broker, static_config) = (self.settings.broker, self.settings.static_config());
        let kafka = self.images.borrow().broker_config(broker, &static_config);
        let limit = |n: i32| usize::try_from(n).unwrap_or(0);
        let total_max = limit(kafka.max_connections).min(self.running.memory.connections_max);
        self.limits.set(total_max, limit(kafka.max_connections_per_ip));
    }

    /// What is set on this broker and on all, which is what its configs are made of besides the static ones.
    fn overrides(&self) -> [ConfigOverrides; 2] {
        let image = self.images.borrow();
        [ConfigResource::Broker(self.settings.broker), ConfigResource::BrokerDefault]
            .map(|resource| image.overrides(&resource))
    }
}
