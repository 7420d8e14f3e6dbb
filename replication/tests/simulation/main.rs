//! Seeds of the simulation: without a mistake nothing is found, and every mistake is found by the checker that is for it.
//!
//! `RINGLOG_SEED=7 cargo test -p ringlog-replication --test simulation` runs that seed, `RINGLOG_SEEDS=50000` as many from 1 on.

mod sim;

use sim::{Bug, Checker, Options, Report, run};

/// As many as take some 15 s.
const SEEDS_DEFAULT: u64 = 2000;

/// The one that is asked for, or as many as are.
fn seeds() -> std::ops::RangeInclusive<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("RINGLOG_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("RINGLOG_SEEDS").unwrap_or(SEEDS_DEFAULT),
    }
}

#[test]
fn what_is_promised_holds_whatever_happens() {
    let reports: Vec<Report> = seeds().map(|seed| run(seed, Options::default())).collect();
    let violated: Vec<_> = reports.iter().filter(|report| report.violation.is_some()).take(5).collect();
    assert!(violated.is_empty(), "{violated:#?}");
    // Trouble in which nothing happens would prove nothing.
    let count = reports.len() as u64;
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    if count >= 100 {
        assert!(sum(|report| report.acknowledged as u64) > 200 * count);
        assert!(sum(|report| report.read as u64) > 200 * count);
        assert!(sum(|report| report.elections as u64) > 3 * count);
        assert!(sum(|report| report.isr_changes as u64) > 10 * count);
        assert!(sum(|report| report.restarts) > 3 * count);
        assert!(sum(|report| report.cuts) > count / 2);
        assert!(sum(|report| report.counts.reassigned) > count / 2);
        assert!(sum(|report| report.counts.removed) > count / 4);
        assert!(sum(|report| report.counts.stops) > count / 4);
        assert!(sum(|report| report.counts.reports_of_loss) > count / 20);
        assert!(sum(|report| report.counts.disks) > count / 20);
        assert!(sum(|report| report.counts.by_log) > count / 2);
        assert!(sum(|report| report.counts.without_lease) > count / 2);
        assert!(sum(|report| report.losses) > count / 20);
    }
}

#[test]
fn a_seed_comes_again_exactly() {
    for seed in [3, 11, 12] {
        assert_eq!(run(seed, Options::default()), run(seed, Options::default()));
    }
    assert_ne!(run(11, Options::default()).digest, run(12, Options::default()).digest);
}

/// The mistakes, the checker that must find each whatever the others find, and within how many seeds.
const FOUND: [(Bug, Checker, u64); 34] = [
    (Bug::AcknowledgeBeforeSync, Checker::Acknowledged, 1000),
    (Bug::OwnDiskNotCounted, Checker::Acknowledged, 300),
    (Bug::AnswerBeforeSync, Checker::SameDisk, 1000),
    (Bug::TruncateByHighWatermark, Checker::InSync, 100),
    (Bug::NoTruncation, Checker::Equal, 50),
    (Bug::ShrinkWithoutController, Checker::InSync, 50),
    (Bug::OldAcknowledgements, Checker::Counted, 300),
    (Bug::ServeAboveHighWatermark, Checker::Readable, 5),
    (Bug::JoinWithoutHighWatermark, Checker::InSync, 50),
    (Bug::JoinWithoutEpochStart, Checker::InSync, 100),
    (Bug::ForgetProposalInDoubt, Checker::InSync, 1500),
    (Bug::ForgetRefusedProposal, Checker::InSync, 4000),
    (Bug::LeadAtOldEpoch, Checker::Rules, 500),
    (Bug::AdvanceBelowMinInsync, Checker::MinInsync, 10),
    (Bug::AdvanceBelowMinInsync, Checker::Acknowledged, 10),
    (Bug::PositionBeforeSync, Checker::InSync, 100),
    (Bug::HighWatermarkBeyondLog, Checker::Equal, 10),
    (Bug::ElectOutsideIsr, Checker::Acknowledged, 50),
    (Bug::ForgetHighWatermark, Checker::Monotonic, 10),
    (Bug::IgnorePartitionEpoch, Checker::InSync, 1500),
    (Bug::NeverJoin, Checker::Progress, 10),
    (Bug::AppendTwice, Checker::Order, 10),
    (Bug::KeepEpochAtElection, Checker::Epochs, 5),
    (Bug::ReuseEpoch, Checker::Epochs, 5),
    (Bug::TakeOldStreams, Checker::Rules, 200),
    (Bug::ElectPreferredThoughIsrEmpty, Checker::Elected, 20),
    (Bug::LostStaysEligible, Checker::InSync, 500),
    (Bug::CompleteReassignmentEarly, Checker::Reassigned, 50),
    (Bug::AcknowledgeWithoutLease, Checker::Lease, 100),
    (Bug::ReadWithoutLease, Checker::Lease, 100),
    (Bug::LeaseThoughFenced, Checker::Lease, 300),
    (Bug::WaitForSilentReplica, Checker::Led, 1500),
    (Bug::IgnoreLogEnds, Checker::Longest, 100),
    (Bug::ElectOutsideIsr, Checker::Elected, 20),
];

#[test]
fn every_mistake_is_found() {
    assert!(Bug::ALL.iter().all(|bug| FOUND.iter().any(|(found, ..)| found == bug)));
    assert!(Checker::ALL.iter().all(|checker| FOUND.iter().any(|(_, by, _)| by == checker)));
    for (bug, checker, within) in FOUND {
        let options = Options { bug: Some(bug), only: Some(checker), ..Options::default() };
        let found = (1..=within).find(|seed| run(*seed, options).violation.is_some());
        eprintln!("{bug:?} is found by {checker:?} with seed {found:?}");
        assert!(found.is_some(), "{bug:?} is not found by {checker:?} within {within} seeds");
    }
}
