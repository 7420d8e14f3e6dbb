"""`ringlog topic`, `partition` and `cluster brokers` against three brokers, Ringlog's or Kafka's, beside Kafka's own tools.

The program speaks the Kafka protocol, so with RINGLOG_TEST_AGAINST=kafka the same tests run it against real Kafka.
"""

import json
import re
import subprocess
import threading

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from harness import paths
from harness.cli import Asks, columns, environment, kafka_tool
from harness.cluster import Cluster
from harness.wait import PATIENCE_S, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.admin, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster(module_cluster) -> Cluster:
    cluster = module_cluster("topic-cli", {"min.insync.replicas": "2"})
    cluster.create_topic("base", {0: [1, 2, 3], 1: [2, 3, 1]}, {"retention.ms": "3600000"})
    cluster.settle()
    return cluster


@pytest.fixture
def asks(cluster) -> Asks:
    cluster.check_alive()
    return Asks(cluster.bootstrap)


@pytest.fixture
def made(asks, topic_name, cluster):
    """A topic of three partitions with one replica each."""
    asks("topic", "create", topic_name, "--partitions", "3", "--replication-factor", "1")
    cluster.settle()
    return topic_name


def kafka_describes(cluster, *args) -> list[dict[str, str]]:
    """The lines of partitions."""
    text = kafka_tool("kafka-topics", cluster.bootstrap, "--describe", *args)
    found = re.findall(
        r"Topic: (\S+)\s+Partition: (\d+)\s+Leader: (\S+)\s+Replicas: (\S*)\s+Isr: (\S*)\s+Elr: (\S*)", text
    )
    names = ("TOPIC", "PARTITION", "LEADER", "REPLICAS", "ISR", "ELIGIBLE")
    return [dict(zip(names, (cell or "-" for cell in one), strict=True)) for one in found]


def in_order(brokers: str) -> str:
    """Of an ISR, whose order says nothing."""
    return ",".join(sorted(brokers.split(",")))


def of_topic(text: str, topic: str) -> list[dict[str, str]]:
    """The partitions that `describe` shows of one topic."""
    table = text[text.index("PARTITION") :]
    return [{"TOPIC": topic, **row} for row in columns(table)]


def same(mine: list[dict], theirs: list[dict]):
    keys = ("TOPIC", "PARTITION", "LEADER", "REPLICAS", "ELIGIBLE")
    key = lambda row: (tuple(row[k] for k in keys), in_order(row["ISR"]))  # noqa: E731
    assert sorted(map(key, mine)) == sorted(map(key, theirs)) and theirs


def test_what_is_described_is_what_kafkas_tool_describes(cluster, asks):
    text = asks("topic", "describe", "base")
    same(of_topic(text, "base"), kafka_describes(cluster, "--topic", "base"))
    theirs = kafka_tool("kafka-topics", cluster.bootstrap, "--describe", "--topic", "base").splitlines()[0]
    [configs] = re.findall(r"^configs: (.*)$", text, re.M)
    assert sorted(configs.split()) == sorted(re.search(r"Configs: (\S*)", theirs)[1].split(","))
    shown = asks.json("topic", "describe", "base")["topics"]
    assert [t["topic"] for t in shown] == ["base"] and shown[0]["configs"]["retention.ms"] == "3600000"
    assert shown[0]["partitions"][1]["replicas"] == [2, 3, 1] and shown[0]["replication_factor"] == 3
    assert not shown[0]["is_internal"] and shown[0]["partitions"][0]["offline_replicas"] == []
    # As Kafka's tools have it.
    assert asks("topic", "describe", "--topic", "base") == text


def test_list_has_what_kafkas_tool_lists(cluster, asks):
    names = kafka_tool("kafka-topics", cluster.bootstrap, "--list").split()
    assert [row["TOPIC"] for row in columns(asks("topic", "list", "--internal"))] == sorted(names)
    listed = {t["topic"]: t for t in asks.json("topic", "list")["topics"]}
    assert set(listed) == {name for name in names if not name.startswith("__")}
    assert (listed["base"]["partitions"], listed["base"]["replication_factor"]) == (2, 3)


def test_a_topic_comes_grows_and_goes(cluster, asks, topic_name):
    name = topic_name
    create = ("topic", "create", name, "--partitions", "2", "--replication-factor", "3")
    would = asks.json(*create, "--dry-run")["topics"][0]
    assert would["done"] and would["dry_run"]
    assert f"topic '{name}' does not exist" in asks.refused("topic", "describe", name)
    said = asks(*create, "--config", "retention.ms=60000", "--config", "cleanup.policy=compact,delete")
    assert said == f"topic '{name}' was created with 2 partition(s) of 3 replica(s)\n"
    cluster.settle()
    assert "already exists" in asks.refused(*create) and "left as it is" in asks(*create, "--if-not-exists")
    [shown] = asks.json("topic", "describe", name)["topics"]
    assert shown["configs"]["cleanup.policy"] == "compact,delete" and len(shown["partitions"]) == 2
    assert "has 5 partitions now" in asks("topic", "add-partitions", name, "--total", "5")
    cluster.settle()
    [shown] = asks.json("topic", "describe", name)["topics"]
    assert len(shown["partitions"]) == 5
    assert "INVALID_PARTITIONS" in asks.refused("topic", "add-partitions", name, "--total", "4")
    assert "--yes" in asks.refused("topic", "delete", name, status=2)
    done = asks.run("topic", "delete", name, "never-there", "--yes")
    assert done.returncode == 1 and f"'{name}' was deleted" in done.stdout and "never-there" in done.stderr
    cluster.settle()
    assert "does not exist" in asks("topic", "delete", name, "--yes", "--if-exists")


def test_the_oldest_records_are_deleted(cluster, asks, made):
    asks("topic", "write", made, "--partition", "0", stdin="".join(f"{n}\n" for n in range(10)))
    asks("topic", "write", made, "--partition", "1", stdin="a\nb\n")
    delete = ("topic", "delete-records", made, "--yes", "--before-offset")
    assert asks(*delete, "7", "--partition", "0") == f"{made}-0 starts at offset 7 now\n"
    assert [r["offset"] for r in records(asks, made, "--partition", "0")] == [7, 8, 9]
    # What is gone already is no error, and of several partitions each is told of.
    done = asks.run(*delete, "5", "--json")
    assert done.returncode == 1, done
    told = {p["partition"]: p for p in json.loads(done.stdout)["partitions"]}
    assert {n: (p["log_start_offset"], p["done"]) for n, p in told.items()} == {0: (7, True), 1: (None, False), 2: (None, False)}
    assert f"{made}-1: offset 5 is beyond the high watermark, which is 2 (OFFSET_OUT_OF_RANGE)" in done.stderr
    assert f"{made}-2: offset 5 is beyond the high watermark, which is 0" in done.stderr
    [shown] = asks.json(*delete, "latest", "--partition", "1")["partitions"]
    wanted = {"topic": made, "partition": 1, "before_offset": None, "log_start_offset": 2, "done": True, "error": None}
    assert shown == wanted
    assert [r["value"] for r in records(asks, made)] == ["7", "8", "9"]
    assert "--yes" in asks.refused("topic", "delete-records", made, "--before-offset", "8", status=2)
    assert "has no partition 3: it has 3" in asks.refused(*delete, "1", "--partition", "3")
    assert f"did you mean {made}?" in asks.refused("topic", "delete-records", f"{made}x", "--yes", "--before-offset", "1")
    asks("config", "set", "--topic", made, "cleanup.policy=compact")
    cluster.settle()
    said = asks.refused(*delete, "8", "--partition", "0")
    assert "POLICY_VIOLATION" in said and "cleanup.policy+=delete" in said
    asks("config", "set", "--topic", made, "cleanup.policy+=delete")
    cluster.settle()
    assert asks(*delete, "8", "--partition", "0") == f"{made}-0 starts at offset 8 now\n"


def test_replicas_can_be_assigned_by_hand(cluster, asks, topic_name):
    asks("topic", "create", topic_name, "--replica-assignment", "3:1,2:3")
    cluster.settle()
    [shown] = asks.json("topic", "describe", topic_name)["topics"]
    assert [p["replicas"] for p in shown["partitions"]] == [[3, 1], [2, 3]]


def test_what_cannot_be_is_refused_with_what_to_do(asks, topic_name):
    said = asks.refused("topic", "create", topic_name, "--replication-factor", "4")
    assert "INVALID_REPLICATION_FACTOR" in said and "ringlog cluster brokers" in said
    said = asks.refused("topic", "create", topic_name, "--config", "retention_ms=5")
    assert "INVALID_CONFIG" in said and "did you mean retention.ms?" in said
    said = asks.refused("topic", "create", "no/slashes")
    assert "INVALID_TOPIC_EXCEPTION" in said
    assert "did you mean base?" in asks.refused("topic", "describe", "bsae")
    assert "did you mean base?" in asks.refused("topic", "read", "bsae")
    assert "did you mean base?" in asks.refused("topic", "write", "bsae", stdin="x\n")
    assert "did you mean base?" in asks.refused("topic", "delete", "bsae", "--yes")
    assert "has no partition 7: it has 2" in asks.refused("topic", "read", "base", "--partition", "7")
    assert "has no partition 7: it has 2" in asks.refused("topic", "write", "base", "--partition", "7", stdin="x\n")


def test_keys_go_where_kafkas_clients_put_them(cluster, asks, made):
    keys = [f"key-{n}" for n in range(60)] + ["", "a", "ab", "abc", "ü"]
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "partitioner": "murmur2"})
    theirs = {}
    for key in keys:
        producer.produce(made, b"", key.encode(), callback=lambda e, m: theirs.update({m.key().decode(): m.partition()}))
    assert producer.flush(PATIENCE_S) == 0
    told = asks.json("topic", "write", made, "--key-separator", "\t", stdin="".join(f"{key}\tv{key}\n" for key in keys))
    assert told["records"] == len(keys)
    read = records(asks, made)
    mine = {r["key"]: r["partition"] for r in read if r["value"]}
    assert mine == theirs and len({r["partition"] for r in read}) == 3


def records(asks, topic, *args) -> list[dict]:
    return [json.loads(line) for line in asks("topic", "read", topic, "--format", "json", *args).splitlines()]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_records_of_every_codec_are_read(cluster, asks, made, codec):
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "compression.type": codec, "linger.ms": "50"})
    sent = [(f"k{n}", f"value {n} " * 20, 1000 + n * 1000) for n in range(500)]
    for key, value, timestamp in sent:
        producer.produce(made, value, key, partition=1, timestamp=timestamp, headers={"h": key})
    producer.produce(made, b"\xff\x00", None, partition=1, timestamp=1)
    assert producer.flush(PATIENCE_S) == 0
    read = records(asks, made, "--partition", "1")
    assert [(r["key"], r["value"], r["timestamp_ms"]) for r in read[:-1]] == sent
    assert [r["offset"] for r in read] == list(range(501)) and read[3]["headers"] == [{"key": "h", "value": "k3"}]
    assert read[-1]["key"] is None and read[-1]["value_base64"] == "/wA=" and "value" not in read[-1]
    # From an offset within a batch, with a limit, before the end, and by time.
    assert [r["offset"] for r in records(asks, made, "--partition", "1", "--from", "7", "--max", "3")] == [7, 8, 9]
    assert [r["offset"] for r in records(asks, made, "--from", "-2")] == [499, 500]
    assert [r["offset"] for r in records(asks, made, "--from", "1970-01-01T00:08:19")] == [498, 499, 500]
    assert records(asks, made, "--from", "1970-01-02") == [] and records(asks, made, "--from", "2h") == []
    assert len(records(asks, made, "--from", "1970-01-01", "--max", "3")) == 3
    assert records(asks, made, "--from", "latest") == [] and records(asks, made, "--from", "9999") == []
    line = asks("topic", "read", made, "--from", "2", "--max", "1").rstrip("\n").split("\t")
    assert line == ["1", "2", "1970-01-01T00:00:03.000Z", "k2", "value 2 " * 20, "h=k2"]


def test_lines_become_records_that_any_client_reads(cluster, asks, made):
    big = "x" * 200_000
    lines = ["a:1", "b:", "c:NULL", "d:e:f", f"g:{big}"] + [f"n{n}:{n}" for n in range(25_000)]
    told = asks.json(
        "topic", "write", made, "--key-separator", ":", "--null-marker", "NULL", "--header", "h=1=2", "--partition", "2",
        stdin="\n".join(lines),
    )  # fmt: skip
    assert told == {
        "topic": made, "records": len(lines),
        "partitions": [{"partition": 2, "records": len(lines), "first_offset": 0, "last_offset": len(lines) - 1}],
    }  # fmt: skip
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(made, 2, 0)])
    read = []
    while len(read) < len(lines):
        read += consumer.consume(min(5000, len(lines) - len(read)), PATIENCE_S)
    consumer.close()
    wanted = [(k, None if v == "NULL" else v) for k, _, v in (line.partition(":") for line in lines)]
    assert [(m.key().decode(), None if m.value() is None else m.value().decode()) for m in read] == wanted
    assert read[0].headers() == [("h", b"1=2")]
    assert "line 2 has no ':'" in asks.refused("topic", "write", made, "--key-separator", ":", stdin="k:v\nkv\n")
    assert asks("topic", "write", made, stdin="") == "0 record(s) written\n"
    assert asks("topic", "read", made, "--from", "-1", "--partition", "2", "--format", "value") == "v\n"


def test_what_is_too_large_is_refused_and_what_came_before_is_written(cluster, asks, made):
    stdin = "small\n" + "x" * 2_000_000 + "\nbehind\n"
    done = asks.run("topic", "write", made, "--partition", "0", stdin=stdin)
    assert done.returncode == 1 and "MESSAGE_TOO_LARGE" in done.stderr and "max.message.bytes" in done.stderr
    assert done.stdout == f"1 record(s) written: {made}-0 at offset 0\n"
    asks("config", "set", "--topic", made, "max.message.bytes=4000000")
    cluster.settle()
    told = asks.json("topic", "write", made, "--partition", "0", stdin=stdin)
    assert told["records"] == 3
    assert [len(r["value"]) for r in records(asks, made)] == [5, 5, 2_000_000, 6]


def test_following_goes_on_until_it_has_enough(cluster, asks, made):
    command = [str(paths.ringlog_binary()), "topic", "read", made, "--follow", "--max", "3", "--format", "value"]
    command += ["--bootstrap-server", cluster.bootstrap]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(reader.stdout))
    thread.start()
    try:
        for n in range(3):
            asks("topic", "write", made, stdin=f"{n}\n")
            wait_until(lambda n=n: seen[-1:] == [f"{n}\n"], f"record {n} to be printed")
        assert reader.wait(PATIENCE_S) == 0
    finally:
        reader.kill()
        reader.wait()
        thread.join()
        reader.stdout.close()


def test_a_reader_of_the_output_may_go_away(cluster, asks, made):
    asks("topic", "write", made, stdin="".join(f"{n:0100}\n" for n in range(20_000)))
    command = f"{paths.ringlog_binary()} topic read {made} --format value --bootstrap-server {cluster.bootstrap} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=PATIENCE_S, env=environment()
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{0:0100}\n", "")


def test_a_partition_moves_and_its_leader_is_elected(cluster, asks, topic_name):
    cluster.create_topic(topic_name, {0: [1, 2]})
    cluster.settle()
    assert asks("partition", "reassign", topic_name, "0", "--to", "3,2") == f"{topic_name}-0 is on 3,2 now\n"
    cluster.settle()
    [moved] = of_topic(asks("topic", "describe", topic_name), topic_name)
    assert moved["REPLICAS"] == "3,2" and in_order(moved["ISR"]) == "2,3"
    same([moved], kafka_describes(cluster, "--topic", topic_name))
    asks("partition", "elect-leader", topic_name, "0")
    wait_until(lambda: of_topic(asks("topic", "describe", topic_name), topic_name)[0]["LEADER"] == "3", "broker 3 to lead")
    assert asks("partition", "elect-leader", topic_name) == f"{topic_name}-0: the preferred replica leads\n"
    said = asks.run("partition", "reassign", "--list")
    assert (said.returncode, said.stderr) == (0, "nothing is moving\n")
    assert asks.json("partition", "reassign", "--list") == {"partitions": []}
    said = asks.refused("partition", "reassign", topic_name, "0", "--to", "9")
    assert "INVALID_REPLICA_ASSIGNMENT" in said and "ringlog cluster brokers" in said
    assert "NO_REASSIGNMENT_IN_PROGRESS" in asks.refused("partition", "reassign", topic_name, "0", "--cancel")
    assert "has no partition 4" in asks.refused("partition", "elect-leader", topic_name, "4")


def test_brokers_are_shown_with_what_they_have(cluster, asks):
    shown = asks.json("cluster", "brokers")
    brokers = {b["broker"]: b for b in shown["brokers"]}
    assert set(brokers) == {1, 2, 3} and shown["cluster_id"]
    described = kafka_describes(cluster)
    for number, broker in brokers.items():
        assert broker["address"] == cluster[number].bootstrap and broker["rack"] == "abc"[number - 1]
        assert broker["leads"] == sum(row["LEADER"] == str(number) for row in described)
        assert broker["replicas"] == sum(str(number) in row["REPLICAS"].split(",") for row in described)
        assert broker["state"] == "alive" and 0 < broker["disk_usable_bytes"] <= broker["disk_total_bytes"]
    assert asks("cluster", "brokers").splitlines()[0].split()[:4] == ["BROKER", "STATE", "ADDRESS", "RACK"]


def test_partitions_that_lack_something_are_found(cluster, asks, topic_name):
    """With a broker down: what Kafka's tool finds."""
    pair, single = f"{topic_name}-pair", f"{topic_name}-single"
    cluster.create_topic(pair, {0: [1, 2], 1: [2, 3]})
    cluster.create_topic(single, {0: [1], 1: [3]})
    cluster.settle()
    for how, answer in (("--under-replicated", "is under-replicated"), ("--unavailable", "is without a leader")):
        found = asks.run("topic", "describe", pair, single, how)
        assert (found.returncode, found.stdout, found.stderr) == (0, "", f"no partition {answer}\n")
    cluster[3].stop()
    try:
        rest = Asks(cluster.bootstrap_without(3))

        def found(how):
            text = rest("topic", "describe", pair, single, how)
            return sorted((row["TOPIC"], row["PARTITION"]) for row in columns(text)) if text else []

        wait_until(lambda: found("--under-replicated") and found("--unavailable"), "the broker's end to be seen")
        for mine, theirs in (
            ("--under-replicated", "--under-replicated-partitions"),
            ("--unavailable", "--unavailable-partitions"),
            ("--under-min-isr", "--under-min-isr-partitions"),
        ):
            text = kafka_tool("kafka-topics", cluster.bootstrap_without(3), "--describe", theirs)
            seen = re.findall(r"Topic: (\S+)\s+Partition: (\d+)", text)
            assert found(mine) == sorted(one for one in seen if one[0] in (pair, single)), mine
        states = {b["broker"]: b["state"] for b in rest.json("cluster", "brokers")["brokers"]}
        assert states == {1: "alive", 2: "alive", 3: "fenced"}
    finally:
        cluster.start_nodes(3)
        cluster.settle()
