"""The broker as a service of Linux: what it tells the service manager, health checks, reload and log levels."""

import contextlib
import re
import signal
import socket
import subprocess
import time

import pytest

from harness import console, paths, replicas, wire
from harness.broker import java
from harness.cli import Asks
from harness.cluster import Cluster, host_port, steady_ports
from harness.service import Message, NotifySocket, hang_up, health, stopped_thread
from harness.topics import admin_client, create_topic
from harness.wait import wait_until

pytestmark = pytest.mark.service

ONLY_RINGLOG = pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Ringlog's own")
HTTP = re.compile(r"http listener bound.*\baddr=\"?(127\.0\.0\.1:\d+)")


def http_address(broker) -> str:
    return wait_until(lambda: HTTP.search(broker.log_text()), "the HTTP address in the log")[1]


def log_lines(broker, text: str) -> list[str]:
    return [line for line in broker.log_text().splitlines() if text in line]


def wait_line(broker, text: str) -> str:
    return wait_until(lambda: log_lines(broker, text), f"{text!r} in the log")[-1]


def under_manager(broker, notify: NotifySocket, **more: str):
    broker.environment = notify.environment(**more)
    return broker


# What the service manager is told.
@ONLY_RINGLOG
@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_ready_comes_when_clients_can_connect(abstract, own_broker):
    """Not before, and no later: whoever acts on the message finds the port open."""
    port = steady_ports(1)[0]
    connected = []

    def connect(message: Message):
        is_ready = "READY" in message.fields
        try:
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
            # If it has said more by now, it is not known whether the port was open when it said this.
            connected.append((True if is_ready or not notify.has_more() else None, is_ready))
        except ConnectionRefusedError:
            connected.append((False, is_ready))

    notify = NotifySocket(abstract, connect)
    broker = under_manager(own_broker(start=False), notify)
    broker.port = port
    broker.start()
    notify.wait_for("READY")
    assert all(could for could, is_ready in connected if is_ready)
    first = next(number for number, (_, is_ready) in enumerate(connected) if is_ready)
    # The port opens a moment before the message: at most the status of that moment comes between.
    assert not any(could for could, _ in connected[: max(0, first - 1)]), connected
    notify.wait_for("STATUS", lambda status: status.startswith("serving: 0 partitions, 0 leaders"))


@ONLY_RINGLOG
def test_a_long_recovery_tells_how_far_it_is(own_broker):
    broker = own_broker()
    create_topic(broker.bootstrap, "many", 1200)
    broker.kill9()

    def slow_motion(message: Message):
        """A fast machine recovers all of them between two looks: what comes next is to take longer than those are apart."""
        if message.fields.get("STATUS") == "recovering logs":
            for _ in range(5):
                broker.process.send_signal(signal.SIGSTOP)
                time.sleep(0.3)
                broker.process.send_signal(signal.SIGCONT)
                time.sleep(0.005)

    notify = NotifySocket(on_message=slow_motion)
    under_manager(broker, notify).start()
    told = notify.seen("STATUS")
    progress = [re.fullmatch(r"recovering logs: (\d+) of (\d+) partitions", status) for status in told]
    assert any(progress), told
    assert all(int(found[1]) <= int(found[2]) <= 1200 for found in progress if found)
    recovering = [m for m in notify.messages if "EXTEND_TIMEOUT_USEC" in m.fields]
    notify.wait_for("READY")
    ready = next(m for m in notify.messages if "READY" in m.fields)
    assert recovering and all(m.at < ready.at for m in recovering), "patience is for the start"
    notify.wait_for("STATUS", lambda status: status.startswith("serving: 1200 partitions, 1200 leaders"))


@ONLY_RINGLOG
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_a_stop_is_told_and_ends_with_status_0(sent, own_broker):
    notify = NotifySocket()
    broker = under_manager(own_broker(start=False), notify).start()
    client = socket.create_connection(broker.address)
    broker.process.send_signal(sent)
    notify.wait_for("STOPPING")
    assert broker._reap() == 0
    notify.catch_up()
    told = [message.fields for message in notify.messages]
    stopping = next(number for number, fields in enumerate(told) if "STOPPING" in fields)
    assert any("EXTEND_TIMEOUT_USEC" in fields for fields in told[stopping:]), told[stopping:]
    assert notify.seen("STATUS")[-1].startswith("stopping")
    assert notify.count("ERRNO") == 0
    client.close()


@ONLY_RINGLOG
def test_a_failed_start_is_told_with_its_error(own_broker):
    """Another process has the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        notify = NotifySocket()
        broker = under_manager(own_broker(start=False), notify)
        broker.port = taken.getsockname()[1]
        broker.spawn()
        assert broker._reap() == 1
    notify.wait_for("STATUS", lambda status: status.startswith("failed: --kafka-addr"))
    assert notify.seen("ERRNO") == ["98"]  # EADDRINUSE
    assert notify.count("READY") == 0


@ONLY_RINGLOG
def test_a_broker_that_waits_for_its_cluster_is_alive_and_not_ready(own_broker):
    nobody = host_port(("127.0.0.1", steady_ports(1)[0]))
    notify = NotifySocket()
    broker = under_manager(own_broker(start=False, flags=["--join", nobody]), notify)
    broker.spawn()
    http = http_address(broker)
    assert health(http, "live").status == 200
    for page in ("ready", "safe-to-restart"):
        assert health(http, page).status == 503
    assert health(http, "ready").body["reason"] == "waiting for the controller"
    notify.wait_for("STATUS", lambda status: status.startswith("joining"))
    notify.wait_for("EXTEND_TIMEOUT_USEC")  # the others may take their time
    assert broker.stop() == 0
    notify.wait_for("STOPPING")
    assert notify.count("READY") == 0 and notify.count("STOPPING") == 1


@ONLY_RINGLOG
@pytest.mark.parametrize("port", ["kafka", "http", "nobody"])
def test_joining_at_a_wrong_port_is_told_what_answered(port, own_broker):
    if port == "nobody":
        address = host_port(("127.0.0.1", steady_ports(1)[0]))
    else:
        member = own_broker()
        address = member.bootstrap if port == "kafka" else http_address(member)
    broker = own_broker(start=False, flags=["--join", address, "--node-id", "2"])
    broker.spawn()
    line = wait_line(broker, "no member of a cluster could be asked here")
    answered = {"kafka": "as a Kafka port does", "http": "an HTTP server answered", "nobody": "nothing listens there"}
    assert answered[port] in line and address in line and "internal port" in line, line
    assert broker.stop() == 0


@ONLY_RINGLOG
def test_a_new_cluster_is_told_of_once(own_broker):
    broker = own_broker()
    [line] = log_lines(broker, "a new cluster was formed")
    assert "WARN" in line and "--join" in line and str(broker.data_dir.resolve()) in line, line
    broker.restart()
    assert not log_lines(broker, "a new cluster was formed")


@ONLY_RINGLOG
def test_told_twice_it_still_ends_in_order(own_broker):
    """One shard stands still, so that the stop takes its time."""
    broker = own_broker()
    with stopped_thread(broker.pid, "shard-0"):
        broker.process.send_signal(signal.SIGTERM)
        wait_line(broker, "stopping")
        broker.process.send_signal(signal.SIGTERM)
        wait_line(broker, "told to stop again")
    assert broker._reap() == 0


@ONLY_RINGLOG
def test_told_three_times_it_ends_at_once_with_status_1(own_broker):
    broker = own_broker()
    with stopped_thread(broker.pid, "shard-0"):
        broker.process.send_signal(signal.SIGTERM)
        wait_line(broker, "stopping")
        broker.process.send_signal(signal.SIGINT)
        wait_line(broker, "told to stop again")
        broker.process.send_signal(signal.SIGTERM)
        wait_line(broker, "told to stop for the third time")
    assert broker._reap() == 1


@ONLY_RINGLOG
def test_no_reload_while_it_stops(own_broker):
    """READY=1 would say that it does not."""
    notify = NotifySocket()
    broker = under_manager(own_broker(start=False), notify).start()
    with stopped_thread(broker.pid, "shard-0"):
        broker.process.send_signal(signal.SIGTERM)
        wait_line(broker, "stopping")
        hang_up(broker.process)
        wait_line(broker, "the configuration is not read again")
    assert broker._reap() == 0
    assert notify.count("RELOADING") == 0 and notify.count("READY") == 1


@ONLY_RINGLOG
def test_a_wrong_configuration_is_status_2(own_broker):
    broker = own_broker(start=False, flags=["--log-format", "xml"])
    broker.spawn()
    assert broker._reap() == 2


# The watchdog, and liveness.
@ONLY_RINGLOG
def test_a_shard_that_stands_still_is_noticed(own_broker):
    """Its thread alone: everything else goes on, answers, and says which it is. Then it goes on too."""
    notify = NotifySocket()
    broker = under_manager(own_broker(start=False), notify, WATCHDOG_USEC="2000000").start()
    http = http_address(broker)
    notify.wait_for("WATCHDOG", count=3)
    alive = health(http, "live")
    assert (alive.status, alive.body["reason"]) == (200, "alive")
    with stopped_thread(broker.pid, "shard-1"):
        stuck = wait_until(lambda: (a := health(http, "live")).status == 503 and a, "a stuck shard to be noticed")
        assert re.match(r"shard-1 has made no progress for \d+ s", stuck.body["reason"])
        assert stuck.check("shard-1")["status"] == "unavailable"
        assert stuck.check("shard-0")["status"] == "ok"
        wait_line(broker, "the shard makes no progress")
        notify.wait_for("STATUS", lambda status: "NO PROGRESS of shards [1]" in status)
        fed, since = notify.count("WATCHDOG"), stuck.check("shard-1")["silent_ms"]
        # Two and a half times what the manager waits.
        wait_until(lambda: health(http, "live").check("shard-1")["silent_ms"] > since + 5000, "time to pass")
        assert notify.count("WATCHDOG") == fed
    wait_until(lambda: health(http, "live").status == 200, "the shard to go on")
    notify.wait_for("WATCHDOG", count=fed + 2)
    assert wire.brokers(broker.address)


@ONLY_RINGLOG
def test_a_process_that_stands_still_feeds_no_watchdog(own_broker):
    notify = NotifySocket()
    broker = under_manager(own_broker(start=False), notify, WATCHDOG_USEC="1000000").start()
    http = http_address(broker)
    notify.wait_for("WATCHDOG", count=3)
    broker.process.send_signal(signal.SIGSTOP)
    try:
        # It stands when it takes no more time of any core.
        wait_until(lambda: state(broker.pid) == "T", "the process to stand still")
        fed = notify.count("WATCHDOG")
        with pytest.raises((TimeoutError, OSError)):
            health(http, "live", timeout_s=3)
        assert notify.count("WATCHDOG") == fed
    finally:
        broker.process.send_signal(signal.SIGCONT)
    notify.wait_for("WATCHDOG", count=fed + 2)
    wait_until(lambda: health(http, "live").status == 200, "it to be alive again")


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0]


@ONLY_RINGLOG
def test_a_watchdog_of_another_process_is_not_fed(own_broker):
    notify = NotifySocket()
    broker = under_manager(own_broker(start=False), notify, WATCHDOG_USEC="100000", WATCHDOG_PID="1").start()
    notify.wait_for("READY")
    broker.stop()
    assert notify.count("WATCHDOG") == 0


# Reload.
class Configured:
    """A broker with a configuration file that can be written anew."""

    def __init__(self, own_broker, text: str, notify: NotifySocket | None = None):
        self.broker = own_broker(start=False)
        self.file = self.broker.dir / "ringlog.toml"
        self.write(text)
        self.broker.flags = ["--config", str(self.file)]
        if notify:
            under_manager(self.broker, notify)
        self.broker.start()
        self.reloads = 0

    def write(self, text: str):
        self.file.write_text(text)

    def reload(self, text: str, done="configuration reloaded"):
        before = len(log_lines(self.broker, done))
        self.write(text)
        hang_up(self.broker.process)
        wait_until(lambda: len(log_lines(self.broker, done)) > before, "the reload")

    def described(self, name: str) -> tuple[str | None, int]:
        """Value and source of one of the broker's configs."""
        from confluent_kafka.admin import ConfigResource

        resource = ConfigResource(ConfigResource.Type.BROKER, "1")
        client = admin_client(self.broker.bootstrap)
        entries = next(iter(client.describe_configs([resource]).values())).result()
        return entries[name].value, entries[name].source


STATIC, DYNAMIC_DEFAULT = 4, 3


@ONLY_RINGLOG
def test_a_reload_changes_what_can_change(own_broker):
    notify = NotifySocket()
    configured = Configured(own_broker, "[kafka]\nlog.retention.ms = 1000000\n", notify)
    broker = configured.broker
    create_topic(broker.bootstrap, "topic")
    assert configured.described("log.retention.ms") == ("1000000", STATIC)
    configured.reload("log-level = 'info,ringlog::serve=debug'\n[kafka]\nlog.retention.ms = 2000000\n")
    wait_until(lambda: configured.described("log.retention.ms") == ("2000000", STATIC), "the new value")
    line = wait_line(broker, "setting changed")
    assert all(part in line for part in ("log.retention.ms", "1000000", "2000000")), line
    notify.wait_for("RELOADING")
    usec = int(notify.wait_for("MONOTONIC_USEC"))
    notify.wait_for("READY", count=2)
    after = notify.messages[[("RELOADING" in m.fields) for m in notify.messages].index(True) :]
    assert any("READY" in message.fields for message in after)
    assert usec / 1e6 <= after[0].at
    # What is left out has its default again.
    configured.reload("")
    wait_until(lambda: configured.described("log.retention.ms")[0] is None, "the default")


@ONLY_RINGLOG
def test_the_console_shows_a_reloaded_setting(own_broker):
    configured = Configured(own_broker, "[kafka]\nlog.retention.ms = 1000000\n")
    create_topic(configured.broker.bootstrap, "topic")
    http = console.http_address(configured.broker)

    def retention():
        told = console.ask(http, "topics", "topic")["all_configs"]
        return next((c["value"], c["source"]) for c in told if c["name"] == "retention.ms")

    assert retention() == ("1000000", "static")
    configured.reload("[kafka]\nlog.retention.ms = 2000000\n")
    wait_until(lambda: retention() == ("2000000", "static"), "the new value")


@ONLY_RINGLOG
def test_shards_act_on_a_reloaded_setting(own_broker):
    """`message.max.bytes` is looked at by whoever appends."""
    configured = Configured(own_broker, "")
    broker = configured.broker
    create_topic(broker.bootstrap, "topic")
    assert produce(broker.bootstrap, b"x" * 100_000) is None
    configured.reload("[kafka]\nmessage.max.bytes = 1000\n")
    wait_until(lambda: produce(broker.bootstrap, b"x" * 100_000), "large records to be refused")
    configured.reload("")
    wait_until(lambda: produce(broker.bootstrap, b"x" * 100_000) is None, "large records to be taken")


def produce(bootstrap: str, value: bytes, topic="topic", **config):
    """The error, if there is one."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "message.timeout.ms": 30000, **config})
    errors = []
    producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error))
    producer.flush(60)
    assert errors, "no report"
    return errors[0]


@ONLY_RINGLOG
def test_the_limit_of_connections_is_reloaded(own_broker):
    configured = Configured(own_broker, "")
    broker = configured.broker
    held = [socket.create_connection(broker.address) for _ in range(3)]
    wire.brokers(broker.address)

    def is_served():
        try:
            return bool(wire.brokers(broker.address))
        except (OSError, wire.Closed):
            return False

    configured.reload("connections-max = 2\n")
    wait_until(lambda: not is_served(), "a connection to be refused")
    wait_line(broker, "connection refused")
    configured.reload("connections-max = 20\n")
    wait_until(is_served, "a connection to be taken")
    for one in held:
        one.close()


@ONLY_RINGLOG
def test_what_needs_a_restart_is_named(own_broker):
    configured = Configured(own_broker, "shard-tail-cache-bytes-max = '64MiB'\n")
    text = "node-id = 7\nshard-tail-cache-bytes-max = 67108864\nlog-format = 'text'\n[kafka]\nbroker.rack = 'r1'\n"
    for _ in range(2):  # as long as that is due
        configured.reload(text)
        lines = log_lines(configured.broker, "needs a restart")[-2:]
        assert "node-id" in lines[0] and "old=\"1\" new=\"7\"" in lines[0], lines
        assert "broker.rack" in lines[1] and "new=\"r1\"" in lines[1], lines
    assert len(log_lines(configured.broker, "needs a restart")) == 4
    assert configured.described("broker.rack")[0] is None
    assert wire.brokers(configured.broker.address)


@ONLY_RINGLOG
def test_a_configuration_with_mistakes_changes_nothing(own_broker):
    notify = NotifySocket()
    configured = Configured(own_broker, "", notify)
    broker = configured.broker
    text = "log-level = 'error'\nconnections-max = 0\nlog-format = 'xml'\n[kafka]\nlog.retention.ms = 5\nnum.partitions = 'x'\n"
    configured.reload(text, done="the configuration was not reloaded")
    problems = log_lines(broker, "in the configuration")
    assert [any(name in line for line in problems) for name in ("connections-max", "log-format", "num.partitions")] == [True] * 3
    notify.wait_for("STATUS", lambda status: "the configuration was not reloaded: 3 errors" in status)
    assert notify.count("READY") == 2
    assert configured.described("log.retention.ms")[0] is None
    configured.reload("= nonsense", done="the configuration was not reloaded")
    configured.file.unlink()
    before = len(log_lines(broker, "was not reloaded"))
    hang_up(broker.process)
    wait_until(lambda: len(log_lines(broker, "was not reloaded")) > before, "the missing file to be told")
    assert "not reloaded" in notify.seen("STATUS")[-1]
    configured.reload("")
    wait_until(lambda: "not reloaded" not in notify.seen("STATUS")[-1], "the status to say no more of it")
    assert broker.stop() == 0


# The log.
@ONLY_RINGLOG
def test_the_level_and_the_format_are_reloaded(own_broker):
    configured = Configured(own_broker, "")
    broker = configured.broker
    assert not log_lines(broker, "DEBUG")
    configured.reload("log-level = 'debug'\nlog-format = 'json'\n")
    create_topic(broker.bootstrap, "topic")
    line = wait_line(broker, "metadata change applied")
    assert line.startswith('{"timestamp"') and '"level":"DEBUG"' in line


@ONLY_RINGLOG
def test_the_journal_gets_priorities_and_no_times(own_broker):
    broker = own_broker(start=False)
    log = broker.dir / "broker.1.log"
    log.touch()
    stat = log.stat()
    broker.environment = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
    broker.start()
    lines = broker.log_text().splitlines()
    assert lines and all(re.match(r"<[3467]>ringlog[:a-z_]*: ", line) for line in lines), lines[:3]
    broker.stop()
    broker.environment = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}  # that of another file now
    broker.start()
    assert re.match(r"\d{4}-", broker.log_text())


@ONLY_RINGLOG
@pytest.mark.parametrize(
    ("port", "line"),
    [("kafka listener bound addr", "connection closed peer="), ("internal", "an internal connection was refused peer=")],
    ids=["kafka", "internal"],
)
def test_bad_connections_do_not_flood_the_log(port, line, own_broker):
    broker = own_broker()
    address = ("127.0.0.1", int(re.search(rf'{port}="?127\.0\.0\.1:(\d+)', broker.log_text())[1]))
    for _ in range(300):
        # The broker may have closed it before all was sent.
        with socket.create_connection(address) as bad, contextlib.suppress(OSError):
            bad.sendall(b"GET / HTTP/1.1\r\n\r\n")
            bad.shutdown(socket.SHUT_WR)
            while bad.recv(4096):
                pass
    left_out = wait_line(broker, "further log lines of this kind were left out")
    written = len(log_lines(broker, line))
    assert 0 < written < 150
    assert int(re.search(r"suppressed=(\d+)", left_out)[1]) > 100


def configs_tool(broker, *arguments: str) -> str:
    command = java("kafka.admin.ConfigCommand", "--bootstrap-server", broker.bootstrap, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    return done.stdout + done.stderr


def test_levels_of_loggers_over_kafkas_tool(own_broker):
    """The same against real Kafka, whose loggers have other names."""
    broker = own_broker()
    logger, other = {"ringlog": ("wal", "ringlog.groups"), "kafka": ("kafka.server.KafkaApis", "kafka.server")}[paths.AGAINST]
    of_broker = ("--entity-type", "broker-loggers", "--entity-name", "1")

    def level(name: str) -> str | None:
        described = configs_tool(broker, "--describe", *of_broker)
        found = re.search(rf"^\s*{re.escape(name)}=(\w+) sensitive=false", described, re.MULTILINE)
        return found[1] if found else None

    def alter(*change: str) -> str:
        return configs_tool(broker, "--alter", *of_broker, *change)

    # That of the harness's own log4j2.properties.
    assert level("root") == {"ringlog": "INFO", "kafka": "WARN"}[paths.AGAINST]
    before = level(other)
    assert "Completed updating config" in alter("--add-config", f"{logger}=DEBUG")
    assert (level(logger), level(other)) == ("DEBUG", before)
    assert "is not a supported log level. Valid log levels are" in alter("--add-config", f"{logger}=LOUD")
    assert "Invalid broker logger(s): no.such.logger" in alter("--add-config", "no.such.logger=INFO")
    assert "Removing the log level of the root logger is not allowed" in alter("--delete-config", "root")
    assert "Completed updating config" in alter("--delete-config", logger)
    assert level(logger) == {"ringlog": level("root"), "kafka": level(other)}[paths.AGAINST], "that of whom it inherits from"
    if paths.AGAINST == "ringlog":
        assert "Completed updating config" in alter("--add-config", "ringlog.shard=DEBUG")
        create_topic(broker.bootstrap, "topic")
        assert "DEBUG" in wait_line(broker, "metadata change applied")


# Health.
@ONLY_RINGLOG
def test_head_requests_and_headers(own_broker):
    broker = own_broker()
    host, port = http_address(broker).split(":")
    for page in ("live", "ready", "safe-to-restart"):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(f"HEAD /health/{page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := client.recv(4096):
                answer += piece
        head, body = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 503" if page == "safe-to-restart" else b"HTTP/1.1 200"), head
        assert b"content-type: application/json" in head and body == b""


@ONLY_RINGLOG
def test_a_single_broker_is_never_safe_to_restart(own_broker):
    broker = own_broker()
    http = http_address(broker)
    create_topic(broker.bootstrap, "topic", 150)
    answer = health(http, "safe-to-restart")
    assert answer.status == 503
    partitions = answer.check("partitions")
    assert (partitions["affected"], len(partitions["listed"])) == (150, 100)
    assert partitions["listed"][0] == {
        "topic": "topic", "partition": 0, "loss": "last-in-sync",
        "replicas": [1], "in_sync_left": [], "min_insync_replicas": 1,
    }  # fmt: skip
    assert answer.check("metadata-quorum")["voters_left"] == []


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster("service", {"offsets.topic.num.partitions": "4"}).start()
    yield cluster
    cluster.discard()


def page(cluster, node_id: int, name="safe-to-restart"):
    return health(host_port(cluster[node_id].place.http), name)


def wait_safe(cluster, *ids: int):
    for node_id in ids:
        wait_until(lambda n=node_id: page(cluster, n).status == 200, f"broker {node_id} to be safe to restart")


def unsafe(cluster, node_id: int):
    """The answer, if it is no for what it says of partitions, and not because the controller did not tell in time."""
    answer = page(cluster, node_id)
    return answer if answer.status == 503 and any(check["name"] == "partitions" for check in answer.body["checks"]) else None


@ONLY_RINGLOG
@pytest.mark.timeout(300)
def test_what_safe_to_restart_says_is_true(cluster):
    """Whoever says yes is stopped, and everything goes on; the others say no as long as it is away."""
    cluster.create_topic("safe", {0: [1, 2, 3], 1: [2, 3, 1], 2: [3, 1, 2]}, {"min.insync.replicas": "2"})
    wait_safe(cluster, 1, 2, 3)
    for away in (1, 2, 3):
        assert page(cluster, away, "ready").body["reason"] == "ready"
        assert cluster[away].stop() == 0
        others = [node_id for node_id in (1, 2, 3) if node_id != away]
        for partition_key in range(6):
            value = f"{away}-{partition_key}".encode()
            assert produce(cluster.bootstrap_without(away), value, "safe") is None
        for node_id in others:
            answer = wait_until(lambda n=node_id: unsafe(cluster, n), "it to be unsafe")
            partitions = answer.check("partitions")
            losses = {(line["topic"], line["loss"]) for line in partitions["listed"]}
            assert losses >= {("safe", "below-min-isr")}, answer
            assert partitions["affected"] >= 3
            quorum = answer.check("metadata-quorum")
            if len(quorum["voters"]) == 3 and away in quorum["voters"]:
                assert quorum["status"] == "unavailable" and quorum["majority"] == 2
        cluster.start_nodes(away)
        wait_safe(cluster, 1, 2, 3)


@ONLY_RINGLOG
@pytest.mark.timeout(300)
def test_whoever_cannot_ask_the_controller_does_not_know(cluster):
    cluster.start_missing()
    wait_safe(cluster, 1, 2, 3)
    controller = cluster.wait_controller()
    other, last = [node_id for node_id in (1, 2, 3) if node_id != controller]
    for node_id in (controller, other):
        cluster[node_id].pause()
    try:
        answer = wait_until(
            lambda: (a := page(cluster, last)).body["reason"].startswith("cannot know") and a, "it not to know"
        )
        assert answer.status == 503
        # Nobody serves replicated partitions without the controller for long, so that clients are better off elsewhere.
        wait_until(lambda: page(cluster, last, "ready").status == 503, "it not to be ready")
        assert page(cluster, last, "live").status == 200
        # Who asks for a change hears why there is none before giving up.
        refused = Asks(cluster.bootstrap_without(controller, other)).refused("topic", "create", "no", "--timeout", "15")
        assert "the controller did not answer within 12 s" in refused, refused
    finally:
        for node_id in (controller, other):
            cluster[node_id].resume()
    wait_safe(cluster, 1, 2, 3)


@ONLY_RINGLOG
@pytest.mark.timeout(300)
def test_told_twice_it_waits_for_no_other_broker(cluster):
    """The others stand still and do not answer whoever wants them to lead."""
    cluster.start_missing()
    wait_safe(cluster, 1, 2, 3)
    controller = cluster.wait_controller()
    others = [node_id for node_id in (1, 2, 3) if node_id != controller]
    leaving, still = others[0], [controller, others[1]]
    for node_id in still:
        cluster[node_id].pause()
    try:
        process = cluster[leaving].process
        process.send_signal(signal.SIGTERM)
        wait_line(cluster[leaving], "stopping")
        process.send_signal(signal.SIGTERM)
        wait_line(cluster[leaving], "others are not waited for")
        assert cluster[leaving]._reap() == 0
        assert not log_lines(cluster[leaving], "stopping without the controller's knowledge")
    finally:
        for node_id in still:
            cluster[node_id].resume()
    cluster.start_missing()
    wait_safe(cluster, 1, 2, 3)


@ONLY_RINGLOG
@pytest.mark.timeout(300)
def test_a_replica_alone_in_sync_is_told_of(cluster):
    cluster.start_missing()
    wait_safe(cluster, 1, 2, 3)
    replicas.create(cluster, "alone", {0: [2]}, {"min.insync.replicas": "1"})
    replicas.create(cluster, "two", {0: [2, 3]}, {"min.insync.replicas": "1"})
    answer = wait_until(lambda: unsafe(cluster, 2), "broker 2 to be unsafe")
    assert [(line["topic"], line["partition"], line["loss"]) for line in answer.check("partitions")["listed"]] == [
        ("alone", 0, "last-in-sync")
    ]
    assert page(cluster, 3).status == 200
