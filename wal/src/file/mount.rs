//! Which file system a device carries, from `/proc/self/mountinfo`.
//!
//! Only to decide whether one flush covers all files of a device; see [`FlushScope`]. Pure: the text is passed in.

use super::FlushScope;

/// Splits a `st_dev` into major and minor number, as glibc's `gnu_dev_major` and `gnu_dev_minor` do.
fn device_numbers(st_dev: u64) -> (u64, u64) {
    let major = ((st_dev >> 8) & 0xfff) | ((st_dev >> 32) & 0xffff_f000);
    let minor = (st_dev & 0xff) | ((st_dev >> 12) & 0xffff_ff00);
    (major, minor)
}

/// Whether a sync of one file flushes the whole device: ext4 that writes data in place. `data=journal` sends data through
/// the journal and ignores O_DIRECT; any other or unknown file system gets a sync per file.
pub fn one_flush_covers_device<'a>(fs_type: &str, mut options: impl Iterator<Item = &'a str>) -> bool {
    fs_type == "ext4" && !options.any(|option| option == "data=journal")
}

/// [`FlushScope::Device`] where the device is mounted as ext4 that writes data in place: there fdatasync of a file
/// without pending metadata is a flush of the whole block device.
///
/// `mountinfo` has the format of proc_pid_mountinfo(5): `36 35 98:0 /mnt1 /mnt2 rw,noatime - ext4 /dev/root rw,data=…`.
pub(super) fn flush_scope(mountinfo: &str, st_dev: u64) -> FlushScope {
    let (major, minor) = device_numbers(st_dev);
    let device = format!("{major}:{minor}");
    let mut found = false;
    for line in mountinfo.lines() {
        if line.split(' ').nth(2) != Some(device.as_str()) {
            continue;
        }
        let Some((_, behind)) = line.split_once(" - ") else { return FlushScope::File };
        let mut fields = behind.split(' ');
        let (fs_type, _source, options) = (fields.next(), fields.next(), fields.next().unwrap_or(""));
        if !one_flush_covers_device(fs_type.unwrap_or(""), options.split(',')) {
            return FlushScope::File;
        }
        found = true;
    }
    if found { FlushScope::Device } else { FlushScope::File }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 259:3 / / rw,relatime shared:1 - ext4 /dev/root rw,discard
31 27 8:1 / /a rw - ext4 /dev/sda1 rw,data=journal
32 27 8:17 / /b rw - xfs /dev/sdb1 rw";

    fn st_dev(major: u64, minor: u64) -> u64 {
        ((major & 0xfff) << 8) | ((major & !0xfff) << 32) | (minor & 0xff) | ((minor & !0xff) << 12)
    }

    #[test]
    fn device_numbers_survive_the_split() {
        for (major, minor) in [(259, 3), (8, 300), (5000, 70_000)] {
            assert_eq!(device_numbers(st_dev(major, minor)), (major, minor));
        }
    }

    #[test]
    fn only_ext4_in_place_shares_a_flush() {
        for (major, minor, expected) in [
            (259, 3, FlushScope::Device),
            (8, 1, FlushScope::File),
            (8, 17, FlushScope::File),
            (0, 21, FlushScope::File),
            (1, 1, FlushScope::File),
        ] {
            assert_eq!(flush_scope(MOUNTS, st_dev(major, minor)), expected, "{major}:{minor}");
        }
    }
}
