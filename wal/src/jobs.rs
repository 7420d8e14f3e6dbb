//! Work that must run to its end whoever asked for it: rolls, truncations, deletions.
//!
//! A future that writes must not be dropped half way, but a request's future is dropped with its connection. So such work
//! is handed to a loop of the shard as a job, and the caller only waits for its result.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::task::{Poll, Waker};

use futures_channel::oneshot;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;

/// The shard's loops have ended or are ending, or the log was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is closed")]
pub struct LogClosed;

/// Jobs of one loop. They run concurrently, in one task.
#[derive(Default)]
pub(crate) struct JobQueue {
    incoming: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
    unfinished: Cell<usize>,
    stopping: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl JobQueue {
    /// Runs `work` on the loop and waits for its result; the work goes on if this future is dropped.
    pub(crate) async fn run<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> Result<T, LogClosed> {
        let (sender, receiver) = oneshot::channel();
        self.submit(async move {
            let _ = sender.send(work.await);
        })?;
        receiver.await.map_err(|_| LogClosed)
    }

    /// Runs `work` on the loop.
    pub(crate) fn submit(&self, work: impl Future<Output = ()> + 'static) -> Result<(), LogClosed> {
        if self.stopping.get() {
            return Err(LogClosed);
        }
        self.unfinished.set(self.unfinished.get() + 1);
        self.incoming.borrow_mut().push(Box::pin(work));
        self.wake();
        Ok(())
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.unfinished.get() == 0
    }

    /// Takes no more jobs; the loop ends after the last.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.wake();
    }

    /// Drops what has not begun, so that those who wait for it learn that it will not happen.
    pub(crate) fn abandon(&self) {
        self.stopping.set(true);
        self.incoming.borrow_mut().clear();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// The loop. `on_idle` is called whenever the last unfinished job has ended.
    pub(crate) async fn work(&self, on_idle: impl Fn()) {
        let mut running = FuturesUnordered::new();
        poll_fn(|cx| {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            loop {
                running.extend(self.incoming.borrow_mut().drain(..));
                match running.poll_next_unpin(cx) {
                    Poll::Ready(Some(())) => {
                        self.unfinished.set(self.unfinished.get() - 1);
                        if self.is_idle() {
                            on_idle();
                        }
                    }
                    Poll::Ready(None) if self.stopping.get() => return Poll::Ready(()),
                    Poll::Ready(None) | Poll::Pending => {
                        if self.incoming.borrow().is_empty() {
                            return Poll::Pending;
                        }
                    }
                }
            }
        })
        .await;
    }
}
