//! What the probes found, before anybody judges it.

use std::path::PathBuf;

use crate::cli::system::System;

/// Everything that `ringlog check` looks at.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// As uname(2) has it: `6.1.0-13-amd64`.
    pub(crate) kernel_release: String,
    pub(crate) io_uring: IoUring,
    /// Whether `/sys/dev/block` is kept from this process; that it is not there at all is no harm.
    pub(crate) disks_hidden: bool,
    /// Bytes.
    pub(crate) memlock: Limit,
    /// File descriptors.
    pub(crate) nofile: Limit,
    /// Processes and threads of the user.
    pub(crate) nproc: Limit,
    /// Bytes of a core dump.
    pub(crate) core: Limit,
    pub(crate) cores: usize,
    /// The machine's memory or the control group's limit, whichever is less, in bytes; `None` if unknown.
    pub(crate) memory_bytes: Option<u64>,
    /// For the data.
    pub(crate) directory: Directory,
    /// For the shards' journals; `None` if there are to be none.
    pub(crate) journal: Option<Directory>,
    pub(crate) system: System,
}

/// Outcome of setting up a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IoUring {
    /// A ring was set up; these operations that the broker needs are missing.
    Works { missing: Vec<&'static str> },
    /// `ENOSYS`: there is no such system call.
    NotImplemented,
    /// `EPERM`: there is one, and this process may not use it. With the value of `kernel.io_uring_disabled` where the
    /// kernel has that (Linux 6.6).
    NotPermitted { disabled: Option<u8> },
    /// `ENOMEM`: before Linux 5.12 rings count as locked memory.
    OutOfMemory,
    /// Anything else.
    Failed { error: String },
}

/// A resource limit; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) soft: Option<u64>,
    /// What the broker raises the soft limit to when it starts.
    pub(crate) hard: Option<u64>,
}

impl Limit {
    /// Whether at least `wanted` can be had.
    pub(crate) fn allows(self, wanted: u64) -> bool {
        self.hard.is_none_or(|hard| hard >= wanted)
    }
}

/// The data or journal directory, or what there is of it.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// What was really looked at: the directory, or its nearest ancestor that exists.
    pub(crate) probed: PathBuf,
    pub(crate) state: DirectoryState,
}

#[derive(Clone, Debug)]
pub(crate) enum DirectoryState {
    /// Something that is no directory is in the way.
    NotADirectory,
    /// No file can be created in it.
    NotWritable {
        error: String,
    },
    /// It cannot be looked at.
    Unreadable {
        error: String,
    },
    Usable(Volume),
}

impl Directory {
    /// The major and minor number of what it is on, if it can be used.
    pub(crate) fn device(&self) -> Option<(u32, u32)> {
        match &self.state {
            DirectoryState::Usable(volume) => Some(volume.device),
            _ => None,
        }
    }
}

/// The file system that a directory is on.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    /// `None` if the mount table does not have it.
    pub(crate) mount: Option<Mount>,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) direct_io: DirectIo,
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) free_files: u64,
    /// 0 where the file system has no fixed number of files.
    pub(crate) total_files: u64,
}

/// A line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// `ext4`, `xfs`, `overlay`, …
    pub(crate) fs_type: String,
    /// `/dev/vda1`, `tmpfs`, `server:/export`, …
    pub(crate) source: String,
    /// Of the file system as a whole.
    pub(crate) options: Vec<String>,
    /// Of this mount: `noatime` and the like.
    pub(crate) mounted: Vec<String>,
}

/// Outcome of writing past the page cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DirectIo {
    /// A block was written and synced. Alignments in bytes.
    Works { memory_align: u32, offset_align: u32, told_by: ToldBy },
    /// `O_DIRECT` is refused when a file is opened.
    Refused { error: String },
    /// Opened, but no write of up to 4096 aligned bytes went through.
    WriteFailed { error: String },
}

/// How the alignments are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToldBy {
    /// statx(2), `STATX_DIOALIGN`, Linux 6.1.
    Kernel,
    /// Trying ever larger writes.
    Trial,
}
