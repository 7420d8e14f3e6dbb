"""A broker as a process: started, stopped, killed and started again, the same way for Ringlog and for real Kafka.

Contract: `start` returns when the broker answers Metadata on its address; `stop` is SIGTERM and waits for the end;
`kill9` is SIGKILL. The address stays the same over restarts, so that clients can come back. Absent: clusters, which
`cluster.py` makes of these.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from . import paths, usage, wire
from .wait import wait_until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


class BrokerDied(Exception):
    """The process ended without being asked to."""


class Broker:
    """What both have in common. `settings` are Kafka's own broker settings, by their names."""

    def __init__(self, name: str, settings: dict[str, str] | None = None, base: Path | None = None):
        self.dir = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=base or paths.data_root()))
        self.data_dir = self.dir / "data"
        self.settings = {"group.initial.rebalance.delay.ms": "0", **(settings or {})}
        self.environment: dict[str, str] = {}  # of the process, beside ours
        self.host, self.port = "127.0.0.1", 0
        self.process: subprocess.Popen | None = None
        self.starts = 0

    # What differs.
    def _command(self) -> list[str]:
        raise NotImplementedError

    def _bound_port(self) -> int | None:
        """The port once the log says it is bound."""
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    # Life cycle.
    def start(self) -> "Broker":
        self.spawn()
        try:
            self.wait_ready()
        except BaseException:
            self.kill9()
            raise
        return self

    def spawn(self):
        """Starts the process without waiting for it to serve: members of a cluster need each other for that."""
        assert self.process is None, "already running"
        self.starts += 1
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                cwd=self.dir,
                start_new_session=True,  # Ctrl-C at the terminal stops pytest, which stops the broker
            )

    def wait_ready(self):
        def answers():
            self.check_alive()
            port = self._bound_port()
            if port is None:
                return False
            self.port = port
            try:
                return wire.brokers(self.address)
            except (OSError, wire.Closed):
                return False

        wait_until(answers, f"{self.dir.name} to be ready (log: {self.log_file})", START_TIMEOUT_S, poll_s=0.02)

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def kill9(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self._reap()

    def _reap(self) -> int:
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the broker did not stop within {STOP_TIMEOUT_S:.0f} s of SIGTERM") from None
        finally:
            self.process = None
        return status

    def restart(self):
        self.stop()
        self.start()

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def check_alive(self):
        if not self.alive():
            status = None if self.process is None else self.process.returncode
            raise BrokerDied(f"the broker is not running (exit status {status}); its log ends:\n{self.log_tail()}")

    def discard(self):
        """Ends the process whatever its state and removes its folder."""
        if self.process is not None:
            self.kill9()
        shutil.rmtree(self.dir, ignore_errors=True)

    # Where it is.
    @property
    def address(self) -> tuple[str, int]:
        return (self.host, self.port)

    @property
    def bootstrap(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def log_file(self) -> Path:
        return self.dir / f"broker.{self.starts}.log"

    def log_text(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])

    # What it uses.
    @property
    def pid(self) -> int:
        return self.process.pid

    def rss_bytes(self) -> int:
        return usage.rss_bytes(self.pid)

    def cpu_seconds(self) -> float:
        return usage.cpu_seconds(self.pid)

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class RinglogBroker(Broker):
    """`ringlog serve`, with its port taken from the log line `kafka listener bound ... addr=127.0.0.1:PORT`."""

    kind = "ringlog"
    BOUND = re.compile(r"kafka listener bound.*\baddr=\"?127\.0\.0\.1:(\d+)")

    def __init__(self, *args, shards: int = 2, flags: list[str] = (), data_dir: Path | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.shards = shards
        self.flags = flags
        if data_dir:
            self.data_dir = data_dir

    def _command(self):
        command = [str(paths.ringlog_binary()), "serve", "--data-dir", str(self.data_dir)]
        command += ["--kafka-addr", f"127.0.0.1:{self.port}"]
        command += ["--internal-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--shards", str(self.shards)]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        return command + list(self.flags)

    def _bound_port(self):
        found = self.BOUND.search(self.log_text())
        return int(found[1]) if found else None


class KafkaBroker(Broker):
    """Apache Kafka in one process (broker and controller), from the jars that run.sh fetched."""

    kind = "kafka"
    # What a test machine of two cores can carry, and what makes one node enough.
    DEFAULTS = {
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # After kill -9 the broker may register again only when its old session is over.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "num.network.threads": "2",
        "num.io.threads": "4",
    }

    def __init__(self, *args, shards: int = 0, **kwargs):
        super().__init__(*args, **kwargs)
        del shards  # Ringlog's alone
        self.port, self.controller_port = free_ports(2)

    def _command(self):
        properties = self.dir / "server.properties"
        listener = f"PLAINTEXT://127.0.0.1:{self.port}"
        own = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"{listener},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": listener,
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data_dir),
        }
        properties.write_text("".join(f"{k}={v}\n" for k, v in {**self.DEFAULTS, **own, **self.settings}.items()))
        if not (self.data_dir / "meta.properties").exists():
            self.format(properties, "MkU3OEVBNTcwNTJENDM2Qg")
        return java("kafka.Kafka", str(properties), jvm=BROKER_JVM)

    def format(self, properties: Path, cluster_id: str, *more: str):
        """Makes the data directory, which Kafka wants done before the first start."""
        with open(self.dir / "format.log", "wb") as log:
            subprocess.run(
                java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties), *more),
                stdout=log, stderr=subprocess.STDOUT, check=True,
            )  # fmt: skip

    def _bound_port(self):
        return self.port if "Kafka Server started" in self.log_text() else None


BROKER_JVM = ("-Xms512m", "-Xmx512m", "-XX:+UseG1GC", "-Dkafka.server.loglevel=info")
TOOL_JVM = (
    "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
    "-Xshare:auto", f"-XX:SharedArchiveFile={paths.KAFKA_LIBS / 'tools.jsa'}",
)  # fmt: skip


def java(main_class, *args, jvm=TOOL_JVM, classes: tuple[Path, ...] = ()) -> list[str]:
    """The command line for a class of Kafka's jars, or of more folders of `classes`."""
    logging = f"-Dlog4j2.configurationFile={paths.SUITE / 'kafka' / 'log4j2.properties'}"
    class_path = ":".join([f"{paths.KAFKA_LIBS}/*", *map(str, classes)])
    return ["java", *jvm, logging, "-cp", class_path, main_class, *args]


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on at this moment (Kafka cannot tell us which port it took for its controller)."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def new_broker(name: str, settings=None, **kwargs) -> Broker:
    """A broker of the kind that this run is against, not started yet."""
    return {"ringlog": RinglogBroker, "kafka": KafkaBroker}[paths.AGAINST](name, settings, **kwargs)
