"""What the console's API tells, against the truth from a Kafka client; and what it does with what nobody should ask."""

import random
import socket

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from harness import console, paths
from harness.clients import ALL_CODECS, CONFLUENT
from harness.cluster import Cluster
from harness.console import CODECS, EMPTY, HOSTILE_GROUP, HOSTILES, PER_PARTITION, ask, request
from harness.records import Record
from harness.topics import admin_client, delete_topic
from harness.wait import PATIENCE_S, wait_until

pytestmark = [
    pytest.mark.console,
    pytest.mark.timeout(600),
    pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Kafka has no console"),
]
PARTITIONS = range(len(ALL_CODECS))


@pytest.fixture(scope="module")
def cluster(module_cluster) -> Cluster:
    cluster = module_cluster("console")
    console.give(cluster)
    return cluster


@pytest.fixture(scope="module")
def everywhere(cluster):
    """Where each broker's console is."""
    return [node.place.http for node in cluster.running()]


def test_every_broker_tells_of_the_whole_cluster(cluster, everywhere):
    expected = {n.id: ("unfenced", *n.address, "abc"[n.id - 1]) for n in cluster.running()}
    for node, http in zip(cluster.running(), everywhere):

        def told_by_all(http=http):
            """A broker hears of the others' joining, and of their logs, a moment later than they do."""
            told = ask(http, "cluster")
            voters = {m["broker"] for m in told["quorum"]["members"] if m["voter"]}
            return told if voters == {1, 2, 3} and not told["problems"] else None

        told = wait_until(told_by_all, "three voters and no problem")
        assert told["broker"] == node.id and told["console"] == "records"
        assert told["quorum"]["leader"] == cluster.controller()
        brokers = {b["id"]: (b["state"], b["host"], b["port"], b["rack"]) for b in told["brokers"]}
        assert brokers == expected
        assert sum(b["leaders"] for b in told["brokers"]) == told["totals"]["partitions"]

        def shards_of_all(http=http):
            """What is produced is counted by shards, and told once a second."""
            shards = ask(http, "shards")
            bytes_in = sum(s["produced_bytes_total"] for b in shards["brokers"] for s in b["shards"])
            return shards if bytes_in > 10_000 and not shards["not_reached"] else None

        shards = wait_until(shards_of_all, "the shards of all brokers")
        assert [b["broker"] for b in shards["brokers"]] == [1, 2, 3]


def test_partitions_have_the_offsets_that_a_client_sees_from_every_broker(cluster, everywhere):
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "none"})
    truth = {p: consumer.get_watermark_offsets(TopicPartition(CODECS, p), PATIENCE_S) for p in PARTITIONS}
    consumer.close()
    assert set(truth.values()) == {(0, PER_PARTITION)}
    for http in everywhere:

        def caught_up(http=http):
            told = ask(http, "topics", CODECS)
            lags = [f["lag"] for p in told["partition_list"] for f in p["log"]["followers"]]
            return told if lags == [0] * 2 * len(PARTITIONS) else None

        told = wait_until(caught_up, "followers to have all")
        assert told["configs"] == [{"name": "retention.ms", "value": "604800000"}]
        assert {"name": "cleanup.policy", "value": "delete", "source": "default"} in told["all_configs"]
        for p in told["partition_list"]:
            log = p["log"]
            assert (log["start"], log["high_watermark"], log["end"]) == (*truth[p["partition"]], PER_PARTITION)
            assert p["leader"] == p["replicas"][0] and sorted(p["isr"]) == [1, 2, 3] and log["size_bytes"] > 0


def test_records_of_every_codec_come_whole_from_every_broker(everywhere):
    for http in everywhere:
        for partition, codec in enumerate(ALL_CODECS):
            told = ask(http, "topics", CODECS, "records", partition=partition, **{"from": "earliest"}, limit=500)
            assert len(told["records"]) == PER_PARTITION and told["next_offset"] == told["high_watermark"]
            for i, found in enumerate(told["records"]):
                wanted = console.record(partition, i)
                assert (found["kind"], found["offset"], found["timestamp_ms"]) == ("record", i, wanted.timestamp)
                assert (console.text(found["key"]), console.text(found["value"])) == (wanted.key, wanted.value)
                headers = tuple((h["name"]["data"], console.text(h["value"])) for h in found["headers"])
                assert headers == wanted.headers
            # A client leaves batches as they are that do not become smaller.
            assert codec in {r["compression"] for r in told["records"]}


def test_records_begin_where_they_are_asked_to(everywhere):
    def offsets(limit, at, partition=1):
        told = ask(everywhere[0], "topics", CODECS, "records", partition=partition, limit=limit, **{"from": at})
        return [r["offset"] for r in told["records"]], told["next_offset"]

    assert offsets(5, "earliest") == ([0, 1, 2, 3, 4], 5)
    assert offsets(3, "latest") == ([127, 128, 129], PER_PARTITION)
    assert offsets(2, "offset:77") == ([77, 78], 79)
    assert offsets(2, f"timestamp:{console.T0 + 50_500}") == ([51, 52], 53)
    assert offsets(2, f"offset:{PER_PARTITION}") == ([], PER_PARTITION)
    assert offsets(2, f"offset:{2**63 - 1}") == ([], PER_PARTITION)
    assert offsets(2, f"timestamp:{2**62}") == ([], PER_PARTITION)
    told = ask(everywhere[0], "topics", EMPTY, "records")
    assert (told["records"], told["log_start"], told["high_watermark"], told["stuck"]) == ([], 0, 0, False)


def test_what_lies_before_the_log_start_is_gone(cluster, everywhere):
    admin = admin_client(cluster.bootstrap)
    cluster.create_topic("cut", {0: [1, 2]})
    cluster.settle()
    CONFLUENT.produce(cluster.bootstrap, "cut", [Record(value=b"%d" % i) for i in range(30)])
    admin.delete_records([TopicPartition("cut", 0, 12)])[TopicPartition("cut", 0)].result(PATIENCE_S)
    for at in ("earliest", "offset:3", "offset:12"):
        told = ask(everywhere[2], "topics", "cut", "records", limit=2, **{"from": at})
        assert ([r["offset"] for r in told["records"]], told["log_start"]) == ([12, 13], 12), at
    told = ask(everywhere[2], "topics", "cut", "records", limit=500)
    assert [r["offset"] for r in told["records"]] == list(range(12, 30))
    delete_topic(cluster.bootstrap, "cut")


def test_large_records_are_cut_short_and_the_newest_are_found_all_the_same(cluster, everywhere):
    """Together they are more than is read for one answer, and one batch is more than is read at once."""
    cluster.create_topic("large", {0: [2], 1: [3]}, {"max.message.bytes": str(8 << 20)})
    cluster.settle()
    bootstrap, size = cluster.bootstrap, 700_000
    CONFLUENT.produce(bootstrap, "large", [Record(value=random.Random(i).randbytes(size)) for i in range(24)])
    target = "/api/v1/topics/large/records?limit=10&partition=0&from="
    latest = request(everywhere[0], target + "latest")
    assert len(latest.body) < 2 << 20
    offsets = [r["offset"] for r in latest.json()["records"]]
    assert offsets == list(range(offsets[0], 24)) and len(offsets) >= 2
    for r in latest.json()["records"]:
        assert (r["value"]["bytes"], r["value"]["truncated"]) == (size, True) and len(r["value"]["data"]) < 23_000
    # From one answer to the next, all come.
    seen, at = [], 0
    while at < 24:
        told = request(everywhere[0], target + f"offset:{at}").json()
        seen += [r["offset"] for r in told["records"]]
        assert told["next_offset"] > at
        at = told["next_offset"]
    assert seen == list(range(24))
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 8 << 20})
    for value in (b"before", random.Random(1).randbytes(3 << 20), b"behind"):
        producer.produce("large", value, partition=1)
        assert producer.flush(PATIENCE_S) == 0
    told = request(everywhere[0], target.replace("partition=0", "partition=1") + "earliest").json()
    assert ([r["offset"] for r in told["records"]], told["stuck"], told["next_offset"]) == ([0], True, 1)
    told = request(everywhere[0], target.replace("partition=0", "partition=1") + "offset:2").json()
    assert ([r["offset"] for r in told["records"]], told["stuck"]) == ([2], False)
    told = request(everywhere[0], target.replace("partition=0", "partition=1") + "latest").json()
    assert ([r["offset"] for r in told["records"]], told["stuck"]) == ([2], False)
    delete_topic(bootstrap, "large")


def test_batches_that_decompress_to_much_are_shown_one_by_one(cluster, everywhere):
    """Each is within what one answer may decompress to, and two are not."""
    cluster.create_topic("zeros", {0: [3]})
    cluster.settle()
    bootstrap, size = cluster.bootstrap, 20 << 20
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 2 * size, "compression.type": "zstd"})
    for _ in range(3):
        producer.produce("zeros", bytes(size), partition=0)
        assert producer.flush(PATIENCE_S) == 0
    target = "/api/v1/topics/zeros/records?from="
    seen, at = [], 0
    while at < 3:
        told = request(everywhere[0], f"{target}offset:{at}").json()
        seen += [(r["kind"], r["offset"], r["value"]["bytes"]) for r in told["records"]]
        assert told["next_offset"] > at
        at = told["next_offset"]
    assert seen == [("record", offset, size) for offset in range(3)]
    told = request(everywhere[0], f"{target}latest").json()
    assert ([(r["kind"], r["offset"]) for r in told["records"]], told["next_offset"]) == ([("record", 2)], 3)
    delete_topic(bootstrap, "zeros")


def test_groups_lag_as_they_do_wherever_they_are_coordinated(cluster, everywhere):
    wanted = {"behind": sum(PER_PARTITION - 10 * p for p in PARTITIONS), HOSTILE_GROUP: 2, "..": PER_PARTITION - 1}
    for http in everywhere:
        told = ask(http, "groups")
        assert {g["group"]: g["lag"] for g in told["groups"]} == wanted
        assert all(g["state"] == "Empty" and g["lag_unknown_partitions"] == 0 for g in told["groups"])
        one = ask(http, "groups", "behind")
        found = {o["partition"]: (o["current_offset"], o["log_end_offset"], o["lag"]) for o in one["offsets"]}
        assert found == {p: (10 * p, PER_PARTITION, PER_PARTITION - 10 * p) for p in PARTITIONS}
        # By the path where that can hold it, and by a parameter.
        assert ask(http, "groups", HOSTILE_GROUP)["group"] == HOSTILE_GROUP
        assert ask(http, "groups", id="..")["group"] == ".."
        assert [g["group"] for g in ask(http, "groups", search="BEH")["groups"]] == ["behind"]
    page = ask(everywhere[0], "groups", offset=1, limit=1)
    assert (page["total"], [g["group"] for g in page["groups"]]) == (3, sorted(wanted)[1:2])


def test_members_are_told_with_what_they_have(cluster, everywhere):
    settings = {"bootstrap.servers": cluster.bootstrap, "group.id": "members", "client.id": "<i>me</i>"}
    consumer = Consumer(settings)
    try:
        consumer.subscribe([CODECS])
        wait_until(lambda: consumer.poll(0.1) or consumer.assignment(), "an assignment")
        told = ask(everywhere[1], "groups", "members")
        [member] = told["members"]
        assert (told["state"], member["client_id"]) == ("Stable", "<i>me</i>")
        assert member["assignment"] == {CODECS: list(PARTITIONS)}
    finally:
        consumer.close()
    admin = admin_client(cluster.bootstrap)
    admin.delete_consumer_groups(["members"])["members"].result(PATIENCE_S)


def test_live_samples_go_on_by_the_second_for_all_brokers(everywhere):
    first = ask(everywhere[2], "live")
    assert [b["broker"] for b in first["brokers"]] == [1, 2, 3]
    at = first["fields"].index("at_ms")
    last = min(b["samples"][-1][at] for b in first["brokers"])

    def more():
        told = ask(everywhere[2], "live", since_ms=last)
        times = [[s[at] for s in b["samples"]] for b in told["brokers"]]
        return times if all(len(t) >= 2 for t in times) else None

    for times in wait_until(more, "two more samples"):
        assert times == sorted(set(times)) and min(times) > last and len(times) < 60


BAD = [
    ("/api/v1/topics?limit=99999999999999999999", 400),
    ("/api/v1/topics?limit=0", 400),
    ("/api/v1/topics?limit=501", 400),
    ("/api/v1/topics?offset=-1", 400),
    ("/api/v1/topics?problems=maybe", 400),
    ("/api/v1/topics?search=" + "x" * 2000, 400),
    ("/api/v1/topics?search=%ff%fe", 200),
    ("/api/v1/topics/nothing", 404),
    ("/api/v1/topics/" + "x" * 3000, 400),
    ("/api/v1/topics/%ff%fe", 400),
    ("/api/v1/topics/..%2f..%2fetc%2fpasswd", 404),
    ("/api/v1/topics/../../../etc/passwd", 404),
    ("/api/v1/../../etc/passwd", 404),
    ("/api/v1/topics/codecs%00", 404),
    (f"/api/v1/topics/{CODECS}/records?partition=99", 404),
    (f"/api/v1/topics/{CODECS}/records?partition=-1", 400),
    (f"/api/v1/topics/{CODECS}/records?partition=2147483648", 400),
    (f"/api/v1/topics/{CODECS}/records?limit=501", 400),
    (f"/api/v1/topics/{CODECS}/records?from=offset:-1", 400),
    (f"/api/v1/topics/{CODECS}/records?from=yesterday", 400),
    (f"/api/v1/topics/{CODECS}/records?from=timestamp:99999999999999999999", 400),
    ("/api/v1/topics/nothing/records", 404),
    ("/api/v1/groups/nothing", 404),
    ("/api/v1/groups/%ff", 400),
    ("/api/v1/groups?limit=101", 400),
    ("/api/v1/shards?broker=9", 404),
    ("/api/v1/shards?broker=x", 400),
    ("/api/v1/live?since_ms=-1", 400),
    ("/api/v1/nothing", 404),
    ("/api/v2/cluster", 404),
]


@pytest.mark.parametrize("target, status", BAD, ids=[target[:60] for target, _ in BAD])
def test_what_cannot_be_is_refused_with_what_to_do(everywhere, target, status):
    answer = request(everywhere[0], target)
    assert answer.status == status, answer
    if status != 200:
        told = answer.json()
        assert told["error"] and told["what_to_do"] and len(answer.body) < 5000


def test_nothing_can_be_changed(everywhere):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        for target in ("/", "/api/v1/topics", f"/api/v1/topics/{CODECS}", "/api/v1/groups/behind"):
            assert request(everywhere[0], target, method, {"Content-Length": "0"}).status == 405, (method, target)
    head = request(everywhere[0], "/api/v1/cluster", "HEAD")
    assert (head.status, head.body) == (200, b"")


def test_names_that_others_may_point_here_are_refused_and_browsers_are_told_to_keep_to_themselves(everywhere):
    for target in ("/", "/api/v1/cluster", f"/api/v1/topics/{HOSTILES}/records", "/api/v1/nothing"):
        foreign = request(everywhere[0], target, headers={"Host": "rebound.example"})
        assert foreign.status == 421 and b"rebound.example" in foreign.body and b"retention" not in foreign.body
        for host in ("localhost:1", "[::1]:9094", "127.0.0.1"):
            assert request(everywhere[0], target, headers={"Host": host}).status in (200, 404)
        answer = request(everywhere[0], target, headers={"Origin": "http://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
    # Machines that scrape may use any name.
    assert request(everywhere[0], "/metrics", headers={"Host": "whatever"}).status == 200


def test_the_page_is_sent_once(everywhere):
    plain = request(everywhere[0], "/")
    assert plain.status == 200 and plain.headers["content-type"] == "text/html; charset=utf-8"
    packed = request(everywhere[0], "/", headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip" and len(packed.body) < 24 << 10
    import gzip

    assert gzip.decompress(packed.body) == plain.body
    known = request(everywhere[0], "/", headers={"If-None-Match": plain.headers["etag"]})
    assert (known.status, known.body, known.headers["etag"]) == (304, b"", plain.headers["etag"])


def test_garbage_on_the_port_does_no_harm(everywhere):
    rng = random.Random(7)
    for garbage in (b"\x00" * 1000, rng.randbytes(5000), b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"):
        with socket.create_connection(everywhere[0], PATIENCE_S) as s:
            try:
                s.sendall(garbage)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass
    assert ask(everywhere[0], "cluster")["broker"] == 1


def test_a_console_without_records_shows_none_and_one_that_is_off_nothing(own_broker):
    broker = own_broker(flags=["--console", "metadata"])
    http = console.http_address(broker)
    refused = request(http, "/api/v1/topics/t/records")
    assert refused.status == 403 and "--console records" in refused.json()["what_to_do"]
    assert ask(http, "cluster")["console"] == "metadata"
    off = own_broker(flags=["--console", "off"])
    http = console.http_address(off)
    assert [request(http, t).status for t in ("/", "/api/v1/cluster", "/health/ready")] == [404, 404, 200]


def test_a_thousand_topics_are_told_a_page_at_a_time(own_broker):
    broker = own_broker()
    admin, http = admin_client(broker.bootstrap), console.http_address(broker)
    names = [f"many-{n:04}" for n in range(1000)]
    for future in admin.create_topics([NewTopic(name, num_partitions=1) for name in names]).values():
        future.result(PATIENCE_S)
    large = request(http, "/api/v1/topics?limit=500")
    assert large.status == 200 and len(large.body) < 200_000
    assert (large.json()["total"], [t["topic"] for t in large.json()["topics"]]) == (1000, names[:500])
    assert [t["topic"] for t in ask(http, "topics", search="Y-099")["topics"]] == names[990:]
    assert [t["topic"] for t in ask(http, "topics", offset=998, limit=5)["topics"]] == names[998:]
    assert ask(http, "topics", offset=10**18)["topics"] == []
    assert ask(http, "cluster")["totals"]["partitions"] == 1000


def test_more_at_once_than_are_worked_on_are_answered_or_told_to_try_again(everywhere):
    targets = [f"/api/v1/topics/{CODECS}/records?from=latest&limit=500&partition={n % 5}" for n in range(60)]
    connections = []
    for target in targets:
        s = socket.create_connection(everywhere[0], PATIENCE_S)
        s.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        connections.append(s)
    statuses = []
    for s in connections:
        with s:
            answer = b""
            while more := s.recv(65536):
                answer += more
        statuses.append(int(answer.split(b" ", 2)[1]))
    assert set(statuses) <= {200, 503} and statuses.count(200) >= 2, statuses
