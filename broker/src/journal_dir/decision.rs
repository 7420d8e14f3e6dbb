//! Whether the journal directory that a start was given is the one that the data directory needs. Pure.

use std::path::{Path, PathBuf};

use super::marker::Marker;

/// What lies in the two directories.
#[derive(Clone, Debug)]
pub struct Found {
    pub data_marker: Option<Marker>,
    pub journal_marker: Option<Marker>,
    /// There are regions of a journal.
    pub has_regions: bool,
    /// The less of what the two directories' file systems have.
    pub free_bytes: u64,
}

/// What is to be free before two directories are tied together, in bytes: the markers take a few KiB, and a journal for want
/// of which nothing works is none.
pub const FREE_BYTES_MIN: u64 = 1 << 20;

/// What a start is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Neither directory knows of a journal: they are to be tied together before one is used.
    Begin,
    /// The directories belong together; what the journal holds is to be replayed.
    Continue { moved: bool },
    /// There was no journal, and none is wanted.
    Nothing,
    /// There was no journal, and there is no room to begin one: this run does without.
    NoRoom { free_bytes: u64 },
}

/// Why the broker must not start. It would start without records that were acknowledged, or take another's journal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the data directory {} was last used with the journal {} (id {expected}), and {} holds {}: mount that journal, \
         or give --journal-dir where it lies; only if it is lost, delete {}/journal-id to start without the records that \
         nothing but the journal holds",
        data_dir.display(), was.display(), journal_dir.display(), shown(found), data_dir.display()
    )]
    NotThere {
        data_dir: PathBuf,
        /// As it was given.
        journal_dir: PathBuf,
        was: PathBuf,
        expected: uuid::Uuid,
        found: Option<uuid::Uuid>,
    },
    #[error(
        "the journal in {} belongs to the data directory {}, not to {}: give another --journal-dir; only if that data \
         directory is gone for good, empty {}",
        journal_dir.display(), owner.display(), data_dir.display(), journal_dir.display()
    )]
    OfAnother { data_dir: PathBuf, journal_dir: PathBuf, owner: PathBuf },
    #[error(
        "{} holds a journal that the data directory {} knows nothing of (it has no journal-id): if the data directory is \
         the right one, its journal-id was deleted, or it was restored; then move what is in {} away to start without it",
        journal_dir.display(), data_dir.display(), journal_dir.display()
    )]
    Unclaimed { data_dir: PathBuf, journal_dir: PathBuf },
}

fn shown(found: &Option<uuid::Uuid>) -> String {
    found.map_or_else(|| "none".to_owned(), |id| format!("another one (id {id})"))
}

/// See the module. Without `wanted` no new journal is begun.
pub fn decide(found: &Found, data_dir: &Path, journal_dir: &Path, wanted: bool) -> Result<Decision, Refusal> {
    let (data_dir_owned, journal_dir_owned) = (data_dir.to_owned(), journal_dir.to_owned());
    match (&found.data_marker, &found.journal_marker) {
        (Some(expected), Some(found)) if expected.id == found.id => {
            let is_there = |marker: &Marker| {
                marker.data_dir == Path::new(&data_dir.display().to_string())
                    && marker.journal_dir == Path::new(&journal_dir.display().to_string())
            };
            Ok(Decision::Continue { moved: !(is_there(expected) && is_there(found)) })
        }
        (Some(Marker { id, journal_dir: was, .. }), other) => Err(Refusal::NotThere {
            data_dir: data_dir_owned,
            journal_dir: journal_dir_owned,
            was: was.clone(),
            expected: *id,
            found: other.as_ref().map(|marker| marker.id),
        }),
        (None, _) if !wanted => Ok(Decision::Nothing),
        (None, Some(Marker { data_dir: owner, .. })) if *owner != Path::new(&data_dir.display().to_string()) => {
            Err(Refusal::OfAnother { data_dir: data_dir_owned, journal_dir: journal_dir_owned, owner: owner.clone() })
        }
        (None, _) if found.has_regions => {
            Err(Refusal::Unclaimed { data_dir: data_dir_owned, journal_dir: journal_dir_owned })
        }
        (None, _) if found.free_bytes < FREE_BYTES_MIN => Ok(Decision::NoRoom { free_bytes: found.free_bytes }),
        // Also what a crash leaves between the making, or the removal, of the two markers.
        (None, _) => Ok(Decision::Begin),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const DATA: &str = "/data";
    const JOURNAL: &str = "/journal";

    fn marker(id: u128, data_dir: &str, journal_dir: &str) -> Option<Marker> {
        Some(Marker { id: Uuid::from_u128(id), data_dir: data_dir.into(), journal_dir: journal_dir.into() })
    }

    /// The decision's name, or the refusal's.
    fn decided(
        data: Option<Marker>,
        journal: Option<Marker>,
        has_regions: bool,
        wanted: bool,
        free_bytes: u64,
    ) -> &'static str {
        let found = Found { data_marker: data, journal_marker: journal, has_regions, free_bytes };
        match decide(&found, Path::new(DATA), Path::new(JOURNAL), wanted) {
            Ok(Decision::Begin) => "begin",
            Ok(Decision::Continue { moved: false }) => "continue",
            Ok(Decision::Continue { moved: true }) => "continue, moved",
            Ok(Decision::Nothing) => "nothing",
            Ok(Decision::NoRoom { .. }) => "no room",
            Err(Refusal::NotThere { found: None, .. }) => "not there",
            Err(Refusal::NotThere { found: Some(_), .. }) => "another",
            Err(Refusal::OfAnother { .. }) => "of another",
            Err(Refusal::Unclaimed { .. }) => "unclaimed",
        }
    }

    #[test]
    fn every_case_is_decided() {
        let ours = || marker(1, DATA, JOURNAL);
        for wanted in [true, false] {
            let if_wanted = |decision| if wanted { decision } else { "nothing" };
            for has_regions in [true, false] {
                for (data, journal, expected) in [
                    (ours(), ours(), "continue"),
                    (marker(1, DATA, "/elsewhere"), ours(), "continue, moved"),
                    (ours(), marker(1, "/elsewhere", JOURNAL), "continue, moved"),
                    (ours(), None, "not there"),
                    (ours(), marker(2, DATA, JOURNAL), "another"),
                    (ours(), marker(2, "/elsewhere", JOURNAL), "another"),
                    (None, marker(2, "/elsewhere", JOURNAL), if_wanted("of another")),
                    (None, ours(), if_wanted(if has_regions { "unclaimed" } else { "begin" })),
                    (None, None, if_wanted(if has_regions { "unclaimed" } else { "begin" })),
                ] {
                    for (free_bytes, begin) in [(FREE_BYTES_MIN, "begin"), (FREE_BYTES_MIN - 1, "no room")] {
                        let found = decided(data.clone(), journal.clone(), has_regions, wanted, free_bytes);
                        let expected = if expected == "begin" { begin } else { expected };
                        assert_eq!(found, expected, "{data:?} {journal:?} {has_regions} {wanted} {free_bytes}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_refusal_says_what_was_expected_and_what_to_do() {
        let found = Found {
            data_marker: marker(1, DATA, "/disk/journal"),
            journal_marker: marker(2, DATA, JOURNAL),
            has_regions: true,
            free_bytes: 0,
        };
        let refusal = decide(&found, Path::new(DATA), Path::new(JOURNAL), true).unwrap_err().to_string();
        let (expected, other) = (Uuid::from_u128(1).to_string(), Uuid::from_u128(2).to_string());
        for part in ["/disk/journal", JOURNAL, &expected, &other, "--journal-dir", "delete /data/journal-id"] {
            assert!(refusal.contains(part), "{part} is not in {refusal}");
        }
    }
}
