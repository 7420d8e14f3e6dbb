"""`ringlog group` against three brokers, Ringlog's or Kafka's, beside what `kafka-consumer-groups` says of the same groups.

The program speaks the Kafka protocol, so with RINGLOG_TEST_AGAINST=kafka the same tests run it against real Kafka.
"""

import json
import os
import socket
import subprocess
import threading

import pytest
from confluent_kafka import Consumer, TopicPartition

from chapters.groups import topic as topic_step
from harness import paths
from harness.broker import java
from harness.cluster import Cluster
from harness.group_members import ChapterMembers
from harness.groups import commit, committed
from harness.records import T0
from harness.transcript import TOOLS
from harness.wait import PATIENCE_S, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.group, pytest.mark.timeout(600)]

MEMBERS = ChapterMembers()
SETTINGS = {"offsets.topic.num.partitions": "4"}


@pytest.fixture(scope="module")
def cluster(module_cluster, group_settings) -> Cluster:
    """Topic t with 3 partitions of 5 records, u with one of 4; group `empty` has committed some of t."""
    cluster = module_cluster("group-cli", {**group_settings, **SETTINGS})
    topic_step("t", 3, 5).function(cluster)
    topic_step("u", 1, 4).function(cluster)
    commit(cluster.bootstrap, "empty", "t", {0: 2, 2: 5})
    return cluster


@pytest.fixture(autouse=True)
def nobody_is_left():
    yield
    MEMBERS.close_all()


def ringlog(bootstrap: str, *args: str, timeout=15) -> subprocess.CompletedProcess:
    command = [str(paths.ringlog_binary()), "group", *args, "--bootstrap-server", bootstrap, "--timeout", str(timeout)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S + timeout, stdin=subprocess.DEVNULL)


def told(bootstrap: str, *args: str) -> str:
    """What it prints when all went well."""
    done = ringlog(bootstrap, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(bootstrap: str, *args: str, status=1, **more) -> str:
    """What it says when it went wrong: a sentence, and nothing of its insides."""
    done = ringlog(bootstrap, *args, **more)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert "panicked" not in done.stderr and done.stderr.startswith("error: "), done.stderr
    return done.stderr


def kafka_groups(cluster: Cluster, *args: str) -> str:
    command = java(TOOLS["kafka-consumer-groups"], "--bootstrap-server", cluster.bootstrap, *args)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(text: str) -> list[str]:
    """Those of a table, however wide its columns are and in whichever order its lines come."""
    return sorted({" ".join(line.split()) for line in text.splitlines() if line.strip()})


def columns(text: str, *names: str) -> list[tuple[str, ...]]:
    header, *rows = (line.split() for line in text.splitlines() if line.strip())
    return sorted(tuple(row[header.index(name)] for name in names) for row in rows)


PROTOCOLS = [pytest.param("classic"), pytest.param("consumer", marks=pytest.mark.consumer_protocol)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_describe_prints_what_kafkas_tool_prints(protocol, cluster, has_consumer_protocol):
    if protocol == "consumer" and not has_consumer_protocol:
        pytest.skip("the broker does not have ConsumerGroupHeartbeat")
    group = f"active-{protocol}"
    MEMBERS.join(cluster, group, "a", ["t", "u"], {"a": 4}, protocol=protocol)
    empty_is_behind(cluster)
    for flags in ([], ["--members", "--verbose"], ["--state", "--verbose"], ["--members"], ["--state"]):
        mine = told(cluster.bootstrap, "describe", group, "empty", *flags)
        theirs = kafka_groups(cluster, "--describe", "--group", group, "--group", "empty", *flags)
        assert lines(mine) == lines(theirs), f"describe {flags}"
    shown = json.loads(told(cluster.bootstrap, "describe", group, "--json"))["groups"][0]
    assert shown["type"] == protocol.capitalize() and shown["state"] == "Stable"
    assert {(o["topic"], o["partition"]): o["lag"] for o in shown["offsets"]} == {("t", 0): 0, ("t", 1): 0, ("t", 2): 0, ("u", 0): 0}
    [member] = shown["members"]
    assert member["assignment"] == {"t": [0, 1, 2], "u": [0]} and member["client_id"] == "a"
    assert member["target_assignment"] == (member["assignment"] if protocol == "consumer" else None)


def empty_is_behind(cluster):
    """By 3 in t-0."""
    shown = json.loads(told(cluster.bootstrap, "describe", "empty", "--json"))["groups"][0]
    assert {(o["topic"], o["partition"]): o["lag"] for o in shown["offsets"]} == {("t", 0): 3, ("t", 2): 0}


def test_list_has_the_groups_of_all_brokers_by_state_and_type(cluster):
    names = [f"listed-{n}" for n in range(8)]  # coordinated by different brokers
    for name in names:
        commit(cluster.bootstrap, name, "t", {0: 1})
    MEMBERS.join(cluster, "listed-active", "a", ["t"], {"a": 3})
    mine = told(cluster.bootstrap, "list")
    assert columns(mine, "GROUP", "TYPE", "STATE") == columns(
        kafka_groups(cluster, "--list", "--type", "--state"), "GROUP", "TYPE", "STATE"
    )
    assert len({broker for (broker,) in columns(mine, "COORDINATOR")}) > 1, mine
    stable = json.loads(told(cluster.bootstrap, "list", "--state", "stable", "--json"))["groups"]
    assert [(g["group"], g["protocol"]) for g in stable if g["group"].startswith("listed")] == [("listed-active", "consumer")]
    empty = columns(told(cluster.bootstrap, "list", "--state", "Empty,Dead"), "GROUP")
    assert {(name,) for name in names} <= set(empty) and ("listed-active",) not in empty
    assert not [g for g in columns(told(cluster.bootstrap, "list", "--type", "consumer"), "GROUP") if g[0] in names]
    assert ringlog(cluster.bootstrap, "delete", *names).returncode == 0
    assert not [g for g in columns(told(cluster.bootstrap, "list"), "GROUP") if g[0] in names]


RESETS = [
    ["--topic", "t", "--to-earliest"],
    ["--topic", "t:1,2", "--topic", "u", "--to-latest"],
    ["--all-topics", "--to-current"],
    ["--topic", "t", "--to-offset", "4"],
    ["--topic", "t", "--to-offset", "100"],
    ["--topic", "t", "--to-offset", "-5"],
    ["--all-topics", "--shift-by", "2"],
    ["--all-topics", "--shift-by", "-100"],
    ["--topic", "t", "--by-duration", "P1D"],
    ["--topic", "t", "--by-duration", "PT1S"],
    ["--topic", "t", "--to-datetime", "2033-01-01T00:00:00.000"],
    ["--topic", "t", "--to-datetime"],  # of the third record
]


@pytest.mark.parametrize("how", RESETS, ids=lambda how: " ".join(how).replace("--", ""))
def test_reset_offsets_plans_and_does_what_kafkas_tool_plans(how, cluster):
    if how[-1] == "--to-datetime":
        from datetime import UTC, datetime

        third = datetime.fromtimestamp((T0 + 2000) / 1000, UTC)
        how = [*how, third.strftime("%Y-%m-%dT%H:%M:%S.") + f"{third.microsecond // 1000:03}"]
    commit(cluster.bootstrap, "reset", "t", {0: 2, 1: 3})
    before = committed(cluster.bootstrap, "reset", "t")
    theirs = kafka_groups(cluster, "--reset-offsets", "--group", "reset", *how, "--dry-run")
    theirs = "\n".join(line for line in theirs.splitlines() if not line.startswith("Warn"))
    wanted = columns(theirs, "GROUP", "TOPIC", "PARTITION", "NEW-OFFSET")
    assert wanted, theirs
    mine = ringlog(cluster.bootstrap, "reset-offsets", "reset", *how)
    assert mine.returncode == 0, mine.stderr
    assert columns(mine.stdout, "GROUP", "TOPIC", "PARTITION", "NEW-OFFSET") == wanted
    assert "dry run: nothing was changed" in mine.stderr
    assert committed(cluster.bootstrap, "reset", "t") == before, "a dry run"
    told(cluster.bootstrap, "reset-offsets", "reset", *how, "--execute")
    after = committed(cluster.bootstrap, "reset", "t")
    assert {p: after[p] for p in after} == {
        **before, **{int(p): int(offset) for _, topic, p, offset in wanted if topic == "t"}
    }  # fmt: skip
    told(cluster.bootstrap, "delete", "reset")


def test_reset_offsets_to_a_file_and_back(cluster, tmp_path):
    plan, saved = tmp_path / "plan.csv", tmp_path / "saved.csv"
    plan.write_text('"t",0,1\nu,0,3\n')
    commit(cluster.bootstrap, "saved", "t", {0: 4, 1: 2})
    saved.write_text(told(cluster.bootstrap, "reset-offsets", "saved", "--all-topics", "--to-current", "--csv"))
    assert saved.read_text() == "t,0,4\nt,1,2\n"
    told(cluster.bootstrap, "reset-offsets", "saved", "--from-file", str(plan), "--execute")
    assert committed(cluster.bootstrap, "saved", "t") == {0: 1, 1: 2}
    assert committed(cluster.bootstrap, "saved", "u") == {0: 3}
    told(cluster.bootstrap, "reset-offsets", "saved", "--from-file", str(saved), "--execute")
    assert committed(cluster.bootstrap, "saved", "t") == {0: 4, 1: 2}
    done = told(cluster.bootstrap, "delete-offsets", "saved", "--topic", "u", "--topic", "t:1")
    assert len(done.splitlines()) == 2
    assert committed(cluster.bootstrap, "saved", "t") == {0: 4} and not committed(cluster.bootstrap, "saved", "u")
    told(cluster.bootstrap, "delete", "saved")


def test_a_consumer_goes_on_where_the_group_was_reset_to(cluster):
    told(cluster.bootstrap, "reset-offsets", "new", "--topic", "u", "--to-offset", "2", "--execute")
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "new", "auto.offset.reset": "error"})
    try:
        consumer.assign([TopicPartition("u", 0)])
        read = consumer.consume(2, PATIENCE_S)
        assert [m.offset() for m in read] == [2, 3]
    finally:
        consumer.close()
    told(cluster.bootstrap, "delete", "new")


def test_a_group_with_members_is_left_alone_and_they_are_named(cluster):
    MEMBERS.join(cluster, "busy", "billing", ["u"], {"billing": 1})
    said = refused(cluster.bootstrap, "reset-offsets", "busy", "--topic", "u", "--to-earliest", "--execute")
    assert "is Stable with 1: " in said and "client id 'billing' at 127.0.0.1" in said and "stop them" in said
    assert committed(cluster.bootstrap, "busy", "u") == {0: 4}
    assert "has members and was not deleted" in refused(cluster.bootstrap, "delete", "busy")
    said = refused(cluster.bootstrap, "delete-offsets", "busy", "--topic", "u")
    assert "u-0: GROUP_SUBSCRIBED_TO_TOPIC" in said
    MEMBERS.leave("billing")
    told(cluster.bootstrap, "reset-offsets", "busy", "--topic", "u", "--to-earliest", "--execute")
    assert committed(cluster.bootstrap, "busy", "u") == {0: 0}


def test_what_does_not_exist_is_named(cluster, tmp_path):
    assert "group 'nothing' does not exist" in refused(cluster.bootstrap, "describe", "nothing")
    # The others are shown all the same.
    done = ringlog(cluster.bootstrap, "describe", "nothing", "empty")
    assert done.returncode == 1 and "empty" in done.stdout and "group 'nothing' does not exist" in done.stderr
    assert "group 'nothing' does not exist" in refused(cluster.bootstrap, "delete", "nothing")
    reset = ("reset-offsets", "empty", "--to-earliest")
    assert "there is no topic 'nothing'" in refused(cluster.bootstrap, *reset, "--topic", "nothing")
    assert "topic 't' has no partition 7: it has 3" in refused(cluster.bootstrap, *reset, "--topic", "t:0,7")
    said = refused(cluster.bootstrap, "reset-offsets", "nothing", "--all-topics", "--to-latest")
    assert "has no committed offsets: name topics with --topic" in said
    said = refused(cluster.bootstrap, "reset-offsets", "empty", "--topic", "t", "--shift-by", "1")
    assert "t-1: group 'empty' has committed nothing there" in said
    broken = tmp_path / "broken.csv"
    broken.write_text("t,0,5\nt,0\n")
    assert "line 2: it has 2 field(s)" in refused(cluster.bootstrap, "reset-offsets", "empty", "--from-file", str(broken))
    assert "No such file" in refused(cluster.bootstrap, "reset-offsets", "empty", "--from-file", str(tmp_path / "none"))
    for wrong in (["--topic", "t"], ["--to-latest"], ["--topic", "t", "--to-latest", "--to-earliest"],
                  ["--topic", "t", "--to-datetime", "soon"], ["--topic", "t:x", "--to-latest"]):  # fmt: skip
        refused(cluster.bootstrap, "reset-offsets", "empty", *wrong, status=2)


def test_any_broker_of_several_is_asked_and_groups_survive_their_coordinators_end(cluster):
    """The first address may be dead; and a coordinator that is stopped is looked for where it went."""
    dead = unused_port()
    assert "empty" in told(f"127.0.0.1:{dead},{cluster[1].bootstrap}", "list")
    cluster.create_topic("everywhere", {0: [1, 2, 3]})
    cluster.settle()
    commit(cluster.bootstrap, "moves", "everywhere", {0: 0})
    [coordinator] = [
        g["coordinator"] for g in json.loads(told(cluster.bootstrap, "list", "--json"))["groups"] if g["group"] == "moves"
    ]
    stays = cluster.bootstrap_without(coordinator)
    cluster[coordinator].stop()
    try:
        shown = json.loads(told(stays, "describe", "moves", "--json"))["groups"][0]
        assert [(o["partition"], o["current_offset"]) for o in shown["offsets"]] == [(0, 0)]
        assert shown["coordinator"]["id"] != coordinator
    finally:
        cluster.start_nodes(coordinator)
        cluster.settle()


def test_a_broker_that_hangs_leaves_the_others_groups_to_be_listed(cluster):
    names = [f"spread-{n}" for n in range(8)]
    for name in names:
        commit(cluster.bootstrap, name, "t", {0: 1})
    coordinators = {g["group"]: g["coordinator"] for g in json.loads(told(cluster.bootstrap, "list", "--json"))["groups"]}
    # A broker that was restarted coordinates nothing.
    hangs = next(id for name in names if (id := coordinators[name]) != cluster.controller())
    others = {name for name in names if coordinators[name] != hangs}
    assert 0 < len(others) < len(names), coordinators
    cluster[hangs].pause()
    try:
        done = ringlog(cluster.bootstrap_without(hangs), "list", timeout=5)
    finally:
        cluster[hangs].resume()
    assert done.returncode == 1 and f"the groups of broker {hangs} are missing: " in done.stderr, done.stderr
    assert "no answer to" in done.stderr and "--timeout" in done.stderr
    assert {name for (name,) in columns(done.stdout, "GROUP")} & set(names) == others
    cluster.settle()
    told(cluster.bootstrap, "delete", *names)


def unused_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Impostor:
    """A port that answers whatever it is sent with the same bytes, or not at all."""

    def __init__(self, answer: bytes | None, close=False):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.answer, self.close_at_once = answer, close
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        held = []
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.recv(4096)
            if self.answer is not None:
                connection.sendall(self.answer)
            held.append(connection)
            if self.close_at_once:
                connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


# The first request has correlation id 1; an answer to ApiVersions has no tagged fields in its header.
ONE = b"\0\0\0\1"
IMPOSTORS = {
    "http": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a port that speaks HTTP"),
    "negative length": (b"\xff\xff\xff\xff", "a length cannot be negative"),
    "endless": (b"\x7f\xff\xff\xff" + b"x" * 1000, "2147483647 bytes"),
    "another answer": (frame(b"\0\0\0\x63" + b"\0" * 30), "correlation id 99 where 1 was expected"),
    "short": (frame(b"\0\0"), "too short"),
    "absurd count": (frame(ONE + b"\0\0" + b"\xff\xff\xff\xff\x07" + b"\0" * 30), "elements announced"),
    "rubbish": (frame(ONE + b"\0\0" + b"\xa5" * 40), "cannot be read"),
    "refusal": (frame(ONE + b"\0\x23" + b"\0" * 30), "UNSUPPORTED_VERSION"),
    "nothing is served": (frame(ONE + b"\0\0" + b"\x01" + b"\0" * 5), "does not serve"),
}


@pytest.mark.parametrize("name", IMPOSTORS)
def test_a_port_that_answers_rubbish_is_told_as_that(name):
    answer, expected = IMPOSTORS[name]
    with Impostor(answer) as impostor:
        said = refused(impostor.address, "list")
    assert expected in said and impostor.address in said, said


def test_random_bytes_never_crash_it(seed):
    import random

    source = random.Random(seed)
    for _ in range(20):
        body = source.randbytes(source.randrange(200))
        with Impostor(frame(ONE + b"\0\0" + body), close=True) as impostor:
            refused(impostor.address, "describe", "g", timeout=2)


def test_a_broker_that_cannot_be_asked_is_named(seed):
    dead = unused_port()
    said = refused(f"127.0.0.1:{dead}", "list")
    assert f"127.0.0.1:{dead}: cannot connect" in said
    said = refused(f"127.0.0.1:{dead},localhost:{dead}", "list")
    assert f"127.0.0.1:{dead}" in said and f"localhost:{dead}" in said
    assert "cannot be resolved" in refused("no-such-host.invalid:9092", "list")
    with Impostor(None) as silent:
        assert "no answer to ApiVersions within" in refused(silent.address, "list", timeout=1)
    with Impostor(b"", close=True) as closing:
        assert "closed the connection" in refused(closing.address, "list")
    refused("127.0.0.1", "list", status=2)


def test_the_address_may_come_from_the_environment(cluster):
    command = [str(paths.ringlog_binary()), "group", "list"]
    environment = {**os.environ, "RINGLOG_BOOTSTRAP_SERVER": cluster.bootstrap}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    assert done.returncode == 0 and "empty" in done.stdout, done.stderr


def test_while_a_group_rebalances_it_is_described(cluster):
    """States between are shown, and noted."""

    def stable():
        shown = json.loads(told(cluster.bootstrap, "describe", "between", "--json"))["groups"][0]
        return shown["state"] == "Stable" and len(shown["members"]) == 2

    MEMBERS.join(cluster, "between", "a", ["t"], {"a": 3})
    MEMBERS.join(cluster, "between", "b", ["t"], {"a": 2, "b": 1})
    wait_until(stable, "both to be shown")
    rows = columns(told(cluster.bootstrap, "describe", "between"), "PARTITION", "CLIENT-ID")
    assert rows == [("0", "a"), ("1", "a"), ("2", "b")]
