//! The scheduling classes of a shard, all named here.
//!
//! Shares are relative: under full load a class gets its part of the core, idle shares go to the others. No class is
//! `Latency::Matters`: with it, glommio 0.9 can put an executor to sleep that has runnable tasks.

use std::time::Duration;

use glommio::{Latency, Shares, TaskQueueHandle, executor};

/// Handles of a shard's task queues.
#[derive(Clone, Copy)]
pub struct TaskQueues {
    produce: TaskQueueHandle,
    fetch: TaskQueueHandle,
    control: TaskQueueHandle,
    background: TaskQueueHandle,
}

/// Group commit, connections and the waiting half of produces.
const SHARES_PRODUCE: usize = 1000;
/// Reading from logs for consumers.
const SHARES_FETCH: usize = 600;
/// Everything clients and operators ask for besides: metadata, offsets, groups, topics.
const SHARES_CONTROL: usize = 300;
/// Prewriting, read-ahead, retention, snapshots.
const SHARES_BACKGROUND: usize = 100;

/// Copying or sending this takes about 0.1 ms.
const BREATH_BYTES: usize = 256 << 10;
/// A timer that has not expired when it is looked at first.
const BREATH: Duration = Duration::from_micros(5);

/// For whoever has just copied or sent `bytes`, and goes on: if that took its time, lets the shard's other tasks run, and the
/// kernel learn and tell what is to be done. A yield of glommio's does neither before all other tasks of the queue have run,
/// or 100 ms are over.
pub async fn breathe_after(bytes: usize) {
    if bytes >= BREATH_BYTES {
        glommio::timer::sleep(BREATH).await;
    }
}

impl TaskQueues {
    /// Creates the queues on the current executor.
    pub fn create() -> TaskQueues {
        let create = |shares, name| executor().create_task_queue(Shares::Static(shares), Latency::NotImportant, name);
        TaskQueues {
            produce: create(SHARES_PRODUCE, "produce"),
            fetch: create(SHARES_FETCH, "fetch"),
            control: create(SHARES_CONTROL, "control"),
            background: create(SHARES_BACKGROUND, "background"),
        }
    }

    pub fn spawn_produce(&self, future: impl Future<Output = ()> + 'static) {
        spawn_detached(future, self.produce);
    }

    pub fn spawn_fetch(&self, future: impl Future<Output = ()> + 'static) {
        spawn_detached(future, self.fetch);
    }

    pub fn spawn_control(&self, future: impl Future<Output = ()> + 'static) {
        spawn_detached(future, self.control);
    }

    pub fn spawn_background(&self, future: impl Future<Output = ()> + 'static) {
        spawn_detached(future, self.background);
    }

    /// Into one of these.
    pub fn spawn_into(&self, queue: TaskQueueHandle, future: impl Future<Output = ()> + 'static) {
        spawn_detached(future, queue);
    }

    /// In the order of [`crate::metrics::shard::QUEUES`].
    pub fn all(&self) -> [TaskQueueHandle; 4] {
        [self.produce, self.fetch, self.control, self.background]
    }

    pub fn fetch(&self) -> TaskQueueHandle {
        self.fetch
    }

    pub fn control(&self) -> TaskQueueHandle {
        self.control
    }
}

fn spawn_detached(future: impl Future<Output = ()> + 'static, queue: TaskQueueHandle) {
    // The queues live as long as the executor, so there is always one to spawn into.
    glommio::spawn_local_into(future, queue).expect("the shard's task queues exist").detach();
}
