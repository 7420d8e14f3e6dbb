//! `ringlog wal dump|verify` of the real binary on logs that the `wal` crate wrote.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::task::{Context, Waker};

use protocol::record_batch::{BatchHeader, stamp_log_append_time};
use protocol::{LeaderEpoch, Offset, PartitionId, TopicId};
use serde_json::Value;
use wal::file::FlushScope;
use wal::file::sim::SimStorage;
use wal::{Log, LogConfig, LogIdentity, ShardWal, ShardWalConfig};

const BATCHES: usize = 12;
const BATCH_BYTES: usize = 1500;
const RECORDS: i32 = 5;
/// A batch with the frame's header of 48 bytes, up to a multiple of 8.
const FRAME_BYTES: u64 = 1552;
/// Segments begin with a header block.
const FIRST_FRAME: u64 = 4096;
/// Room for three batches in a segment.
const SMALL_SEGMENT_BYTES: u64 = 10_000;

/// A batch of `LogAppendTime`, whose content differs with `number`.
fn batch(number: usize) -> Vec<u8> {
    let mut bytes = vec![number as u8; BATCH_BYTES];
    bytes[..8].fill(0);
    bytes[8..12].copy_from_slice(&(BATCH_BYTES as i32 - 12).to_be_bytes());
    bytes[16] = 2;
    bytes[21..23].fill(0);
    bytes[23..27].copy_from_slice(&(RECORDS - 1).to_be_bytes());
    bytes[27..43].fill(0);
    bytes[43..57].fill(0xff);
    bytes[57..61].copy_from_slice(&RECORDS.to_be_bytes());
    stamp_log_append_time(&mut bytes, 1_700_000_000_000);
    bytes
}

/// Writes a log of [`BATCHES`] batches to `dir`, and closes it in order or not.
fn write_log(dir: &Path, segment_bytes: u64, close: bool) {
    write_log_from(dir, segment_bytes, close, 0);
}

/// As [`write_log`], with a log start offset, below which goes what can.
fn write_log_from(dir: &Path, segment_bytes: u64, close: bool, log_start: i64) {
    let root = Path::new("/data");
    let storage = SimStorage::new(1, FlushScope::File, root);
    let shard = ShardWal::new(storage.clone(), root.to_owned(), ShardWalConfig::default());
    let identity = LogIdentity { topic_id: TopicId(uuid::Uuid::from_u128(1)), partition: PartitionId(0) };
    let config = LogConfig { segment_bytes, ..LogConfig::default() };
    let appends = async {
        let (log, _) = Log::open(&shard, &root.join("t-0"), identity, config, 0).await.expect("the log opens");
        for number in 0..BATCHES {
            let bytes = batch(number);
            let header = BatchHeader::parse(&bytes).expect("a batch");
            log.reserve(bytes.len(), 0).await.expect("there is space");
            log.append(&bytes, &header, LeaderEpoch(2), 0).expect("space was reserved");
            log.wait_ackable(log.log_end_offset()).await.expect("the commit succeeds");
        }
        if log_start > 0 {
            log.advance_log_start(Offset(log_start)).await.expect("it lies within the log");
            log.enforce_retention(0, log.log_end_offset()).await.expect("segments below it go");
        }
        if close {
            log.close().await.expect("the log closes");
        }
        shard.stop();
    };
    let mut work = pin!(async { futures_util::join!(appends, shard.run_commits(), shard.run_background()) });
    // Nothing in it waits for anything outside of it.
    while work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
    fs::create_dir_all(dir).expect("creating the directory");
    for path in storage.files() {
        let content = storage.content(&path).expect("a file that is listed");
        fs::write(dir.join(path.file_name().expect("a name")), content).expect("writing the file");
    }
}

fn segment(dir: &Path, base_offset: u64) -> PathBuf {
    dir.join(format!("{base_offset:020}.log"))
}

/// Spoils one byte.
fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).expect("reading the file");
    bytes[usize::try_from(at).expect("a position in memory")] ^= 4;
    fs::write(path, bytes).expect("writing the file");
}

struct Ended {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn ringlog(args: &[&str], path: &Path) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_ringlog")).arg("wal").args(args).arg(path).output();
    let output = output.expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Ended { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn of_type<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["type"] == kind).collect()
}

#[test]
fn replicas_that_lie_differently_on_disk_dump_the_same_batches() {
    let dir = tempfile::tempdir().unwrap();
    let replicas = [dir.path().join("a"), dir.path().join("b")];
    write_log(&replicas[0], SMALL_SEGMENT_BYTES, true);
    write_log(&replicas[1], 1 << 20, false);
    for args in [&["dump", "--batches"][..], &["dump", "--batches", "--json"]] {
        let [a, b] = replicas.each_ref().map(|path| ringlog(args, path));
        assert_eq!((a.status, a.stderr.as_str()), (Some(0), ""));
        assert_eq!(a.stdout, b.stdout);
        assert_eq!(a.stdout.lines().count(), BATCHES);
    }
    let [a, b] = replicas.each_ref().map(|path| ringlog(&["dump"], path).stdout);
    assert_ne!(a, b);

    let line = ringlog(&["dump", "--batches"], &replicas[0]).stdout.lines().nth(1).map(str::to_owned).unwrap();
    let crc = u32::from_be_bytes(batch(1)[17..21].try_into().unwrap());
    assert_eq!(
        line,
        format!(
            "base_offset=5 last_offset=9 leader_epoch=2 records=5 bytes=1500 crc={crc:#010x} compression=none \
             timestamp_type=LogAppendTime base_timestamp=0 max_timestamp=1700000000000 producer_id=-1 \
             producer_epoch=-1 base_sequence=-1 transactional=false control=false"
        )
    );
}

#[test]
fn replicas_that_keep_more_below_the_log_start_dump_the_same_batches() {
    let dir = tempfile::tempdir().unwrap();
    let replicas = [dir.path().join("a"), dir.path().join("b")];
    // Within the batch from 20 on: the batches before go with their segment, or stay because they share it.
    write_log_from(&replicas[0], SMALL_SEGMENT_BYTES, true, 22);
    write_log_from(&replicas[1], 1 << 20, true, 22);
    let frames = replicas.each_ref().map(|path| ringlog(&["dump"], path).stdout.matches("  frame ").count());
    assert_eq!(frames, [BATCHES - 3, BATCHES]);
    let [a, b] = replicas.each_ref().map(|path| ringlog(&["dump", "--batches"], path).stdout);
    assert_eq!(a, b);
    assert!(a.starts_with("base_offset=20 ") && a.lines().count() == BATCHES - 4, "{a}");
    // A segment by itself is shown as it is.
    let first = ringlog(&["dump", "--batches"], &segment(&replicas[1], 0)).stdout;
    assert_eq!(first.lines().count(), BATCHES);
}

#[test]
fn a_dump_shows_segments_and_frames_with_their_positions() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), SMALL_SEGMENT_BYTES, true);
    let ended = ringlog(&["dump", "--json"], dir.path());
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    let shown = objects(&ended.stdout);
    let segments: Vec<_> = of_type(&shown, "segment").iter().map(|line| line["path"].clone()).collect();
    assert_eq!(segments, [0, 15, 30, 45].map(|base| segment(dir.path(), base).display().to_string()));
    let places: Vec<_> = of_type(&shown, "frame")
        .iter()
        .map(|line| {
            [&line["base_offset"], &line["position"], &line["frame_bytes"]].map(|value| value.as_u64().unwrap())
        })
        .collect();
    let expected: Vec<_> =
        (0..BATCHES as u64).map(|at| [at * 5, FIRST_FRAME + at % 3 * FRAME_BYTES, FRAME_BYTES]).collect();
    assert_eq!(places, expected);
    let [log] = of_type(&shown, "log")[..] else { panic!("{shown:?}") };
    assert_eq!((&log["batches"], &log["log_end_offset"], &log["damaged"]), (&12.into(), &60.into(), &false.into()));

    let text = ringlog(&["dump"], dir.path()).stdout;
    let starting = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((starting("segment "), starting("  frame position="), starting("OK ")), (4, BATCHES, 1), "{text}");

    let one = ringlog(&["dump"], &segment(dir.path(), 15)).stdout;
    assert_eq!(one.lines().filter(|line| line.starts_with("  frame ")).count(), 3, "{one}");
}

#[test]
fn a_data_directory_is_all_its_logs() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["t-0", "t-1"] {
        write_log(&dir.path().join(name), SMALL_SEGMENT_BYTES, true);
    }
    fs::create_dir(dir.path().join("other")).unwrap();
    let batches = ringlog(&["dump", "--batches"], dir.path()).stdout;
    let of_log =
        |name: &str| batches.lines().filter(|line| line.starts_with(&format!("log={name} base_offset="))).count();
    assert_eq!((of_log("t-0"), of_log("t-1"), batches.lines().count()), (BATCHES, BATCHES, 2 * BATCHES));

    flip(&segment(&dir.path().join("t-0"), 0), FIRST_FRAME + 100);
    let ended = ringlog(&["verify"], dir.path());
    assert_eq!(ended.status, Some(1));
    let verdicts: Vec<_> = ended.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(verdicts.len(), 2, "{verdicts:?}");
    assert!(verdicts[0].starts_with("DAMAGED ") && verdicts[1].starts_with("OK "), "{verdicts:?}");
}

#[test]
fn damage_is_reported_with_its_place_and_status_1() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), SMALL_SEGMENT_BYTES, true);
    let good = ringlog(&["verify"], dir.path());
    assert!(good.status == Some(0) && good.stdout.starts_with("OK "), "{}", good.stdout);

    let damaged = segment(dir.path(), 15);
    flip(&damaged, FIRST_FRAME + FRAME_BYTES + 60);
    let ended = ringlog(&["verify", "--json"], dir.path());
    assert_eq!(ended.status, Some(1));
    let shown = objects(&ended.stdout);
    let [finding] = of_type(&shown, "finding")[..] else { panic!("{shown:?}") };
    let place = |key: &str| finding[key].as_u64();
    assert_eq!((place("position"), place("offset")), (Some(FIRST_FRAME + FRAME_BYTES), Some(20)), "{finding}");
    assert_eq!(finding["path"], damaged.display().to_string());
    assert_eq!((&finding["damage"], &finding["expected"]), (&true.into(), &"a frame that begins at offset 20".into()));
    assert!(finding["found"].as_str().is_some_and(|found| found.contains("CRC")), "{finding}");

    let text = ringlog(&["verify"], &damaged);
    let place = format!("{} is damaged at byte {}", damaged.display(), FIRST_FRAME + FRAME_BYTES);
    assert!(text.status == Some(1) && text.stdout.contains(&place), "{}", text.stdout);
    let dump = ringlog(&["dump"], dir.path());
    assert!(dump.status == Some(1) && dump.stdout.contains(&place), "{}", dump.stdout);
    let batches = ringlog(&["dump", "--batches"], dir.path());
    assert!(batches.status == Some(1) && batches.stderr.contains(&place), "{}", batches.stderr);
    assert!(batches.stdout.lines().all(|line| line.starts_with("base_offset=")), "{}", batches.stdout);
}

#[test]
fn what_the_next_start_puts_right_is_noted_and_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), SMALL_SEGMENT_BYTES, false);
    flip(&segment(dir.path(), 45), FIRST_FRAME + 2 * FRAME_BYTES + 3);
    fs::remove_file(dir.path().join(format!("{:020}.index", 15))).unwrap();
    let ended = ringlog(&["verify"], dir.path());
    assert_eq!((ended.status, ended.stdout.lines().count()), (Some(0), 3), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("  note: ").count(), 2, "{}", ended.stdout);
    let shown = objects(&ringlog(&["verify", "--json"], dir.path()).stdout);
    let tail = of_type(&shown, "finding").into_iter().find(|finding| finding["offset"] == 55).expect("the tail");
    assert_eq!((&tail["damage"], &tail["position"]), (&false.into(), &(FIRST_FRAME + 2 * FRAME_BYTES).into()));
}

#[test]
fn a_path_without_a_log_is_status_2_and_not_a_good_log() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"x").unwrap();
    for (path, expected) in [
        (dir.path().to_owned(), "holds no partition's log"),
        (dir.path().join("missing"), "No such file or directory"),
        (file, "is neither a segment"),
    ] {
        for command in ["dump", "verify"] {
            let ended = ringlog(&[command], &path);
            assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(expected), "{}", ended.stderr);
            assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""), "{command} {}", path.display());
        }
    }
}

#[test]
fn a_journal_with_nothing_in_it_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, other) = (dir.path().join("journal"), dir.path().join("other"));
    for dir in [&journal, &other] {
        fs::create_dir(dir).unwrap();
    }
    assert_eq!(ringlog(&["verify"], &journal).status, Some(2), "it is in no data directory");
    // Of a broker that was stopped in order.
    fs::write(dir.path().join("metadata.redb"), b"").unwrap();
    for command in ["verify", "dump"] {
        let ended = ringlog(&[command], &journal);
        assert!(
            ended.stdout.starts_with("OK ") && ended.stdout.contains("journals=0"),
            "{}{}",
            ended.stdout,
            ended.stderr
        );
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{command}");
    }
    let ended = ringlog(&["verify"], &other);
    assert!(ended.status == Some(2) && ended.stderr.contains("give a segment"), "{}", ended.stderr);
    assert!(ringlog(&["verify"], &dir.path().join("nope")).stderr.contains("give a segment"));
}

#[test]
fn files_are_left_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), SMALL_SEGMENT_BYTES, false);
    flip(&segment(dir.path(), 45), FIRST_FRAME + FRAME_BYTES + 3);
    let state = || -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = state();
    for args in [&["dump"][..], &["dump", "--batches"], &["verify"]] {
        ringlog(args, dir.path());
        assert!(state() == before, "{args:?} changed something");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_dump_quietly() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), SMALL_SEGMENT_BYTES, true);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut dump = Command::new(env!("CARGO_BIN_EXE_ringlog"));
    let output = dump.args(["wal", "dump"]).arg(dir.path()).stdout(writer).output().expect("the binary starts");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
