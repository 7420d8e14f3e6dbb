//! Small writes to many partitions, which become durable in the shards' journals: what a kill leaves of them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Broker, Client, directory};

const TOPIC: &str = "many";
const PARTITIONS: i32 = 32;
/// Small regions, so that the journal goes round in a test.
const SMALL: [&str; 2] = ["--shard-journal-bytes-max", "4MiB"];
/// A bound on a hang, never on speed.
const HANG_MAX: Duration = Duration::from_secs(60);

fn value(partition: i32, round: i64) -> Vec<u8> {
    format!("<partition {partition} round {round}>").into_bytes()
}

/// Produces to all partitions at once, `rounds` times, and asserts that each is acknowledged with the next offset.
fn produce(client: &mut Client, rounds: std::ops::Range<i64>) {
    for round in rounds {
        let values: Vec<_> = (0..PARTITIONS).map(|partition| value(partition, round)).collect();
        assert_eq!(client.produce_to_all(TOPIC, &values), vec![(0, round); PARTITIONS as usize]);
    }
}

/// Asserts that each partition has the records of `rounds` rounds and nothing else.
fn assert_all_there(address: SocketAddr, rounds: i64) {
    let mut client = Client::connect(address);
    for partition in 0..PARTITIONS {
        let mut round = 0;
        while round < rounds {
            let (error, high_watermark, bytes) = client.fetch_from(TOPIC, partition, round);
            assert_eq!((error, high_watermark), (0, rounds), "partition {partition}");
            let from = round;
            let mut rest = &bytes[..];
            let position = |rest: &[u8], value: Vec<u8>| rest.windows(value.len()).position(|window| window == value);
            while let Some(at) = position(rest, value(partition, round)) {
                rest = &rest[at..];
                round += 1;
            }
            assert!(round > from, "partition {partition} lacks round {round}");
        }
        assert_eq!(round, rounds, "partition {partition}");
    }
}

fn regions(journal_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(journal_dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "journal")).collect()
}

/// Begins with a broker whose two shards use their journals; gives it and the rounds produced so far.
fn broker_with_journal(data_dir: &Path, journal_dir: &Path, more: &[&str]) -> (Broker, Client, i64) {
    let (broker, address) = Broker::start_with(data_dir, more);
    let mut client = Client::connect(address);
    client.create_topic_of(TOPIC, PARTITIONS);
    let mut rounds = 0;
    let since = Instant::now();
    let is_used = |shard: u32| {
        let prefix = format!("shard-{shard:04}-");
        regions(journal_dir).iter().any(|path| path.file_name().unwrap().to_string_lossy().starts_with(&prefix))
    };
    while !(is_used(0) && is_used(1)) {
        assert!(since.elapsed() < HANG_MAX, "no journal in {}", journal_dir.display());
        produce(&mut client, rounds..rounds + 1);
        rounds += 1;
    }
    (broker, client, rounds)
}

fn started(data_dir: &Path, more: &[&str]) -> (Broker, SocketAddr) {
    Broker::start_with(data_dir, &[&SMALL, more].concat())
}

/// How many rounds of `value` the partition's files hold.
fn rounds_in_segments(data_dir: &Path, partition: i32, rounds: i64) -> i64 {
    let segment = data_dir.join(format!("{TOPIC}-{partition}")).join("00000000000000000000.log");
    let bytes = fs::read(segment).unwrap();
    let is_there = |round: &i64| {
        let value = value(partition, *round);
        bytes.windows(value.len()).any(|window| window == value)
    };
    (0..rounds).take_while(is_there).count() as i64
}

#[test]
fn a_kill_loses_nothing_that_only_the_journal_had() {
    let dir = directory();
    let journal_dir = dir.path().join("journal");
    let (broker, mut client, rounds) = broker_with_journal(dir.path(), &journal_dir, &SMALL);
    produce(&mut client, rounds..rounds + 20);
    let rounds = rounds + 20;
    broker.kill9();
    let in_journal = (0..PARTITIONS).any(|partition| rounds_in_segments(dir.path(), partition, rounds) < rounds);
    assert!(in_journal, "everything was in the logs already: the journal proves nothing");

    // With another number of shards than the journals were written by.
    let (mut broker, address) = started(dir.path(), &["--shards", "3"]);
    let line = broker.wait_for_line("journal replayed");
    assert!(line.contains("journals=2 "), "{line}");
    assert_all_there(address, rounds);
    let mut client = Client::connect(address);
    produce(&mut client, rounds..rounds + 40);
    broker.kill9();
    let (broker, address) = started(dir.path(), &["--shards", "1"]);
    assert_all_there(address, rounds + 40);
    broker.stop();
}

#[test]
fn a_journal_that_went_round_many_times_loses_nothing() {
    let dir = directory();
    let journal_dir = dir.path().join("journal");
    let (broker, mut client, rounds) = broker_with_journal(dir.path(), &journal_dir, &SMALL);
    // A record of 16 partitions has a few blocks: more than the 1,024 blocks of each shard's journal.
    produce(&mut client, rounds..rounds + 700);
    broker.kill9();
    let (broker, address) = started(dir.path(), &[]);
    assert_all_there(address, rounds + 700);
    broker.stop();
}

#[test]
fn an_orderly_stop_leaves_no_journal_and_the_directory_can_change() {
    let dir = directory();
    let journal_dir = dir.path().join("journal");
    let (broker, _, rounds) = broker_with_journal(dir.path(), &journal_dir, &SMALL);
    assert!(dir.path().join("journal-id").exists() && journal_dir.join("journal-id").exists());
    broker.stop();
    assert_eq!(regions(&journal_dir), [PathBuf::new(); 0]);
    assert!(!dir.path().join("journal-id").exists() && !journal_dir.join("journal-id").exists());
    for partition in 0..PARTITIONS {
        assert_eq!(rounds_in_segments(dir.path(), partition, rounds), rounds, "partition {partition}");
    }

    let elsewhere = directory();
    let elsewhere = elsewhere.path().join("new").join("journal");
    let (broker, address) = started(dir.path(), &["--journal-dir", elsewhere.to_str().unwrap()]);
    assert_all_there(address, rounds);
    assert!(elsewhere.join("journal-id").exists());
    broker.stop();
    let (broker, address) = Broker::start_with(dir.path(), &["--shard-journal-bytes-max", "0"]);
    assert_all_there(address, rounds);
    assert!(!dir.path().join("journal-id").exists());
    broker.stop();
}

#[test]
fn no_start_without_the_journal_that_is_needed() {
    let (dir, elsewhere) = (directory(), directory());
    let journal_dir = elsewhere.path().join("journal");
    let journal_arg = ["--journal-dir", journal_dir.to_str().unwrap()];
    let more = [&SMALL[..], &journal_arg].concat();
    let (broker, mut client, rounds) = broker_with_journal(dir.path(), &journal_dir, &more);
    produce(&mut client, rounds..rounds + 5);
    let rounds = rounds + 5;
    broker.kill9();

    let refused = |more: &[&str]| {
        let (code, log) = Broker::spawn(dir.path(), "127.0.0.1:0", more).wait();
        assert_eq!(code, Some(1), "{log}");
        log
    };
    // The default directory, and a disk that is not mounted.
    let log = refused(&[]);
    assert!(log.contains("was last used with the journal") && log.contains(journal_dir.to_str().unwrap()), "{log}");
    let away = elsewhere.path().join("away");
    fs::rename(&journal_dir, &away).unwrap();
    assert!(refused(&journal_arg).contains("holds none"));
    fs::create_dir(&journal_dir).unwrap();
    assert!(refused(&journal_arg).contains("holds none"));
    // Without a journal it is needed all the same.
    assert!(refused(&["--shard-journal-bytes-max", "0"]).contains("holds none"));
    // Another broker's.
    let other = directory();
    let (broker, _) = Broker::start_with(other.path(), &journal_arg);
    let log = refused(&journal_arg);
    assert!(log.contains("is in use by another process"), "{log}");
    broker.kill9();
    let log = refused(&journal_arg);
    assert!(log.contains("holds another one"), "{log}");
    let third = directory();
    let (code, log) = Broker::spawn(third.path(), "127.0.0.1:0", &journal_arg).wait();
    assert!(code == Some(1) && log.contains("belongs to the data directory"), "{log}");

    // There it is, under another path.
    let away = ["--journal-dir", away.to_str().unwrap(), "--shard-journal-bytes-max", "0"];
    let (broker, address) = Broker::start_with(dir.path(), &away);
    assert_all_there(address, rounds);
    assert!(!dir.path().join("journal-id").exists(), "nothing is needed any more");
    broker.stop();
}

#[test]
fn what_nobody_adds_to_is_written_to_the_logs() {
    let dir = directory();
    let (broker, mut client, rounds) = broker_with_journal(dir.path(), &dir.path().join("journal"), &SMALL);
    produce(&mut client, rounds..rounds + 3);
    let rounds = rounds + 3;
    let since = Instant::now();
    while !(0..PARTITIONS).all(|partition| rounds_in_segments(dir.path(), partition, rounds) == rounds) {
        assert!(since.elapsed() < HANG_MAX, "it stays in the journal");
        thread::sleep(Duration::from_millis(50));
    }
    broker.stop();
}

#[test]
fn a_damaged_journal_prevents_a_start() {
    let dir = directory();
    let journal_dir = dir.path().join("journal");
    let (broker, _, _) = broker_with_journal(dir.path(), &journal_dir, &SMALL);
    broker.kill9();
    let region = &regions(&journal_dir)[0];
    let mut bytes = fs::read(region).unwrap();
    bytes[9] ^= 1;
    fs::write(region, &bytes).unwrap();
    let (code, log) = Broker::spawn(dir.path(), "127.0.0.1:0", &[]).wait();
    assert!(code == Some(1) && log.contains("cannot be replayed") && log.contains(region.to_str().unwrap()), "{log}");
    bytes[9] ^= 1;
    fs::write(region, &bytes).unwrap();
    let (broker, _) = Broker::start(dir.path());
    broker.stop();
}
