"""Machines of a document that are namespaces of this one: each has its own network, name, /etc, /var/lib/ringlog and processes.

Contract: `Machines` gives a `docs.Shell` for each name, as root of that machine, on one network with the others; they find each
other by the names that they are given. `systemctl` is a stand-in (stand_in/systemctl) that starts and stops the broker as the
unit of the package says, under a notification socket; what systemd itself makes of the unit is tested in tests/packages. This
machine's network and files stay as they are. Absent: another kernel, another user.
"""

import os
import shutil
import subprocess
from pathlib import Path

from . import paths
from .docs import BASH, Shell

STAND_INS = Path(__file__).resolve().parent / "stand_in"
UNIT = paths.REPO / "deploy" / "systemd" / "ringlog.service"
# $0 is the machine's folder, $1 its name. Its own /etc is laid over this one's.
ENTER = """
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$0/etc,workdir=$0/work" /etc
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/ringlog
mount --bind "$0/data" /var/lib/ringlog
mount -t tmpfs tmpfs /run
mkdir -p /etc/ringlog
cp "$0/hosts" /etc/hosts
hostname "$1"
cd "$0/home"
shift
exec "$@"
"""


class Machines:
    """`addresses` by name; `domain` is what each is called by besides. OSError says why there can be none here."""

    def __init__(self, folder: Path, addresses: dict[str, str], domain: str):
        self.folder, self.addresses = folder, addresses
        self.hosts = "127.0.0.1 localhost\n"
        self.hosts += "".join(f"{address} {name}.{domain} {name}\n" for name, address in addresses.items())
        self.prefix = f"rd{os.getpid() % 100_000}"

    def __enter__(self) -> "Machines":
        if os.geteuid() != 0:
            raise OSError("network namespaces need root")
        missing = [program for program in ("ip", "nft", "unshare", "curl") if shutil.which(program) is None]
        if missing:
            raise OSError(f"{', '.join(missing)} is not installed")
        try:
            self._make_network()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # With a namespace its ends of the links go.
        for namespace in (self._namespace(name) for name in [*self.addresses, "switch"]):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, timeout=30)

    def shells(self) -> dict[str, Shell]:
        return {name: self._shell(name) for name in self.addresses}

    def _namespace(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def _make_network(self):
        switch = self._namespace("switch")
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for number, (name, address) in enumerate(self.addresses.items()):
            machine, port = self._namespace(name), f"port{number}"
            _ip("netns", "add", machine)
            _ip("-n", machine, "link", "set", "lo", "up")
            _ip("-n", machine, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
            _ip("-n", machine, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", machine, "link", "set", "eth0", "up")
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")

    def _shell(self, name: str) -> Shell:
        folder = self.folder / name
        for directory in ("etc", "work", "data", "home"):
            (folder / directory).mkdir(parents=True)
        (folder / "hosts").write_text(self.hosts)
        enter = ["ip", "netns", "exec", self._namespace(name)]
        enter += ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = [*enter, "bash", "-euc", ENTER, str(folder), name, *BASH]
        env = {"PATH": f"{STAND_INS}:{paths.ringlog_binary().parent}:{os.environ['PATH']}", "RINGLOG_STAND_IN_UNIT": str(UNIT)}
        return Shell(folder, env, command)


def _ip(*words: str):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
