"""What `/metrics` tells against what is known to be true. Ringlog alone: Kafka's brokers have JMX instead."""

import re
import socket
import subprocess

import pytest

from harness import metrics, paths, quorum, replicas, wire
from harness.batch import batch
from harness.broker import RinglogBroker
from harness.clients import CONFLUENT
from harness.records import Record
from harness.stored import batches
from harness.topics import create_topic, delete_topic
from harness.wait import PATIENCE_S, wait_until

pytestmark = [
    pytest.mark.metrics,
    pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Kafka's brokers have other metrics"),
]
DOCUMENTED = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| (.*?) \| (.*?) \|$", re.MULTILINE)


def records(n: int, value: bytes = b"x" * 100, partitions=1) -> list[Record]:
    return [Record(value=value, partition=at % partitions) for at in range(n)]


def stored_bytes(broker, topic, partitions=1) -> int:
    return sum(len(b.data) for p in range(partitions) for b in batches(broker, topic, p))


@pytest.fixture
def unserved(own_broker) -> RinglogBroker:
    """A broker whose HTTP address answers, and that no client has connected to."""
    broker = own_broker(start=False)
    broker.spawn()
    wait_until(lambda: metrics.http_address(broker), "the HTTP address", PATIENCE_S, poll_s=0.001)
    return broker


def test_every_family_is_there_from_the_first_scrape(unserved):
    """In both formats, as Prometheus' own tool and parsers read them, and as the document has them."""
    text, content_type = metrics.fetch(unserved)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    page = metrics.parse(text)
    assert len(page.kinds) >= 40
    checked = subprocess.run([paths.PROMTOOL, "check", "metrics"], input=text, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, ""), checked

    text, content_type = metrics.fetch(unserved, metrics.OPENMETRICS)
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.endswith("# EOF\n")
    assert metrics.parse(text, openmetrics=True).kinds == page.kinds

    documented = {
        name.removesuffix("_total") if kind == "counter" else name: kind
        for name, kind, *_ in DOCUMENTED.findall((paths.REPO / "docs" / "metrics.md").read_text())
    }
    assert documented == page.kinds


def test_samples_are_those_that_the_document_says(own_broker):
    """With the labels that it gives, in a broker that serves; and both formats have the same ones."""
    broker = own_broker()
    create_topic(broker.bootstrap, "t")
    CONFLUENT.produce(broker.bootstrap, "t", records(10))
    CONFLUENT.consume(broker.bootstrap, "t", 10)
    page = metrics.scrape(broker)
    for name, kind, labels, _ in DOCUMENTED.findall((paths.REPO / "docs" / "metrics.md").read_text()):
        expected = set(re.findall(r"`(\w+)`", labels))
        found = page.of(name + "_count" if kind == "histogram" else name)
        for sample in found:
            assert {label for label, _ in sample} == expected, name
        assert found or expected & {"error", "group", "follower"}, f"{name} has no sample"
    # Numbers move on in between; names and labels do not.
    assert set(metrics.parse(metrics.fetch(broker, metrics.OPENMETRICS)[0], openmetrics=True).samples) == set(page.samples)
    checked = subprocess.run([paths.PROMTOOL, "check", "metrics"], input=page.text, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, ""), checked


def test_traffic_is_counted_exactly(own_broker):
    broker = own_broker(shards=2)
    create_topic(broker.bootstrap, "exact", 3)
    create_topic(broker.bootstrap, "other", 1)
    before = metrics.scrape(broker)
    assert before.value("ringlog_topic_produced_records_total", topic="exact") == 0
    CONFLUENT.produce(broker.bootstrap, "exact", records(3000, partitions=3))
    CONFLUENT.produce(broker.bootstrap, "other", records(7))
    page = metrics.scrape(broker)
    assert page.value("ringlog_topic_produced_records_total", topic="exact") == 3000
    assert page.value("ringlog_topic_produced_records_total", topic="other") == 7
    assert page.value("ringlog_topic_fetched_records_total", topic="exact") == 0
    assert page.value("ringlog_topic_fetched_bytes_total", topic="exact") == 0
    size = stored_bytes(broker, "exact", 3)
    assert page.value("ringlog_topic_produced_bytes_total", topic="exact") == size
    assert page.sum("ringlog_produced_bytes_total") == size + stored_bytes(broker, "other")
    count = sum(len(batches(broker, "exact", p)) for p in range(3)) + len(batches(broker, "other"))
    assert page.sum("ringlog_produced_batches_total") == count
    for partition in range(3):
        labels = {"topic": "exact", "partition": str(partition)}
        assert page.value("ringlog_partition_log_start_offset", **labels) == 0
        assert page.value("ringlog_partition_log_end_offset", **labels) == 1000
        assert page.value("ringlog_partition_high_watermark", **labels) == 1000
        assert page.value("ringlog_partition_in_sync_replicas", **labels) == 1
        assert page.value("ringlog_partition_size_bytes", **labels) > 100_000

    # A raw fetch takes what it takes, once.
    before = metrics.scrape(broker)
    with wire.Connection(broker.address) as c:
        error, _, data = wire.fetch(c, "other", 0, 0)
    assert error == wire.NONE
    after = metrics.scrape(broker)

    def grew(name, **labels):
        return after.sum(name, **labels) - before.sum(name, **labels)

    assert grew("ringlog_topic_fetched_records_total", topic="other") == 7
    assert grew("ringlog_topic_fetched_bytes_total", topic="other") == len(data)
    assert grew("ringlog_fetched_bytes_total") == len(data)
    assert grew("ringlog_tail_cache_hits_total") == 1
    assert grew("ringlog_requests_total", api="Fetch") == 1
    assert grew("ringlog_request_duration_seconds_count", api="Fetch") == 1


def test_a_fetch_of_several_shards_counts_what_it_sends(own_broker):
    """Each shard has more than the fetch may take; nothing is read and counted that is not sent, and all of it comes in the end."""
    broker = own_broker(shards=2)
    create_topic(broker.bootstrap, "wide", 4)
    one = len(batch([b"x" * 100_000]))
    sent, ends, offsets = {p: b"" for p in range(4)}, {p: 20 for p in range(4)}, {p: 0 for p in range(4)}
    with wire.Connection(broker.address) as c:
        for p in range(4):
            for _ in range(20):
                assert wire.produce(c, "wide", p, batch([b"x" * 100_000]))[0] == wire.NONE
        before, fetches = metrics.scrape(broker), 0
        while offsets != ends:
            # The first that has something gives a batch though it is larger than the limit.
            limit = 1_000_000 if fetches else 10
            wanted = {p: offset for p, offset in offsets.items() if offset < ends[p]}
            body = wire.fetch_many_body("wide", wanted, max_bytes=limit)
            got = wire.read_fetch_many(c.request(wire.FETCH, 4, body))
            assert {error for error, _, _ in got.values()} == {wire.NONE}
            answer = {p: data for p, (_, _, data) in got.items() if data}
            assert answer, wanted
            assert sum(map(len, answer.values())) <= limit or len(answer) == 1
            for p, data in answer.items():
                sent[p] += data
                offsets[p] = len(sent[p]) // one
            fetches += 1
    after = metrics.scrape(broker)
    for name in ("ringlog_topic_fetched_bytes_total", "ringlog_fetched_bytes_total"):
        assert after.sum(name) - before.sum(name) == sum(map(len, sent.values()))
    records_fetched = after.sum("ringlog_topic_fetched_records_total") - before.sum("ringlog_topic_fetched_records_total")
    assert records_fetched == sum(ends.values())
    for p in range(4):
        assert sent[p] == b"".join(b.data for b in batches(broker, "wide", p))
    # Shares of half a limit and of a whole one are filled, but for less than a batch each.
    assert fetches <= 1 + sum(map(len, sent.values())) // (1_000_000 - 2 * one) + 2



def test_commits_and_latencies_are_counted(own_broker):
    broker = own_broker(shards=1)
    create_topic(broker.bootstrap, "t")
    before = metrics.scrape(broker)
    with wire.Connection(broker.address) as c:
        for _ in range(20):
            assert wire.produce(c, "t", 0, batch([b"one"]))[0] == wire.NONE
    page = metrics.scrape(broker)

    def grew(name, **labels):
        return page.sum(name, **labels) - before.sum(name, **labels)

    assert grew("ringlog_requests_total", api="Produce") == 20
    assert grew("ringlog_request_duration_seconds_count", api="Produce") == 20
    assert page.value("ringlog_request_duration_seconds_bucket", api="Produce", le="+Inf") == 20
    assert 0 < grew("ringlog_request_duration_seconds_sum", api="Produce") < PATIENCE_S
    # One after the other, each waited for: a commit for each.
    assert grew("ringlog_wal_commits_total") == 20
    assert grew("ringlog_wal_commit_duration_seconds_count") == 20
    assert grew("ringlog_wal_commit_logs_sum") == 20
    waits = grew("ringlog_wal_sync_duration_seconds_count") + grew("ringlog_wal_inline_duration_seconds_count")
    assert waits == 20
    assert grew("ringlog_wal_commit_size_bytes_sum") == grew("ringlog_wal_segment_written_bytes_total") > 0
    # Bounds rise, and so does what they hold.
    buckets = page.of("ringlog_request_duration_seconds_bucket", api="Produce")
    held = [n for _, n in sorted((float(dict(labels)["le"]), n) for labels, n in buckets.items())]
    assert held == sorted(held) and len(held) == 21


def test_errors_are_counted_by_api_and_code(own_broker):
    broker = own_broker(shards=1)
    create_topic(broker.bootstrap, "t")
    with wire.Connection(broker.address) as c:
        for _ in range(3):
            error, _ = wire.produce(c, "nowhere", 0, batch([b"x"]))
            assert error == 3
        error, *_ = wire.fetch(c, "t", 0, 99)
        assert error == 1
    page = metrics.scrape(broker)
    assert page.value("ringlog_errors_total", api="Produce", error="UNKNOWN_TOPIC_OR_PARTITION") == 3
    assert page.value("ringlog_errors_total", api="Fetch", error="OFFSET_OUT_OF_RANGE") == 1


def test_connections_are_counted_by_how_they_end(own_broker):
    broker = own_broker({"max.connections.per.ip": "3"}, shards=2)
    before = metrics.scrape(broker)
    held = [wire.Connection(broker.address) for _ in range(3)]
    for connection in held:
        connection.request(wire.API_VERSIONS, 0, b"")
    assert metrics.scrape(broker).sum("ringlog_connections_open") == 3
    with socket.create_connection(broker.address, PATIENCE_S) as refused:
        assert refused.recv(1) == b"", "one too many from this address"
    held[0].send(b"\x7f\xff\xff\xff")  # a frame of 2 GiB
    held[0].expect_close()
    held[1].close()

    def counted():
        page = metrics.scrape(broker)
        closed = {why: page.sum("ringlog_connections_closed_total", reason=why) for why in ("client", "malformed_frame")}
        grown = closed["client"] - before.sum("ringlog_connections_closed_total", reason="client")
        return (page.sum("ringlog_connections_open"), grown, closed["malformed_frame"]) == (1, 1, 1) and page

    page = wait_until(counted, "the connections' ends to be counted", PATIENCE_S)
    assert page.value("ringlog_connections_refused_total", reason="too_many_from_address") == 1
    accepted = "ringlog_connections_accepted_total"
    assert page.value(accepted) - before.value(accepted) == 4
    held[2].close()


def test_series_are_bounded_and_what_has_none_is_summed(own_broker):
    broker = own_broker(shards=2, flags=["--topic-series-max", "3", "--partition-series-max", "4"])
    names = [f"t{n}" for n in range(6)]
    for n, name in enumerate(names):
        create_topic(broker.bootstrap, name, 2)
        CONFLUENT.produce(broker.bootstrap, name, records(10 * (n + 1), partitions=2))
    produced = "ringlog_topic_produced_records_total"

    def shown():
        page = metrics.scrape(broker)
        return page, {dict(labels)["topic"]: n for labels, n in page.of(produced).items()}

    page, topics = shown()
    assert topics == {"t0": 10, "t1": 20, "t2": 30, "(others)": 40 + 50 + 60}
    assert page.value("ringlog_topics_omitted") == 3
    assert len(page.of("ringlog_partition_log_end_offset")) == 4
    assert page.value("ringlog_partitions_omitted") == 8
    assert page.sum("ringlog_partitions_open") == 12

    # One that comes first by its name takes nobody's place, and what is deleted takes nothing back.
    create_topic(broker.bootstrap, "a")
    CONFLUENT.produce(broker.bootstrap, "a", records(5))
    _, topics = shown()
    assert topics == {"t0": 10, "t1": 20, "t2": 30, "(others)": 155}
    delete_topic(broker.bootstrap, "t5")
    wait_until(lambda: shown()[0].value("ringlog_topics_omitted") == 3, "t5 to be gone", PATIENCE_S)
    assert shown()[1]["(others)"] == 155
    delete_topic(broker.bootstrap, "t1")
    wait_until(lambda: "a" in shown()[1], "a to have the place of t1", PATIENCE_S)
    assert shown()[1] == {"a": 5, "t0": 10, "t2": 30, "(others)": 155}


def test_groups_and_their_members_are_counted(own_broker):
    broker = own_broker()
    create_topic(broker.bootstrap, "t")
    CONFLUENT.produce(broker.bootstrap, "t", records(10))
    members = [CONFLUENT.member(broker.bootstrap, "t", "g") for _ in range(2)]
    try:
        wait_until(lambda: sum(member.count() for member in members) >= 10, "the group to read", PATIENCE_S)
        page = metrics.scrape(broker)
        assert (page.sum("ringlog_groups"), page.sum("ringlog_groups", protocol="classic")) == (1, 1)
        wait_until(lambda: metrics.scrape(broker).sum("ringlog_group_members") == 2, "both members to be there", PATIENCE_S)
        for member in members:
            member.close()
        assert metrics.scrape(broker).sum("ringlog_group_members") == 0
    finally:
        for member in members:
            member.end()


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_replication_and_elections_as_they_are(own_cluster):
    """A follower is killed, comes back; a leader is killed: what the brokers tell is what has happened."""
    cluster = own_cluster("metrics")
    partitions = {p: [1, 2, 3] for p in range(4)}
    led = 6  # t, u, and the harness's marker
    replicas.create(cluster, "t", partitions, {"min.insync.replicas": "3"})
    replicas.create(cluster, "u", {0: [1, 2, 3]}, {"min.insync.replicas": "2"})
    CONFLUENT.produce(cluster.bootstrap, "t", records(400, partitions=4))

    def pages():
        return {node.id: metrics.scrape(node) for node in cluster.running()}

    def total(name, **labels):
        return sum(page.sum(name, **labels) for page in pages().values())

    assert total("ringlog_active_controller") == 1
    assert {page.value("ringlog_active_controller") for page in pages().values()} == {0, 1}
    (term,) = {page.value("ringlog_raft_term") for page in pages().values()}
    assert term == quorum.describe_quorum(cluster[1].address).epoch
    for name in ("ringlog_under_replicated_partitions", "ringlog_under_min_isr_partitions", "ringlog_cluster_fenced_brokers"):
        assert total(name) == 0, name
    assert pages()[1].value("ringlog_partitions_led") == led
    wait_until(lambda: total("ringlog_partition_follower_lag_records") == 0, "followers to have it all", PATIENCE_S)
    # A copy for each follower.
    sent = total("ringlog_replication_sent_bytes_total")
    assert sent == 2 * pages()[1].value("ringlog_topic_produced_bytes_total", topic="t") > 0
    assert total("ringlog_replication_received_bytes_total") == sent
    shrinks, expansions = total("ringlog_isr_shrinks_total"), total("ringlog_isr_expansions_total")

    cluster[3].kill9()
    replicas.wait_in_sync(cluster, "t", {p: {1, 2} for p in partitions})
    replicas.wait_in_sync(cluster, "u", {0: {1, 2}})
    wait_until(lambda: total("ringlog_under_replicated_partitions") == led, "all partitions to be told of", PATIENCE_S)
    page = pages()[1]
    assert page.value("ringlog_under_min_isr_partitions") == 4
    assert page.value("ringlog_at_min_isr_partitions") == 1
    assert page.value("ringlog_isr_shrinks_total") - shrinks == led
    assert {page.value("ringlog_cluster_fenced_brokers") for page in pages().values()} == {1}
    assert page.value("ringlog_partition_in_sync_replicas", topic="t", partition="0") == 2

    cluster.start_nodes(3)
    replicas.wait_in_sync(cluster, "t", {p: {1, 2, 3} for p in partitions})
    replicas.wait_in_sync(cluster, "u", {0: {1, 2, 3}})
    wait_until(lambda: total("ringlog_under_replicated_partitions") == 0, "all to be in sync again", PATIENCE_S)
    assert pages()[1].value("ringlog_isr_expansions_total") - expansions == led
    assert total("ringlog_leader_elections_total") == 0, "nobody but a leader's end makes an election"

    cluster[1].kill9()
    replicas.wait_in_sync(cluster, "t", {p: {2, 3} for p in partitions})
    replicas.wait_in_sync(cluster, "u", {0: {2, 3}})
    wait_until(lambda: total("ringlog_leader_elections_total") == led, "all elections to be told of", PATIENCE_S)
    assert total("ringlog_leader_elections_total", kind="clean") == led
    assert total("ringlog_preferred_leader_imbalance_partitions") == 0, "it is broker 1's to tell"
    assert total("ringlog_active_controller") == 1
    assert {page.value("ringlog_cluster_offline_partitions") for page in pages().values()} == {0}
