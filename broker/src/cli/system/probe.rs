//! Reads the facts. Files that are not there, or not for us, count as unknown.

use std::path::{Path, PathBuf};

use super::{Choice, Disk, Governor, Network, Swap, System, TimeSync, interrupts, parse};

/// Volumes on volumes on volumes: more than anybody stacks.
const STACKED_MAX: usize = 8;

/// Services that keep the clock right.
const TIME_SERVICES: [&str; 8] = [
    "chrony.service",
    "chronyd.service",
    "ntp.service",
    "ntpd.service",
    "ntpsec.service",
    "openntpd.service",
    "ptp4l.service",
    "phc2sys.service",
];

impl System {
    /// Looks below `root` (`/`, but in tests) for a broker whose directories are on these devices (major, minor).
    pub(in crate::cli) fn look(root: &Path, devices: &[(u32, u32)]) -> System {
        let sysctl = |name: &str| number(&root.join("proc/sys").join(name));
        let services = services(root);
        System {
            disks: disks(root, devices),
            huge_pages: choice(&root.join("sys/kernel/mm/transparent_hugepage/enabled")),
            swap: Swap {
                areas: read(&root.join("proc/swaps")).map(|text| parse::swap_areas(&text)).unwrap_or_default(),
                swappiness: sysctl("vm/swappiness"),
            },
            clock: clock(root),
            governors: governors(root),
            numa_nodes: entries(&root.join("sys/devices/system/node")).iter().filter(|name| is_node(name)).count(),
            zone_reclaim_mode: sysctl("vm/zone_reclaim_mode"),
            interrupts: interrupts::probe(root),
            network: Network {
                somaxconn: sysctl("net/core/somaxconn"),
                syn_backlog: sysctl("net/ipv4/tcp_max_syn_backlog"),
                receive_buffer: read(&root.join("proc/sys/net/ipv4/tcp_rmem")).and_then(|text| parse::three(&text)),
                send_buffer: read(&root.join("proc/sys/net/ipv4/tcp_wmem")).and_then(|text| parse::three(&text)),
            },
            time_sync: time_sync(root, services.as_deref()),
            services,
        }
    }
}

fn disks(root: &Path, devices: &[(u32, u32)]) -> Vec<Disk> {
    let mut disks: Vec<Disk> = Vec::new();
    for (major, minor) in devices {
        let link = root.join("sys/dev/block").join(format!("{major}:{minor}"));
        // Network and stacked file systems are on no block device of their own.
        let Ok(device) = link.canonicalize() else { continue };
        for whole in below(&device, STACKED_MAX) {
            let disk = disk(&whole);
            if !disks.contains(&disk) {
                disks.push(disk);
            }
        }
    }
    disks
}

/// The whole disks that a block device is made of.
fn below(device: &Path, depth: usize) -> Vec<PathBuf> {
    let whole = if device.join("partition").exists() { device.parent().unwrap_or(device) } else { device };
    let slaves = whole.join("slaves");
    let names = entries(&slaves);
    if names.is_empty() || depth == 0 {
        return vec![whole.to_owned()];
    }
    let parts = names.iter().filter_map(|name| slaves.join(name).canonicalize().ok());
    parts.flat_map(|part| below(&part, depth - 1)).collect()
}

fn disk(device: &Path) -> Disk {
    let queue = device.join("queue");
    let flag = |name: &str| number(&queue.join(name)).map(|value| value != 0);
    let cache = |path: PathBuf| read(&path).and_then(|text| parse::is_write_back(&text));
    let scsi = device.join("device/scsi_disk");
    let of_scsi = || entries(&scsi).iter().find_map(|name| cache(scsi.join(name).join("cache_type")));
    Disk {
        name: device.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        scheduler: choice(&queue.join("scheduler")),
        rotational: flag("rotational").unwrap_or(false),
        flushed: cache(queue.join("write_cache")),
        volatile_cache: cache(device.join("cache_type")).or_else(of_scsi),
        fua: flag("fua"),
    }
}

fn clock(root: &Path) -> Option<Choice> {
    let directory = root.join("sys/devices/system/clocksource/clocksource0");
    let available = read(&directory.join("available_clocksource")).unwrap_or_default();
    Some(Choice {
        current: read(&directory.join("current_clocksource"))?.trim().to_owned(),
        available: available.split_whitespace().map(str::to_owned).collect(),
    })
}

fn governors(root: &Path) -> Vec<Governor> {
    let directory = root.join("sys/devices/system/cpu");
    let cpus = entries(&directory).into_iter().filter_map(|name| name.strip_prefix("cpu")?.parse().ok());
    let mut cpus: Vec<usize> = cpus.collect();
    cpus.sort_unstable();
    let governor = |cpu: usize| {
        let directory = directory.join(format!("cpu{cpu}/cpufreq"));
        let available = read(&directory.join("scaling_available_governors")).unwrap_or_default();
        Some(Governor {
            cpu,
            current: read(&directory.join("scaling_governor"))?.trim().to_owned(),
            available: available.split_whitespace().map(str::to_owned).collect(),
        })
    };
    cpus.into_iter().filter_map(governor).collect()
}

fn is_node(name: &str) -> bool {
    name.strip_prefix("node").is_some_and(|number| number.parse::<u32>().is_ok())
}

/// A service that runs has a control group, which everybody can see; other users' processes are often hidden.
fn services(root: &Path) -> Option<Vec<String>> {
    let slice = ["sys/fs/cgroup/system.slice", "sys/fs/cgroup/unified/system.slice"]
        .into_iter()
        .map(|path| root.join(path))
        .find(|path| path.is_dir())?;
    Some(entries(&slice).into_iter().filter(|name| name.ends_with(".service")).collect())
}

fn time_sync(root: &Path, services: Option<&[String]>) -> TimeSync {
    if root.join("run/systemd/timesync/synchronized").exists() {
        return TimeSync::Reached;
    }
    let Some(services) = services else { return TimeSync::Unknown };
    let known = services.iter().find(|service| TIME_SERVICES.contains(&service.as_str()));
    known.map_or(TimeSync::Nothing, |service| TimeSync::Runs(service.clone()))
}

fn choice(path: &Path) -> Option<Choice> {
    parse::choice(&read(path)?)
}

fn number(path: &Path) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

pub(super) fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The names in a directory, in order; none if it cannot be read.
pub(super) fn entries(directory: &Path) -> Vec<String> {
    let Ok(found) = std::fs::read_dir(directory) else { return Vec::new() };
    let names = found.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cli::system::Interrupt;

    /// A machine of files.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(files: &[(&str, &str)], links: &[(&str, &str)]) -> Machine {
            let machine = Machine(tempfile::tempdir().unwrap());
            for (path, text) in files {
                let path = machine.0.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            for (path, target) in links {
                let path = machine.0.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                symlink(machine.0.path().join(target), path).unwrap();
            }
            machine
        }

        fn look(&self, devices: &[(u32, u32)]) -> System {
            System::look(self.0.path(), devices)
        }
    }

    #[test]
    fn disks_are_found_below_partitions_and_volumes() {
        let machine = Machine::new(
            &[
                ("sys/devices/pci/nvme0/nvme0n1/nvme0n1p2/partition", "2\n"),
                ("sys/devices/pci/nvme0/nvme0n1/queue/scheduler", "[none] mq-deadline\n"),
                ("sys/devices/pci/nvme0/nvme0n1/queue/write_cache", "write back\n"),
                ("sys/devices/pci/nvme0/nvme0n1/queue/fua", "1\n"),
                ("sys/devices/pci/sda/queue/scheduler", "none mq-deadline [bfq]\n"),
                ("sys/devices/pci/sda/queue/rotational", "1\n"),
                ("sys/devices/pci/sda/queue/write_cache", "write through\n"),
                ("sys/devices/pci/sda/device/scsi_disk/0:0:0:0/cache_type", "write back\n"),
                ("sys/devices/virtual/dm-0/queue/rotational", "0\n"),
            ],
            &[
                ("sys/dev/block/259:2", "sys/devices/pci/nvme0/nvme0n1/nvme0n1p2"),
                ("sys/dev/block/252:0", "sys/devices/virtual/dm-0"),
                ("sys/devices/virtual/dm-0/slaves/nvme0n1p2", "sys/devices/pci/nvme0/nvme0n1/nvme0n1p2"),
                ("sys/devices/virtual/dm-0/slaves/sda", "sys/devices/pci/sda"),
            ],
        );
        let nvme = Disk {
            name: "nvme0n1".to_owned(),
            scheduler: parse::choice("[none] mq-deadline"),
            rotational: false,
            flushed: Some(true),
            volatile_cache: None,
            fua: Some(true),
        };
        let sda = Disk {
            name: "sda".to_owned(),
            scheduler: parse::choice("none mq-deadline [bfq]"),
            rotational: true,
            flushed: Some(false),
            volatile_cache: Some(true),
            fua: None,
        };
        assert_eq!(machine.look(&[(259, 2)]).disks, std::slice::from_ref(&nvme));
        assert_eq!(machine.look(&[(252, 0), (259, 2)]).disks, [nvme, sda]);
        assert_eq!(machine.look(&[(0, 40)]).disks, []);
    }

    #[test]
    fn interrupts_are_those_of_network_cards() {
        let machine = Machine::new(
            &[
                ("sys/devices/pci/0000:00:03.0/virtio2/net/eth0/address", ""),
                ("sys/devices/pci/0000:00:03.0/msi_irqs/38", "msix\n"),
                ("sys/devices/pci/0000:00:03.0/msi_irqs/39", "msix\n"),
                ("sys/devices/pci/0000:00:03.0/msi_irqs/77", "msix\n"),
                ("proc/irq/38/smp_affinity_list", "0-3\n"),
                ("proc/irq/38/effective_affinity_list", "1\n"),
                ("proc/irq/39/smp_affinity_list", "2\n"),
                ("proc/irq/12/smp_affinity_list", "0-3\n"),
                ("sys/class/net/lo/address", ""),
            ],
            &[
                ("sys/class/net/eth0", "sys/devices/pci/0000:00:03.0/virtio2/net/eth0"),
                ("sys/devices/pci/0000:00:03.0/virtio2/net/eth0/device", "sys/devices/pci/0000:00:03.0/virtio2"),
            ],
        );
        let interrupt = |number, allowed: &[usize], taken_by: &[usize]| Interrupt {
            number,
            card: "eth0".to_owned(),
            allowed: allowed.to_vec(),
            taken_by: taken_by.to_vec(),
        };
        assert_eq!(machine.look(&[]).interrupts, [interrupt(38, &[0, 1, 2, 3], &[1]), interrupt(39, &[2], &[2])]);
    }

    #[test]
    fn settings_are_read_and_what_is_not_there_is_unknown() {
        let machine = Machine::new(
            &[
                ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
                ("proc/swaps", "Filename Type\n/dev/sda2 partition\n"),
                ("proc/sys/vm/swappiness", "60\n"),
                ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
                ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
                ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet \n"),
                ("sys/devices/system/cpu/cpu10/cpufreq/scaling_governor", "powersave\n"),
                ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n"),
                ("sys/devices/system/cpu/cpu2/cpufreq/scaling_available_governors", "performance powersave\n"),
                ("sys/devices/system/cpu/cpufreq/policy0", ""),
                ("sys/devices/system/node/node0/x", ""),
                ("sys/devices/system/node/node1/x", ""),
                ("sys/devices/system/node/online", "0-1\n"),
                ("sys/fs/cgroup/system.slice/chrony.service/cgroup.procs", "1\n"),
                ("sys/fs/cgroup/system.slice/cgroup.procs", ""),
            ],
            &[],
        );
        let found = machine.look(&[]);
        assert_eq!(found.huge_pages.unwrap().current, "always");
        assert_eq!(found.swap, Swap { areas: vec!["/dev/sda2".to_owned()], swappiness: Some(60) });
        assert_eq!(found.network.receive_buffer, Some([4096, 131_072, 6_291_456]));
        assert_eq!(found.network.somaxconn, None);
        assert!(found.clock.unwrap().has("hpet"));
        let governors: Vec<_> = found.governors.iter().map(|governor| (governor.cpu, &*governor.current)).collect();
        assert_eq!(governors, [(2, "performance"), (10, "powersave")]);
        assert_eq!(found.numa_nodes, 2);
        assert_eq!(found.services, Some(vec!["chrony.service".to_owned()]));
        assert_eq!(found.time_sync, TimeSync::Runs("chrony.service".to_owned()));

        let nothing = Machine::new(&[], &[]).look(&[(8, 1)]);
        assert_eq!((nothing.time_sync, nothing.services, nothing.numa_nodes), (TimeSync::Unknown, None, 0));
        assert!(nothing.huge_pages.is_none() && nothing.clock.is_none() && nothing.disks.is_empty());
    }
}
