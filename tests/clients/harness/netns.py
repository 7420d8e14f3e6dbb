"""Brokers in network namespaces of their own, so that one can be cut off from the others.

Two networks on bridges: clients', which the test's own namespace is part of, and the brokers'. On the clients' network
brokers reach nobody but clients (isolated bridge ports), so that cutting a broker off the other network cuts it off all
other brokers, while clients go on reaching it. A cut is silent: packets vanish, connections stay open. Packets of one
broker to another can be dropped too, all or some, and connections to a broker led through a proxy (nftables). Needs root.
"""

import contextlib
import json
import os
import shutil
import subprocess

import pytest

from .cluster import Place

SECOND_OCTET = {"c": 231, "i": 232}  # clients' network and the brokers' own
KAFKA, INTERNAL, HTTP, PEERS = 9092, 9093, 9094, 9095


def _ip(*words: str):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")


@contextlib.contextmanager
def network_or_skip(count: int, filters=True):
    """A `Network`, or a skipped test that says why there can be none; `filters` need nftables too."""
    try:
        if filters and shutil.which("nft") is None:
            raise OSError("nft (nftables) is not installed")
        with Network(count) as network:
            yield network
    except OSError as e:
        pytest.skip(f"no network namespaces: {e}")


class Network:
    """Both networks for `count` brokers: `with Network(3) as network`. OSError says why where it is impossible."""

    def __init__(self, count: int):
        self.count = count
        self.name = f"rl{os.getpid() % 100_000}"
        self.subnet = os.getpid() % 250
        self.cut: set[int] = set()

    def __enter__(self) -> "Network":
        if os.geteuid() != 0:
            raise OSError("network namespaces need root")
        if shutil.which("ip") is None:
            raise OSError("ip (iproute2) is not installed")
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_):
        self._remove()

    def _make(self):
        for bridge in (self._bridge("c"), self._bridge("i")):
            _ip("link", "add", bridge, "type", "bridge")
            _ip("link", "set", bridge, "up")
        _ip("address", "add", f"{self._address('c', 254)}/24", "dev", self._bridge("c"))
        for n in range(1, self.count + 1):
            _ip("netns", "add", self.namespace(n))
            _ip("-n", self.namespace(n), "link", "set", "lo", "up")
            for network in "ci":
                port, inside = self._port(network, n), f"eth-{network}"
                _ip("link", "add", port, "type", "veth", "peer", "name", inside, "netns", self.namespace(n))
                _ip("-n", self.namespace(n), "address", "add", f"{self._address(network, n)}/24", "dev", inside)
                _ip("-n", self.namespace(n), "link", "set", inside, "up")
                _ip("link", "set", port, "master", self._bridge(network), "up")
            _ip("link", "set", self._port("c", n), "type", "bridge_slave", "isolated", "on")

    def _remove(self):
        """What there is of it; the namespaces' ends of the links go with the others."""
        for n in range(1, self.count + 1):
            for words in (
                ("link", "delete", self._port("c", n)),
                ("link", "delete", self._port("i", n)),
                ("netns", "delete", self.namespace(n)),
            ):
                self._try(*words)
        for network in "ci":
            self._try("link", "delete", self._bridge(network))

    @staticmethod
    def _try(*words: str):
        try:
            _ip(*words)
        except OSError:
            pass

    def _bridge(self, network: str) -> str:
        return f"{self.name}{network}"

    def _port(self, network: str, n: int) -> str:
        return f"{self.name}{network}{n}"

    def _address(self, network: str, n: int) -> str:
        return f"10.{SECOND_OCTET[network]}.{self.subnet}.{n}"

    def namespace(self, n: int) -> str:
        return f"{self.name}n{n}"

    def places(self) -> list[Place]:
        """For a Cluster: what clients use on their network, what brokers use on the other."""
        return [
            Place(
                kafka=(self._address("c", n), KAFKA),
                internal=(self._address("i", n), INTERNAL),
                http=(self._address("c", n), HTTP),
                peers=(self._address("i", n), PEERS),
                prefix=("ip", "netns", "exec", self.namespace(n)),
            )
            for n in range(1, self.count + 1)
        ]

    def internal_address(self, n: int) -> str:
        return self._address("i", n)

    # Packet filters: nftables in the namespace of the broker that receives.
    TABLE = "ringlog_faults"

    def drop(self, source: int, target: int, percent: int = 100):
        """Of the packets of one broker to another, so many vanish, chosen at random; the other way nothing changes."""
        some = "" if percent == 100 else f"numgen random mod 100 < {percent} "
        self._nft(
            target,
            f"add table ip {self.TABLE}\n"
            f"add chain ip {self.TABLE} receives {{ type filter hook input priority 0; }}\n"
            f'add rule ip {self.TABLE} receives iifname "eth-i" ip saddr {self.internal_address(source)} {some}'
            "counter drop\n",
        )

    def dropped(self) -> int:
        """Packets that `drop` has taken since the last `mend`."""
        total = 0
        for n in range(1, self.count + 1):
            listed = json.loads(self._nft(n, "", "-j", "list", "ruleset"))
            rules = [item["rule"] for item in listed["nftables"] if "rule" in item]
            counters = [part["counter"] for rule in rules for part in rule["expr"] if "counter" in part]
            total += sum(counter["packets"] for counter in counters)
        return total

    def redirect(self, n: int, port: int, proxy_port: int):
        """New connections of other brokers to this port go to a proxy; those that there are get reset.

        Nobody else notices: the proxy's own connection to the port comes from inside.
        """
        self._nft(
            n,
            f"add table ip {self.TABLE}\n"
            f"add chain ip {self.TABLE} redirects {{ type nat hook prerouting priority dstnat; }}\n"
            f'add rule ip {self.TABLE} redirects iifname "eth-i" tcp dport {port} redirect to :{proxy_port}\n'
            f"add chain ip {self.TABLE} receives {{ type filter hook input priority 0; }}\n"
            f'add rule ip {self.TABLE} receives iifname "eth-i" tcp dport {port} reject with tcp reset\n',
        )

    def mend(self):
        """No packet is dropped or redirected any more."""
        for n in range(1, self.count + 1):
            self._nft(n, f"add table ip {self.TABLE}\ndelete table ip {self.TABLE}\n")

    def _nft(self, n: int, script: str = "", *words: str) -> str:
        command = ["ip", "netns", "exec", self.namespace(n), "nft", *(words or ("-f", "-"))]
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise OSError(f"nft: {done.stderr.strip()}")
        return done.stdout

    def isolate(self, n: int):
        """Takes the broker's port off the bridge: its packets to other brokers vanish, and theirs to it."""
        _ip("link", "set", self._port("i", n), "nomaster")
        self.cut.add(n)

    def isolate_from_clients(self, n: int):
        """As `isolate`, from clients."""
        _ip("link", "set", self._port("c", n), "nomaster")
        self.cut.add(n)

    def heal(self, n: int):
        """The broker reaches everybody again."""
        _ip("link", "set", self._port("i", n), "master", self._bridge("i"))
        _ip("link", "set", self._port("c", n), "master", self._bridge("c"))
        _ip("link", "set", self._port("c", n), "type", "bridge_slave", "isolated", "on")
        self.cut.discard(n)
