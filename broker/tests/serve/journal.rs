//! Small writes to many partitions, which become durable in the shards' journals: what a kill leaves of them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

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
        assert_eq!(client.produce_to_all(TOPIC, &values).unwrap(), vec![(0, round); PARTITIONS as usize]);
    }
}

/// Asserts that each partition has the records of `rounds` rounds and nothing else.
fn assert_all_there(address: SocketAddr, rounds: i64) {
    assert_eq!(rounds_there(address, TOPIC), vec![rounds; PARTITIONS as usize]);
}

/// Of how many rounds each partition has the records; asserts that it has nothing else.
fn rounds_there(address: SocketAddr, topic: &'static str) -> Vec<i64> {
    let mut client = Client::connect(address);
    let of_partition = |partition| {
        let mut round = 0;
        loop {
            let (error, high_watermark, bytes) = client.fetch_from(topic, partition, round);
            assert_eq!(error, 0, "partition {partition}");
            if round == high_watermark {
                return round;
            }
            let from = round;
            let mut rest = &bytes[..];
            let position = |rest: &[u8], value: Vec<u8>| rest.windows(value.len()).position(|window| window == value);
            while let Some(at) = position(rest, value(partition, round)) {
                rest = &rest[at..];
                round += 1;
            }
            assert!(from < round && round <= high_watermark, "partition {partition} lacks round {round}");
        }
    };
    (0..PARTITIONS).map(of_partition).collect()
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

/// Produces to all partitions of a topic until the broker is killed; gives how many rounds of each were acknowledged.
fn produce_until_killed(
    address: SocketAddr,
    topic: &'static str,
    mut rounds: Vec<i64>,
    acknowledged: &AtomicI64,
) -> Vec<i64> {
    let mut client = Client::connect(address);
    loop {
        let values: Vec<_> = (0..PARTITIONS).zip(&rounds).map(|(partition, round)| value(partition, *round)).collect();
        let Ok(answers) = client.produce_to_all(topic, &values) else { return rounds };
        assert_eq!(answers, rounds.iter().map(|round| (0, *round)).collect::<Vec<_>>());
        rounds.iter_mut().for_each(|round| *round += 1);
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn kills_under_load_lose_nothing_acknowledged() {
    const TOPICS: [&str; 3] = ["many", "more", "most"];
    let dir = directory();
    let (broker, mut client, used) = broker_with_journal(dir.path(), &dir.path().join("journal"), &SMALL);
    TOPICS[1..].iter().for_each(|topic| client.create_topic_of(topic, PARTITIONS));
    broker.kill9();
    let mut rounds = vec![vec![used; PARTITIONS as usize], vec![0; PARTITIONS as usize], vec![0; PARTITIONS as usize]];
    let mut replays = 0;
    for (kill, shards) in ["2", "3", "1", "2"].into_iter().enumerate() {
        let (broker, address) = started(dir.path(), &["--shards", shards]);
        replays += usize::from(broker.has_logged("journal replayed"));
        for (topic, acknowledged) in TOPICS.into_iter().zip(&mut rounds) {
            let there = rounds_there(address, topic);
            let is_right = |(there, acknowledged): (&i64, &i64)| (*acknowledged..=acknowledged + 1).contains(there);
            assert!(
                there.iter().zip(&*acknowledged).all(is_right),
                "{topic}: {there:?}, acknowledged {acknowledged:?}"
            );
            *acknowledged = there;
        }
        let acknowledged = &AtomicI64::new(0);
        rounds = thread::scope(|scope| {
            let producers: Vec<_> = TOPICS
                .into_iter()
                .zip(rounds.clone())
                .map(|(topic, rounds)| scope.spawn(move || produce_until_killed(address, topic, rounds, acknowledged)))
                .collect();
            let since = Instant::now();
            while acknowledged.load(Ordering::SeqCst) < 60 + 5 * kill as i64 {
                assert!(since.elapsed() < HANG_MAX, "the producers do not get on");
                thread::sleep(Duration::from_millis(1));
            }
            broker.kill9();
            producers.into_iter().map(|producer| producer.join().unwrap()).collect()
        });
    }
    assert!(replays >= 3, "only {replays} starts had a journal to replay");
    let (broker, address) = started(dir.path(), &[]);
    for (topic, acknowledged) in TOPICS.into_iter().zip(&rounds) {
        let there = rounds_there(address, topic);
        assert!(
            there.iter().zip(acknowledged).all(|(there, acknowledged)| there >= acknowledged),
            "{topic}: {there:?}"
        );
    }
    broker.stop();
}

#[test]
fn an_orderly_stop_leaves_no_journal_and_the_directory_can_change() {
    let dir = directory();
    let journal_dir = dir.path().join("journal");
    let (broker, _, rounds) = broker_with_journal(dir.path(), &journal_dir, &SMALL);
    assert!(dir.path().join("journal-id").exists() && journal_dir.join("journal-id").exists());
    broker.stop();
    assert!(regions(&journal_dir).is_empty());
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
    assert!(code == Some(2) && log.contains("belongs to the data directory"), "{log}");

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

/// Runs `ringlog wal …`; its exit status, standard output and standard error.
fn wal(args: &[&str], path: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringlog")).arg("wal").args(args).arg(path).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Asserts that the batches of each partition are those of `rounds` rounds, and gives how many only the journal had.
fn assert_dumped(data_dir: &Path, rounds: i64, more: &[&str]) -> u64 {
    let (status, stdout, stderr) = wal(&[&["dump", "--batches"], more].concat(), data_dir);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    for partition in 0..PARTITIONS {
        let prefix = format!("log={TOPIC}-{partition} base_offset=");
        let offsets = stdout.lines().filter_map(|line| line.strip_prefix(&prefix)?.split(' ').next()?.parse().ok());
        assert_eq!(offsets.collect::<Vec<i64>>(), (0..rounds).collect::<Vec<_>>(), "partition {partition}");
    }
    let (status, stdout, stderr) = wal(&[&["verify", "--json"], more].concat(), data_dir);
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "{stdout}");
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let logs = lines.iter().filter(|line| line["type"] == "log" && line["log_end_offset"] == rounds);
    assert_eq!(logs.clone().count(), PARTITIONS as usize, "{stdout}");
    logs.map(|line| line["journal_batches"].as_u64().unwrap_or(0)).sum()
}

#[test]
fn a_running_broker_and_a_killed_one_are_dumped_with_their_journal() {
    let (dir, elsewhere) = (directory(), directory());
    let journal_dir = elsewhere.path().join("journal");
    let more = [&SMALL[..], &["--journal-dir", journal_dir.to_str().unwrap()]].concat();
    let (broker, mut client, rounds) = broker_with_journal(dir.path(), &journal_dir, &more);
    produce(&mut client, rounds..rounds + 10);
    let rounds = rounds + 10;
    assert_dumped(dir.path(), rounds, &[]);
    // Until what is idle is written back a journal proves something; dumping may take longer.
    produce(&mut client, rounds..rounds + 1);
    let rounds = rounds + 1;
    broker.kill9();
    assert!(assert_dumped(dir.path(), rounds, &[]) > 0, "the journal proves nothing");

    let (status, stdout, _) = wal(&["dump", "--json"], &journal_dir);
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_type = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    let journal = lines.last().unwrap();
    assert_eq!((status, &journal["type"], &journal["journals"]), (Some(0), &"journal".into(), &2.into()), "{journal}");
    assert_eq!(journal["records"].as_u64(), Some(of_type("record") as u64));
    assert!(of_type("region") >= 2 && of_type("entry") > of_type("record"), "{journal}");
    let (status, stdout, _) = wal(&["dump"], &regions(&journal_dir)[0]);
    assert!(status == Some(0) && stdout.starts_with("region ") && stdout.contains("    entry topic_id="), "{stdout}");
    assert_eq!(wal(&["verify"], &journal_dir).0, Some(0));

    // One partition, and one segment of it.
    let log = dir.path().join(format!("{TOPIC}-0"));
    for path in [&log, &log.join("00000000000000000000.log")] {
        let (status, stdout, stderr) = wal(&["dump", "--batches"], path);
        assert_eq!((status, stdout.lines().count() as i64), (Some(0), rounds), "{stderr}");
    }
    let away = elsewhere.path().join("away");
    fs::rename(&journal_dir, &away).unwrap();
    let (status, stdout, stderr) = wal(&["verify"], &log);
    assert_eq!((status, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains(journal_dir.to_str().unwrap()) && stderr.contains("--journal-dir"), "{stderr}");
    assert_dumped(dir.path(), rounds, &["--journal-dir", away.to_str().unwrap()]);

    let region = &regions(&away)[0];
    let mut bytes = fs::read(region).unwrap();
    bytes[9] ^= 1;
    fs::write(region, &bytes).unwrap();
    let (status, stdout, _) = wal(&["verify", "--journal-dir", away.to_str().unwrap()], dir.path());
    assert!(status == Some(1) && stdout.contains(&format!("{} is no region", region.display())), "{stdout}");
}

#[test]
fn a_dump_of_a_busy_broker_finds_no_damage_and_misses_nothing_acknowledged_before() {
    let dir = directory();
    let (broker, mut client, rounds) = broker_with_journal(dir.path(), &dir.path().join("journal"), &SMALL);
    let acknowledged = AtomicI64::new(rounds);
    thread::scope(|scope| {
        let dumps = scope.spawn(|| {
            for _ in 0..5 {
                let before = acknowledged.load(Ordering::SeqCst);
                let (status, stdout, stderr) = wal(&["verify", "--json"], dir.path());
                assert_eq!((status, stderr.as_str()), (Some(0), ""), "{stdout}");
                for line in stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
                    let is_ours = line["path"].as_str().is_some_and(|path| path.contains(TOPIC));
                    assert!(
                        line["type"] != "log" || !is_ours || line["log_end_offset"].as_i64() >= Some(before),
                        "{line}"
                    );
                }
            }
        });
        let mut rounds = rounds;
        while !dumps.is_finished() {
            produce(&mut client, rounds..rounds + 1);
            rounds += 1;
            acknowledged.store(rounds, Ordering::SeqCst);
        }
        dumps.join().unwrap();
    });
    broker.stop();
}

#[test]
fn what_has_no_place_is_kept_and_the_others_get_theirs() {
    let dir = directory();
    let journal_dir = dir.path().join("journal");
    let (broker, mut client, rounds) = broker_with_journal(dir.path(), &journal_dir, &SMALL);
    produce(&mut client, rounds..rounds + 5);
    let rounds = rounds + 5;
    broker.kill9();
    let checkpoint = dir.path().join(format!("{TOPIC}-7")).join("checkpoint");
    fs::write(&checkpoint, vec![0x5a; fs::metadata(&checkpoint).unwrap().len() as usize]).unwrap();

    let (mut broker, address) = started(dir.path(), &[]);
    let line = broker.wait_for_line("have no place in the logs");
    let kept: Vec<_> = fs::read_dir(&journal_dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let kept: Vec<_> = kept.iter().filter(|path| path.to_string_lossy().ends_with(".kept")).collect();
    assert!(!kept.is_empty() && kept.iter().all(|path| line.contains(path.to_str().unwrap())), "{line}");
    let mut client = Client::connect(address);
    for partition in (0..PARTITIONS).filter(|partition| *partition != 7) {
        assert_eq!(client.fetch_from(TOPIC, partition, rounds).1, rounds, "partition {partition}");
    }
    broker.stop();
    // For people: the records are there.
    let (status, stdout, _) = wal(&["dump"], &journal_dir);
    assert!(status == Some(0) && stdout.contains(" partition=7 "), "{stdout}");
    let (broker, _) = Broker::start(dir.path());
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
    assert!(code == Some(2) && log.contains("cannot be replayed") && log.contains(region.to_str().unwrap()), "{log}");
    bytes[9] ^= 1;
    fs::write(region, &bytes).unwrap();
    let (broker, _) = Broker::start(dir.path());
    broker.stop();
}
