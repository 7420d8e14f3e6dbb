//! Each finding with its verdict, and that the advice names the cure.

use std::path::PathBuf;

use super::*;
use crate::cli::check::facts::{DirectIo, Directory, DirectoryState, IoUring, Mount, ToldBy, Volume};
use crate::cli::system::System;

const UNLIMITED: Limit = Limit { soft: None, hard: None };

fn limit(hard: u64) -> Limit {
    // The soft limit is of no interest: the broker raises it.
    Limit { soft: Some(1), hard: Some(hard) }
}

fn mount(fs_type: &str, options: &str) -> Mount {
    Mount {
        fs_type: fs_type.to_owned(),
        source: "/dev/vda1".to_owned(),
        options: options.split(',').map(str::to_owned).collect(),
        mounted: vec!["rw".to_owned(), "relatime".to_owned()],
    }
}

fn volume() -> Volume {
    Volume {
        mount: Some(mount("ext4", "rw,relatime")),
        device: (8, 1),
        direct_io: DirectIo::Works { memory_align: 4, offset_align: 512, told_by: ToldBy::Kernel },
        free_bytes: 500 << 30,
        total_bytes: 1000 << 30,
        free_files: 1_000_000,
        total_files: 2_000_000,
    }
}

/// A machine on which there is nothing to complain about.
fn good() -> Facts {
    Facts {
        kernel_release: "6.1.0-13-amd64".to_owned(),
        io_uring: IoUring::Works { missing: Vec::new() },
        disks_hidden: false,
        memlock: UNLIMITED,
        nofile: UNLIMITED,
        nproc: UNLIMITED,
        core: UNLIMITED,
        cores: 4,
        memory_bytes: Some(64 << 30),
        directory: Directory {
            path: PathBuf::from("/data"),
            probed: PathBuf::from("/data"),
            state: DirectoryState::Usable(volume()),
        },
        journal: None,
        system: System::default(),
    }
}

/// A journal directory with its file system.
fn with_journal(volume: Volume) -> Facts {
    let path = PathBuf::from("/journal");
    let state = DirectoryState::Usable(volume);
    Facts { journal: Some(Directory { path: path.clone(), probed: path, state }), ..good() }
}

pub(super) fn wanted() -> Wanted {
    let memory = MemoryLimits {
        connections_max: 10_000,
        connection_requests_max: 128,
        connection_request_bytes_max: 16 << 20,
        shard_request_bytes_max: 256 << 20,
        shard_response_bytes_max: 256 << 20,
        shard_tail_cache_bytes_max: 64 << 20,
        shard_read_ahead_bytes_max: 32 << 20,
        shard_journal_bytes_max: 64 << 20,
    };
    Wanted { shards: 3, memory, memory_bytes_max: 2200 << 20, pinned: None }
}

fn with_volume(change: impl FnOnce(&mut Volume)) -> Facts {
    let mut volume = volume();
    change(&mut volume);
    let directory = Directory { state: DirectoryState::Usable(volume), ..good().directory };
    Facts { directory, ..good() }
}

fn with_state(state: DirectoryState) -> Facts {
    Facts { directory: Directory { state, ..good().directory }, ..good() }
}

/// Lets `facts` be judged: only `check` has something to say, with this verdict, finding and advice (parts of them).
#[track_caller]
fn check(facts: Facts, check: &str, verdict: Verdict, found: &str, advice: &str) {
    let lines = judge(&facts, &wanted());
    let line = lines.iter().find(|line| line.check == check).unwrap_or_else(|| panic!("no {check} in {lines:#?}"));
    assert_eq!(line.verdict, verdict, "{line:#?}");
    assert!(line.found.contains(found) && line.advice.contains(advice), "{found:?} or {advice:?} not in {line:#?}");
    assert_eq!(line.advice.is_empty(), verdict == Verdict::Ok, "{line:#?}");
}

#[test]
fn a_good_machine_is_all_right_in_every_line() {
    let lines = judge(&good(), &wanted());
    assert!(lines.iter().all(|line| line.verdict == Verdict::Ok && line.advice.is_empty()), "{lines:#?}");
    let checks: Vec<_> = lines.iter().map(|line| line.check).collect();
    let expected = [
        "kernel",
        "io_uring",
        "sysfs",
        "memlock",
        "nofile",
        "nproc",
        "core-dumps",
        "cores",
        "memory",
        "data-dir",
        "file-system",
        "atime",
        "direct-io",
        "group-commit",
        "disk",
        "interrupts",
        "huge-pages",
        "swap",
        "governor",
        "clock",
        "numa",
        "backlog",
        "socket-buffers",
        "time-sync",
    ];
    assert_eq!(checks, expected);
}

#[test]
fn kernels() {
    for (release, verdict, advice) in [
        ("6.18.44-fc-v769", Verdict::Ok, ""),
        ("5.15.0", Verdict::Ok, ""),
        ("5.14.99", Verdict::Warn, "5.15 or newer"),
        ("5.8.0", Verdict::Warn, "5.15 or newer"),
        ("5.7.19", Verdict::Fail, "upgrade"),
        ("4.18.0-553.el8", Verdict::Fail, "upgrade"),
        ("plan9", Verdict::Warn, "cannot be told"),
        ("", Verdict::Warn, "cannot be told"),
        ("99999999999.1", Verdict::Warn, "cannot be told"),
    ] {
        check(Facts { kernel_release: release.to_owned(), ..good() }, "kernel", verdict, release, advice);
    }
}

#[test]
fn io_uring_absent_and_forbidden_are_told_apart() {
    for (outcome, release, found, advice) in [
        (IoUring::NotImplemented, "6.1.0", "ENOSYS", "CONFIG_IO_URING"),
        (IoUring::NotImplemented, "4.18.0", "ENOSYS", "too old"),
        (
            IoUring::NotPermitted { disabled: Some(2) },
            "6.6.0",
            "io_uring_disabled=2",
            "sysctl -w kernel.io_uring_disabled=0",
        ),
        (IoUring::NotPermitted { disabled: Some(1) }, "6.6.0", "io_uring_disabled=1", "kernel.io_uring_group"),
        (IoUring::NotPermitted { disabled: Some(0) }, "6.6.0", "EPERM", "seccomp"),
        (IoUring::NotPermitted { disabled: None }, "6.1.0", "EPERM", "seccomp"),
        (IoUring::OutOfMemory, "5.10.0", "ENOMEM", "memlock"),
        (IoUring::Failed { error: "Permission denied".to_owned() }, "6.1.0", "Permission denied", "security module"),
        (IoUring::Works { missing: vec!["OPENAT", "STATX"] }, "5.5.0", "OPENAT, STATX", "upgrade"),
    ] {
        let facts = Facts { io_uring: outcome, kernel_release: release.to_owned(), ..good() };
        check(facts, "io_uring", Verdict::Fail, found, advice);
    }
}

#[test]
fn limits() {
    for (hard, verdict, found) in [
        (64 << 10, Verdict::Fail, "64 KiB"),
        ((512 << 10) - 1, Verdict::Fail, "512.0 KiB"),
        (8 << 20, Verdict::Warn, "90 MiB"),
        (90 << 20, Verdict::Ok, "90 MiB"),
    ] {
        check(
            Facts { memlock: limit(hard), ..good() },
            "memlock",
            verdict,
            found,
            if hard < 90 << 20 { "LimitMEMLOCK" } else { "" },
        );
    }
    for (hard, verdict, advice) in [
        (1023, Verdict::Fail, "LimitNOFILE=26384"),
        (1024, Verdict::Warn, "connections-max"),
        (26_383, Verdict::Warn, "connections-max"),
        (26_384, Verdict::Ok, ""),
    ] {
        check(Facts { nofile: limit(hard), ..good() }, "nofile", verdict, &hard.to_string(), advice);
    }
}

#[test]
fn disks_that_cannot_be_looked_up_prevent_a_start() {
    check(Facts { disks_hidden: true, ..good() }, "sysfs", Verdict::Fail, "EACCES", "unmask=/sys/dev/block");
}

#[test]
fn threads_and_core_dumps() {
    check(Facts { nproc: limit(303), ..good() }, "nproc", Verdict::Warn, "may want 304", "LimitNPROC=304");
    check(Facts { nproc: limit(304), ..good() }, "nproc", Verdict::Ok, "up to 304 threads", "");
    check(Facts { core: limit(0), ..good() }, "core-dumps", Verdict::Ok, "none are written", "");
    check(Facts { core: limit(1 << 20), ..good() }, "core-dumps", Verdict::Ok, "up to 1 MiB", "");
}

#[test]
fn reading_is_not_to_write() {
    let mounted = |options: &[&str]| {
        let mounted = options.iter().map(|&option| option.to_owned()).collect();
        with_volume(|volume| volume.mount = Some(Mount { mounted, ..mount("ext4", "rw") }))
    };
    check(mounted(&["rw", "noatime"]), "atime", Verdict::Ok, "noatime", "");
    check(mounted(&["rw", "nosuid"]), "atime", Verdict::Warn, "strictatime", "remount,noatime");
}

#[test]
fn cores_and_memory() {
    check(Facts { cores: 2, ..good() }, "cores", Verdict::Warn, "3 shards on 2 cores", "--shards 2");
    check(Facts { memory_bytes: Some(2 << 30), ..good() }, "memory", Verdict::Warn, "2.1 GiB of the 2 GiB", "lower");
    check(Facts { memory_bytes: None, ..good() }, "memory", Verdict::Warn, "2.1 GiB", "more than that");
}

#[test]
fn directories_that_cannot_be_used_say_so_and_no_more() {
    let error = "Permission denied".to_owned();
    for (state, advice) in [
        (DirectoryState::NotADirectory, "move that file"),
        (DirectoryState::NotWritable { error: error.clone() }, "writable"),
        (DirectoryState::Unreadable { error }, "accessible"),
    ] {
        let facts = with_state(state);
        let lines = judge(&facts, &wanted());
        let after = lines.iter().skip_while(|line| line.check != "data-dir").nth(1);
        assert_eq!(after.map(|line| line.check), Some("interrupts"));
        check(facts, "data-dir", Verdict::Fail, "/data", advice);
    }
    let mut facts = good();
    facts.directory.path = PathBuf::from("/data/new");
    check(facts, "data-dir", Verdict::Ok, "/data/new will be created in /data", "");
}

#[test]
fn file_systems() {
    for (fs_type, options, verdict, advice) in [
        ("ext4", "rw", Verdict::Ok, ""),
        ("xfs", "rw", Verdict::Ok, ""),
        ("ext4", "rw,nobarrier", Verdict::Fail, "barrier=1"),
        ("ext3", "rw,barrier=0", Verdict::Fail, "barrier=1"),
        ("tmpfs", "rw", Verdict::Warn, "lost"),
        ("overlay", "rw", Verdict::Warn, "volume"),
        ("nfs4", "rw", Verdict::Warn, "server"),
        ("btrfs", "rw", Verdict::Warn, "page cache"),
        ("f2fs", "rw", Verdict::Warn, "not tested"),
    ] {
        check(
            with_volume(|volume| volume.mount = Some(mount(fs_type, options))),
            "file-system",
            verdict,
            fs_type,
            advice,
        );
    }
    check(with_volume(|volume| volume.mount = None), "file-system", Verdict::Warn, "not known", "ext4 or XFS");
}

#[test]
fn direct_io_must_work_with_4096_bytes() {
    let works = |memory_align, offset_align, told_by| DirectIo::Works { memory_align, offset_align, told_by };
    let invalid = "Invalid argument (os error 22)".to_owned();
    for (outcome, verdict, found, advice) in [
        (works(4096, 4096, ToldBy::Trial), Verdict::Ok, "4096 bytes in files and 4096 in memory, by trial", ""),
        (works(4, 512, ToldBy::Kernel), Verdict::Ok, "512 bytes in files and 4 in memory, as the kernel says", ""),
        (works(4, 8192, ToldBy::Kernel), Verdict::Fail, "8192", "smaller blocks"),
        (works(16384, 512, ToldBy::Kernel), Verdict::Fail, "16384", "smaller blocks"),
        (DirectIo::WriteFailed { error: invalid.clone() }, Verdict::Fail, "cannot be written", "ext4 or XFS"),
    ] {
        check(with_volume(|volume| volume.direct_io = outcome), "direct-io", verdict, found, advice);
    }
    let tmpfs = with_volume(|volume| {
        volume.mount = Some(mount("tmpfs", "rw"));
        volume.direct_io = DirectIo::Refused { error: invalid };
    });
    check(tmpfs, "direct-io", Verdict::Fail, "tmpfs refuses O_DIRECT: Invalid argument", "ext4 or XFS");
}

#[test]
fn one_flush_is_for_ext4_in_place_only() {
    for (found, verdict) in [
        (Some(mount("ext4", "rw")), Verdict::Ok),
        (Some(mount("ext4", "rw,data=ordered")), Verdict::Ok),
        (Some(mount("ext4", "rw,data=journal")), Verdict::Warn),
        (Some(mount("xfs", "rw")), Verdict::Warn),
        (None, Verdict::Warn),
    ] {
        let advice = if verdict == Verdict::Ok { "" } else { "ext4" };
        check(with_volume(|volume| volume.mount = found), "group-commit", verdict, "", advice);
    }
}

#[test]
fn disks() {
    let gib = 1 << 30;
    for (free, verdict, advice) in [
        (100 * gib, Verdict::Ok, ""),
        (99 * gib, Verdict::Warn, "retention"),
        (gib - 1, Verdict::Fail, "--data-dir"),
        (0, Verdict::Fail, "--data-dir"),
    ] {
        check(with_volume(|volume| volume.free_bytes = free), "disk", verdict, "free of 1000 GiB", advice);
    }
    check(with_volume(|volume| volume.free_files = 999), "disk", Verdict::Fail, "999 more files", "inodes");
    // btrfs and others have no fixed number of files and say 0 to both.
    let unbounded = with_volume(|volume| (volume.free_files, volume.total_files) = (0, 0));
    check(unbounded, "disk", Verdict::Ok, "free", "");
}

#[test]
fn a_journal_is_judged_by_itself_where_it_is_on_another_file_system() {
    let checks = |facts: &Facts| -> Vec<&str> {
        let lines = judge(facts, &wanted());
        lines.iter().map(|line| line.check).filter(|check| check.starts_with("journal")).collect()
    };
    assert_eq!(checks(&good()), [""; 0]);
    let same = with_journal(volume());
    assert_eq!(checks(&same), ["journal-dir"]);
    check(same, "journal-dir", Verdict::Ok, "on the data directory's file system", "");
    let elsewhere = || Volume { device: (8, 2), ..volume() };
    assert_eq!(
        checks(&with_journal(elsewhere())),
        ["journal-dir", "journal-file-system", "journal-direct-io", "journal-disk"]
    );
    let tmpfs = with_journal(Volume { mount: Some(mount("tmpfs", "rw")), ..elsewhere() });
    check(tmpfs, "journal-file-system", Verdict::Warn, "memory", "put the journal directory on a disk");
    let refused = DirectIo::Refused { error: "Invalid argument".to_owned() };
    let refused = with_journal(Volume { direct_io: refused, ..elsewhere() });
    check(refused, "journal-direct-io", Verdict::Fail, "refuses", "put the journal directory on ext4");
    let full = with_journal(Volume { free_bytes: (192 << 20) - 1, ..elsewhere() });
    check(full, "journal-disk", Verdict::Warn, "up to 192 MiB", "shard-journal-bytes-max");
    let mut missing = with_journal(elsewhere());
    missing.journal.as_mut().unwrap().state = DirectoryState::NotADirectory;
    assert_eq!(checks(&missing), ["journal-dir"]);
    check(missing, "journal-dir", Verdict::Fail, "/journal", "--journal-dir");
}

#[test]
fn before_a_start_only_what_prevents_it_counts() {
    let lines = judge_start(&IoUring::Works { missing: Vec::new() }, false, limit(512 << 10), "6.1.0");
    assert!(lines.iter().all(|line| line.verdict == Verdict::Ok), "{lines:#?}");
    let lines = judge_start(&IoUring::NotPermitted { disabled: None }, true, limit(64 << 10), "6.1.0");
    assert!(lines.iter().all(|line| line.verdict == Verdict::Fail), "{lines:#?}");
}

#[test]
fn sizes_are_shown_in_binary_units() {
    for (bytes, shown) in [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1 << 10, "1 KiB"),
        (1536, "1.5 KiB"),
        (90 << 20, "90 MiB"),
        (3 << 40, "3 TiB"),
    ] {
        assert_eq!(size(bytes), shown);
    }
}
