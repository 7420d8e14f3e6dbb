//! How much room a change of metadata needs, so that a disk that is full can be made room on.
//!
//! The database cannot go on after a write failed for want of space. So what makes metadata grow is refused long before that,
//! and what frees space much later; registrations, heartbeats, votes and changes of who is in sync are never refused.

use std::path::PathBuf;

/// Free space below which metadata grows no more, in bytes: far above what a change takes, whatever else writes meanwhile.
pub const FREE_BYTES_MIN: u64 = 64 << 20;
/// The same for changes that free space; what the database has reserved for itself counts. The largest such change, with the
/// snapshot that follows it, takes less.
pub const FREEING_BYTES_MIN: u64 = 4 << 20;

/// What a change does to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Grows,
    /// As [`crate::controller::frees_space`] has it.
    Frees,
}

/// What the disk has left for metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Of the file system, for whoever comes first.
    pub free_bytes: u64,
    /// Of the database's file, which nobody else can take.
    pub reserved_bytes: u64,
}

impl Room {
    /// Whether a change may be begun.
    #[must_use]
    pub fn suffices_for(self, effect: Effect) -> bool {
        match effect {
            Effect::Grows => self.free_bytes >= FREE_BYTES_MIN,
            Effect::Frees => self.free_bytes.saturating_add(self.reserved_bytes) >= FREEING_BYTES_MIN,
        }
    }
}

/// The disk is too full for a change of metadata.
#[derive(Debug, thiserror::Error)]
pub enum NoRoom {
    #[error(
        "{} has {free_bytes} bytes free, and below {FREE_BYTES_MIN} metadata changes only in ways that free space: delete \
         records or topics, lower retention, or make room beside them", path.display()
    )]
    ToGrow { path: PathBuf, free_bytes: u64 },
    #[error(
        "{} has {free_bytes} bytes free and {reserved_bytes} reserved, and even what frees space needs {FREEING_BYTES_MIN}: \
         make room beside the broker's files", path.display()
    )]
    AtAll { path: PathBuf, free_bytes: u64, reserved_bytes: u64 },
}

impl NoRoom {
    pub(super) fn new(path: PathBuf, room: Room, effect: Effect) -> NoRoom {
        let Room { free_bytes, reserved_bytes } = room;
        match effect {
            Effect::Grows => NoRoom::ToGrow { path, free_bytes },
            Effect::Frees => NoRoom::AtAll { path, free_bytes, reserved_bytes },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frees_space_may_take_the_last_of_it() {
        for (free_bytes, reserved_bytes, grows, frees) in [
            (u64::MAX, 1, true, true),
            (FREE_BYTES_MIN, 0, true, true),
            (FREE_BYTES_MIN - 1, 8 << 20, false, true),
            (0, FREEING_BYTES_MIN, false, true),
            (FREEING_BYTES_MIN - 1, 1, false, true),
            (FREEING_BYTES_MIN - 1, 0, false, false),
            (0, 0, false, false),
        ] {
            let room = Room { free_bytes, reserved_bytes };
            assert_eq!(room.suffices_for(Effect::Grows), grows, "{room:?}");
            assert_eq!(room.suffices_for(Effect::Frees), frees, "{room:?}");
        }
    }
}
