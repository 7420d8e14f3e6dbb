//! Where the logs of a leader and a follower part (KIP-101, KIP-279).
//!
//! By leader epochs, never by the high watermark. The follower says how its log ends; the leader answers that this is a
//! prefix of its own, or up to where it can be. Each cut takes an epoch or records away from the follower, so this comes to an
//! end. That the prefix really is one is checked where the two logs meet: the last batch must be the same.

use protocol::newtypes::{LeaderEpoch, Offset};
use protocol::record_batch::BatchHeader;

#[cfg(test)]
mod tests;

/// A log's extent and epochs, as both ends must know them of their own.
pub trait LogView {
    /// First offset that may be read.
    fn log_start(&self) -> Offset;
    /// Offset that the next record gets.
    fn log_end(&self) -> Offset;
    /// The newest epoch that wrote something or was assigned; `None` of a log that has had no leader yet.
    fn latest_epoch(&self) -> Option<LeaderEpoch>;
    /// The largest epoch not above `requested`, and where it ended; (-1, -1) where nothing is known, and `requested` itself
    /// with the first known offset where it is below all that are known (OffsetForLeaderEpoch).
    fn epoch_end(&self, requested: LeaderEpoch) -> (LeaderEpoch, Offset);
}

/// A batch, as far as two logs can compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMark {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of what the producer sent.
    pub crc: u32,
}

impl BatchMark {
    /// `None` of a batch that cannot be compared: each replica compacts its log by itself, and only what neither has changed has
    /// the same bytes.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Option<BatchMark> {
        header.is_intact().then(|| BatchMark {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            leader_epoch: header.leader_epoch,
            crc: header.crc,
        })
    }
}

impl std::fmt::Display for BatchMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BatchMark { base_offset, last_offset, leader_epoch, crc } = self;
        write!(f, "{base_offset}-{last_offset} of leader epoch {leader_epoch} with CRC-32C {crc:#010x}")
    }
}

/// How a follower's log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogTail {
    pub log_end: Offset,
    /// [`LogView::latest_epoch`]; -1 for none.
    pub latest_epoch: LeaderEpoch,
    /// The batch that ends at the log end; `None` of an empty log, or where it cannot be compared ([`BatchMark::of`]).
    pub last_batch: Option<BatchMark>,
}

/// What a leader makes of the end of a follower's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By its epochs the follower's log is a begin of the leader's. What is at the end has yet to be compared.
    Agrees,
    /// The follower holds what the leader does not: of `epoch` nothing from `end` on, and of later epochs nothing.
    Cut { epoch: LeaderEpoch, end: Offset },
    /// The two have nothing in common: the follower begins anew where the leader's log begins.
    Restart,
    /// The follower knows an epoch that the leader does not know of, which cannot be.
    Ahead { found: LeaderEpoch, newest: LeaderEpoch },
}

/// Judges the end of a follower's log.
#[must_use]
pub fn judge(tail: &LogTail, leader: &dyn LogView) -> Verdict {
    let within = (leader.log_start()..=leader.log_end()).contains(&tail.log_end);
    let in_reach = |verdict| if within { verdict } else { Verdict::Restart };
    if tail.latest_epoch == LeaderEpoch::UNKNOWN {
        return in_reach(Verdict::Agrees);
    }
    let newest = leader.latest_epoch().unwrap_or(LeaderEpoch::UNKNOWN);
    if tail.latest_epoch > newest {
        return Verdict::Ahead { found: tail.latest_epoch, newest };
    }
    let (epoch, end) = leader.epoch_end(tail.latest_epoch);
    // All that the follower could keep lies before the leader's log begins, where nobody can tell any more whether it is the
    // same: the leader may not know the epoch at all. Even the end need not be one of the leader's batches.
    if end <= leader.log_start() && tail.latest_epoch < newest {
        return Verdict::Restart;
    }
    if epoch == tail.latest_epoch && tail.log_end <= end {
        return in_reach(Verdict::Agrees);
    }
    Verdict::Cut { epoch, end }
}

/// What a follower does with its log when it is told [`Verdict::Cut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Everything from this offset on goes.
    TruncateTo(Offset),
    /// Nothing of the log can stay: it begins anew, empty, at this offset.
    RestartAt(Offset),
}

/// Where a follower cuts its log that is told of the leader's `epoch` and its `end`.
///
/// It may not know that epoch; then whatever it has of later ones goes, and the next round is about an earlier epoch.
#[must_use]
pub fn cut(epoch: LeaderEpoch, end: Offset, follower: &dyn LogView) -> Cut {
    let (_, own_end) = follower.epoch_end(epoch);
    // Nothing known of such an epoch or an earlier one, nor of a later one: then nothing is known of what is there.
    let own_end = if own_end < Offset::ZERO { follower.log_end() } else { own_end };
    let to = end.min(own_end).min(follower.log_end());
    if to < follower.log_start() { Cut::RestartAt(to) } else { Cut::TruncateTo(to) }
}

/// What comparing the batches where two logs meet has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    Same,
    /// The follower's log is empty and begins within a batch of the leader's: it begins anew at that batch.
    Within {
        base_offset: Offset,
    },
    /// Two different batches at one place and epoch, which cannot be: one of the logs is damaged, or acknowledged records were
    /// given up on purpose in an election.
    Differ {
        leader: BatchMark,
        follower: BatchMark,
    },
}

/// Compares a follower's tail that [`Verdict::Agrees`] with the leader's batches there: `before` is the batch that contains
/// the offset before the follower's log end, `after` the one that contains its log end; `None` where the leader has none, or
/// not any more.
#[must_use]
pub fn meet(tail: &LogTail, before: Option<BatchMark>, after: Option<BatchMark>) -> Meeting {
    match (tail.last_batch, before) {
        (Some(follower), Some(leader)) if leader != follower => Meeting::Differ { leader, follower },
        (Some(_), _) => Meeting::Same,
        (None, _) => match after {
            Some(batch) if batch.base_offset < tail.log_end => Meeting::Within { base_offset: batch.base_offset },
            _ => Meeting::Same,
        },
    }
}
