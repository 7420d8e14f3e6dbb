//! Mistakes that can be built into a simulation, each of which some checker must find.

/// A mistake of whoever executes the decisions, or of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A follower acknowledges what it has in memory only.
    AcknowledgeBeforeSync,
    /// What a leader has in memory counts as being on its disk.
    OwnDiskNotCounted,
    /// acks=1 is answered before the sync.
    AnswerBeforeSync,
    /// A follower cuts its log to the high watermark that it knows (as before KIP-101).
    TruncateByHighWatermark,
    /// A follower never cuts its log.
    NoTruncation,
    /// A smaller ISR counts as soon as it is asked for.
    ShrinkWithoutController,
    /// A leader goes on counting what was acknowledged to it at an earlier epoch.
    OldAcknowledgements,
    /// Consumers read up to the end of the log.
    ServeAboveHighWatermark,
    /// A follower may join the ISR without what is committed.
    JoinWithoutHighWatermark,
    /// A follower may join the ISR without what was there when the leader epoch began.
    JoinWithoutEpochStart,
    /// A proposal without an answer is taken for one that was not made.
    ForgetProposalInDoubt,
    /// A proposal that was refused is taken for one that never will be made.
    ForgetRefusedProposal,
    /// A broker that starts anew goes on leading what it led.
    LeadAtOldEpoch,
    /// The high watermark rises whatever `min.insync.replicas`.
    AdvanceBelowMinInsync,
    /// A follower says where its log ends before that is on its disk.
    PositionBeforeSync,
    /// A follower takes the leader's high watermark for its own, beyond its log.
    HighWatermarkBeyondLog,
    /// Where nobody in sync is alive, anybody leads.
    ElectOutsideIsr,
    /// A leader goes on with a high watermark of 0.
    ForgetHighWatermark,
    /// A change of the ISR is made whatever the partition epoch that it is based on.
    IgnorePartitionEpoch,
    /// A leader never asks for a larger ISR.
    NeverJoin,
    /// A leader appends a produce that was sent twice twice.
    AppendTwice,
    /// Whoever is elected leads at the epoch of whoever led before.
    KeepEpochAtElection,
    /// Whoever is elected where nobody led leads at the epoch in which nobody did.
    ReuseEpoch,
    /// A follower takes streams of leaders of earlier epochs.
    TakeOldStreams,
    /// Where the ISR becomes empty, the first replica that is alive leads.
    ElectPreferredThoughIsrEmpty,
    /// A replica that has lost what it had on disk may lead nevertheless.
    LostStaysEligible,
    /// A reassignment is complete before the new replicas have caught up.
    CompleteReassignmentEarly,
    /// Whoever leads acknowledges without a lease.
    AcknowledgeWithoutLease,
    /// Whoever is in sync is read from without a lease.
    ReadWithoutLease,
    /// An answer that says that the broker is fenced extends its lease like any other.
    LeaseThoughFenced,
    /// Elections wait for all candidates that were asked.
    WaitForSilentReplica,
    /// Whoever is first is elected, whatever the logs.
    IgnoreLogEnds,
}

impl Bug {
    pub const ALL: [Bug; 32] = [
        Bug::AcknowledgeBeforeSync,
        Bug::OwnDiskNotCounted,
        Bug::AnswerBeforeSync,
        Bug::TruncateByHighWatermark,
        Bug::NoTruncation,
        Bug::ShrinkWithoutController,
        Bug::OldAcknowledgements,
        Bug::ServeAboveHighWatermark,
        Bug::JoinWithoutHighWatermark,
        Bug::JoinWithoutEpochStart,
        Bug::ForgetProposalInDoubt,
        Bug::ForgetRefusedProposal,
        Bug::LeadAtOldEpoch,
        Bug::AdvanceBelowMinInsync,
        Bug::PositionBeforeSync,
        Bug::HighWatermarkBeyondLog,
        Bug::ElectOutsideIsr,
        Bug::ForgetHighWatermark,
        Bug::IgnorePartitionEpoch,
        Bug::NeverJoin,
        Bug::AppendTwice,
        Bug::KeepEpochAtElection,
        Bug::ReuseEpoch,
        Bug::TakeOldStreams,
        Bug::ElectPreferredThoughIsrEmpty,
        Bug::LostStaysEligible,
        Bug::CompleteReassignmentEarly,
        Bug::AcknowledgeWithoutLease,
        Bug::ReadWithoutLease,
        Bug::LeaseThoughFenced,
        Bug::WaitForSilentReplica,
        Bug::IgnoreLogEnds,
    ];
}
