//! A power cut at every moment of what Raft writes: what was acknowledged is there, and of the write under way all or
//! nothing.

use super::*;
use crate::raft::database::{Loaded, RaftDatabase, Write};
use crate::raft::stored::{encode_log_id, encode_vote};
use crate::store::tests::crash::after_power_cut;
use crate::store::tests::recorder::Recorder;
use rand::SeedableRng;
use rand::rngs::StdRng;

const PATH: &str = "simulated/metadata.redb";

fn open_on(disk: Recorder) -> (RaftDatabase, Loaded) {
    let database = crate::store::database::builder().create_with_backend(disk).unwrap();
    RaftDatabase::open(database, Path::new(PATH)).unwrap()
}

/// What a start would find, in a form that can be compared.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
    snapshot: Option<State>,
}

impl From<Loaded> for Kept {
    fn from(loaded: Loaded) -> Kept {
        let Loaded { vote, committed, purged, entries, snapshot } = loaded;
        Kept { vote, committed, purged, entries, snapshot: snapshot.map(|(state, _)| state) }
    }
}

/// A step: some writes that go together, and what they make of what was kept.
fn steps() -> Vec<(Vec<Write>, Kept)> {
    let mut kept = Kept::default();
    let mut steps = Vec::new();
    let entry = |index: u64, next: i64| {
        command(index, index, vec![MetadataRecord::ProducerIdsAllocated { next: ProducerId(next) }])
    };
    let append = |kept: &mut Kept, indexes: std::ops::Range<u64>, next: i64| {
        let entries: Vec<Entry> = indexes.map(|index| entry(index, next)).collect();
        kept.entries.extend(entries.iter().map(|entry| (entry.log_id.index, entry.clone())));
        Write::Append(entries.iter().map(|entry| (entry.log_id.index, encode_entry(entry))).collect())
    };
    for round in 0..5_u64 {
        let base = round * 10;
        let vote = Vote::new_committed(round + 1, 1);
        kept.vote = Some(vote);
        steps.push((vec![Write::Vote(encode_vote(&vote))], kept.clone()));
        let write = append(&mut kept, base..base + 8, 1);
        steps.push((vec![write], kept.clone()));
        // A later leader has another end of the log.
        kept.entries.split_off(&(base + 5));
        let truncate = Write::Truncate(base + 5);
        let write = append(&mut kept, base + 5..base + 10, 2);
        kept.committed = Some(log_id(base + 9));
        steps.push((vec![truncate, write, Write::Committed(encode_log_id(log_id(base + 9)))], kept.clone()));
        let mut state = state_of(&[bootstrap()]);
        state.last_applied = Some(log_id(base + 7));
        kept.snapshot = Some(state.clone());
        steps.push((vec![Write::Snapshot(state.encode())], kept.clone()));
        kept.entries = kept.entries.split_off(&(base + 8));
        kept.purged = Some(log_id(base + 7));
        steps.push((vec![Write::Purge(base + 7, encode_log_id(log_id(base + 7)))], kept.clone()));
    }
    steps
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_is_cut() {
    let recorder = Recorder::default();
    let (database, loaded) = open_on(recorder.clone());
    let mut acknowledged = vec![(recorder.operations().len(), Kept::from(loaded))];
    for (writes, kept) in steps() {
        database.apply(writes.iter()).unwrap();
        acknowledged.push((recorder.operations().len(), kept));
    }
    let operations = recorder.operations();
    let seed: u64 = std::env::var("RINGLOG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    eprintln!("RINGLOG_SEED={seed}, {} operations", operations.len());
    let mut random = StdRng::seed_from_u64(seed);
    for cut in acknowledged[0].0..=operations.len() {
        let at_least = acknowledged.iter().rposition(|(done, _)| *done <= cut).unwrap();
        let disk = Recorder::of(after_power_cut(&operations[..cut], &mut random));
        let found = Kept::from(open_on(disk).1);
        let allowed = acknowledged[at_least..].iter().take(2).any(|(_, kept)| *kept == found);
        assert!(allowed, "cut after operation {cut}: {found:?} where step {at_least} was acknowledged");
    }
}

#[test]
fn flipped_bits_are_noticed() {
    let recorder = Recorder::default();
    let (database, _) = open_on(recorder.clone());
    let steps = steps();
    // The last thing that is done is to purge what a snapshot covers: all tables have something before.
    let (writes, expected) = (&steps[..steps.len() - 1], &steps[steps.len() - 2].1);
    writes.iter().for_each(|(writes, _)| database.apply(writes.iter()).unwrap());
    let after_kill = recorder.file();
    drop(database);
    for (when, intact) in [("after a kill", after_kill), ("after a clean end", recorder.file())] {
        // Every byte that is not zero or near one, thinned out to some thousand: the rest is free space.
        let is_used = |at: &usize| intact[at.saturating_sub(4)..=*at].iter().any(|byte| *byte != 0);
        let used: Vec<usize> = (0..intact.len()).filter(is_used).collect();
        let (mut refused, mut harmless) = (0, 0);
        for (turn, at) in used.iter().step_by(used.len().div_ceil(1500)).enumerate() {
            let mut damaged = intact.clone();
            damaged[*at] ^= 1 << (turn % 8);
            let opened = crate::store::database::builder()
                .create_with_backend(Recorder::of(damaged))
                .map_err(|error| crate::store::database::failed(Path::new(PATH))(error).to_string())
                .and_then(|database| RaftDatabase::open(database, Path::new(PATH)).map_err(|error| error.to_string()));
            match opened {
                Ok((_, loaded)) => {
                    assert_eq!(Kept::from(loaded), *expected, "{when}, byte {at} changed what was kept");
                    harmless += 1;
                }
                Err(error) => {
                    assert!(error.contains("metadata.redb"), "which file? {error}");
                    refused += 1;
                }
            }
        }
        // Much of the file is pages that are free again.
        assert!(refused > 20, "{when}: {refused} refused, {harmless} harmless");
    }
}

#[test]
fn damage_is_named_with_its_place() {
    let tampered = |write: Write| {
        let recorder = Recorder::default();
        let (database, _) = open_on(recorder.clone());
        let mut kept = Vec::new();
        for index in 0..4 {
            kept.push((index, encode_entry(&command(index, index, bootstrap()))));
        }
        database.apply([Write::Append(kept), write].iter()).unwrap();
        drop(database);
        let database = crate::store::database::builder().create_with_backend(recorder).unwrap();
        RaftDatabase::open(database, Path::new(PATH)).unwrap_err().to_string()
    };
    let entry = encode_entry(&command(9, 9, bootstrap()));
    let error = tampered(Write::Append(vec![(9, entry.clone())]));
    assert_eq!(error, format!("metadata {PATH} is damaged: raft index 4 is missing, the next one there is 9"));
    let error = tampered(Write::Append(vec![(2, entry)]));
    assert_eq!(error, format!("metadata {PATH} is damaged: at raft index 2 is the entry of index 9"));
    let error = tampered(Write::Append(vec![(3, vec![1, 2, 3, 4, 5, 6])]));
    assert!(
        error.starts_with(&format!("metadata {PATH} is damaged at raft index 3: raft log entry has CRC-32")),
        "{error}"
    );
    let error = tampered(Write::Vote(vec![7, 0, 0, 0, 0]));
    assert!(
        error.starts_with(&format!("metadata {PATH} is damaged at 'vote': raft vote has format version 7")),
        "{error}"
    );
    let error = tampered(Write::Snapshot(vec![1, 2, 3].into()));
    assert!(error.contains("metadata snapshot of 3 bytes ends within the section at byte 0"), "{error}");
}
