//! What can happen, and in which order it does.

use super::controller::{Answer, Request};
use super::faults::Trouble;
use super::network::{ConnectionId, End, Life};
use bytes::Bytes;
use metadata::controller::LogEnd;
use replication::divergence::Cut;

/// Something that happens at a moment.
#[derive(Debug)]
pub enum Event {
    Deliver {
        connection: ConnectionId,
        from: End,
        frame: Bytes,
    },
    /// One end learns that a connection is gone.
    Lost {
        connection: ConnectionId,
        end: End,
    },
    /// All of a log before `end` is on disk, if it was not cut since.
    Synced {
        life: Life,
        partition: usize,
        cuts: u64,
        end: i64,
    },
    CutDone {
        life: Life,
        partition: usize,
        cut: Cut,
    },
    Tick {
        life: Life,
    },
    /// A process looks for newer metadata.
    Poll {
        life: Life,
    },
    Beat {
        life: Life,
    },
    /// Streams that are missing are opened.
    Open {
        life: Life,
        partition: usize,
    },
    Asked {
        life: Life,
        request: Request,
    },
    Answered {
        life: Life,
        answer: Answer,
    },
    /// A proposal has waited long enough for its answer.
    Unanswered {
        life: Life,
        partition: usize,
        number: u64,
    },
    Sessions,
    Produce {
        producer: usize,
    },
    Read,
    Delete,
    Trouble,
    Mend(Trouble),
    Start {
        broker: usize,
    },
    /// The process ends again, and so many times more.
    Flap {
        broker: usize,
        times: u64,
    },
    /// A process that was to stop has waited long enough.
    Stopped {
        life: Life,
    },
    /// Somebody looks after what no broker can mend by itself.
    Operate,
    /// A broker is asked how its logs end.
    AskedForLogs {
        broker: usize,
        number: u64,
        partitions: Vec<usize>,
    },
    ToldOfLogs {
        broker: usize,
        number: u64,
        ends: Vec<(usize, LogEnd)>,
    },
    /// Whoever has not told by now is not waited for.
    ElectionDue {
        number: u64,
    },
}

/// An event, and when; what is scheduled first for a moment comes first.
pub struct Scheduled {
    pub at_us: u64,
    pub number: u64,
    pub event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}
