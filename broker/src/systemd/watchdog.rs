//! `WATCHDOG=1`, for as long as every shard's event loop turns. This runs on the metadata core's thread, so it says that of that
//! one too.
//!
//! systemd ends the process when it has heard nothing for `WatchdogSec=`, and starts it anew if the unit says so.

use std::time::Duration;

use super::{Manager, NotifyState};
use crate::lifecycle::Lifecycle;

/// How soon a shard that is stuck is looked at again: once it turns the manager is to hear of it at once.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Feeds the watchdog until the process ends.
pub async fn feed(manager: Manager, lifecycle: Lifecycle, patience: Duration) {
    let interval = patience / 2;
    let mut was_stuck = false;
    loop {
        let stale = lifecycle.stale();
        match &stale[..] {
            [] => {
                manager.tell(&[NotifyState::Watchdog]);
                if was_stuck {
                    tracing::info!("all shards make progress again");
                }
            }
            [(shard, silent), ..] if !was_stuck => tracing::error!(
                shard,
                ?silent,
                stuck = stale.len(),
                "the shard makes no progress: the service manager's watchdog is not fed until it does"
            ),
            _ => {}
        }
        was_stuck = !stale.is_empty();
        tokio::time::sleep(if was_stuck { LOOK_AGAIN.min(interval) } else { interval }).await;
    }
}
