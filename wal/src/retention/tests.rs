use super::*;

const NOW_MS: i64 = 1_000_000;

/// A segment of ten records, by size and age.
fn segment(at: i64, size_bytes: u64, age_ms: i64) -> SegmentSummary {
    let mut summary = SegmentSummary::empty(Offset(at * 10));
    summary.next_offset = Offset(at * 10 + 10);
    summary.end_position += size_bytes;
    summary.max_timestamp = NOW_MS - age_ms;
    summary.first_append_ms = NOW_MS - age_ms;
    summary.last_append_ms = NOW_MS - age_ms;
    summary
}

fn check(config: LogConfig, segments: &[SegmentSummary], start: i64, high_watermark: i64) -> (usize, bool) {
    let plan = plan(segments, &config, Offset(start), Offset(high_watermark), NOW_MS);
    (plan.delete, plan.roll)
}

fn config() -> LogConfig {
    LogConfig { retention_ms: -1, segment_ms: i64::MAX, ..LogConfig::default() }
}

#[test]
fn by_size_the_oldest_go_until_the_rest_would_be_too_small() {
    let segments: Vec<_> = (0..5).map(|at| segment(at, 100, 0)).collect();
    for (retention_bytes, expected) in
        [(-1, 0), (500, 0), (499, 0), (400, 1), (301, 1), (300, 2), (100, 4), (99, 4), (0, 5)]
    {
        let found = check(LogConfig { retention_bytes, ..config() }, &segments, 0, 50);
        assert_eq!(found, (expected, expected == 5), "{retention_bytes}");
    }
    assert_eq!(check(LogConfig { retention_bytes: 0, ..config() }, &segments, 0, 29), (2, false));
    assert_eq!(check(LogConfig { retention_bytes: 0, delete_policy: false, ..config() }, &segments, 0, 50), (0, false));
}

#[test]
fn by_age_a_younger_segment_protects_those_behind_it() {
    let segments = [segment(0, 100, 500), segment(1, 100, 10), segment(2, 100, 500)];
    assert_eq!(check(LogConfig { retention_ms: 499, ..config() }, &segments, 0, 30), (1, false));
    assert_eq!(check(LogConfig { retention_ms: 500, ..config() }, &segments, 0, 30), (0, false));
    assert_eq!(check(LogConfig { retention_ms: 9, ..config() }, &segments, 0, 30), (3, true));
    let mut without_timestamp = segment(0, 100, 500);
    without_timestamp.max_timestamp = -1;
    assert_eq!(check(LogConfig { retention_ms: 499, ..config() }, &[without_timestamp], 0, 10), (1, true));
}

#[test]
fn what_lies_below_the_log_start_goes_whatever_the_policy() {
    let segments: Vec<_> = (0..3).map(|at| segment(at, 100, 0)).collect();
    let compacted = LogConfig { delete_policy: false, ..config() };
    for (start, expected) in [(0, 0), (9, 0), (10, 1), (25, 2), (30, 3)] {
        assert_eq!(check(compacted, &segments, start, 30), (expected, expected == 3), "{start}");
    }
}

#[test]
fn an_old_active_segment_rolls_and_an_empty_one_does_nothing() {
    let aged = LogConfig { segment_ms: 100, ..config() };
    assert_eq!(check(aged, &[segment(0, 100, 99)], 0, 10), (0, false));
    assert_eq!(check(aged, &[segment(0, 100, 100)], 0, 0), (0, true));
    assert_eq!(check(LogConfig { retention_bytes: 0, ..aged }, &[SegmentSummary::empty(Offset(5))], 5, 5), (0, false));
}
