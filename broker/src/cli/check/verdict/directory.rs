//! Whether the file systems of the data directory and of the journal's can keep the broker's promises, and how fast.

use super::{Line, size};
use crate::cli::check::facts::{DirectIo, Directory, DirectoryState, Mount, ToldBy, Volume};
use wal::file::one_flush_covers_device;

/// The write-ahead log aligns everything to this many bytes.
const ALIGN_MAX: u32 = 4096;
/// Below this, a broker would be refusing produces soon.
const FREE_BYTES_MIN: u64 = 1 << 30;
const FREE_FILES_MIN: u64 = 1000;

/// What a directory's lines are called, and the directory itself.
struct Names {
    directory: &'static str,
    file_system: &'static str,
    direct_io: &'static str,
    disk: &'static str,
    flag: &'static str,
    called: &'static str,
}

const DATA: Names = Names {
    directory: "data-dir",
    file_system: "file-system",
    direct_io: "direct-io",
    disk: "disk",
    flag: "--data-dir",
    called: "data directory",
};
const JOURNAL: Names = Names {
    directory: "journal-dir",
    file_system: "journal-file-system",
    direct_io: "journal-direct-io",
    disk: "journal-disk",
    flag: "--journal-dir",
    called: "journal directory",
};

/// The lines about the data directory; the later ones only where it is usable at all.
pub(super) fn judge(directory: &Directory) -> Vec<Line> {
    let (line, volume) = usable(&DATA, directory);
    let Some(volume) = volume else { return vec![line] };
    vec![line, file_system(&DATA, volume), atime(volume), direct_io(&DATA, volume), flush(volume), disk(volume)]
}

/// The lines about the journal directory; where it is on the data directory's file system, all is said.
pub(super) fn judge_journal(journal: &Directory, data: &Directory, journal_bytes: u64) -> Vec<Line> {
    let (line, volume) = usable(&JOURNAL, journal);
    let Some(volume) = volume else { return vec![line] };
    match &data.state {
        DirectoryState::Usable(of_data) if of_data.device == volume.device => {
            let found = format!("{}, on the data directory's file system", line.found);
            vec![Line { found, ..line }]
        }
        _ => {
            let lines = [file_system(&JOURNAL, volume), direct_io(&JOURNAL, volume)];
            [line].into_iter().chain(lines).chain([journal_disk(volume, journal_bytes)]).collect()
        }
    }
}

/// Whether the directory can be used at all; if so, its file system.
fn usable<'a>(names: &Names, directory: &'a Directory) -> (Line, Option<&'a Volume>) {
    let Names { directory: check, flag, .. } = *names;
    let path = directory.path.display();
    let probed = directory.probed.display();
    let volume = match &directory.state {
        DirectoryState::NotADirectory => {
            let found = format!("{path} cannot be made: {probed} is not a directory");
            return (Line::fail(check, found, format!("give another {flag}, or move that file away")), None);
        }
        DirectoryState::NotWritable { error } => {
            let found = format!("no file can be created in {probed}: {error}");
            let advice = format!("make it writable for the broker's user, or give another {flag}");
            return (Line::fail(check, found, advice), None);
        }
        DirectoryState::Unreadable { error } => {
            let found = format!("{probed} cannot be examined: {error}");
            let advice = format!("make it accessible for the broker's user, or give another {flag}");
            return (Line::fail(check, found, advice), None);
        }
        DirectoryState::Usable(volume) => volume,
    };
    let exists =
        directory.path == directory.probed || std::path::absolute(&directory.path).is_ok_and(|p| p == directory.probed);
    let found = if exists { format!("{path}") } else { format!("{path} will be created in {probed}") };
    (Line::ok(check, found), Some(volume))
}

fn fs_type(volume: &Volume) -> &str {
    volume.mount.as_ref().map_or("unknown", |mount| &mount.fs_type)
}

fn file_system(names: &Names, volume: &Volume) -> Line {
    let Names { file_system: check, called, .. } = *names;
    let Some(mount) = &volume.mount else {
        let advice = "ext4 or XFS on a local disk is advised";
        return Line::warn(check, "not in /proc/self/mountinfo, so its type is not known", advice);
    };
    let found = format!("{} on {}", mount.fs_type, mount.source);
    match mount.fs_type.as_str() {
        _ if no_barriers(mount) => Line::fail(
            check,
            format!("{found}, mounted without write barriers"),
            "a synced write may still be lost in a power cut: remount with barriers (`mount -o remount,barrier=1`)",
        ),
        "ext4" | "xfs" => Line::ok(check, found),
        "tmpfs" | "ramfs" => Line::warn(
            check,
            format!("{found}, which is memory"),
            format!("everything is lost when the machine stops: for anything but tests put the {called} on a disk"),
        ),
        "overlay" => Line::warn(
            check,
            format!("{found}, a container's own layer"),
            format!("it is gone with the container: mount a volume and put the {called} there"),
        ),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" | "glusterfs" | "virtiofs" => Line::warn(
            check,
            format!("{found}, a network or shared file system"),
            "syncs are slow there, and only as durable as the server makes them: a local disk with ext4 or XFS is advised",
        ),
        "btrfs" | "zfs" | "bcachefs" => Line::warn(
            check,
            format!("{found}, a copy-on-write file system"),
            "logs written in place fragment there and direct I/O may go through the page cache: ext4 or XFS is advised",
        ),
        _ => Line::warn(check, found, "the broker is not tested on it: ext4 or XFS is advised"),
    }
}

fn no_barriers(mount: &Mount) -> bool {
    mount.options.iter().any(|option| option == "nobarrier" || option == "barrier=0")
}

fn direct_io(names: &Names, volume: &Volume) -> Line {
    let Names { direct_io: check, called, .. } = *names;
    let advice = format!("the log needs O_DIRECT: put the {called} on ext4 or XFS on a local disk");
    match &volume.direct_io {
        DirectIo::Refused { error } => {
            Line::fail(check, format!("{} refuses O_DIRECT: {error}", fs_type(volume)), advice)
        }
        DirectIo::WriteFailed { error } => Line::fail(
            check,
            format!("a file opens with O_DIRECT, but 4096 aligned bytes cannot be written: {error}"),
            advice,
        ),
        DirectIo::Works { memory_align, offset_align, told_by } => {
            let by = match told_by {
                ToldBy::Kernel => "as the kernel says",
                ToldBy::Trial => "by trial",
            };
            let found = format!("works; aligned to {offset_align} bytes in files and {memory_align} in memory, {by}");
            if (*memory_align).max(*offset_align) > ALIGN_MAX {
                return Line::fail(check, found, "the log aligns to 4096 bytes: use a disk with smaller blocks");
            }
            Line::ok(check, found)
        }
    }
}

/// Without either of the two options each read of a segment writes to its inode.
fn atime(volume: &Volume) -> Line {
    let check = "atime";
    let Some(mount) = &volume.mount else { return Line::ok(check, "cannot be told") };
    match mount.mounted.iter().find(|option| matches!(option.as_str(), "noatime" | "relatime")) {
        Some(option) => Line::ok(check, option.clone()),
        None => {
            let advice = "every read of a segment notes its time on disk: mount with noatime (`mount -o remount,noatime`, \
                          and in /etc/fstab)";
            Line::warn(check, "mounted with strictatime", advice)
        }
    }
}

/// By the rule that the write-ahead log goes by.
fn flush(volume: &Volume) -> Line {
    let check = "group-commit";
    let one_flush = volume
        .mount
        .as_ref()
        .is_some_and(|mount| one_flush_covers_device(&mount.fs_type, mount.options.iter().map(String::as_str)));
    if one_flush {
        Line::ok(check, "one flush per commit covers all of a shard's partitions")
    } else {
        Line::warn(
            check,
            "every partition's file is synced on its own",
            "as safe, but slower with many partitions: ext4 (not data=journal) on one block device needs one flush only",
        )
    }
}

/// Space for the journal, on a disk of its own.
fn journal_disk(volume: &Volume, journal_bytes: u64) -> Line {
    let found = format!("{} free of {}", size(volume.free_bytes), size(volume.total_bytes));
    if volume.free_bytes < journal_bytes {
        let found = format!("{found}, and the shards' journals take up to {}", size(journal_bytes));
        let advice = "without space for it there is no journal, and small writes to many partitions are slower: free \
                      space, or lower shard-journal-bytes-max";
        return Line::warn(JOURNAL.disk, found, advice);
    }
    Line::ok(JOURNAL.disk, found)
}

fn disk(volume: &Volume) -> Line {
    let check = DATA.disk;
    let found = format!("{} free of {}", size(volume.free_bytes), size(volume.total_bytes));
    if volume.free_bytes < FREE_BYTES_MIN {
        let advice = "free space or give another --data-dir: without space produces are refused";
        return Line::fail(check, found, advice);
    }
    if volume.total_files > 0 && volume.free_files < FREE_FILES_MIN {
        let found = format!("{found}, but only {} more files can be created", volume.free_files);
        return Line::fail(check, found, "remove files or use a file system with more inodes");
    }
    if volume.free_bytes < volume.total_bytes / 10 {
        return Line::warn(check, found, "less than a tenth is free: lower the topics' retention, or add space");
    }
    Line::ok(check, found)
}
