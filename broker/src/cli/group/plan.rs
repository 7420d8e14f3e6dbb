//! Which offset a partition's is reset to: pure, by the rules of Kafka's tool.
//!
//! An offset outside of the log becomes the log's nearest, but for `--to-current`, which leaves what is committed as it is.

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    ShiftBy(i64),
    /// The first record not older than this, in ms since 1970.
    Timestamp(i64),
}

/// What is known of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub current: Option<i64>,
    /// Log start offset and high watermark.
    pub start: i64,
    pub end: i64,
    /// For [`Target::Timestamp`]: the offset of that record, if there is one.
    pub at_timestamp: Option<i64>,
}

/// Why the offset is not the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    BelowStart { wanted: i64 },
    PastEnd { wanted: i64 },
    NoRecordSince,
    NothingCommitted,
}

impl Note {
    pub fn text(self, known: &Known) -> String {
        match self {
            Note::BelowStart { wanted } => {
                format!("offset {wanted} is below the log start offset {0}, which is taken instead", known.start)
            }
            Note::PastEnd { wanted } => {
                format!("offset {wanted} is past the end of the log {0}, which is taken instead", known.end)
            }
            Note::NoRecordSince => format!("no record is that new: the end of the log, {}, is taken", known.end),
            Note::NothingCommitted => format!("nothing is committed: the end of the log, {}, is taken", known.end),
        }
    }
}

/// A shift from nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NothingToShift;

pub(super) fn plan(target: Target, known: &Known) -> Result<(i64, Option<Note>), NothingToShift> {
    let within = |wanted: i64| {
        if wanted < known.start {
            (known.start, Some(Note::BelowStart { wanted }))
        } else if wanted > known.end {
            (known.end, Some(Note::PastEnd { wanted }))
        } else {
            (wanted, None)
        }
    };
    Ok(match target {
        Target::Earliest => (known.start, None),
        Target::Latest => (known.end, None),
        Target::Current => match known.current {
            Some(current) => (current, None),
            None => (known.end, Some(Note::NothingCommitted)),
        },
        Target::Offset(offset) => within(offset),
        Target::ShiftBy(records) => within(known.current.ok_or(NothingToShift)?.saturating_add(records)),
        Target::Timestamp(_) => match known.at_timestamp {
            Some(offset) => within(offset),
            None => (known.end, Some(Note::NoRecordSince)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_stay_within_the_log() {
        let known = |current, at_timestamp| Known { current, start: 10, end: 20, at_timestamp };
        let committed = known(Some(15), None);
        for (target, known, expected) in [
            (Target::Earliest, committed, (10, None)),
            (Target::Latest, committed, (20, None)),
            (Target::Offset(10), committed, (10, None)),
            (Target::Offset(20), committed, (20, None)),
            (Target::Offset(9), committed, (10, Some(Note::BelowStart { wanted: 9 }))),
            (Target::Offset(21), committed, (20, Some(Note::PastEnd { wanted: 21 }))),
            (Target::Offset(-5), committed, (10, Some(Note::BelowStart { wanted: -5 }))),
            (Target::ShiftBy(3), committed, (18, None)),
            (Target::ShiftBy(-5), committed, (10, None)),
            (Target::ShiftBy(-6), committed, (10, Some(Note::BelowStart { wanted: 9 }))),
            (Target::ShiftBy(i64::MAX), committed, (20, Some(Note::PastEnd { wanted: i64::MAX }))),
            (Target::Current, committed, (15, None)),
            // What is committed stays, wherever the log begins by now.
            (Target::Current, known(Some(3), None), (3, None)),
            (Target::Current, known(None, None), (20, Some(Note::NothingCommitted))),
            (Target::Timestamp(1), known(None, Some(12)), (12, None)),
            (Target::Timestamp(1), committed, (20, Some(Note::NoRecordSince))),
        ] {
            assert_eq!(plan(target, &known), Ok(expected), "{target:?} {known:?}");
        }
        assert_eq!(plan(Target::ShiftBy(1), &known(None, None)), Err(NothingToShift));
    }
}
