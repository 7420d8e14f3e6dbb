//! Each setting of the machine with its verdict.

use super::*;
use crate::cli::check::verdict::Verdict;
use crate::cli::check::verdict::tests::wanted;
use crate::cli::system::{Choice, Governor, Interrupt, Network, Pinned, Swap};

fn choice(current: &str, available: &[&str]) -> Choice {
    Choice { current: current.to_owned(), available: available.iter().map(|&name| name.to_owned()).collect() }
}

fn disk() -> Disk {
    Disk {
        name: "sda".to_owned(),
        scheduler: Some(choice("none", &["none", "mq-deadline", "bfq"])),
        rotational: false,
        flushed: Some(true),
        volatile_cache: Some(true),
        fua: Some(false),
    }
}

fn with_disk(change: impl FnOnce(&mut Disk)) -> System {
    let mut disk = disk();
    change(&mut disk);
    System { disks: vec![disk], ..System::default() }
}

/// Shards on CPUs 1 to 3 of four.
fn pinned() -> Wanted {
    Wanted { pinned: Pinned::new(&[0, 1, 2, 3], Some(vec![1, 2, 3])), ..wanted() }
}

#[track_caller]
fn check_for(wanted: &Wanted, system: System, check: &str, verdict: Verdict, found: &str, advice: &str) {
    let lines = judge(&system, wanted);
    let line = lines.iter().find(|line| line.check == check).unwrap_or_else(|| panic!("no {check} in {lines:#?}"));
    assert_eq!(line.verdict, verdict, "{line:#?}");
    assert!(line.found.contains(found) && line.advice.contains(advice), "{found:?} or {advice:?} not in {line:#?}");
    assert_eq!(line.advice.is_empty(), verdict == Verdict::Ok, "{line:#?}");
}

#[track_caller]
fn check(system: System, check: &str, verdict: Verdict, found: &str, advice: &str) {
    check_for(&wanted(), system, check, verdict, found, advice);
}

#[test]
fn a_machine_that_tells_nothing_is_not_complained_about() {
    let lines = judge(&System::default(), &wanted());
    assert!(lines.iter().all(|line| line.verdict == Verdict::Ok && line.advice.is_empty()), "{lines:#?}");
}

#[test]
fn schedulers() {
    for (name, verdict, advice) in [
        ("none", Verdict::Ok, ""),
        ("mq-deadline", Verdict::Ok, ""),
        ("bfq", Verdict::Warn, "ringlog tune"),
        ("kyber", Verdict::Warn, "none or mq-deadline"),
    ] {
        let system = with_disk(|disk| disk.scheduler = Some(choice(name, &[name])));
        check(system, "io-scheduler", verdict, &format!("{name} on sda"), advice);
    }
    check(with_disk(|disk| disk.scheduler = None), "io-scheduler", Verdict::Ok, "none to choose", "");
}

#[test]
fn a_volatile_cache_must_be_flushed() {
    for (flushed, volatile, fua, verdict, found) in [
        (Some(true), Some(true), Some(true), Verdict::Ok, "each commit flushes it; single writes"),
        (Some(true), None, Some(false), Verdict::Ok, "each commit flushes it"),
        (Some(false), Some(false), None, Verdict::Ok, "need no flush"),
        (Some(false), None, None, Verdict::Ok, "need no flush"),
        (None, None, None, Verdict::Ok, "does not tell"),
        (Some(false), Some(true), None, Verdict::Fail, "the kernel does not flush it"),
    ] {
        let system = with_disk(|disk| (disk.flushed, disk.volatile_cache, disk.fua) = (flushed, volatile, fua));
        let advice = if verdict == Verdict::Fail { "> /sys/block/sda/queue/write_cache" } else { "" };
        check(system, "write-cache", verdict, found, advice);
    }
}

#[test]
fn interrupts_are_to_leave_pinned_shards_alone() {
    let taken_by = |cpus: &[usize]| System {
        interrupts: vec![Interrupt {
            number: 38,
            card: "eth0".to_owned(),
            allowed: vec![0, 1, 2, 3],
            taken_by: cpus.to_vec(),
        }],
        ..System::default()
    };
    check_for(&pinned(), taken_by(&[0]), "interrupts", Verdict::Ok, "cores without a shard", "");
    check_for(&pinned(), taken_by(&[2]), "interrupts", Verdict::Warn, "1 of 1", "ringlog tune");
    check_for(&pinned(), System::default(), "interrupts", Verdict::Ok, "no network card", "");
    check(taken_by(&[2]), "interrupts", Verdict::Ok, "not pinned", "");
    let cpus: Vec<usize> = (0..64).collect();
    let many = Wanted { pinned: Pinned::new(&cpus, Some(cpus[1..].to_vec())), ..wanted() };
    check_for(&many, taken_by(&[2]), "interrupts", Verdict::Ok, "too few others", "");
}

#[test]
fn memory() {
    let huge =
        |name: &str| System { huge_pages: Some(choice(name, &["always", "madvise", "never"])), ..System::default() };
    check(huge("always"), "huge-pages", Verdict::Warn, "for everything", "madvise or never");
    check(huge("madvise"), "huge-pages", Verdict::Ok, "madvise", "");
    check(huge("never"), "huge-pages", Verdict::Ok, "never", "");
    let swap = |areas: &[&str], swappiness| System {
        swap: Swap { areas: areas.iter().map(|&area| area.to_owned()).collect(), swappiness },
        ..System::default()
    };
    check(swap(&[], Some(60)), "swap", Verdict::Ok, "there is none", "");
    check(swap(&["/dev/sda2"], Some(11)), "swap", Verdict::Warn, "/dev/sda2, with vm.swappiness=11", "turn swap off");
    check(swap(&["/dev/sda2"], Some(10)), "swap", Verdict::Ok, "vm.swappiness=10", "");
    check(swap(&["/dev/sda2"], None), "swap", Verdict::Ok, "cannot be told", "");
    let numa = |numa_nodes, mode| System { numa_nodes, zone_reclaim_mode: Some(mode), ..System::default() };
    check(numa(2, 1), "numa", Verdict::Warn, "2 memory nodes", "vm.zone_reclaim_mode=0");
    check(numa(2, 0), "numa", Verdict::Ok, "2 memory nodes", "");
    check(numa(1, 1), "numa", Verdict::Ok, "one memory node", "");
}

#[test]
fn cores_and_clocks() {
    let governors = |names: &[&str]| System {
        governors: names
            .iter()
            .enumerate()
            .map(|(cpu, &name)| Governor { cpu, current: name.to_owned(), available: Vec::new() })
            .collect(),
        ..System::default()
    };
    check(governors(&["performance"; 4]), "governor", Verdict::Ok, "performance on all", "");
    check(governors(&["performance", "schedutil"]), "governor", Verdict::Warn, "schedutil on 1 of 2", "performance");
    let clock = |name, others: &[&str]| System { clock: Some(choice(name, others)), ..System::default() };
    check(clock("tsc", &["tsc", "hpet"]), "clock", Verdict::Ok, "tsc", "");
    check(clock("hpet", &["tsc", "hpet"]), "clock", Verdict::Warn, "hpet", "clocksource=tsc");
    check(clock("acpi_pm", &["acpi_pm"]), "clock", Verdict::Warn, "acpi_pm", "dmesg");
    let time = |time_sync| System { time_sync, ..System::default() };
    check(time(TimeSync::Nothing), "time-sync", Verdict::Warn, "no service", "chrony");
    check(time(TimeSync::Reached), "time-sync", Verdict::Ok, "timesyncd", "");
    check(time(TimeSync::Runs("ntpsec.service".to_owned())), "time-sync", Verdict::Ok, "ntpsec.service runs", "");
}

#[test]
fn the_network() {
    let network = |network| System { network, ..System::default() };
    let backlog = |somaxconn, syn| network(Network { somaxconn, syn_backlog: syn, ..Network::default() });
    check(backlog(Some(128), Some(4096)), "backlog", Verdict::Warn, "net.core.somaxconn=128", "4096");
    check(backlog(Some(4096), Some(512)), "backlog", Verdict::Warn, "net.ipv4.tcp_max_syn_backlog=512", "4096");
    check(backlog(Some(1024), Some(65_536)), "backlog", Verdict::Ok, "1024 connections", "");
    check(backlog(Some(65_536), None), "backlog", Verdict::Ok, "4096 connections", "");
    let buffers = |receive, send| {
        let most = |most| Some([4096, 16_384, most]);
        network(Network { receive_buffer: most(receive), send_buffer: most(send), ..Network::default() })
    };
    check(buffers(6 << 20, 4 << 20), "socket-buffers", Verdict::Ok, "up to 4 MiB", "");
    check(buffers(6 << 20, 208 << 10), "socket-buffers", Verdict::Warn, "net.ipv4.tcp_wmem ends at 208 KiB", "4 MiB");
}
