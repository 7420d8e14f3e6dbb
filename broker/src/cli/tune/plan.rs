//! From what was found to what should be otherwise. Pure.
//!
//! Goes by the limits of `ringlog check`: what that has no warning for is left alone.

use crate::cli::check::system::{
    BACKLOG_MIN, BACKLOG_WANTED, SOCKET_BUFFER_BYTES_MIN, SWAPPINESS_MAX, scheduler_is_right,
};
use crate::cli::system::{Interrupt, Pinned, System};

/// A file of the kernel's and what it should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// As people know it: `vm.swappiness`, or the file itself.
    pub(super) name: String,
    /// The file, absolute.
    pub(super) path: String,
    pub(super) current: String,
    pub(super) wanted: String,
    /// Whether the current value will do.
    pub(super) will_do: bool,
    pub(super) why: &'static str,
    pub(super) keeping: Keeping,
}

/// How a value outlives the next boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// A line of sysctl.d(5).
    Sysctl,
    /// A line of tmpfiles.d(5).
    File,
    /// A rule for the disk, by udev(7): it may come later than the boot.
    Disk { name: String, attribute: &'static str },
    /// Not at all.
    Never,
}

/// All that the tool knows how to set on this machine, whether or not it has to be changed.
pub(super) fn plan(system: &System, pinned: Option<&Pinned>) -> Vec<Wish> {
    let mut wishes = disks(system);
    wishes.extend(huge_pages(system));
    wishes.extend(swap(system));
    wishes.extend(numa(system));
    wishes.extend(governors(system));
    wishes.extend(network(system));
    wishes.extend(pinned.into_iter().flat_map(|pinned| interrupts(system, pinned)));
    wishes
}

fn disks(system: &System) -> Vec<Wish> {
    let wish = |disk: &crate::cli::system::Disk| {
        let scheduler = disk.scheduler.as_ref()?;
        let wanted = if disk.rotational { "mq-deadline" } else { "none" };
        let path = format!("/sys/block/{}/queue/scheduler", disk.name);
        scheduler.has(wanted).then(|| Wish {
            name: path.clone(),
            path,
            current: scheduler.current.clone(),
            wanted: wanted.to_owned(),
            will_do: scheduler_is_right(&scheduler.current),
            why: "commits are not to be delayed or reordered for other processes' sake",
            keeping: Keeping::Disk { name: disk.name.clone(), attribute: "queue/scheduler" },
        })
    };
    system.disks.iter().filter_map(wish).collect()
}

fn huge_pages(system: &System) -> Option<Wish> {
    let choice = system.huge_pages.as_ref()?;
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    choice.has("madvise").then(|| Wish {
        name: path.to_owned(),
        path: path.to_owned(),
        current: choice.current.clone(),
        wanted: "madvise".to_owned(),
        will_do: choice.current != "always",
        why: "making huge pages stops threads for milliseconds, and memory grows",
        keeping: Keeping::File,
    })
}

fn swap(system: &System) -> Option<Wish> {
    let swappiness = system.swap.swappiness?;
    (!system.swap.areas.is_empty()).then(|| {
        let why = "a shard that is swapped out stops all its clients";
        sysctl("vm.swappiness", swappiness, SWAPPINESS_MAX, swappiness <= SWAPPINESS_MAX, why)
    })
}

fn numa(system: &System) -> Option<Wish> {
    let mode = system.zone_reclaim_mode?;
    (system.numa_nodes > 1).then(|| {
        let why = "the kernel is not to free memory of the own node while another has some";
        sysctl("vm.zone_reclaim_mode", mode, 0, mode == 0, why)
    })
}

fn governors(system: &System) -> Vec<Wish> {
    let able = system.governors.iter().filter(|governor| governor.available.iter().any(|name| name == "performance"));
    let wish = |governor: &crate::cli::system::Governor| {
        let path = format!("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", governor.cpu);
        Wish {
            name: path.clone(),
            path,
            current: governor.current.clone(),
            wanted: "performance".to_owned(),
            will_do: governor.current == "performance",
            why: "a core that slows down while it waits answers late",
            keeping: Keeping::File,
        }
    };
    able.map(wish).collect()
}

fn network(system: &System) -> Vec<Wish> {
    let network = &system.network;
    let backlog = |name: &str, value: Option<u64>| {
        let why = "clients that all come back at once are not to be turned away";
        value.map(|value| sysctl(name, value, BACKLOG_WANTED, value >= BACKLOG_MIN, why))
    };
    let buffer = |name: &str, value: Option<[u64; 3]>| {
        let [least, first, most] = value?;
        Some(Wish {
            current: format!("{least} {first} {most}"),
            wanted: format!("{least} {first} {SOCKET_BUFFER_BYTES_MIN}"),
            will_do: most >= SOCKET_BUFFER_BYTES_MIN,
            ..sysctl(name, 0, 0, true, "over long links a connection is slow with less")
        })
    };
    let wishes = [
        backlog("net.core.somaxconn", network.somaxconn),
        backlog("net.ipv4.tcp_max_syn_backlog", network.syn_backlog),
        buffer("net.ipv4.tcp_rmem", network.receive_buffer),
        buffer("net.ipv4.tcp_wmem", network.send_buffer),
    ];
    wishes.into_iter().flatten().collect()
}

fn interrupts(system: &System, pinned: &Pinned) -> Vec<Wish> {
    if !pinned.spare_suffice() {
        return Vec::new();
    }
    let wish = |interrupt: &Interrupt| {
        let path = format!("/proc/irq/{}/smp_affinity_list", interrupt.number);
        Wish {
            name: format!("{path} ({})", interrupt.card),
            path,
            current: list(&interrupt.allowed),
            wanted: list(&pinned.spare),
            // Some kernels move an interrupt when it comes the next time.
            will_do: !pinned.disturbed_by(&interrupt.taken_by) || interrupt.allowed == pinned.spare,
            why: "the network is not to interrupt shards at work",
            keeping: Keeping::Never,
        }
    };
    system.interrupts.iter().map(wish).collect()
}

fn sysctl(name: &str, current: u64, wanted: u64, will_do: bool, why: &'static str) -> Wish {
    Wish {
        name: name.to_owned(),
        path: format!("/proc/sys/{}", name.replace('.', "/")),
        current: current.to_string(),
        wanted: wanted.to_string(),
        will_do,
        why,
        keeping: Keeping::Sysctl,
    }
}

/// As the kernel takes it.
fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// What the tool cannot set, and who can.
pub(super) fn hints(system: &System, wishes: &[Wish]) -> Vec<String> {
    let mut hints = Vec::new();
    let runs = |name: &str| system.services.iter().flatten().any(|service| service == name);
    if runs("irqbalance.service") && wishes.iter().any(|wish| wish.path.starts_with("/proc/irq/")) {
        hints.push(
            "irqbalance.service moves interrupts back: `systemctl disable --now irqbalance`, or IRQBALANCE_BANNED_CPULIST \
             in /etc/default/irqbalance with the shards' CPUs"
                .to_owned(),
        );
    }
    if !system.swap.areas.is_empty() {
        let areas = system.swap.areas.join(" ");
        hints.push(format!("without swap nothing can be swapped out: `swapoff {areas}`, and out of /etc/fstab"));
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::system::{Choice, Disk, Governor, Network, Swap};

    fn choice(current: &str, available: &[&str]) -> Choice {
        Choice { current: current.to_owned(), available: available.iter().map(|&name| name.to_owned()).collect() }
    }

    fn disk(name: &str, rotational: bool, scheduler: Choice) -> Disk {
        let scheduler = Some(scheduler);
        Disk { name: name.to_owned(), scheduler, rotational, flushed: None, volatile_cache: None, fua: None }
    }

    /// A machine on which everything is to be changed.
    fn bad() -> System {
        System {
            disks: vec![
                disk("nvme0n1", false, choice("kyber", &["none", "mq-deadline", "kyber"])),
                disk("sda", true, choice("bfq", &["none", "mq-deadline", "bfq"])),
            ],
            huge_pages: Some(choice("always", &["always", "madvise", "never"])),
            swap: Swap { areas: vec!["/dev/sda2".to_owned()], swappiness: Some(60) },
            governors: vec![Governor {
                cpu: 3,
                current: "powersave".to_owned(),
                available: vec!["performance".to_owned(), "powersave".to_owned()],
            }],
            numa_nodes: 2,
            zone_reclaim_mode: Some(1),
            interrupts: vec![Interrupt {
                number: 38,
                card: "eth0".to_owned(),
                allowed: vec![0, 1, 2, 3],
                taken_by: vec![2],
            }],
            network: Network {
                somaxconn: Some(128),
                syn_backlog: Some(512),
                receive_buffer: Some([4096, 131_072, 212_992]),
                send_buffer: Some([4096, 16_384, 4 << 20]),
            },
            services: Some(vec!["irqbalance.service".to_owned()]),
            ..System::default()
        }
    }

    fn pinned() -> Option<Pinned> {
        Pinned::new(&[0, 1, 2, 3], Some(vec![1, 2]))
    }

    fn changes(system: &System, pinned: Option<&Pinned>) -> Vec<(String, String, String)> {
        let wishes = plan(system, pinned).into_iter().filter(|wish| !wish.will_do);
        wishes.map(|wish| (wish.path, wish.current, wish.wanted)).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_changed() {
        let expected = [
            ("/sys/block/nvme0n1/queue/scheduler", "kyber", "none"),
            ("/sys/block/sda/queue/scheduler", "bfq", "mq-deadline"),
            ("/sys/kernel/mm/transparent_hugepage/enabled", "always", "madvise"),
            ("/proc/sys/vm/swappiness", "60", "10"),
            ("/proc/sys/vm/zone_reclaim_mode", "1", "0"),
            ("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave", "performance"),
            ("/proc/sys/net/core/somaxconn", "128", "4096"),
            ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "512", "4096"),
            ("/proc/sys/net/ipv4/tcp_rmem", "4096 131072 212992", "4096 131072 4194304"),
            ("/proc/irq/38/smp_affinity_list", "0,1,2,3", "0,3"),
        ];
        let expected = expected.map(|(path, from, to)| (path.to_owned(), from.to_owned(), to.to_owned()));
        assert_eq!(changes(&bad(), pinned().as_ref()), expected);
        assert_eq!(hints(&bad(), &plan(&bad(), pinned().as_ref())).len(), 2);
    }

    #[test]
    fn what_will_do_is_left_alone() {
        let good = System {
            disks: vec![disk("sda", false, choice("mq-deadline", &["none", "mq-deadline"]))],
            huge_pages: Some(choice("never", &["always", "madvise", "never"])),
            swap: Swap { areas: vec!["/dev/sda2".to_owned()], swappiness: Some(1) },
            governors: Vec::new(),
            zone_reclaim_mode: Some(0),
            // It has been moved, and has not come since.
            interrupts: vec![Interrupt { number: 38, card: "eth0".to_owned(), allowed: vec![0, 3], taken_by: vec![2] }],
            network: Network { somaxconn: Some(65_536), syn_backlog: Some(1024), ..Network::default() },
            services: None,
            ..bad()
        };
        assert_eq!(changes(&good, pinned().as_ref()), []);
        assert_eq!(changes(&System::default(), pinned().as_ref()), []);
    }

    #[test]
    fn what_cannot_be_set_or_does_no_harm_is_not_tried() {
        // Without swap it is all the same when it is used; one node has no other; unpinned shards are on all cores.
        let harmless = System {
            disks: vec![disk("sda", false, choice("bfq", &["bfq"]))],
            huge_pages: None,
            swap: Swap { areas: Vec::new(), swappiness: Some(60) },
            governors: vec![Governor { cpu: 0, current: "userspace".to_owned(), available: Vec::new() }],
            numa_nodes: 1,
            network: Network::default(),
            ..bad()
        };
        assert_eq!(changes(&harmless, None), []);
        let cpus: Vec<usize> = (0..64).collect();
        let many = Pinned::new(&cpus, Some(cpus[1..].to_vec()));
        assert_eq!(changes(&harmless, many.as_ref()), []);
    }
}
