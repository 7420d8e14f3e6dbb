//! `ringlog tune` by the real binary, on a machine of files: what it shows, changes, takes back and keeps.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Below a temporary directory: `sys`, `proc` and `etc`, the data directory, and its disk's number, which is the real one.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Machine {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let machine = Machine { directory };
        let device = machine.root().metadata().expect("a directory").dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        for (path, text) in [
            ("sys/devices/sdx/queue/scheduler", "none mq-deadline [bfq]\n"),
            ("sys/devices/sdx/queue/rotational", "0\n"),
            ("sys/block/sdx/queue/scheduler", "none mq-deadline [bfq]\n"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
            ("proc/swaps", "Filename Type\n/dev/sdx2 partition\n"),
            ("proc/sys/vm/swappiness", "60\n"),
            ("proc/sys/net/core/somaxconn", "4096\n"),
        ] {
            machine.write(path, text);
        }
        // As in a real one, both names are of the same file.
        std::fs::remove_dir_all(machine.path("sys/block/sdx")).expect("removing");
        std::os::unix::fs::symlink(machine.path("sys/devices/sdx"), machine.path("sys/block/sdx")).expect("a link");
        std::fs::create_dir_all(machine.path("sys/dev/block")).expect("a directory");
        let number = machine.path(&format!("sys/dev/block/{major}:{minor}"));
        std::os::unix::fs::symlink(machine.path("sys/devices/sdx"), number).expect("a link");
        machine
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory");
        std::fs::write(path, text).expect("writing");
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn settings(&self) -> [String; 3] {
        ["sys/block/sdx/queue/scheduler", "sys/kernel/mm/transparent_hugepage/enabled", "proc/sys/vm/swappiness"]
            .map(|path| self.read(path))
    }

    /// Nobody, root included, can write to it any more.
    fn refuse_swappiness(&self) {
        let swappiness = self.path("proc/sys/vm/swappiness");
        std::fs::remove_file(&swappiness).expect("removing");
        std::os::unix::fs::symlink("/proc/sys/kernel/random/poolsize", &swappiness).expect("a link");
    }

    /// On the machine of files the commands of `--undo` write below its root.
    fn take_back(&self, script: &str) {
        let root = self.root().to_str().expect("UTF-8");
        let script = script.replace("> /", &format!("> {root}/")).replace("rm -f /", &format!("rm -f {root}/"));
        let done = Command::new("sh").args(["-euc", &script]).status().expect("sh starts");
        assert!(done.success(), "{script}");
    }

    fn ringlog(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RINGLOG_")) {
            command.env_remove(name);
        }
        command.args(args).arg("--system-root").arg(self.root()).arg("--data-dir").arg(self.path("data"));
        let output = command.output().expect("the binary starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    }
}

const BEFORE: [&str; 3] = ["none mq-deadline [bfq]\n", "[always] madvise never\n", "60\n"];
const AFTER: [&str; 3] = ["none", "madvise", "10"];

#[test]
fn without_apply_it_only_shows() {
    let machine = Machine::new();
    for args in [&["tune"][..], &["tune", "--dry-run"], &["tune", "--persist"]] {
        let (status, text) = machine.ringlog(args);
        assert_eq!(status, Some(0), "{text}");
        for expected in [
            "PLAN  /sys/block/sdx/queue/scheduler: bfq -> none",
            "PLAN  vm.swappiness: 60 -> 10",
            "undo: echo 60 > /proc/sys/vm/swappiness",
            "3 to change; nothing was",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(!text.contains("somaxconn: "), "{text}");
    }
    assert_eq!(machine.settings(), BEFORE);
    assert!(!machine.path("etc").exists());
    assert_eq!(machine.ringlog(&["tune", "--dry-run", "--apply"]).0, Some(2));
    assert_eq!(machine.ringlog(&["tune", "--undo", "x"]).0, Some(2));
}

#[test]
fn applied_once_there_is_nothing_left_to_do_and_it_can_be_taken_back() {
    let machine = Machine::new();
    let undo = machine.path("undo.sh");
    let undo = undo.to_str().expect("UTF-8");
    let (status, text) = machine.ringlog(&["tune", "--apply", "--persist", "--json", "--undo", undo]);
    assert_eq!(status, Some(0), "{text}");
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let changes = report["changes"].as_array().expect("a list");
    assert!(changes.len() == 3 && changes.iter().all(|change| change["outcome"] == "done"), "{report:#}");
    assert_eq!(machine.settings(), AFTER);
    let kept = ["etc/sysctl.d/90-ringlog.conf", "etc/tmpfiles.d/90-ringlog.conf", "etc/udev/rules.d/90-ringlog.rules"];
    assert!(machine.read(kept[0]).contains("\nvm.swappiness = 10\n"));
    assert!(machine.read(kept[1]).contains("\nw /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise\n"));
    assert!(machine.read(kept[2]).contains("KERNEL==\"sdx\", ATTR{queue/scheduler}=\"none\"\n"));
    let script = machine.read("undo.sh");

    // As the kernel shows what was set.
    machine.write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    machine.write("sys/block/sdx/queue/scheduler", "[none] mq-deadline bfq\n");
    let (status, text) = machine.ringlog(&["tune", "--apply", "--persist", "--undo", "/nonexistent/undo.sh"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("Nothing is to be changed.") && !text.contains(" with\n"), "{text}");
    let (status, text) = machine.ringlog(&["tune", "--apply", "--undo", undo]);
    assert!(status == Some(1) && text.contains("is there already"), "{text}");

    machine.take_back(&script);
    assert_eq!(machine.settings(), ["bfq\n", "always\n", "60\n"]);
    assert!(kept.iter().all(|path| !machine.path(path).exists()));
}

#[test]
fn files_that_were_there_are_replaced_or_removed_and_come_back() {
    let machine = Machine::new();
    let [sysctl, tmpfiles, udev] =
        ["etc/sysctl.d/90-ringlog.conf", "etc/tmpfiles.d/90-ringlog.conf", "etc/udev/rules.d/90-ringlog.rules"];
    let ours = "# By `ringlog tune --apply --persist`, which overwrites it.\n";
    let (by_hand, stale) = ("# it's 100% mine\nvm.swappiness = 60", format!("{ours}w /sys/x - - - - 1\n"));
    machine.write(sysctl, by_hand);
    machine.write(tmpfiles, &stale);
    // Neither to be changed nor what the tool sets: nothing is to be set at a boot.
    machine.write("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    let undo = machine.path("undo.sh");
    let args = ["tune", "--apply", "--persist", "--undo", undo.to_str().expect("UTF-8")];
    let (status, text) = machine.ringlog(&args);
    assert_eq!(status, Some(0), "{text}");
    assert!(machine.read(sysctl).contains("\nvm.swappiness = 10\n"));
    assert!(!machine.path(tmpfiles).exists(), "{text}");
    assert!(text.contains("DONE  /etc/tmpfiles.d/90-ringlog.conf removed"), "{text}");
    machine.take_back(&machine.read("undo.sh"));
    assert_eq!([machine.read(sysctl), machine.read(tmpfiles)], [by_hand, &stale]);
    assert!(!machine.path(udev).exists());

    // Somebody else's stays where there is nothing to put in its place.
    std::fs::remove_file(&undo).expect("removing");
    machine.write(tmpfiles, by_hand);
    let (status, text) = machine.ringlog(&args);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(machine.read(tmpfiles), by_hand);
}

#[test]
fn nothing_is_changed_that_could_not_be_taken_back() {
    let machine = Machine::new();
    let undo = machine.path("nowhere/undo.sh");
    let (status, text) = machine.ringlog(&["tune", "--apply", "--persist", "--undo", undo.to_str().expect("UTF-8")]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("cannot create") && text.contains("nothing was changed"), "{text}");
    assert_eq!(machine.settings(), BEFORE);
    assert!(!machine.path("etc").exists());

    // Where nothing could be done there is nothing to take back.
    machine.write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    machine.write("sys/block/sdx/queue/scheduler", "[none] mq-deadline bfq\n");
    machine.refuse_swappiness();
    let undo = machine.path("undo.sh");
    let (status, text) = machine.ringlog(&["tune", "--apply", "--undo", undo.to_str().expect("UTF-8")]);
    assert_eq!(status, Some(1), "{text}");
    assert!(!undo.exists(), "{text}");
}

#[test]
fn what_cannot_be_changed_is_a_failure_and_the_rest_is_done() {
    let machine = Machine::new();
    machine.refuse_swappiness();
    let undo = machine.path("undo.sh");
    let (status, text) = machine.ringlog(&["tune", "--apply", "--undo", undo.to_str().expect("UTF-8")]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("FAIL  vm.swappiness: 256 -> 10") && text.contains("as root"), "{text}");
    assert!(text.contains("2 of 3 changed."), "{text}");
    assert!(!machine.read("undo.sh").contains("swappiness"));
}

#[test]
fn on_this_machine_a_dry_run_says_what_it_would_do() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog"));
    let output = command.args(["tune", "--dry-run", "--json", "--data-dir"]).arg(directory.path()).output();
    let output = output.expect("the binary starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert!(report["changes"].is_array() && report["hints"].is_array(), "{report:#}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn limits_that_are_too_low_are_a_hint() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 2000 && exec \"$0\" tune --data-dir \"$1\"", env!("CARGO_BIN_EXE_ringlog")]);
    let output = shell.arg(directory.path()).output().expect("the shell starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("HINT  nofile: up to 2000 open files") && text.contains("LimitNOFILE=26384"), "{text}");
    assert_eq!(output.status.code(), Some(0));
}
