//! Finds a device in the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use super::facts::Mount;

/// The file system mounted from device `major:minor`. The last line wins, being the mount on top.
pub(super) fn find(mountinfo: &str, major: u32, minor: u32) -> Option<Mount> {
    let device = format!("{major}:{minor}");
    let line = mountinfo.lines().rfind(|line| line.split(' ').nth(2) == Some(device.as_str()))?;
    let (before, after) = line.split_once(" - ")?;
    let mut fields = after.split(' ');
    Some(Mount {
        fs_type: fields.next()?.to_owned(),
        source: unescape(fields.next()?),
        options: options(fields.next()),
        mounted: options(before.split(' ').nth(5)),
    })
}

fn options(field: Option<&str>) -> Vec<String> {
    field.unwrap_or("").split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect()
}

/// Space, tab, newline and backslash are written as `\040` and so on.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
        22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        27 1 259:2 / / rw,relatime shared:1 master:2 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro\n\
        40 27 0:40 / /mnt/a\\040b rw - nfs4 server:/a\\040b rw,vers=4.2\n\
        41 27 0:41 / /x rw - broken";

    #[test]
    fn devices_are_found_by_number() {
        let mount = find(MOUNTINFO, 259, 2).unwrap();
        assert_eq!((mount.fs_type.as_str(), mount.source.as_str()), ("ext4", "/dev/nvme0n1p2"));
        assert_eq!(mount.options, ["rw", "errors=remount-ro"]);
        assert_eq!(mount.mounted, ["rw", "relatime"]);
        assert_eq!(find(MOUNTINFO, 0, 40).unwrap().source, "server:/a b");
        assert_eq!(find(MOUNTINFO, 0, 41), None);
        assert_eq!(find(MOUNTINFO, 0, 2), None);
        assert_eq!(find("", 0, 0), None);
    }
}
