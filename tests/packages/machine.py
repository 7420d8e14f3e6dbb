"""A Debian that runs systemd, in namespaces of this one: packages are installed in it as on a machine of its own.

Contract: `boot` returns when systemd is up; `run` runs a command in it as root; `shell` is bash there, for a document's
commands; `client` runs Python of ours in its network; `halt` ends all of it. Absent: another kernel, and a network beside loopback.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import paths
from harness.docs import BASH, Shell
from harness.wait import wait_until

HERE = Path(__file__).resolve().parent
CACHE = paths.REPO / ".cache" / "packages"
MIRROR = os.environ.get("RINGLOG_DEBIAN_MIRROR", "http://deb.debian.org/debian")
PACKAGES = "systemd,systemd-sysv,dbus,procps,curl"
BOOT_TIMEOUT_S = 120.0


def base(suite: str) -> Path:
    """A Debian root, made once for what is to be in it."""
    root = CACHE / f"{suite}-with-{PACKAGES.replace(',', '-')}"
    unfinished = root.with_suffix(".unfinished")
    if not root.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(unfinished), MIRROR]
        subprocess.run(command, check=True, stdout=sys.stderr)
        shutil.rmtree(unfinished / "var/cache/apt/archives", ignore_errors=True)
        unfinished.rename(root)
    return root


def _cgroups() -> Path:
    """Where control groups of version 2 are: alone, or beside those of version 1."""
    for path in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (path / "cgroup.controllers").exists():
            return path
    raise RuntimeError("no control groups of version 2 are mounted, which systemd needs")


class Machine:
    def __init__(self, suite: str):
        self.dir = Path(tempfile.mkdtemp(prefix=f"machine-{suite}-", dir=paths.data_root()))
        self.base = base(suite)
        self.cgroup = _cgroups() / self.dir.name
        self.process: subprocess.Popen | None = None
        self.init = 0  # systemd's process id outside

    def boot(self) -> "Machine":
        command = [str(HERE / "boot.sh"), str(self.base), str(self.dir), str(self.cgroup)]
        with open(self.dir / "boot.log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until(self._is_up, f"systemd to be up (log: {self.dir / 'boot.log'})", BOOT_TIMEOUT_S, poll_s=0.1)
        return self

    def _is_up(self) -> bool:
        assert self.process.poll() is None, (self.dir / "boot.log").read_text()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text().strip() != "systemd":
            return False
        self.init = int(children[0])
        # Degraded: no kernel modules can be loaded from here.
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def run(self, *command: str, check=True, timeout=180.0) -> subprocess.CompletedProcess:
        enter = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"]
        done = subprocess.run([*enter, *clean, *command], capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def shell(self) -> Shell:
        """For a document's commands, in /root."""
        enter = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"]
        clean = ["env", "-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        home = ["sh", "-c", 'cd /root && exec "$@"', "sh"]
        return Shell(self.dir, {}, [*enter, *clean, *home, *BASH], errors="/root/.printed.err")

    def client(self, *arguments: str, timeout=120.0) -> str:
        """Runs client.py in the machine's network."""
        enter = ["nsenter", f"--target={self.init}", "--net", sys.executable, str(HERE / "client.py")]
        done = subprocess.run([*enter, *arguments], capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def give_address(self, address: str):
        """As if it had a network card of this address; nobody else is there."""
        enter = ["nsenter", f"--target={self.init}", "--net"]
        subprocess.run([*enter, "ip", "address", "add", f"{address}/32", "dev", "lo"], check=True, timeout=30)

    def copy(self, source: Path, target: str):
        """Into the machine."""
        shutil.copy(source, f"/proc/{self.init}/root{target}")

    def file(self, path: str) -> Path:
        """A file of the machine's, seen from here."""
        return Path(f"/proc/{self.init}/root{path}")

    def write(self, path: str, text: str):
        self.file(path).parent.mkdir(parents=True, exist_ok=True)
        self.file(path).write_text(text)

    # The broker's unit.
    def show(self, name: str) -> str:
        return self.run("systemctl", "show", "--value", "--property", name, "ringlog.service").stdout.strip()

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit=ringlog.service").stdout

    def halt(self):
        if self.init and self.process.poll() is None:
            os.kill(self.init, signal.SIGKILL)  # and with it all of its processes
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        wait_until(self._remove_cgroup, "the machine's processes to be gone", 30.0)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _remove_cgroup(self) -> bool:
        for path, _, _ in os.walk(self.cgroup, topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                return False
        return True
