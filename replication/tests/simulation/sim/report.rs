//! What came of a seed.

use super::checks::Checker;

/// Equal for equal seeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    pub violation: Option<(Checker, String)>,
    pub events: u64,
    pub acknowledged: usize,
    pub read: usize,
    pub elections: i32,
    pub isr_changes: usize,
    pub restarts: u64,
    pub cuts: u64,
    /// Times that what was committed was given up, as is allowed only after an unclean election.
    pub losses: u64,
    pub counts: Counts,
    pub elapsed_us: u64,
    /// Of all that happened.
    pub digest: u64,
}

/// How often what happened that a seed may lack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reassignments that were completed, and replicas that were removed by brokers.
    pub reassigned: u64,
    pub removed: u64,
    /// Stops in order.
    pub stops: u64,
    /// Reports of lost records, and disks that were replaced.
    pub reports_of_loss: u64,
    pub disks: u64,
    /// Elections before which somebody told how a log ends.
    pub by_log: u64,
    /// Elections of whoever led last where nobody is eligible any more.
    pub last_known: u64,
    /// Answers that a leader could not give for want of a lease.
    pub without_lease: u64,
}
