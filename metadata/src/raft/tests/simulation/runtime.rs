//! tokio, with what openraft draws at random drawn from a seed, and with tasks that die with the node that they are of.

use openraft::{AsyncRuntime, OptionalSend, TokioRuntime};
use rand_for_openraft::rngs::StdRng;
use rand_for_openraft::{Error, RngCore, SeedableRng};
use std::cell::RefCell;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

thread_local! {
    static RANDOM: RefCell<StdRng> = RefCell::new(StdRng::from_entropy());
}

tokio::task_local! {
    static NODE: NodeTasks;
}

/// Seeds what the current thread draws from now on.
pub fn seed(seed: u64) {
    RANDOM.set(StdRng::seed_from_u64(seed));
}

/// All tasks of one life of one node.
#[derive(Clone, Default)]
pub struct NodeTasks(Arc<Mutex<Vec<AbortHandle>>>);

impl NodeTasks {
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        let handle = tokio::spawn(NODE.scope(self.clone(), future));
        let mut tasks = self.0.lock().unwrap();
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle.abort_handle());
        handle
    }

    /// Runs a future as one of the node's, without a task of its own.
    pub async fn run<T>(&self, future: impl Future<Output = T>) -> T {
        NODE.scope(self.clone(), future).await
    }

    /// kill -9.
    pub fn kill(&self) {
        self.0.lock().unwrap().drain(..).for_each(|task| task.abort());
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct SeededRuntime;

/// Draws from the thread's seed.
pub struct Random;

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        RANDOM.with_borrow_mut(RngCore::next_u32)
    }

    fn next_u64(&mut self) -> u64 {
        RANDOM.with_borrow_mut(RngCore::next_u64)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        RANDOM.with_borrow_mut(|random| random.fill_bytes(bytes));
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl AsyncRuntime for SeededRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Random;
    type OneshotSender<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiverError = <TokioRuntime as AsyncRuntime>::OneshotReceiverError;
    type OneshotReceiver<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotReceiver<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match NODE.try_with(Clone::clone) {
            Ok(tasks) => tasks.spawn(future),
            Err(_) => tokio::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        join_error.is_panic()
    }

    fn thread_rng() -> Random {
        Random
    }

    fn oneshot<T>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>)
    where
        T: OptionalSend,
    {
        TokioRuntime::oneshot()
    }
}
