//! `/health/live`: whether every thread that must turn does. The metadata core's does, or nobody would answer.

use super::{Check, Report};
use crate::clock;
use crate::lifecycle::{Lifecycle, STALE_AFTER};

pub(super) fn report(lifecycle: &Lifecycle) -> Report {
    let now_ms = clock::boot_ms();
    let mut checks = vec![Check::new("metadata-core", true, "answers")];
    for (shard, progress) in lifecycle.shards().iter().enumerate() {
        let name = format!("shard-{shard}");
        checks.push(match progress.silent(now_ms) {
            None => Check::new(name, true, "does not run"),
            Some(silent) if silent <= STALE_AFTER => {
                Check::new(name, true, "makes progress").with("silent_ms", millis(silent))
            }
            Some(silent) => {
                let reason = format!("shard-{shard} has made no progress for {} s", silent.as_secs());
                Check::new(name, false, reason).with("silent_ms", millis(silent))
            }
        });
    }
    Report::of(checks, "alive")
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
