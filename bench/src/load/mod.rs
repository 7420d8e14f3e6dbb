//! The load generator: producers and consumers of our own, lean enough not to be the limit, that verify what they measure.
//!
//! [`run`] drives any broker of the Kafka protocol by a [`Workload`]. Requests are encoded beforehand and patched in place;
//! connections are non-blocking and many to a thread; answers are parsed where they lie. At a fixed rate requests have an
//! intended time that does not wait for the broker (open loop), and latencies count from it, so that a stall is seen by
//! every request that it delays. At the greatest rate each connection keeps its window of requests full.
//!
//! Contract: a run that returns an [`outcome::Outcome`] has acknowledged each batch once, at dense offsets, and every
//! consumer group has read exactly what was acknowledged, in each producer's order and undamaged. Anything else is an
//! error that says where: nothing is retried, since a generator that hides failures measures them away.
//!
//! Of a cluster each partition's leader gets what is for it ([`leaders`]); replicas that are out of sync at the beginning
//! are waited for, and at the end they make the run an error.
//!
//! Deliberately absent: leaders that move while load flows (an error), consumer group membership (a "group" here is
//! connections that together read all partitions by plain Fetch requests, without commits), transactions, TLS.

mod accounts;
mod args;
mod batch;
mod clock;
mod consume_session;
mod consumer;
mod context;
mod coordinator;
mod error;
mod fetch_answer;
mod fetch_request;
mod leaders;
mod live;
mod new_topic;
mod outbox;
pub mod outcome;
mod placement;
mod produce_answer;
mod produce_request;
mod produce_session;
mod producer;
mod recorder;
mod schedule;
mod set_up;
mod settling;
mod socket;
mod timing;
mod verify;
mod watches;
mod wire;
mod workload;

#[cfg(test)]
mod tests;

pub use args::{ConsumeArgs, EndToEndArgs, LoadArgs, ProduceArgs};
pub use coordinator::run;
pub use error::LoadError;
pub use workload::{Workload, WorkloadError};

/// How to run a workload, as opposed to what it is.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Pin each client thread to a core of its own.
    pub pin: bool,
    /// Threads for producers, and as many for consumers [default: half the cores, at least one].
    pub threads: Option<usize>,
    /// The topic's name, or the beginning of their names if there are several. Topics that exist already are used as
    /// they are, and only what this run writes is counted; new ones are removed at the end. By default a new name.
    pub topic: Option<String>,
    /// Leave new topics in place.
    pub keep_topic: bool,
    /// Decode every record read, not only each batch's first.
    pub verify_full: bool,
}
