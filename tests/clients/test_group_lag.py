"""How far consumer groups lag, as `/metrics` of three brokers tell it. Ringlog alone: Kafka's brokers have no such metric."""

import re
import urllib.request
from collections import Counter

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from harness import paths
from harness.clients import CONFLUENT
from harness.cluster import Cluster, host_port
from harness.groups import commit, committed
from harness.records import Record
from harness.wait import PATIENCE_S, wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.group,
    pytest.mark.timeout(600),
    pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Kafka's brokers have no metric of groups' lag"),
]
LINE = re.compile(r"^(ringlog_group_\w+)(?:\{(.*)\})? (\d+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# Partitions of the topic are led by different brokers, and groups coordinated by different ones.
PARTITIONS = 6
SERIES_MAX = 40


@pytest.fixture(scope="module")
def cluster(module_cluster) -> Cluster:
    cluster = module_cluster("lag", start=False)
    for node in cluster.nodes.values():
        node.environment |= {"RINGLOG_GROUP_LAG_INTERVAL_MS": "200", "RINGLOG_GROUP_LAG_SERIES_MAX": str(SERIES_MAX)}
    cluster.start()
    cluster.create_topic("t", {p: [1 + p % 3] for p in range(PARTITIONS)})
    cluster.settle()
    produce(cluster, 10)
    return cluster


def produce(cluster: Cluster, per_partition: int):
    records = [Record(value=b"%d" % i, partition=p) for i in range(per_partition) for p in range(PARTITIONS)]
    CONFLUENT.produce(cluster.bootstrap, "t", records)


def scrape(node) -> tuple[dict[tuple, int], str]:
    """(family, labels in order) -> value, of this broker."""
    with urllib.request.urlopen(f"http://{host_port(node.place.http)}/metrics", timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    found = {}
    for line in text.splitlines():
        if match := LINE.match(line):
            family, labels, value = match.groups()
            key = (family.removeprefix("ringlog_group_"), *(value for _, value in LABEL.findall(labels or "")))
            assert key not in found, f"twice: {line}"
            found[key] = int(value)
    return found, text


UNKNOWN = ("lag_unknown_partitions",)


def scrapes(cluster: Cluster) -> dict[int, dict[tuple, int]]:
    """By broker."""
    return {node.id: scrape(node)[0] for node in cluster.running()}


def whole(cluster: Cluster) -> dict[int, dict[tuple, int]]:
    """Once no broker misses a leader's answer: where one is late, groups lack its partitions until the next collection."""

    def known():
        told = scrapes(cluster)
        return told if not any(found[UNKNOWN] for found in told.values()) else None

    return wait_until(known, "lag to be known of all partitions")


def lag(told: dict[int, dict[tuple, int]], family="lag_records") -> dict[tuple, int]:
    """Labels -> value, of all brokers; one of them tells of a group."""
    series: dict[tuple, int] = {}
    for found in told.values():
        for (name, *labels), value in found.items():
            if name == family:
                assert tuple(labels) not in series, f"two brokers tell of {labels}"
                series[tuple(labels)] = value
    return series


def wait_for(cluster: Cluster, what: str, holds):
    try:
        wait_until(holds, what, PATIENCE_S)
    except AssertionError as e:
        raise AssertionError(f"{e}; told: {lag(scrapes(cluster))}") from None


def of_group(cluster: Cluster, group: str) -> dict[int, int]:
    """Partition -> lag, as far as it is known."""
    return {int(p): value for (name, _, p), value in lag(scrapes(cluster)).items() if name == group}


def test_every_family_is_there_from_the_first_scrape(cluster):
    for node in cluster.running():
        _, text = scrape(node)
        for family in ("lag_records", "total_lag_records", "max_lag_records", "lag_unknown_partitions",
                       "lag_omitted_partitions", "lag_omitted_groups", "lag_collections_total"):  # fmt: skip
            assert re.search(rf"^# TYPE ringlog_group_{family} (gauge|counter)$", text, re.MULTILINE), family


def test_groups_behind_have_their_lag_wherever_they_and_their_partitions_are(cluster):
    groups = [f"behind-{n}" for n in range(6)]
    for n, group in enumerate(groups):
        commit(cluster.bootstrap, group, "t", {p: n for p in range(PARTITIONS)})
    wanted = {group: dict.fromkeys(range(PARTITIONS), 10 - n) for n, group in enumerate(groups)}
    wait_for(cluster, "all to lag as they should", lambda: {g: of_group(cluster, g) for g in groups} == wanted)
    told = whole(cluster)
    coordinators = [id for id, found in told.items() if any(key[0] == "lag_records" for key in found)]
    assert len(coordinators) > 1, "one broker coordinates all: this shows nothing"
    assert lag(told, "total_lag_records") == {(g,): PARTITIONS * (10 - n) for n, g in enumerate(groups)}
    assert lag(told, "max_lag_records") == {(g,): 10 - n for n, g in enumerate(groups)}
    delete(cluster, *groups)


def test_a_consumer_that_catches_up_lags_by_nothing_and_again_when_more_comes(cluster):
    group = "reads"
    settings = {"bootstrap.servers": cluster.bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "enable.auto.commit": False})
    try:
        consumer.subscribe(["t"])
        ends: dict[int, int] = {}
        while sum(ends.values()) < 10 * PARTITIONS:
            for message in consumer.consume(100, 1.0):
                ends[message.partition()] = message.offset() + 1
        consumer.commit(offsets=[TopicPartition("t", p, end) for p, end in ends.items()], asynchronous=False)
        none = dict.fromkeys(range(PARTITIONS), 0)
        wait_for(cluster, "it to lag by nothing", lambda: of_group(cluster, group) == none)
        assert committed(cluster.bootstrap, group, "t") == dict.fromkeys(range(PARTITIONS), 10)
    finally:
        consumer.close()
    produce(cluster, 3)
    wait_for(cluster, "it to lag again", lambda: set(of_group(cluster, group).values()) == {3})
    delete(cluster, group)
    wait_for(cluster, "its series to be gone", lambda: not of_group(cluster, group))
    assert (group,) not in lag(scrapes(cluster), "total_lag_records")


def test_series_are_bounded_and_what_is_left_out_is_counted(cluster):
    """One coordinator, since the bound is a broker's: groups of one name's partition of __consumer_offsets."""
    groups = [f"many-{n:02}" for n in range(50)]
    for group in groups:
        commit(cluster.bootstrap, group, "t", {p: 0 for p in range(PARTITIONS)})

    def told():
        """Of every broker: groups with a sum, with partitions, and left out."""
        for found in whole(cluster).values():
            of_partitions = Counter(key[1] for key in found if key[0] == "lag_records")
            sums = {key[1] for key in found if key[0] == "total_lag_records"}
            assert sum(of_partitions.values()) <= SERIES_MAX
            assert set(of_partitions.values()) <= {PARTITIONS}, "a group is shown whole or not at all"
            yield sums, set(of_partitions), found[("lag_omitted_partitions",)]

    def complete():
        seen = list(told())
        return sorted(g for sums, _, _ in seen for g in sums) == groups and seen

    seen = wait_until(complete, "all groups to have a sum", PATIENCE_S)
    for sums, shown, omitted in seen:
        assert omitted == PARTITIONS * (len(sums) - len(shown))
        assert len(shown) == min(len(sums), SERIES_MAX // PARTITIONS)
    assert any(omitted for _, _, omitted in seen), "nothing was left out: this shows nothing"
    delete(cluster, *groups)


def test_a_leader_that_is_away_makes_lag_unknown_and_nothing_else(cluster):
    """What is led by others is told all the same."""
    commit(cluster.bootstrap, "away", "t", {p: 1 for p in range(PARTITIONS)})
    wait_for(cluster, "all to be known", lambda: len(of_group(cluster, "away")) == PARTITIONS)
    [coordinator] = [id for id, found in whole(cluster).items() if any(k[:2] == ("lag_records", "away") for k in found)]
    gone = next(id for id in (1, 2, 3) if id != coordinator)
    cluster[gone].stop()
    try:
        left = {p for p in range(PARTITIONS) if 1 + p % 3 != gone}
        wait_for(cluster, "the others to be known", lambda: set(of_group(cluster, "away")) == left)
        unknown = lambda: scrape(cluster[coordinator])[0][UNKNOWN] == PARTITIONS - len(left)  # noqa: E731
        wait_for(cluster, "those of the one that is gone to be counted", unknown)
    finally:
        cluster.start_nodes(gone)
        cluster.settle()
    wait_for(cluster, "all to be known again", lambda: len(of_group(cluster, "away")) == PARTITIONS)
    delete(cluster, "away")


def delete(cluster: Cluster, *groups: str):
    client = AdminClient({"bootstrap.servers": cluster.bootstrap})
    for future in client.delete_consumer_groups(list(groups)).values():
        future.result(PATIENCE_S)
