//! Starting, stopping, refusing what must be refused, and what the broker says of a damaged log.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::harness::{Broker, Client, directory};

const KAFKA_STORAGE_ERROR: i16 = 56;

fn segment_of(data_dir: &Path, topic: &str) -> PathBuf {
    data_dir.join(format!("{topic}-0")).join("00000000000000000000.log")
}

#[test]
fn a_stop_is_orderly_and_a_kill_loses_nothing_acknowledged() {
    let dir = directory();
    let (broker, address) = Broker::start(dir.path());
    let mut client = Client::connect(address);
    client.create_topic("t");
    assert_eq!(client.produce("t", b"one"), (0, 0));
    let log = broker.stop();
    assert!(log.contains("stopped"), "{log}");

    let (broker, address) = Broker::start(dir.path());
    let mut client = Client::connect(address);
    assert_eq!(client.produce("t", b"two"), (0, 1));
    broker.kill9();

    let (broker, address) = Broker::start(dir.path());
    let mut client = Client::connect(address);
    let (error, high_watermark, bytes) = client.fetch("t");
    assert_eq!((error, high_watermark), (0, 2));
    assert!(bytes > 2 * 61, "{bytes}");
    broker.stop();
}

#[test]
fn interrupt_stops_it_too_and_open_connections_do_not_keep_it() {
    let dir = directory();
    let (broker, address) = Broker::start(dir.path());
    let idle = Client::connect(address);
    broker.signal("INT");
    let (code, log) = broker.wait();
    assert_eq!(code, Some(0), "{log}");
    drop(idle);
}

#[test]
fn a_data_directory_and_a_port_have_one_broker() {
    let dir = directory();
    let (broker, address) = Broker::start(dir.path());

    let (code, log) = Broker::spawn(dir.path(), "127.0.0.1:0", &[]).wait();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("is in use by process"), "{log}");

    let other = directory();
    let (code, log) = Broker::spawn(other.path(), &address.to_string(), &[]).wait();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("kafka-addr") && log.contains(&address.to_string()), "{log}");

    broker.stop();
    let (code, log) = Broker::spawn(dir.path(), "127.0.0.1:0", &["--node-id", "2"]).wait();
    assert_eq!(code, Some(2), "another node's directory was taken: {log}");
}

#[test]
fn damage_in_the_middle_takes_one_partition_offline_and_says_where() {
    let dir = directory();
    let (broker, address) = Broker::start(dir.path());
    let mut client = Client::connect(address);
    client.create_topic("damaged");
    client.create_topic("whole");
    for n in 0..20 {
        assert_eq!(client.produce("damaged", &[b'x'; 2000]), (0, n));
        assert_eq!(client.produce("whole", b"fine"), (0, n));
    }
    broker.kill9();

    // One bit of a record in the middle: acknowledged, synced, and not the last.
    let path = segment_of(dir.path(), "damaged");
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let content = fs::read(&path).unwrap();
    let middle = content.windows(2000).position(|w| w == [b'x'; 2000]).unwrap() + 1000;
    file.write_all_at(&[content[middle] ^ 1], middle as u64).unwrap();
    file.sync_all().unwrap();

    let (mut broker, address) = Broker::start(dir.path());
    let line = broker.wait_for_line("its log cannot be opened");
    assert!(line.contains(path.to_str().unwrap()), "the place is not named: {line}");
    let mut client = Client::connect(address);
    assert_eq!(client.produce("damaged", b"more").0, KAFKA_STORAGE_ERROR);
    assert_eq!(client.fetch("damaged").0, KAFKA_STORAGE_ERROR);
    assert_eq!(client.fetch("whole").1, 20);
    assert_eq!(client.produce("whole", b"more"), (0, 20));
    broker.stop();
}

#[test]
fn a_damaged_partition_goes_with_its_topic() {
    let dir = directory();
    let (broker, address) = Broker::start(dir.path());
    let mut client = Client::connect(address);
    client.create_topic("damaged");
    for n in 0..3 {
        assert_eq!(client.produce("damaged", b"record"), (0, n));
    }
    broker.kill9();
    let checkpoint = dir.path().join("damaged-0").join("checkpoint");
    fs::write(&checkpoint, vec![0x5a; fs::metadata(&checkpoint).unwrap().len() as usize]).unwrap();

    let (mut broker, address) = Broker::start(dir.path());
    broker.wait_for_line("its log cannot be opened");
    let mut client = Client::connect(address);
    assert_eq!(client.produce("damaged", b"more").0, KAFKA_STORAGE_ERROR);
    client.delete_topic("damaged");
    client.create_topic("damaged");
    assert_eq!(client.produce("damaged", b"anew"), (0, 0));
    broker.stop();
}

#[test]
fn min_insync_replicas_above_the_number_of_replicas_asks_for_all_of_them() {
    let dir = directory();
    let (broker, address) = Broker::start(dir.path());
    let mut client = Client::connect(address);
    client.create_topic("t");
    assert_eq!(client.produce("t", b"one"), (0, 0));
    assert_eq!(client.commit_offset("t", 1), 0);
    client.set_broker_default("min.insync.replicas", "2");
    assert_eq!(client.produce("t", b"two"), (0, 1), "as in Kafka");
    assert_eq!(client.commit_offset("t", 2), 0);
    assert_eq!(client.fetch("t").1, 2);
    broker.stop();

    let (broker, address) = Broker::start(dir.path());
    let mut client = Client::connect(address);
    assert_eq!((client.fetch("t").1, client.committed_offset("t")), (2, 2));
    broker.stop();
}

#[test]
fn no_limit_on_idle_connections_is_a_limit_too() {
    let dir = directory();
    let (broker, address) = Broker::start_with(dir.path(), &["--set", "connections.max.idle.ms=-1"]);
    let mut client = Client::connect(address);
    client.create_topic("t");
    assert_eq!(client.produce("t", b"one"), (0, 0));
    broker.stop();
}

#[test]
fn deletions_that_were_interrupted_are_finished_at_the_next_start() {
    let dir = directory();
    let begun = dir.path().join("t-0.0123456789abcdef0123456789abcdef.deleted");
    let unclaimed = dir.path().join("gone-0");
    for path in [&begun, &unclaimed] {
        fs::create_dir(path).unwrap();
        fs::write(path.join("checkpoint"), b"x").unwrap();
    }
    let (broker, _) = Broker::start(dir.path());
    assert!(!begun.exists() && !unclaimed.exists());
    broker.stop();
}
