"""kill -9 in the middle of a load, many times: what was acknowledged is there, once, in order, and nothing is torn."""

import os
import random

import pytest

from harness import wire
from harness.batch import batch
from harness.clients import CONFLUENT
from harness.load import ConfluentLoader, KafkaPythonLoader, sequence_of
from harness.records import by_partition
from harness.stored import assert_dense, batches
from harness.topics import create_topic, offsets
from harness.wait import wait_until

pytestmark = pytest.mark.kill9
KILLS = int(os.environ.get("RINGLOG_TEST_KILLS", 20))
SEGMENT_BYTES = 1 << 20  # the smallest that Kafka allows: the load rolls segments all the time


@pytest.mark.timeout(900)
def test_kill9_under_load(own_broker, seed):
    """KILLS times: acknowledged records of acks=1 and acks=all survive; idempotent producers leave no duplicate.

    Shown for each partition, at the end and after one more kill: offsets are dense; every batch has its CRC; every
    acknowledged record is at the offset that was acknowledged, byte for byte; idempotent producers' records are there
    exactly once and in the order of sending; the others', in that order but for repeats of what was sent again.
    """
    rng = random.Random(seed)
    broker = own_broker(shards=2)
    loaders = [
        ConfluentLoader("idempotent", "kill-idempotent", 4),
        ConfluentLoader("idempotent-lz4", "kill-idempotent-lz4", 2, compression="lz4"),
        KafkaPythonLoader("kafka-python", "kill-kafka-python", 2),
        ConfluentLoader("acks-all", "kill-acks-all", 2, idempotent=False),
        ConfluentLoader("acks-1", "kill-acks-1", 2, idempotent=False, acks="1"),
    ]
    for loader in loaders:
        create_topic(broker.bootstrap, loader.topic, loader.partitions, {"segment.bytes": str(SEGMENT_BYTES)})
        loader.bootstrap = broker.bootstrap
        loader.start()

    try:
        with open(broker.dir / "progress.log", "w") as progress:
            for kill in range(1, KILLS + 1):
                targets = [(loader, loader.acknowledged() + rng.randint(50, 600)) for loader in loaders]

                def moved_on():
                    for loader in loaders:
                        loader.check()
                    return all(loader.acknowledged() >= target for loader, target in targets)

                wait_until(moved_on, f"the producers to get on before kill {kill}", poll_s=0.005)
                broker.kill9()
                acknowledged = {loader.topic: loader.snapshot() for loader in loaders}
                broker.start()
                total = sum(loader.acknowledged() for loader in loaders)
                print(f"kill {kill}: {total} records acknowledged: {acknowledged}", file=progress, flush=True)
                for topic, highest in acknowledged.items():
                    for partition, offset in highest.items():
                        _, end = offsets(broker, topic, partition)
                        assert end > offset, f"kill {kill}: {topic}-{partition} ends at {end}, acknowledged was {offset}"

        for loader in loaders:
            loader.finish()
            verify(broker, loader)
        broker.kill9()
        broker.start()
        for loader in loaders:
            verify(broker, loader)
    finally:
        for loader in loaders:
            loader.abandon()


def verify(broker, loader):
    """What the test's own description says, for all partitions of one producer."""
    read_by = by_partition(read_everything(broker, loader))
    for partition in range(loader.partitions):
        where = f"{loader.topic}-{partition}"
        start, end = offsets(broker, loader.topic, partition)
        assert start == 0
        assert_dense(batches(broker, loader.topic, partition), 0, end)
        read = read_by[partition]
        assert [r.offset for r in read] == list(range(end)), f"{where}: offsets that a consumer sees"
        found = [sequence_of(r.value, loader.name, partition) for r in read]

        acked = loader.acked[partition]
        assert len(acked) == loader.sent[partition] > 0, f"{where}: not all that was sent is acknowledged"
        misplaced = {s: o for s, o in acked.items() if not (0 <= o < end and found[o] == s)}
        if loader_is_idempotent(loader):
            lost = sorted(set(acked) - set(found))
            assert not lost, f"{where}: acknowledged records lost: {lost[:10]} of {len(lost)}"
            assert found == list(range(len(acked))), f"{where}: duplicates or wrong order: {disorder(found)}"
        else:
            first_seen = list(dict.fromkeys(found))
            assert first_seen == list(range(len(acked))), f"{where}: lost or out of order: {disorder(first_seen)}"
        assert not misplaced, f"{where}: not at the acknowledged offset: {list(misplaced.items())[:5]}"
        assert segment_count(broker, where) > 1, f"{where}: the load should have rolled segments"


def loader_is_idempotent(loader) -> bool:
    return getattr(loader, "idempotent", True)


def read_everything(broker, loader):
    total = sum(offsets(broker, loader.topic, p)[1] for p in range(loader.partitions))
    return CONFLUENT.consume(broker.bootstrap, loader.topic, total)


def disorder(found):
    """The first places where the sequence does not rise by one."""
    return [(i, found[i - 1], found[i]) for i in range(1, len(found)) if found[i] != found[i - 1] + 1][:5]


def segment_count(broker, partition_name) -> int:
    return len(list(broker.data_dir.glob(f"**/{partition_name}/*.log")))


@pytest.mark.timeout(300)
def test_acknowledged_then_killed_at_once(own_broker, seed):
    """The shortest way: one acknowledged record, kill -9 in the same moment, five times over; all five are there."""
    broker = own_broker()
    create_topic(broker.bootstrap, "at-once", 1)
    for i in range(5):
        with wire.Connection(broker.address) as c:
            assert wire.produce(c, "at-once", 0, batch([b"record %d" % i])) == (wire.NONE, i)
            broker.kill9()
        broker.start()
    assert_dense(batches(broker, "at-once"), 0, 5)
    assert [r.value for r in CONFLUENT.consume(broker.bootstrap, "at-once", 5)] == [b"record %d" % i for i in range(5)]
