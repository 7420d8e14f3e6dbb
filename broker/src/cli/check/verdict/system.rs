//! Settings of the machine that cost speed, memory or, once, what was acknowledged. Most can be put right by
//! `ringlog tune`, which goes by the same rules: what is a warning here is a change there.

use super::{Line, Wanted};
use crate::cli::size::size;
use crate::cli::system::{Disk, System, TimeSync};

pub(crate) const SWAPPINESS_MAX: u64 = 10;
/// As many connections as the broker lets wait to be accepted.
pub(crate) const BACKLOG_WANTED: u64 = 4096;
/// A backlog below this turns away clients that all come back at once.
pub(crate) const BACKLOG_MIN: u64 = 1024;
/// What one connection has under way at 1 Gbit/s and a round trip of 30 ms.
pub(crate) const SOCKET_BUFFER_BYTES_MIN: u64 = 4 << 20;
/// Reading these takes no system call, or next to nothing.
const CLOCKS: [&str; 5] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "stp"];
const TUNE: &str = "`ringlog tune` shows how to change it and does so with --apply";

/// All lines, in the order they are shown.
pub(super) fn judge(system: &System, wanted: &Wanted) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for disk in &system.disks {
        lines.extend([scheduler(disk), write_cache(disk)]);
    }
    lines.extend([
        interrupts(system, wanted),
        huge_pages(system),
        swap(system),
        governor(system),
        clock(system),
        numa(system),
        backlog(system),
        socket_buffers(system),
        time_sync(system),
    ]);
    lines
}

fn scheduler(disk: &Disk) -> Line {
    let check = "io-scheduler";
    let name = &disk.name;
    let Some(scheduler) = &disk.scheduler else {
        return Line::ok(check, format!("{name} has none to choose"));
    };
    let found = format!("{} on {name}", scheduler.current);
    if scheduler_is_right(&scheduler.current) {
        return Line::ok(check, found);
    }
    Line::warn(check, found, format!("it delays and reorders commits for others' sake: none or mq-deadline; {TUNE}"))
}

/// `none` hands requests on, and `mq-deadline` lets none starve; the others share a disk out between processes.
pub(crate) fn scheduler_is_right(name: &str) -> bool {
    matches!(name, "none" | "mq-deadline")
}

fn write_cache(disk: &Disk) -> Line {
    let check = "write-cache";
    let name = &disk.name;
    match (disk.flushed, disk.volatile_cache) {
        (Some(false), Some(true)) => Line::fail(
            check,
            format!("{name} says that it has a volatile cache, and the kernel does not flush it"),
            format!(
                "a power cut takes what was acknowledged: `echo 'write back' > /sys/block/{name}/queue/write_cache`, \
                 and find out what set it"
            ),
        ),
        (Some(true), _) => {
            let fua = if disk.fua == Some(true) { "; single writes can bypass it" } else { "" };
            Line::ok(check, format!("{name} has a volatile cache, and each commit flushes it{fua}"))
        }
        (Some(false), _) => Line::ok(check, format!("{name} has no volatile cache, so commits need no flush")),
        (None, _) => Line::ok(check, format!("{name} does not tell; commits flush")),
    }
}

fn interrupts(system: &System, wanted: &Wanted) -> Line {
    let check = "interrupts";
    let Some(pinned) = &wanted.pinned else {
        return Line::ok(check, "shards are not pinned to cores, so none is to be kept free");
    };
    if system.interrupts.is_empty() {
        return Line::ok(check, "no network card's are to be seen");
    }
    let total = system.interrupts.len();
    let disturbing = system.interrupts.iter().filter(|interrupt| pinned.disturbed_by(&interrupt.taken_by)).count();
    if disturbing == 0 {
        return Line::ok(check, format!("all {total} of network cards are taken by cores without a shard"));
    }
    let found = format!("{disturbing} of {total} of network cards are taken by cores with a shard");
    if !pinned.spare_suffice() {
        return Line::ok(check, format!("{found}, and there are too few others to take them"));
    }
    Line::warn(check, found, format!("they interrupt shards at work; {TUNE}"))
}

fn huge_pages(system: &System) -> Line {
    let check = "huge-pages";
    match &system.huge_pages {
        None => Line::ok(check, "this kernel has no transparent huge pages"),
        Some(choice) if choice.current == "always" => {
            let advice =
                format!("making them stops threads for milliseconds, and memory grows: madvise or never; {TUNE}");
            Line::warn(check, "transparent huge pages for everything", advice)
        }
        Some(choice) => Line::ok(check, format!("transparent huge pages: {}", choice.current)),
    }
}

fn swap(system: &System) -> Line {
    let check = "swap";
    let swap = &system.swap;
    if swap.areas.is_empty() {
        return Line::ok(check, "there is none");
    }
    let areas = swap.areas.join(", ");
    match swap.swappiness {
        Some(value) if value > SWAPPINESS_MAX => Line::warn(
            check,
            format!("{areas}, with vm.swappiness={value}"),
            format!(
                "a shard that is swapped out stops all its clients: turn swap off, or vm.swappiness={SWAPPINESS_MAX} \
                 at most; {TUNE}"
            ),
        ),
        Some(value) => Line::ok(check, format!("{areas}, used late (vm.swappiness={value})")),
        None => Line::ok(check, format!("{areas}; how soon it is used cannot be told")),
    }
}

fn governor(system: &System) -> Line {
    let check = "governor";
    if system.governors.is_empty() {
        return Line::ok(check, "the kernel does not govern the cores' frequency");
    }
    let total = system.governors.len();
    match system.governors.iter().find(|governor| governor.current != "performance") {
        None => Line::ok(check, "performance on all cores"),
        Some(other) => {
            let slow = system.governors.iter().filter(|governor| governor.current != "performance").count();
            let found = format!("{} on {slow} of {total} cores", other.current);
            Line::warn(check, found, format!("cores that slow down while they wait answer late: performance; {TUNE}"))
        }
    }
}

fn clock(system: &System) -> Line {
    let check = "clock";
    match &system.clock {
        None => Line::ok(check, "the source cannot be told"),
        Some(clock) if CLOCKS.contains(&clock.current.as_str()) => Line::ok(check, clock.current.clone()),
        Some(clock) => {
            let better = CLOCKS.iter().find(|name| clock.has(name));
            let advice = match better {
                Some(better) => format!("every look at it is slow: boot with clocksource={better}"),
                None => {
                    "every look at it is slow, and the kernel offers nothing better: see why in the log of the boot \
                         (`dmesg | grep -i clocksource`)"
                        .to_owned()
                }
            };
            Line::warn(check, clock.current.clone(), advice)
        }
    }
}

fn numa(system: &System) -> Line {
    let check = "numa";
    let found = match system.numa_nodes {
        0 | 1 => "one memory node".to_owned(),
        nodes => format!("{nodes} memory nodes"),
    };
    match system.zone_reclaim_mode {
        Some(mode) if mode != 0 && system.numa_nodes > 1 => Line::warn(
            check,
            format!("{found}, and vm.zone_reclaim_mode={mode}"),
            format!("the kernel frees memory of the own node while another has some: vm.zone_reclaim_mode=0; {TUNE}"),
        ),
        _ => Line::ok(check, found),
    }
}

fn backlog(system: &System) -> Line {
    let check = "backlog";
    let network = &system.network;
    let named = [("net.core.somaxconn", network.somaxconn), ("net.ipv4.tcp_max_syn_backlog", network.syn_backlog)];
    let known = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
    match known.min_by_key(|(_, value)| *value) {
        None => Line::ok(check, "cannot be told"),
        Some((name, value)) if value < BACKLOG_MIN => Line::warn(
            check,
            format!("{name}={value}"),
            format!("clients that all come back at once are turned away: {BACKLOG_WANTED}; {TUNE}"),
        ),
        Some((_, value)) => {
            Line::ok(check, format!("{} connections may wait to be accepted", value.min(BACKLOG_WANTED)))
        }
    }
}

fn socket_buffers(system: &System) -> Line {
    let check = "socket-buffers";
    let network = &system.network;
    let named = [("net.ipv4.tcp_rmem", network.receive_buffer), ("net.ipv4.tcp_wmem", network.send_buffer)];
    let known = named.into_iter().filter_map(|(name, value)| Some((name, value?[2])));
    match known.min_by_key(|(_, most)| *most) {
        None => Line::ok(check, "cannot be told"),
        Some((name, most)) if most < SOCKET_BUFFER_BYTES_MIN => Line::warn(
            check,
            format!("{name} ends at {}", size(most)),
            format!("over long links a connection is slow: {} at most; {TUNE}", size(SOCKET_BUFFER_BYTES_MIN)),
        ),
        Some((_, most)) => Line::ok(check, format!("grow up to {}", size(most))),
    }
}

fn time_sync(system: &System) -> Line {
    let check = "time-sync";
    match &system.time_sync {
        TimeSync::Reached => Line::ok(check, "systemd-timesyncd has reached a server"),
        TimeSync::Runs(service) => Line::ok(check, format!("{service} runs")),
        // No reason to warn: a container's clock is its host's.
        TimeSync::Unknown => Line::ok(check, "left to the host: no systemd can be asked here"),
        TimeSync::Nothing => Line::warn(
            check,
            "no service that keeps the clock right",
            "timestamps of records, retention and look-ups by time go by the clock: install chrony, or enable \
             systemd-timesyncd",
        ),
    }
}

#[cfg(test)]
mod tests;
