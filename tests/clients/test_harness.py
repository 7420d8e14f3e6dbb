"""The suite's own checks do notice: each of them fails on what it is there to find."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import admin_load, paths, quorum, replicas, slow_disk
from harness.admin_load import SocketLoader, Topic
from harness.batch import batch, batch_headers
from harness.load import assert_exactly_once, sequence_of, value_of
from harness.loopdisk import fill_up, small_disk
from harness.netns import Network
from harness.normalise import Names, tool_output
from harness.planned import assert_orderly, numbers_read
from harness.records import Read, Record, Sees, assert_same, assorted, edge_cases
from harness.replicas import Copy
from harness.slow_link import slow_link
from harness.steady import Steady
from harness.stored import Batch, assert_dense
from harness.wait import wait_until

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


STORED, ACKED = {0: 0, 2: 1, 3: 2}, {0: 0, 1: 2, 2: -1}
WRONG = {
    "lost": ({0: 0, 2: 1}, ACKED, 3),
    "doubled": ({**STORED, 4: 1}, ACKED, 3),
    "order": ({0: 0, 2: 2, 3: 1}, {0: 0, 1: -1, 2: -1}, 3),
    "misplaced": (STORED, {**ACKED, 1: 1}, 3),
    "not acknowledged": (STORED, {0: 0, 1: 2}, 3),
    "not even sent": ({**STORED, 9: 3}, ACKED, 3),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_there_exactly_once_is_found(kind):
    assert_exactly_once("here", STORED, ACKED, 3)
    with pytest.raises(AssertionError):
        assert_exactly_once("here", *WRONG[kind])


@pytest.mark.parametrize(
    "other",
    [Copy(0, 2, (b"a",)), Copy(0, 2, (b"a", b"b", b"c")), Copy(0, 2, (b"a", b"x")), Copy(1, 2, (b"a", b"b"))],
    ids=["shorter", "longer", "altered", "another-start"],
)
def test_replicas_that_differ_are_found(other, monkeypatch):
    copies = {1: Copy(0, 2, (b"a", b"b")), 2: Copy(0, 2, (b"a", b"b"))}
    monkeypatch.setattr(replicas, "wait_same_extent", lambda *_: (0, 2))
    monkeypatch.setattr(replicas, "read", lambda node, *_: copies[node])
    cluster = {1: 1, 2: 2}
    assert replicas.assert_identical(cluster, "t", 0, {1, 2}, whole=False) == copies[1]
    copies[2] = other
    with pytest.raises(AssertionError, match="broker 2"):
        replicas.assert_identical(cluster, "t", 0, {1, 2}, whole=False)


def test_dumps_that_differ_are_found(monkeypatch):
    """Ringlog's: what is on a disk and not shown counts too."""
    dumps = {1: ["a"], 2: ["a"]}
    monkeypatch.setattr(paths, "AGAINST", "ringlog")
    monkeypatch.setattr(replicas, "wait_same_extent", lambda *_: (0, 1))
    monkeypatch.setattr(replicas, "read", lambda *_: Copy(0, 1, (b"a",)))
    monkeypatch.setattr(replicas, "wal_dump", lambda node, *_: dumps[node])
    cluster = {1: 1, 2: 2}
    replicas.assert_identical(cluster, "t", 0, {1, 2})
    for wrong in (["a", "b"], [], ["x"]):
        dumps[2] = wrong
        with pytest.raises(AssertionError, match="on the disks"):
            replicas.assert_identical(cluster, "t", 0, {1, 2})


def test_stored_bytes_are_found(tmp_path):
    """Past a hole too, and not where they are not."""
    node = SimpleNamespace(data_dir=tmp_path)
    (tmp_path / "t-0").mkdir()
    with open(tmp_path / "t-0" / "0.log", "wb") as file:
        file.write(b"first")
        file.seek(1 << 20)
        file.write(b"some text here")
        file.truncate(2 << 20)
    assert replicas.on_disk(node, b"text") and replicas.on_disk(node, b"first")
    assert not replicas.on_disk(node, b"test")


def test_network_drops_what_it_is_told_to():
    """One way, and only between two; what is dropped is counted. A proxy takes connections over and gives them back."""
    try:
        if shutil.which("nft") is None:
            raise OSError("nft (nftables) is not installed")
        with Network(2) as network:
            check_drops(network)
            check_proxy(network)
    except OSError as e:
        pytest.skip(f"no network namespaces: {e}")


def reached(network, source, target) -> bool:
    """Whether a datagram arrives, or is dropped and counted: unlike a connection it needs no way back."""
    listen = "import socket; s = socket.socket(2, 2); s.bind(('', 7000)); print('on', flush=True); s.recv(9)"
    send = f"import socket; socket.socket(2, 2).sendto(b'x', ('{network.internal_address(target)}', 7000))"
    inside = lambda n, code: ["ip", "netns", "exec", network.namespace(n), sys.executable, "-c", code]  # noqa: E731
    with subprocess.Popen(inside(target, listen), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as listener:
        assert listener.stdout.readline() == b"on\n"
        dropped = network.dropped()
        subprocess.run(inside(source, send), check=True)
        try:
            wait_until(lambda: listener.poll() is not None or network.dropped() > dropped, "it to arrive or not")
            return listener.poll() == 0
        finally:
            listener.kill()


def check_drops(network):
    assert reached(network, 1, 2) and reached(network, 2, 1)
    network.drop(1, 2)
    assert not reached(network, 1, 2) and reached(network, 2, 1)
    assert network.dropped() > 0
    network.mend()
    assert reached(network, 1, 2) and network.dropped() == 0


def check_proxy(network):
    echo = (
        "import socket; s = socket.create_server(('', 7001)); print('on', flush=True)\n"
        "while True:\n c, _ = s.accept(); c.sendall(c.recv(9)); c.close()"
    )
    ask = (
        f"import socket; s = socket.create_connection(('{network.internal_address(2)}', 7001)); s.sendall(b'hello'); "
        "print(s.recv(9).decode())"
    )
    inside = lambda n, code: ["ip", "netns", "exec", network.namespace(n), sys.executable, "-c", code]  # noqa: E731
    with subprocess.Popen(inside(2, echo), stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout.readline() == b"on\n"
            with slow_link(network, 2, 7001, delay_s=0.2) as end:
                began = time.monotonic()
                assert subprocess.run(inside(1, ask), capture_output=True, check=True).stdout == b"hello\n"
                assert time.monotonic() - began >= 0.4, "there and back"
                assert end() == 2 * len("hello")
            assert subprocess.run(inside(1, ask), capture_output=True, check=True).stdout == b"hello\n"
        finally:
            server.kill()


def test_the_longest_pause_is_found():
    """Of acknowledgements around a fault: not the pause before it, nor one long after all goes on."""
    steady = Steady("", "", per_second=6)
    steady.acknowledged = [0.0, 5.0, 5.1, 7.1, 7.2, 7.3, 7.4, 20.0]
    assert steady.gap(since=5.05) == (5.1, 7.1)
    assert steady.has_gone_on(since=5.05) and not steady.has_gone_on(since=7.35)
    began, ended = steady.gap(since=7.35)
    assert began == 20.0 < ended, "it has not gone on"
    assert steady.by_second(since=5.05) == [1, 0, 4, *[0] * 11, 1]


STOPPED = "T1Z  INFO ringlog::serve: stopping signal=15\nT2Z  INFO ringlog::serve: stopped\n"
OPENED = (
    'T3Z DEBUG ringlog::storage: log recovered topic="t" partition=0 report=RecoveryReport { created: false, clean: true, '
    "segments: 1, log_start: 0, log_end: 9, scanned_frames: 0 }\n"
)
DISORDERLY = {
    "killed": ("T1Z  INFO ringlog::serve: kafka listener bound\n", OPENED),
    "not closed": (f"T1Z  WARN ringlog: log not closed cleanly; the next start scans its tail\n{STOPPED}", OPENED),
    "scanned": (STOPPED, OPENED + OPENED.replace("clean: true", "clean: false")),
    "replayed": (STOPPED, f"T3Z  INFO ringlog::serve: journal replayed into the logs journals=1\n{OPENED}"),
    "untold": (STOPPED, "T3Z  INFO ringlog::serve: kafka listener bound\n"),
}


def test_an_orderly_restart_is_orderly():
    new = OPENED.replace("created: false, clean: true", "created: true, clean: false")
    assert_orderly("it", STOPPED, OPENED + new)


@pytest.mark.parametrize("kind", DISORDERLY)
def test_a_disorderly_restart_is_found(kind):
    with pytest.raises(AssertionError):
        assert_orderly("it", *DISORDERLY[kind])


def test_what_a_consumer_passes_over_is_found():
    assert numbers_read("t-0", [(0, 5), (1, 6), (0, 5), (1, 6), (2, 7)]) == {0: 5, 1: 6, 2: 7}
    for reads in ([(1, 6)], [(0, 5), (2, 7)], [(0, 5), (0, 6)]):
        with pytest.raises(AssertionError):
            numbers_read("t-0", reads)


def test_slow_disk_is_slow():
    """A process that syncs what it writes is held to the rate, and not when the group is gone."""
    folder = Path(tempfile.mkdtemp(dir=paths.data_root()))
    write = (
        "import os, sys; f = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); sys.stdin.readline()\n"
        "for _ in range(4): os.write(f, bytes(1 << 18)); os.fsync(f)"
    )
    try:
        slow_disk.available(folder)
    except OSError as e:
        pytest.skip(f"no slow disk: {e}")
    try:
        with subprocess.Popen([sys.executable, "-c", write, str(folder / "file")], stdin=subprocess.PIPE) as writer:
            with slow_disk.slow_disk(writer.pid, folder, 1 << 19, 1000) as written:
                began = time.monotonic()
                writer.stdin.write(b"\n")
                writer.stdin.close()
                assert writer.wait() == 0
                assert time.monotonic() - began > 1.0, "a mebibyte at half of one a second"
                assert written() >= 1 << 20
    finally:
        shutil.rmtree(folder)
