"""The Debian package on a Debian with systemd: installed, used, reloaded, upgraded, removed, purged; and the unit at work.

One machine for a whole story, because each step goes on where the one before ended.
"""

import os
import re

import pytest
from machine import Machine

from harness.wait import wait_until

BOOTSTRAP = "127.0.0.1:9092"
RECORDS = 20_000
CONFIG = "/etc/ringlog/ringlog.toml"
DROP_IN = "/etc/systemd/system/ringlog.service.d/test.conf"


@pytest.fixture(scope="module", params=["trixie", "bookworm"])
def machine(request):
    machine = Machine(request.param)
    try:
        yield machine.boot()
    finally:
        machine.halt()


def active(machine) -> bool:
    return machine.show("ActiveState") == "active"


def status_of(machine, field: str) -> str:
    """A line of the broker's /proc/PID/status."""
    return line_of(machine.file(f"/proc/{machine.show('MainPID')}/status"), field)


def line_of(status, field: str) -> str:
    return re.search(rf"^{field}:\s*(.*)$", status.read_text(), re.MULTILINE)[1]


def test_installed_it_runs_and_serves(machine, deb):
    machine.copy(deb(1), "/root/1.deb")
    machine.run("dpkg", "--install", "/root/1.deb")
    assert active(machine), machine.journal()
    assert machine.run("systemctl", "is-enabled", "ringlog").stdout.strip() == "enabled"
    assert machine.run("stat", "--format=%U:%G %a", "/var/lib/ringlog").stdout.strip() == "ringlog:ringlog 750"
    assert machine.run("getent", "passwd", "ringlog").stdout.endswith(":/var/lib/ringlog:/usr/sbin/nologin\n")
    assert machine.show("StatusText"), "what the broker says of itself"
    machine.client("produce", BOOTSTRAP, "before", str(RECORDS))
    machine.client("consume", BOOTSTRAP, "before", str(RECORDS))


def test_manual_pages_and_completions_are_where_they_are_looked_for(machine):
    installed = set(machine.run("dpkg", "--listfiles", "ringlog").stdout.splitlines())
    for page in ("man1/ringlog.1", "man1/ringlog-topic-create.1", "man5/ringlog.toml.5"):
        assert f"/usr/share/man/{page}.gz" in installed
    assert installed >= {
        "/usr/share/bash-completion/completions/ringlog",
        "/usr/share/zsh/vendor-completions/_ringlog",
        "/usr/share/fish/vendor_completions.d/ringlog.fish",
    }


def test_each_shard_has_its_core(machine):
    """On one or two CPUs, which all threads share, none is bound to one."""
    tasks = f"/proc/{machine.show('MainPID')}/task"
    shards: dict[str, set[str]] = {}
    for task in machine.run("ls", tasks).stdout.split():
        status = machine.file(f"{tasks}/{task}/status")
        if (name := line_of(status, "Name")).startswith("shard-"):
            shards.setdefault(name, set()).add(line_of(status, "Cpus_allowed_list"))
    assert shards
    if len(os.sched_getaffinity(0)) > 2:
        # A shard's helpers for calls that block have its name as well, and may be anywhere.
        own = [cpu for cpus in shards.values() for cpu in cpus if cpu.isdecimal()]
        assert len(own) == len(set(own)) == len(shards), shards
    else:
        everything = line_of(machine.file("/proc/1/status"), "Cpus_allowed_list")
        assert all(cpus == {everything} for cpus in shards.values()), shards


def test_the_unit_takes_away_what_the_broker_does_not_need(machine):
    assert status_of(machine, "NoNewPrivs") == "1"
    assert status_of(machine, "Seccomp") == "2"
    assert {status_of(machine, kind) for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status_of(machine, "Umask") == "0027"
    uid = machine.run("id", "--user", "ringlog").stdout.strip()
    assert machine.run("stat", "--format=%u", f"/proc/{machine.show('MainPID')}").stdout.strip() == uid
    # systemd itself can raise no limit where it runs without CAP_SYS_RESOURCE, as in some containers.
    if int(line_of(machine.file("/proc/1/status"), "CapEff"), 16) & 1 << 24:
        limits = machine.file(f"/proc/{machine.show('MainPID')}/limits").read_text()
        assert re.search(r"Max locked memory +unlimited +unlimited", limits), limits
        assert re.search(r"Max open files +1048576 +1048576", limits), limits
    root = f"/proc/{machine.show('MainPID')}/root"
    mounts = machine.run("cat", f"/proc/{machine.show('MainPID')}/mounts").stdout
    assert re.search(r"^\S+ / \S+ ro,", mounts, re.MULTILINE) and re.search(r" /var/lib/ringlog \S+ rw,", mounts), mounts
    assert machine.run("ls", f"{root}/root", check=False).stdout == ""
    # ExecStartPre looked at the machine under the same limits and filters.
    assert re.search(r"^OK +io_uring ", machine.journal(), re.MULTILINE), machine.journal()


def test_reload_changes_what_can_be_changed(machine):
    pid = machine.show("MainPID")
    assert "DEBUG" not in machine.journal()
    text = machine.file(CONFIG).read_text()
    machine.write(CONFIG, text.replace('#log-level = "info"', 'log-level = "debug"'))
    assert machine.file(CONFIG).read_text() != text
    machine.run("systemctl", "reload", "ringlog")
    wait_until(lambda: "log-level" in machine.journal(), "the broker to tell of the new level", 30)
    assert (machine.show("MainPID"), machine.show("ActiveState")) == (pid, "active")


def test_a_wrong_configuration_is_not_tried_again(machine):
    text = machine.file(CONFIG).read_text()
    machine.write(CONFIG, text + "\nno-such-setting = 1\n")
    machine.run("systemctl", "restart", "ringlog", check=False)
    assert machine.show("ActiveState") == "failed"
    assert (machine.show("ExecMainStatus"), machine.show("NRestarts")) == ("2", "0")
    assert "no-such-setting" in machine.journal()
    machine.write(CONFIG, text)
    machine.run("systemctl", "start", "ringlog")
    machine.client("consume", BOOTSTRAP, "before", str(RECORDS))


def test_it_comes_back_from_a_kill(machine):
    pid = machine.show("MainPID")
    machine.run("kill", "-KILL", pid)
    wait_until(lambda: machine.show("NRestarts") == "1" and active(machine), "the restart", 60)
    assert machine.show("MainPID") != pid
    machine.client("consume", BOOTSTRAP, "before", str(RECORDS))


def test_it_comes_back_from_a_standstill(machine):
    assert machine.show("WatchdogUSec") == "30s"
    machine.write(DROP_IN, "[Service]\nWatchdogSec=2\nTimeoutAbortSec=2\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "ringlog")
    pid = machine.show("MainPID")
    machine.run("kill", "-STOP", pid)
    wait_until(lambda: machine.show("MainPID") not in (pid, "0") and active(machine), "the watchdog's restart", 60)
    assert "watchdog" in machine.run("journalctl", "--no-pager", "--unit=ringlog.service").stdout.lower()
    machine.file(DROP_IN).unlink()
    machine.run("systemctl", "daemon-reload")


def test_an_upgrade_keeps_records_and_changed_configuration(machine, deb):
    pid = machine.show("MainPID")
    machine.client("produce", BOOTSTRAP, "upgrade", str(RECORDS))
    machine.copy(deb(2), "/root/2.deb")
    machine.run("dpkg", "--force-confold", "--install", "/root/2.deb")
    assert active(machine) and machine.show("MainPID") != pid
    assert machine.run("dpkg-query", "--show", "--showformat=${Version}", "ringlog").stdout.endswith("-2")
    assert 'log-level = "debug"' in machine.file(CONFIG).read_text()
    assert machine.show("Result") == "success"
    for topic in ("before", "upgrade"):
        machine.client("consume", BOOTSTRAP, topic, str(RECORDS))


def test_removed_it_is_gone_but_for_data_and_configuration(machine):
    machine.run("dpkg", "--remove", "ringlog")
    assert machine.run("systemctl", "is-active", "ringlog", check=False).stdout.strip() == "inactive"
    assert machine.run("pgrep", "--exact", "ringlog", check=False).stdout == ""
    assert not machine.file("/usr/bin/ringlog").exists()
    assert machine.file(CONFIG).exists() and machine.file("/var/lib/ringlog/before-0").is_dir()


def test_purged_it_leaves_the_data_with_which_it_can_be_installed_again(machine, deb):
    machine.run("dpkg", "--purge", "ringlog")
    assert not machine.file("/etc/ringlog").exists()
    left = machine.run("find", "/etc/systemd", "/usr/lib/systemd", "/var/lib/systemd", "-name", "*ringlog*").stdout
    assert left == "", left
    assert machine.file("/var/lib/ringlog/before-0").is_dir()
    machine.run("dpkg", "--install", "/root/2.deb")
    for topic in ("before", "upgrade"):
        machine.client("consume", BOOTSTRAP, topic, str(RECORDS))
