"""cleanup.policy=compact: of the records with one key the last one stays, at its offset, across clients and restarts."""

import json
import subprocess

import pytest

from harness import metrics, paths
from harness.admins import ConfluentAdmin
from harness.clients import CLIENTS, CONFLUENT
from harness.compacted import CONFIGS, KEYS, SEGMENT_BYTES, SETTINGS, VALUE, check, read_all, rounds, stored_records
from harness.records import T0, Record
from harness.stored import batches
from harness.topics import create_topic, offsets
from harness.wait import wait_until

pytestmark = pytest.mark.retention
PATIENCE_S = 120


def produce(broker, topic, records, **options):
    CONFLUENT.produce(broker.bootstrap, topic, records, batch_bytes=50_000, **options)


def wait_compacted(broker, topic, below):
    wait_until(lambda: stored_records(broker, topic) < below, f"{topic} to be compacted", PATIENCE_S)


def check_topic(broker, topic, sent):
    check(read_all(broker.bootstrap, topic), sent)


@pytest.fixture
def compacting(own_broker):
    return own_broker(SETTINGS)


def test_the_last_value_of_a_key_stays(compacting):
    """A consumer from the start sees the last value of every key, in order, at its offset; tombstones go in the end."""
    create_topic(compacting.bootstrap, "last", 1, CONFIGS)
    sent = rounds(60)
    produce(compacting, "last", sent)
    sent_bytes = 60 * KEYS * len(VALUE)
    wait_compacted(compacting, "last", len(sent) // 3)
    check_topic(compacting, "last", sent)
    assert offsets(compacting, "last") == (0, len(sent)), "offsets stay"
    assert sum(len(b.data) for b in batches(compacting, "last")) < sent_bytes / 2

    # Half of the keys are deleted; what comes after makes the segments with the tombstones dirty, twice.
    gone = {b"key-%d" % key for key in range(KEYS // 2)}
    tombstones = [Record(key=key, value=None) for key in sorted(gone)]
    others = [record for record in rounds(120, first=60) if record.key not in gone]
    for lot in (tombstones, others[:1500], others[1500:]):
        produce(compacting, "last", lot)
        sent += lot
    keys = lambda: {key for _, key, _ in read_all(compacting.bootstrap, "last")}  # noqa: E731
    wait_until(lambda: not keys() & gone, "deleted keys to go", PATIENCE_S)
    check_topic(compacting, "last", sent)


@pytest.fixture(scope="module")
def compacted_topic():
    """A broker with a topic that was compacted, and what was sent there, in every codec."""
    from harness.broker import new_broker

    broker = new_broker("compacted", SETTINGS).start()
    create_topic(broker.bootstrap, "compacted", 1, CONFIGS)
    sent = []
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        lot = [Record(key=r.key, value=codec.encode() + r.value) for r in rounds(40)]
        CONFLUENT.produce(broker.bootstrap, "compacted", lot, compression=codec, batch_bytes=50_000)
        sent += lot
    # What compresses well fills no segment, and the active one is not compacted.
    lot = rounds(20)
    produce(broker, "compacted", lot)
    sent += lot
    wait_compacted(broker, "compacted", len(sent) // 3)
    yield broker, sent
    broker.check_alive()
    broker.discard()


@pytest.mark.parametrize("client", CLIENTS, ids=str)
def test_every_client_reads_it_from_the_start(client, compacted_topic):
    """Kafka's console consumer with --from-beginning, and the others likewise: over the gaps, to the end."""
    broker, sent = compacted_topic
    member = client.member(broker.bootstrap, "compacted", f"group-of-{client}")
    try:
        reads = lambda: [(r.offset, r.key, r.value) for r in member.reads()]  # noqa: E731
        # The last record is in the active segment.
        wait_until(lambda: any(offset == len(sent) - 1 for offset, _, _ in reads()), "the last record", PATIENCE_S)
        found = reads()
    finally:
        member.close()
    check(found, sent)
    assert len(found) < len(sent) // 3, "it was compacted before"


@pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Ringlog's own command line")
def test_wal_verify_tells_gaps_and_finds_nothing_wrong(compacting):
    """`ringlog wal verify`, while the broker compacts and after that: no damage, and as many records as consumers get."""
    create_topic(compacting.bootstrap, "verified", 1, CONFIGS)
    (log,) = compacting.data_dir.glob("verified-0")

    def verified() -> dict:
        done = subprocess.run(
            [str(paths.ringlog_binary()), "wal", "verify", "--json", str(log)], capture_output=True, text=True
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0 and not any(line.get("damage") for line in lines), done.stdout
        (summary,) = (line for line in lines if line["type"] == "log")
        return summary

    sent = []
    for turn in range(8):
        lot = rounds(20, first=20 * turn)
        produce(compacting, "verified", lot)
        sent += lot
        assert verified()["log_end_offset"] == len(sent)
    wait_compacted(compacting, "verified", 1_000)
    # Once more, so that nothing changes between the two.
    same = lambda: verified()["records"] == len(read_all(compacting.bootstrap, "verified"))  # noqa: E731
    wait_until(same, "as many records on disk as are read", PATIENCE_S)
    found = verified()
    assert found["compacted_segments"] > 0 and found["gaps"] > 0, found
    assert found["gap_offsets"] <= len(sent) - found["records"], found


def test_a_topic_that_becomes_compacted(compacting):
    """cleanup.policy and min.cleanable.dirty.ratio changed at run time have a log compacted that was not to be."""
    admin = ConfluentAdmin(compacting.bootstrap)
    create_topic(compacting.bootstrap, "changed", 1, {**CONFIGS, "cleanup.policy": "delete", "retention.ms": "-1"})
    create_topic(compacting.bootstrap, "canary", 1, CONFIGS)
    sent = rounds(60)
    produce(compacting, "changed", sent)
    produce(compacting, "canary", sent)
    wait_compacted(compacting, "canary", len(sent) // 3)
    assert stored_records(compacting, "changed") == len(sent), "nothing is compacted that is not to be"

    admin.alter_configs("changed", {**CONFIGS, "min.cleanable.dirty.ratio": "1.0"})
    produce(compacting, "canary", sent)
    wait_compacted(compacting, "canary", len(sent) // 3)
    assert stored_records(compacting, "changed") == len(sent), "no log is dirtier than that"

    admin.alter_configs("changed", CONFIGS)
    wait_compacted(compacting, "changed", len(sent) // 3)
    check_topic(compacting, "changed", sent)


@pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Kafka looks again when log.cleaner.backoff.ms is over, an hour here")
def test_a_changed_config_has_it_looked_at_once(own_broker):
    """Whatever log.cleaner.backoff.ms is; and a metric says how dirty the dirtiest log is."""
    broker = own_broker({"log.cleaner.backoff.ms": "3600000"}, shards=1)

    def dirty_ratio() -> float:
        return metrics.scrape(broker).value("ringlog_compaction_max_dirty_ratio", shard="0")

    admin = ConfluentAdmin(broker.bootstrap)
    create_topic(broker.bootstrap, "woken", 1, {**CONFIGS, "min.cleanable.dirty.ratio": "1.0"})
    sent = rounds(60)
    produce(broker, "woken", sent)
    assert dirty_ratio() == 0, "not looked at yet"
    admin.alter_configs("woken", {"min.cleanable.dirty.ratio": "0.99"})
    wait_compacted(broker, "woken", len(sent) // 3)
    wait_until(lambda: dirty_ratio() == 0, "the log to be clean by the metric", PATIENCE_S)

    admin.alter_configs("woken", {"min.cleanable.dirty.ratio": "1.0"})
    more = rounds(60, first=60)
    produce(broker, "woken", more)
    admin.alter_configs("woken", {"retention.ms": "-1"})
    # What was clean before is a tenth of it at the most.
    wait_until(lambda: dirty_ratio() >= 0.9, "the log to be dirty by the metric", PATIENCE_S)
    assert stored_records(broker, "woken") > len(more), "it is not as dirty as it would have to be"


def test_compacted_and_deleted(own_broker):
    """compact,delete: old segments go by time, whatever their keys; of the young ones the last values stay."""
    settings = {**SETTINGS, "log.retention.check.interval.ms": "500"}
    if paths.AGAINST == "kafka":
        settings["log.initial.task.delay.ms"] = "500"  # else the first look for old segments is after 30 s
    broker = own_broker(settings)
    create_topic(broker.bootstrap, "both", 1, {**CONFIGS, "cleanup.policy": "compact,delete", "retention.ms": "-1"})
    # A day old, each with a key of its own, so that only deletion takes them away.
    old = [Record(key=b"old-%d" % n, value=VALUE, timestamp=T0 - 24 * 3600 * 1000) for n in range(2_000)]
    sent = old + [Record(key=r.key, value=r.value, timestamp=T0) for r in rounds(60)]
    produce(broker, "both", sent)
    wait_compacted(broker, "both", len(old) + 1_200)
    assert offsets(broker, "both")[0] == 0
    check_topic(broker, "both", sent)

    # T0 is an hour ago. One segment may hold the last old records and young ones; it stays whole.
    ConfluentAdmin(broker.bootstrap).alter_configs("both", {"retention.ms": str(6 * 3600 * 1000)})
    per_segment = SEGMENT_BYTES // len(VALUE) + 1
    start = lambda: offsets(broker, "both")[0]  # noqa: E731
    wait_until(lambda: start() > len(old) - per_segment, "old segments to go", PATIENCE_S)
    assert start() <= len(sent) - KEYS, "nothing young goes but what another pass superseded"
    check(read_all(broker.bootstrap, "both"), sent, start())


def test_kill9_while_compacting(compacting):
    """Killed again and again while it compacts, the broker has the last value of every key."""
    create_topic(compacting.bootstrap, "killed", 1, CONFIGS)
    sent = []
    for turn in range(5):
        lot = rounds(40, first=turn * 40)
        produce(compacting, "killed", lot)
        sent += lot
        compacting.kill9()
        compacting.start()
        check_topic(compacting, "killed", sent)
    wait_compacted(compacting, "killed", 3_000)
    compacting.kill9()
    compacting.start()
    check_topic(compacting, "killed", sent)
