//! What a finding at the end of the readable frames means. Pure.
//!
//! Blocks that were not synced may have reached the disk in any order, so after a power cut anything may stand behind the
//! last synced offset: zeros, half a frame, whole frames behind a gap, remains of an earlier incarnation. All that is cut.
//! What was synced must be there: every frame says what was synced before its commit began, and so does the checkpoint.
//!
//! | rule | finding | sealed segment | below a synced offset | valid frames beyond | verdict |
//! |---|---|---|---|---|---|
//! | `SealedDamaged` | any | yes | - | - | refuse: a segment is synced to its end before it is sealed |
//! | `SyncedDamaged` | any | no | yes | - | refuse: this was acknowledged |
//! | `Impossible` | contradiction | no | no | - | refuse: a checksum that fits, content that no append wrote |
//! | `TornBefore` | absent, stale, damaged | no | no | yes | cut: a commit of which only later blocks arrived |
//! | `Torn` | damaged | no | no | no | cut: a commit of which only a part arrived |
//! | `End` | absent, stale | no | no | no | the log ends here |

/// What stands where the next frame was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Zeros, or the file's end.
    Absent,
    /// A good frame of an earlier incarnation, cut before or of recycled space.
    Stale,
    /// Bytes that are no frame of this segment.
    Damaged,
    /// A frame of this incarnation with a good checksum that does not continue the log.
    Contradiction,
}

/// What else is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    pub finding: Finding,
    /// Another segment follows.
    pub sealed: bool,
    /// The checkpoint, or a valid frame further on, says that the offset looked for was synced.
    pub synced: bool,
    /// Valid frames of this incarnation follow.
    pub valid_beyond: bool,
}

/// Why a log is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    SealedDamaged,
    SyncedDamaged,
    Impossible,
}

/// Why a tail is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutRule {
    TornBefore,
    Torn,
}

/// What to do about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Refuse(Refusal),
    /// The log ends before the finding, and what stands there is never taken for data again.
    Cut(CutRule),
    End,
}

/// The table above.
#[must_use]
pub fn decide(circumstances: Circumstances) -> Verdict {
    let Circumstances { finding, sealed, synced, valid_beyond } = circumstances;
    match (finding, sealed, synced, valid_beyond) {
        (_, true, _, _) => Verdict::Refuse(Refusal::SealedDamaged),
        (_, false, true, _) => Verdict::Refuse(Refusal::SyncedDamaged),
        (Finding::Contradiction, false, false, _) => Verdict::Refuse(Refusal::Impossible),
        (_, false, false, true) => Verdict::Cut(CutRule::TornBefore),
        (Finding::Damaged, false, false, false) => Verdict::Cut(CutRule::Torn),
        (Finding::Absent | Finding::Stale, false, false, false) => Verdict::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination, with the properties that the table must have, each stated apart from the table.
    #[test]
    fn every_combination_is_decided_as_promised() {
        let mut seen = 0;
        for finding in [Finding::Absent, Finding::Stale, Finding::Damaged, Finding::Contradiction] {
            for bits in 0..8 {
                let [sealed, synced, valid_beyond] = [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0];
                let verdict = decide(Circumstances { finding, sealed, synced, valid_beyond });
                let refused = matches!(verdict, Verdict::Refuse(_));
                // Nothing that was synced is ever cut or skipped.
                assert_eq!(refused, sealed || synced || finding == Finding::Contradiction, "{finding:?} {bits:03b}");
                // An end without a report needs a place where nothing suggests that more was written.
                let silent = verdict == Verdict::End;
                let nothing_there = matches!(finding, Finding::Absent | Finding::Stale) && !valid_beyond;
                assert_eq!(silent, !refused && nothing_there, "{finding:?} {bits:03b}");
                if let Verdict::Refuse(refusal) = verdict {
                    assert_eq!(refusal == Refusal::SealedDamaged, sealed);
                    assert_eq!(refusal == Refusal::SyncedDamaged, !sealed && synced);
                }
                if let Verdict::Cut(rule) = verdict {
                    assert_eq!(rule == CutRule::TornBefore, valid_beyond);
                }
                seen += 1;
            }
        }
        assert_eq!(seen, 32);
    }
}
