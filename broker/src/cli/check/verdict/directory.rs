//! Whether the data directory's file system can keep the broker's promises, and how fast.

use super::{Line, size};
use crate::cli::check::facts::{DirectIo, Directory, DirectoryState, Mount, ToldBy, Volume};
use wal::file::one_flush_covers_device;

/// The write-ahead log aligns everything to this many bytes.
const ALIGN_MAX: u32 = 4096;
/// Below this, a broker would be refusing produces soon.
const FREE_BYTES_MIN: u64 = 1 << 30;
const FREE_FILES_MIN: u64 = 1000;

/// The lines about the data directory; the later ones only where it is usable at all.
pub(super) fn judge(directory: &Directory) -> Vec<Line> {
    let path = directory.path.display();
    let probed = directory.probed.display();
    let volume = match &directory.state {
        DirectoryState::NotADirectory => {
            let found = format!("{path} cannot be made: {probed} is not a directory");
            return vec![Line::fail("data-dir", found, "give another --data-dir, or move that file away")];
        }
        DirectoryState::NotWritable { error } => {
            let found = format!("no file can be created in {probed}: {error}");
            return vec![Line::fail(
                "data-dir",
                found,
                "make it writable for the broker's user, or give another --data-dir",
            )];
        }
        DirectoryState::Unreadable { error } => {
            let found = format!("{probed} cannot be examined: {error}");
            return vec![Line::fail(
                "data-dir",
                found,
                "make it accessible for the broker's user, or give another --data-dir",
            )];
        }
        DirectoryState::Usable(volume) => volume,
    };
    let exists =
        directory.path == directory.probed || std::path::absolute(&directory.path).is_ok_and(|p| p == directory.probed);
    let found = if exists { format!("{path}") } else { format!("{path} will be created in {probed}") };
    vec![Line::ok("data-dir", found), file_system(volume), direct_io(volume), flush(volume), disk(volume)]
}

fn fs_type(volume: &Volume) -> &str {
    volume.mount.as_ref().map_or("unknown", |mount| &mount.fs_type)
}

fn file_system(volume: &Volume) -> Line {
    let check = "file-system";
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
            "everything is lost when the machine stops: for anything but tests put the data directory on a disk",
        ),
        "overlay" => Line::warn(
            check,
            format!("{found}, a container's own layer"),
            "it is gone with the container: mount a volume and put the data directory there",
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

fn direct_io(volume: &Volume) -> Line {
    let check = "direct-io";
    let advice = "the log needs O_DIRECT: put the data directory on ext4 or XFS on a local disk";
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

fn disk(volume: &Volume) -> Line {
    let found = format!("{} free of {}", size(volume.free_bytes), size(volume.total_bytes));
    if volume.free_bytes < FREE_BYTES_MIN {
        let advice = "free space or give another --data-dir: without space produces are refused";
        return Line::fail("disk", found, advice);
    }
    if volume.total_files > 0 && volume.free_files < FREE_FILES_MIN {
        let found = format!("{found}, but only {} more files can be created", volume.free_files);
        return Line::fail("disk", found, "remove files or use a file system with more inodes");
    }
    if volume.free_bytes < volume.total_bytes / 10 {
        return Line::warn("disk", found, "less than a tenth is free: lower the topics' retention, or add space");
    }
    Line::ok("disk", found)
}
