"""The suite's own checks do notice: each of them fails on what it is there to find."""

import contextlib
from dataclasses import replace

import pytest

from harness import admin_load, quorum
from harness.admin_load import SocketLoader, Topic
from harness.batch import batch, batch_headers
from harness.load import sequence_of, value_of
from harness.loopdisk import fill_up, small_disk
from harness.normalise import Names, tool_output
from harness.records import Read, Record, Sees, assert_same, assorted, edge_cases
from harness.stored import Batch, assert_dense

SENT = assorted(30, 2, seed=1)
READ = [Read(r.value, r.key, r.headers, r.timestamp, r.partition, i // 2, 0) for i, r in enumerate(SENT)]


def test_same_records_are_the_same():
    assert_same(SENT, READ, Sees())


def swapped(read):
    return [read[2], read[1], read[0], *read[3:]]


BROKEN = {
    "lost": READ[:-1],
    "doubled": [*READ, READ[-1]],
    "order": swapped(READ),
    "key": [replace(READ[0], key=b"other"), *READ[1:]],
    "value": [replace(READ[0], value=(READ[0].value or b"") + b"!"), *READ[1:]],
    "header": [replace(READ[0], headers=(("x", b"y"),)), *READ[1:]],
    "timestamp": [replace(READ[0], timestamp=READ[0].timestamp + 1), *READ[1:]],
    "partition": [replace(READ[0], partition=1), *READ[1:]],
    "offset": [replace(READ[0], offset=7), *READ[1:]],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_difference_is_found(kind):
    with pytest.raises(AssertionError):
        assert_same(SENT, BROKEN[kind], Sees())


def test_null_and_empty_differ():
    with pytest.raises(AssertionError):
        assert_same([Record(value=None)], [Read(value=b"", offset=0)], Sees())


def test_edge_cases_have_every_combination():
    kinds = {(r.key, r.value) for r in edge_cases()}
    assert {(None, None), (None, b""), (b"", None), (b"", b"")} <= kinds


def test_flipped_bit_breaks_the_crc():
    good = batch([b"value"])
    assert [h[:3] for h in batch_headers(good)] == [(0, 0, 1)]
    with pytest.raises(AssertionError, match="CRC"):
        batch_headers(good[:-1] + bytes([good[-1] ^ 1]))


@pytest.mark.parametrize("found", [[(0, 1, 2), (3, 3, 1)], [(0, 1, 2), (1, 2, 2)], [(0, 1, 3)], [(1, 1, 1)], []], ids=str)
def test_gaps_and_overlaps_are_found(found):
    with pytest.raises(AssertionError):
        assert_dense([Batch(*b, 0, -1, b"") for b in found], 0, 4)


def test_altered_load_value_is_found():
    value = value_of("p", 1, 5)
    assert sequence_of(value, "p", 1) == 5
    for altered in (value[:-1], value + b"x", b"q" + value[1:]):
        with pytest.raises(AssertionError):
            sequence_of(altered, "p", 1)


def test_small_disk_runs_full():
    with contextlib.ExitStack() as stack:
        try:
            mount = stack.enter_context(small_disk("harness", 16))
        except OSError as e:
            pytest.skip(f"no loop device: {e}")
        fill_up(mount / "rest")
        with pytest.raises(OSError):
            (mount / "more").write_bytes(bytes(100_000))


def described(*partitions: tuple[int, str, str]) -> list[str]:
    """What the normaliser makes of kafka-topics --describe with (leader, replicas, in-sync replicas)."""
    lines = [
        f"\tTopic: t\tPartition: {p}\tLeader: {leader}\tReplicas: {replicas}\tIsr: {in_sync}"
        for p, (leader, replicas, in_sync) in enumerate(partitions)
    ]
    return tool_output("\n".join(lines), "", Names(), free_placement=True)


def test_free_placement_is_the_same_wherever_it_is():
    one = described((1, "1,2", "1,2"), (2, "2,3", "2,3"), (3, "3,1", "3,1"))
    assert one == described((3, "3,2", "2,3"), (1, "1,3", "1,3"), (2, "2,1", "1,2"))


@pytest.mark.parametrize(
    "other",
    [
        [(1, "1,2", "1,2"), (1, "1,3", "1,3"), (3, "3,1", "3,1")],
        [(2, "1,2", "1,2"), (2, "2,3", "2,3"), (3, "3,1", "3,1")],
        [(1, "1,2", "1"), (2, "2,3", "2,3"), (3, "3,1", "3,1")],
        [(1, "1,2,3", "1,2,3"), (2, "2,3", "2,3"), (3, "3,1", "3,1")],
    ],
    ids=["unbalanced", "not-the-first", "not-in-sync", "more-replicas"],
)
def test_bad_placement_is_found(other):
    assert described(*other) != described((1, "1,2", "1,2"), (2, "2,3", "2,3"), (3, "3,1", "3,1"))


def test_a_replica_twice_is_found():
    with pytest.raises(AssertionError, match="distinct"):
        described((1, "1,1", "1"))


def test_lost_changes_are_found(monkeypatch):
    loader = SocketLoader("load", None, seed=1)
    known = [Topic("there", True, {"1"}), Topic("gone", False, {"1"}), Topic("either", None, {"1", "2"})]
    loader.topics = {topic.name: topic for topic in known}

    def found(configs: dict[str, str]) -> list[str]:
        monkeypatch.setattr(quorum, "topic_names", lambda *_, **__: set(configs))
        monkeypatch.setattr(quorum, "topic_configs", lambda *_, **__: configs)
        return admin_load.differences([loader], ("", 0))

    assert found({"there": "1"}) == found({"there": "1", "either": "2"}) == []
    for wrong in ({}, {"there": "2"}, {"there": "1", "gone": "1"}, {"there": "1", "either": "3"}):
        assert len(found(wrong)) == 1
