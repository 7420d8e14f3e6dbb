"""`ringlog config` against three brokers, Ringlog's or Kafka's, beside what `kafka-configs` says of the same.

With RINGLOG_TEST_AGAINST=kafka the same tests run it against real Kafka.
"""

import re

import pytest

from harness import paths
from harness.cli import Asks, columns, kafka_tool
from harness.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.admin, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster(module_cluster) -> Cluster:
    cluster = module_cluster("config-cli")
    cluster.create_topic("t", {0: [1, 2, 3]}, {"retention.ms": "3600000"})
    cluster.settle()
    return cluster


@pytest.fixture
def asks(cluster) -> Asks:
    cluster.check_alive()
    return Asks(cluster.bootstrap)


def kafka_describes(cluster, *args) -> dict[str, tuple[str, str]]:
    """Value and first source by name."""
    text = kafka_tool("kafka-configs", cluster.bootstrap, "--describe", *args)
    found = re.findall(r"^  (\S+?)=(.*) sensitive=\S+ synonyms=\{([A-Z_]*)", text, re.M)
    return {name: (value, source) for name, value, source in found}


def described(asks, *args) -> dict[str, tuple[str, str]]:
    configs = asks.json("config", "describe", *args)["configs"]
    return {c["name"]: (str(c["value"]).replace("None", "null"), c["source"]) for c in configs}


@pytest.mark.parametrize("mine, theirs", [
    (["--topic", "t"], ["--entity-type", "topics", "--entity-name", "t"]),
    (["--broker", "2"], ["--entity-type", "brokers", "--entity-name", "2"]),
], ids=["topic", "broker"])  # fmt: skip
def test_all_configs_are_those_that_kafkas_tool_describes(cluster, asks, mine, theirs):
    found, wanted = described(asks, *mine, "--all"), kafka_describes(cluster, "--all", *theirs)
    # Kafka's tool leaves the source of what is nowhere set out where there is no default.
    assert {n: v for n, (v, s) in found.items()} == {n: v for n, (v, s) in wanted.items()} and len(found) > 20
    differ = {n: (found[n], wanted[n]) for n in found if wanted[n][1] and found[n][1] != wanted[n][1]}
    assert not differ
    some = described(asks, *mine)
    assert some == {name: one for name, one in found.items() if one[1] != "DEFAULT_CONFIG"}


def test_configs_of_a_topic_are_set_and_taken_back(cluster, asks):
    said = asks("config", "set", "--topic", "t", "segment.ms=120000", "cleanup.policy+=compact", "--dry-run")
    assert "segment.ms could be set to '120000'" in said
    assert "segment.ms" not in described(asks, "--topic", "t")
    asks("config", "set", "--topic", "t", "segment.ms=120000", "cleanup.policy+=compact")
    cluster.settle()
    found = {row["NAME"]: row for row in columns(asks("config", "describe", "--topic", "t"))}
    assert found["segment.ms"]["VALUE"] == "120000" and found["segment.ms"]["SOURCE"] == "DYNAMIC_TOPIC_CONFIG"
    assert found["cleanup.policy"]["VALUE"] == "delete,compact"
    assert kafka_describes(cluster, "--entity-type", "topics", "--entity-name", "t")["segment.ms"][0] == "120000"
    asks("config", "set", "--topic", "t", "cleanup.policy-=compact")
    asks("config", "delete", "--topic", "t", "segment.ms")
    cluster.settle()
    left = described(asks, "--topic", "t")
    assert "segment.ms" not in left and left["cleanup.policy"][0] == "delete"
    asks("config", "delete", "--topic", "t", "cleanup.policy")
    done = asks.json("config", "set", "--topic", "t", "retention.ms=3600000")
    assert done["done"] and done["changes"] == [{"name": "retention.ms", "operation": "set", "value": "3600000"}]


def test_configs_of_brokers_and_groups_are_set_and_taken_back(cluster, asks):
    for whose, kind in (["--broker", "default"], "default"), (["--broker", "3"], "3"), (["--group", "g"], "g"):
        name, value = ("consumer.session.timeout.ms", "50000") if kind == "g" else ("log.retention.bytes", "1073741824")
        asks("config", "set", *whose, f"{name}={value}")
        cluster.settle()
        shown = asks.json("config", "describe", *whose, name)
        [config] = shown["configs"]
        source = {"default": "DYNAMIC_DEFAULT_BROKER_CONFIG", "3": "DYNAMIC_BROKER_CONFIG", "g": "DYNAMIC_GROUP_CONFIG"}
        assert (config["value"], config["source"], shown["resource_name"]) == (value, source[kind], kind)
        asks("config", "delete", *whose, name)
        cluster.settle()


def test_levels_of_loggers_are_set_and_taken_back(asks):
    before, level = described(asks, "--broker-logger", "2"), "DEBUG"
    logger = next(name for name in sorted(before) if name != "root")
    asks("config", "set", "--broker-logger", "2", f"{logger}={level}")
    after = described(asks, "--broker-logger", "2", logger)
    assert after == {logger: (level, "DYNAMIC_BROKER_LOGGER_CONFIG")}
    asks("config", "delete", "--broker-logger", "2", logger)
    assert described(asks, "--broker-logger", "2").keys() == before.keys()
    said = asks.refused("config", "set", "--broker-logger", "2", f"{logger}=LOUD")
    assert "LOUD" in said and "INVALID_CONFIG" in said


def test_what_a_config_means_is_told(asks):
    text = asks("config", "describe", "--topic", "t", "retention.ms", "--doc")
    assert text.startswith("retention.ms=3600000\n  DYNAMIC_TOPIC_CONFIG") and len(text.splitlines()[2]) > 30
    done = asks.run("config", "describe", "--group", "nobody")
    assert done.returncode == 0 and "--all prints them" in done.stderr


def test_what_cannot_be_is_refused_with_what_to_do(cluster, asks):
    before = described(asks, "--topic", "t")
    said = asks.refused("config", "set", "--topic", "t", "retention_ms=5", "segment.ms=120000")
    assert "did you mean retention.ms?" in said
    assert "did you mean retention.ms?" in asks.refused("config", "describe", "--topic", "t", "retention.m")
    assert "topic 't'" in asks.refused("config", "set", "--topic", "t", "retention.ms=soon")
    assert "does not exist" in asks.refused("config", "describe", "--topic", "nothing-like-it")
    assert "does not exist" in asks.refused("config", "set", "--topic", "nothing-like-it", "retention.ms=5")
    assert "those that are there are 1, 2, 3" in asks.refused("config", "describe", "--broker", "9")
    said = asks.refused("config", "set", "--broker", "1", "log.dirs=/elsewhere")
    assert "a broker reads log.dirs when it starts" in said and "--data-dir" in said and "start it again" in said
    said = asks.refused("config", "set", "--broker", "default", "log.retention.bytes=soon")
    assert "log.retention.bytes" in said and "there is no config" not in said
    assert "there is no logger 'none.such'" in asks.refused("config", "set", "--broker-logger", "2", "none.such=DEBUG")
    assert described(asks, "--topic", "t") == before
