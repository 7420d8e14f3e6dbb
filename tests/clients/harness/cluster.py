"""Several brokers that form one cluster, the same way for Ringlog and for real Kafka.

Contract: `start` returns when every broker answers and every broker says that all of them are registered and unfenced,
and that somebody leads. Ids are 1..n, racks a, b, c, ...; addresses stay the same over restarts. One broker can be
stopped, killed, paused and started again while the others go on. Nothing waits for a time, only for what brokers say.
"""

import random
import signal
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from . import paths, quorum
from .broker import Broker, BrokerDied, KafkaBroker, RinglogBroker, java
from .quorum import Unanswered
from .wait import PATIENCE_S, wait_until

FORM_TIMEOUT_S = 120.0
RACKS = "abcdefghi"
# The same for both kinds. Leaders stay where the tests put them, and a broker that is silent is fenced soon, yet not
# by a pause of a busy machine.
SETTINGS = {
    "auto.leader.rebalance.enable": "false",
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "500",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "3",
}
MARKER, MARKER_CONFIG = "marker", "retention.ms"


@dataclass(frozen=True)
class Place:
    """Where a broker listens, and what its command line begins with (to run it in a network namespace of its own)."""

    kafka: tuple[str, int]
    internal: tuple[str, int]  # Ringlog: Raft and replication; Kafka: the controller's listener
    http: tuple[str, int]  # Ringlog's
    peers: tuple[str, int]  # Kafka's listener for other brokers
    prefix: tuple[str, ...] = ()


def local_places(count: int) -> list[Place]:
    """All on 127.0.0.1."""
    ports = iter(steady_ports(4 * count))
    return [Place(*(("127.0.0.1", next(ports)) for _ in range(4))) for _ in range(count)]


def steady_ports(count: int) -> list[int]:
    """Free ports below those that the kernel gives to clients.

    A port of that range can be taken by any connection while its broker is down, even by one to that very port, which
    then connects to itself and keeps the broker from coming back.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    held: list[socket.socket] = []
    try:
        for port in random.SystemRandom().sample(range(first // 2, first), first // 2):
            s = socket.socket()
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                s.close()
                continue
            held.append(s)
            if len(held) == count:
                break
        return [s.getsockname()[1] for s in held]
    finally:
        for s in held:
            s.close()


def host_port(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


class Node(Broker):
    """A broker as a member: its place and its peers are known before it starts."""

    id: int
    place: Place
    places: list[Place]
    voters: int  # brokers 1..voters vote on metadata

    def join(self, node_id: int, places: list[Place], voters: int):
        self.id, self.place, self.places, self.voters = node_id, places[node_id - 1], places, voters
        self.host, self.port = self.place.kafka
        self.settings["broker.rack"] = RACKS[node_id - 1]

    def pause(self):
        """SIGSTOP: silent, with all its connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


class RinglogNode(RinglogBroker, Node):
    """`ringlog serve`; all but the first are told the internal addresses of those before them."""

    def _command(self):
        command = [*self.place.prefix, str(paths.ringlog_binary()), "serve", "--node-id", str(self.id)]
        command += ["--data-dir", str(self.data_dir), "--shards", str(self.shards)]
        command += ["--kafka-addr", host_port(self.place.kafka), "--internal-addr", host_port(self.place.internal)]
        command += ["--http-addr", host_port(self.place.http)]
        if self.id > 1:
            command += ["--join", ",".join(host_port(p.internal) for p in self.places[: self.id - 1])]
        if self.voters != 3:
            command += ["--quorum-voters-max", str(self.voters)]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        return command

    def _bound_port(self):
        try:
            with urllib.request.urlopen(f"http://{host_port(self.place.http)}/health/ready", timeout=5) as answer:
                return self.port if answer.status == 200 else None
        except (urllib.error.URLError, OSError):
            return None


class KafkaNode(KafkaBroker, Node):
    """A broker, which of a static quorum is a controller as well."""

    # What a machine of two cores can carry three times.
    SMALL = {
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "log.cleaner.dedupe.buffer.size": str(4 << 20),
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "4",
    }
    JVM = (
        "-Xms96m", "-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dkafka.server.loglevel=info",
        "-Xshare:auto", f"-XX:SharedArchiveFile={paths.KAFKA_LIBS / 'tools.jsa'}",
    )  # fmt: skip
    CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"

    def _command(self):
        properties = self.dir / "server.properties"
        named = {"PLAINTEXT": self.place.kafka, "CONTROLLER": self.place.internal, "INTERNAL": self.place.peers}
        votes = self.id <= self.voters
        own = {
            "process.roles": "broker,controller" if votes else "broker",
            "node.id": str(self.id),
            "controller.quorum.voters": ",".join(
                f"{n}@{host_port(p.internal)}" for n, p in enumerate(self.places[: self.voters], start=1)
            ),
            "listeners": ",".join(
                f"{name}://{host_port(address)}" for name, address in named.items() if votes or name != "CONTROLLER"
            ),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in named),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "INTERNAL",
            "log.dirs": str(self.data_dir),
        }
        properties.write_text("".join(f"{k}={v}\n" for k, v in {**self.SMALL, **own, **self.settings}.items()))
        if not (self.data_dir / "meta.properties").exists():
            self.format(properties, self.CLUSTER_ID)
        return [*self.place.prefix, *java("kafka.Kafka", str(properties), jvm=self.JVM)]


class Cluster:
    """Brokers 1..n of the kind that this run is against, or of the one that is named, not started yet; all vote, or the
    first `voters`."""

    def __init__(
        self,
        name: str,
        settings: dict[str, str] | None = None,
        places: list[Place] | None = None,
        n=3,
        voters: int | None = None,
        shards=1,
        against: str | None = None,
    ):
        places = places or local_places(n)
        self.against = against or paths.AGAINST
        kind = {"ringlog": RinglogNode, "kafka": KafkaNode}[self.against]
        self.voters = voters or len(places)
        self.nodes: dict[int, Node] = {}
        for node_id in range(1, len(places) + 1):
            node = kind(f"{name}-{node_id}", {**SETTINGS, **(settings or {})}, shards=shards)
            node.join(node_id, places, self.voters)
            self.nodes[node_id] = node
        self.markers = 0

    def __getitem__(self, node_id: int) -> Node:
        return self.nodes[node_id]

    # Life cycle.
    def start(self) -> "Cluster":
        try:
            self.start_nodes(*self.nodes, first=True)
            self.make_marker()
        except BaseException:
            self.kill_all()
            raise
        return self

    def start_nodes(self, *ids: int, first=False, expected: set[int] | None = None):
        """Starts these and waits until the cluster is whole, or has just the `expected` brokers.

        The very first time Ringlog's first broker goes ahead, and those that are to vote before the others: there those
        that join first do.
        """
        ids = sorted(ids)
        if first and self.against == "ringlog":
            self[ids[0]].start()
            self._start_together(ids[1 : self.voters])
            wait_until(self._all_vote, f"{self.voters} voters", FORM_TIMEOUT_S)
            ids = ids[self.voters :]
        self._start_together(ids)
        self.wait_formed(expected, asked=expected)

    def _start_together(self, ids: list[int]):
        for node_id in ids:
            self[node_id].spawn()
        for node_id in ids:
            self[node_id].wait_ready()

    def _all_vote(self) -> bool:
        try:
            return len(quorum.describe_quorum(self[1].address).voters) == self.voters
        except Unanswered:
            return False

    def start_missing(self):
        """For a test that shares a cluster with others: what an earlier one left down or paused runs again."""
        for node in self.running():
            node.resume()
        self.check_alive()
        self.start_nodes(*(node.id for node in self.nodes.values() if node.process is None))

    def restart(self, node_id: int):
        self[node_id].stop()
        self.start_nodes(node_id)

    def kill_all(self):
        """SIGKILL to all that run, as nearly at once as a loop can."""
        running = self.running()
        for node in running:
            node.process.kill()
        for node in running:
            node.kill9()

    def stop(self) -> dict[int, int]:
        """SIGTERM to all at once; exit statuses by id."""
        running = self.running()
        for node in running:
            node.process.terminate()
        return {node.id: node.stop() for node in running}

    def discard(self):
        for node in self.nodes.values():
            node.discard()

    def running(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.process is not None]

    def check_alive(self):
        for node in self.running():
            node.check_alive()

    # Where it is.
    @property
    def bootstrap(self) -> str:
        return ",".join(node.bootstrap for node in self.nodes.values())

    def bootstrap_without(self, *ids: int) -> str:
        return ",".join(node.bootstrap for node in self.nodes.values() if node.id not in ids)

    # What it says.
    def wait_formed(self, ids: set[int] | None = None, asked: set[int] | None = None):
        """Until every running broker (or those in `asked`) says that just `ids` (all) are unfenced, and who leads."""
        ids = ids or set(self.nodes)

        def formed():
            self.check_alive()
            seen = {}
            for node in self.running():
                if asked and node.id not in asked:
                    continue
                try:
                    seen[node.id] = quorum.describe_cluster(node.address).unfenced()
                except Unanswered as e:
                    seen[node.id] = str(e)
            missing = {node_id: found for node_id, found in seen.items() if found != ids}
            if missing:
                formed.last = missing
                return False
            formed.last = "nobody leads"
            return self.controller() is not None

        formed.last = None
        try:
            wait_until(formed, f"brokers {sorted(ids)} to form a cluster", FORM_TIMEOUT_S, poll_s=0.1)
        except AssertionError as e:
            raise AssertionError(f"{e}; brokers say: {formed.last}\n{self.logs()}") from None

    def lead(self, asked: set[int] | None = None) -> quorum.QuorumView | None:
        """Who leads the metadata quorum, in the highest epoch that any broker (of those asked) tells; None if unknown."""
        views = []
        for node in self.running():
            if asked and node.id not in asked:
                continue
            try:
                views.append(quorum.describe_quorum(node.address, timeout_s=2.0))
            except Unanswered:
                continue
        leading = [view for view in views if view.leader >= 0]
        return max(leading, key=lambda view: view.epoch, default=None)

    def controller(self, asked: set[int] | None = None) -> int | None:
        return (lead := self.lead(asked)) and lead.leader

    def wait_controller(self, asked: set[int] | None = None) -> int:
        return wait_until(lambda: self.controller(asked), "a controller", FORM_TIMEOUT_S)

    def wait_three_voters(self) -> tuple[int, set[int]]:
        """The controller, and the three that vote, it among them."""
        controller = self.wait_controller()

        def three_vote():  # Ringlog replaces a voter that is away for long
            voters = quorum.describe_quorum(self[controller].address).voters
            return voters if len(voters) == 3 and controller in voters else None

        return controller, wait_until(three_vote, "three voters")

    def make_marker(self):
        """The topic that `settle` changes: one partition on all brokers."""
        self.create_topic(MARKER, {0: list(self.nodes)})

    def create_topic(self, name: str, assignment: dict[int, list[int]], configs: dict[str, str] | None = None):
        """With the replicas of each partition given; the first leads. Any broker that runs is asked."""
        self._acknowledged(lambda a: quorum.create_topic(a, name, assignment, configs), None)

    def settle(self, ids: set[int] | None = None, timeout_s=PATIENCE_S):
        """Until all (or these) brokers show everything that was acknowledged before.

        Metadata is ordered, so a change that is made now and shown by a broker comes after all that was made before. A
        broker that acknowledged a change may still show the state before it; that is so in Kafka.
        """
        self.markers += 1
        value = str(10**9 + self.markers)
        self._acknowledged(lambda a: quorum.set_topic_config(a, MARKER, MARKER_CONFIG, value), ids, timeout_s)
        for node in self.running():
            if ids and node.id not in ids:
                continue

            def shown(node=node):
                try:
                    return quorum.topic_configs(node.address, [MARKER], MARKER_CONFIG).get(MARKER) == value
                except Unanswered:
                    return False

            wait_until(shown, f"broker {node.id} to show what was acknowledged", timeout_s, poll_s=0.02)

    def _acknowledged(self, change, ids, timeout_s=PATIENCE_S):
        """Makes a change that may be repeated, through any of the brokers, until one acknowledges it."""
        refusals = {}

        def done():
            self.check_alive()
            for node in self.running():
                if ids and node.id not in ids:
                    continue
                try:
                    change(node.address)
                    return True
                except Unanswered as e:
                    if "error code 36" in str(e):  # made by an attempt that was not answered
                        return True
                    refusals[node.id] = str(e)
            return False

        try:
            wait_until(done, "a change to be acknowledged", timeout_s)
        except AssertionError as e:
            raise AssertionError(f"{e}; brokers say: {refusals}\n{self.logs()}") from None

    def logs(self, lines=25) -> str:
        return "\n".join(f"--- the end of {n.log_file}\n{n.log_tail(lines)}" for n in self.nodes.values())


__all__ = ["BrokerDied", "Cluster", "Node", "Place"]
