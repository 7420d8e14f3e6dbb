//! What the figures were measured on: the head of every report.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use crate::procfs::parse_kib_field;

/// The machine, as far as it matters to a broker. Unknown details are said to be "unknown".
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_bytes: u64,
    pub kernel: String,
    /// Device, kind, scheduler and cache of the disk under the data.
    pub disk: String,
    /// Kind and mount options of the file system under the data.
    pub file_system: String,
    /// Processes that wanted to run, on average over the minute before (1.0 is one core's worth): what else was going on.
    pub load_average_before: f64,
}

impl Machine {
    /// Describes this machine and the disk that `data_dir` is on.
    #[must_use]
    pub fn describe(data_dir: &Path) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let system = rustix::system::uname();
        let device = fs::metadata(data_dir).map(|metadata| metadata.dev()).unwrap_or(0);
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let mount = parse_mount(&read("/proc/self/mountinfo"), &format!("{major}:{minor}"));
        Machine {
            cpu: parse_cpu_model(&read("/proc/cpuinfo")).unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: parse_kib_field(&read("/proc/meminfo"), "MemTotal").unwrap_or(0) * 1024,
            kernel: format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
            disk: describe_disk(Path::new(&format!("/sys/dev/block/{major}:{minor}")), mount.as_ref()),
            file_system: mount.map_or_else(unknown, |mount| format!("{} ({})", mount.kind, mount.options)),
            load_average_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|s| s.parse().ok())
                .unwrap_or(f64::NAN),
        }
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    kind: String,
    source: String,
    /// Of the mount and of the file system.
    options: String,
}

/// The mount of the device `major:minor` in `/proc/self/mountinfo` (proc_pid_mountinfo(5)): fields up to a lone "-",
/// then kind, source and the file system's options.
fn parse_mount(mountinfo: &str, device: &str) -> Option<Mount> {
    let line = mountinfo.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    let (mount, file_system) = line.split_once(" - ")?;
    let mount_options = mount.split(' ').nth(5)?;
    let mut fields = file_system.split(' ');
    let (kind, source, options) = (fields.next()?, fields.next()?, fields.next()?);
    let mut all: Vec<&str> = mount_options.split(',').collect();
    all.extend(options.split(',').filter(|option| !mount_options.split(',').any(|other| other == *option)));
    Some(Mount { kind: kind.to_owned(), source: source.to_owned(), options: all.join(",") })
}

fn parse_cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Describes a block device by its folder in sysfs; that of a partition lies within that of its disk.
fn describe_disk(device: &Path, mount: Option<&Mount>) -> String {
    let Ok(device) = device.canonicalize() else {
        return mount.map_or_else(unknown, |mount| mount.source.clone());
    };
    let whole = if device.join("partition").exists() { device.parent().unwrap_or(&device) } else { &device };
    let read = |name: &str| fs::read_to_string(whole.join(name)).ok().map(|text| text.trim().to_owned());
    let mut parts = vec![mount.map_or_else(|| whole.display().to_string(), |mount| mount.source.clone())];
    parts.extend(read("device/model"));
    if let Some(sectors) = read("size").and_then(|size| size.parse::<u64>().ok()) {
        parts.push(format!("{:.0} GB", sectors as f64 * 512.0 / 1e9));
    }
    parts.extend(
        read("queue/rotational")
            .map(|text| if text == "0" { "not rotating" } else { "reported as rotating" }.to_owned()),
    );
    parts.extend(read("queue/write_cache").map(|text| format!("{text} cache")));
    parts.extend(read("queue/scheduler").map(|text| format!("scheduler {}", chosen_scheduler(&text))));
    parts.join(", ")
}

/// The one in brackets of `none [mq-deadline]`; a lone name has none.
fn chosen_scheduler(text: &str) -> &str {
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or(text, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard,resuid=65534
28 27 254:1 / /data rw,noatime - xfs /dev/vda1 rw,attr2
";

    #[test]
    fn the_mount_is_found_by_device_behind_optional_fields() {
        let mount = parse_mount(MOUNTINFO, "254:0").unwrap();
        let expected = ("ext4", "/dev/vda", "rw,relatime,discard,resuid=65534");
        assert_eq!((mount.kind.as_str(), mount.source.as_str(), mount.options.as_str()), expected);
        assert_eq!(parse_mount(MOUNTINFO, "254:1").unwrap().kind, "xfs");
        assert_eq!(parse_mount(MOUNTINFO, "8:0"), None);
        assert_eq!(parse_mount("garbage", "254:0"), None);
    }

    #[test]
    fn cpu_and_scheduler() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R): fast\nflags\t: fpu\n";
        assert_eq!(parse_cpu_model(cpuinfo).as_deref(), Some("Intel(R) Xeon(R): fast"));
        assert_eq!(chosen_scheduler("none [mq-deadline] kyber"), "mq-deadline");
        assert_eq!(chosen_scheduler("none"), "none");
    }

    #[test]
    fn this_machine_has_cores_memory_a_kernel_and_a_file_system() {
        let machine = Machine::describe(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(machine.cores >= 1 && machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(machine.kernel.starts_with("Linux "), "{machine:?}");
        assert!(!machine.disk.is_empty() && !machine.file_system.is_empty(), "{machine:?}");
    }
}
