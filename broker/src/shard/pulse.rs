//! A shard's heartbeat, by which others see that it is not stuck, and what it finds out about the shard's thread on the way.
//!
//! It wakes the executor often enough to bound a lost wake-up ([`super::run`]), and every hundredth time it looks at what the
//! executor counts and sends a task through each queue, to see how long that waits. Idle, all of it is under 0.5 % of a core.

use std::sync::Arc;
use std::time::{Duration, Instant};

use glommio::timer::Timer;

use super::queues::TaskQueues;
use crate::lifecycle::ShardProgress;
use crate::metrics::ShardMetrics;
use crate::metrics::shard::Pulse;

/// A heartbeat that comes later than that was kept from it by something that should have let others run.
const STALL_MIN: Duration = Duration::from_millis(100);
/// Heartbeats between two looks.
const BEATS_PER_LOOK: u32 = 100;

/// Beats for as long as the executor lives.
pub(super) async fn beat(
    interval: Duration,
    queues: TaskQueues,
    metrics: Arc<ShardMetrics>,
    progress: Arc<ShardProgress>,
) {
    loop {
        for _ in 0..BEATS_PER_LOOK {
            progress.turned();
            let due = Instant::now() + interval;
            Timer::new(interval).await;
            metrics.pulse.came_late(due.elapsed());
        }
        look(&queues, &metrics);
    }
}

fn look(queues: &TaskQueues, metrics: &Arc<ShardMetrics>) {
    let executor = glommio::executor();
    // glommio forgets what it has told.
    metrics.pulse.busy_time.add_time(executor.executor_stats().total_runtime());
    for (at, queue) in queues.all().into_iter().enumerate() {
        if let Ok(stats) = executor.task_queue_stats(queue) {
            metrics.pulse.queue_time[at].add_time(stats.runtime());
        }
        let (metrics, sent) = (metrics.clone(), Instant::now());
        queues.spawn_into(queue, async move { metrics.pulse.queue_delays[at].observe(sent.elapsed()) });
    }
}

impl Pulse {
    /// A heartbeat came that much later than it was due.
    fn came_late(&self, late: Duration) {
        if late < STALL_MIN {
            return;
        }
        self.stalls.increment();
        self.stall_time.add_time(late);
        if late.as_secs_f64() > self.longest_stall.seconds() {
            self.longest_stall.set_time(late);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_long_is_a_stall_and_the_longest_is_kept() {
        let pulse = Pulse::default();
        [1, 99, 100, 250, 150].map(Duration::from_millis).into_iter().for_each(|late| pulse.came_late(late));
        assert_eq!((pulse.stalls.get(), pulse.stall_time.seconds(), pulse.longest_stall.seconds()), (3, 0.5, 0.25));
    }
}
