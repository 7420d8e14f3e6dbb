"""Replicas of a partition, each asked of the broker that has it: what it holds, how far it shows it, who is in sync.

Contract: nothing here is answered by another broker than the one that is asked, so two replicas can be compared. A
consumer's Fetch (v11 or newer, KIP-392) is answered by followers too, up to the high watermark that they know of.
"""

import errno
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


from . import paths, quorum, wire
from .batch import batch_headers
from .clients import CONFLUENT
from .cluster import Cluster, Node
from .load import Loader, assert_exactly_once, sequence_of
from .quorum import PartitionView, Unanswered
from .records import by_partition
from .wait import PATIENCE_S, wait_until
from .wire import Fetched


def views(cluster: Cluster, topic: str, asked: set[int] | None = None) -> dict[int, dict[int, PartitionView]]:
    """Broker id -> its metadata of the topic; of a broker that does not answer, nothing."""
    found = {}
    for node in cluster.running():
        if asked and node.id not in asked:
            continue
        try:
            found[node.id] = quorum.partitions(node.address, topic, timeout_s=2.0)
        except Unanswered:
            found[node.id] = {}
    return found


def wait_in_sync(
    cluster: Cluster, topic: str, expected: dict[int, set[int]], asked: set[int] | None = None, timeout_s=PATIENCE_S
):
    """Until every running broker (or those in `asked`) shows just these ISRs, and leaders that are among them."""

    def shown():
        shown.last = views(cluster, topic, asked)
        return bool(shown.last) and all(
            set(view) >= set(expected)
            and all(view[p].in_sync == ids and view[p].leader in ids for p, ids in expected.items())
            for view in shown.last.values()
        )

    shown.last = None
    try:
        wait_until(shown, f"the ISRs of {topic} to be {expected}", timeout_s, poll_s=0.1)
    except AssertionError as e:
        raise AssertionError(f"{e}; brokers say: {shown.last}\n{cluster.logs()}") from None


def create(
    cluster: Cluster, topic: str, assignment: dict[int, list[int]], configs: dict[str, str] | None = None
) -> str:
    """A topic with all of its replicas in sync."""
    cluster.create_topic(topic, assignment, configs)
    wait_in_sync(cluster, topic, {p: set(ids) for p, ids in assignment.items()})
    return topic


def leader_of(cluster: Cluster, topic: str, partition: int = 0, among: set[int] | None = None) -> int:
    """The leader as a broker (of those in `among`, which must be it too) tells it; waits until there is one."""

    def leader():
        for view in views(cluster, topic, among).values():
            if partition in view and view[partition].leader in (among or cluster.nodes):
                return view[partition].leader
        return None

    return wait_until(leader, f"a leader of {topic}-{partition}")


def fetch(node: Node, topic: str, partition: int, offset: int, **options) -> Fetched:
    """One Fetch of this broker's replica."""
    with wire.Connection(node.address) as c:
        return wire.fetch_replica(c, topic, partition, offset, **options)


def extent(node: Node, topic: str, partition: int, at: int) -> tuple[int, int] | None:
    """(log start, high watermark) of this broker's replica; None where it serves none, or nothing as far as `at`.

    `at` is the leader's end: a Fetch below the log start, or beyond what a replica has, tells neither.
    """
    try:
        found = fetch(node, topic, partition, at)
    except (OSError, wire.Closed):
        return None
    return (found.log_start, found.high_watermark) if found.error == wire.NONE else None


def end_of(cluster: Cluster, topic: str, partition: int = 0) -> int:
    """The leader's high watermark, by ListOffsets."""
    with wire.Connection(cluster[leader_of(cluster, topic, partition)].address) as c:
        error, _, end = wire.list_offset(c, topic, partition, -1)
    assert error == wire.NONE, f"ListOffsets of {topic}-{partition}: error {error}"
    return end


@dataclass(frozen=True)
class Copy:
    """All that one broker shows of a partition: whole batches as they lie in its log."""

    log_start: int
    high_watermark: int
    batches: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        return b"".join(self.batches)


def read(node: Node, topic: str, partition: int = 0, start: int = 0) -> Copy:
    """From `start` to this broker's high watermark; every CRC is verified."""
    found, at, last = [], start, None
    with wire.Connection(node.address) as c:
        while last is None or at < last.high_watermark:
            last = wire.fetch_replica(c, topic, partition, at)
            assert last.error == wire.NONE, f"Fetch of {topic}-{partition} at {at} by broker {node.id}: {last.error}"
            headers = [h for h in batch_headers(last.data) if h[1] >= at]
            assert headers or at >= last.high_watermark, f"broker {node.id} shows nothing at {at} of {last}"
            for _, end, _, first_byte, past in headers:
                found.append(last.data[first_byte:past])
                at = end + 1
    return Copy(last.log_start, last.high_watermark, tuple(found))


def wait_same_extent(cluster: Cluster, topic: str, partition: int, ids: set[int], timeout_s=PATIENCE_S):
    """Until these brokers show the same log start and high watermark (a follower learns both with a delay)."""

    end = end_of(cluster, topic, partition)

    def same():
        same.last = {node_id: extent(cluster[node_id], topic, partition, end) for node_id in ids}
        found = set(same.last.values())
        return found.pop() if len(found) == 1 and None not in found else None

    same.last = None
    try:
        return wait_until(same, f"the replicas of {topic}-{partition} to have the same extent", timeout_s)
    except AssertionError as e:
        raise AssertionError(f"{e}; brokers say: {same.last}\n{cluster.logs()}") from None


def assert_hold_acknowledged(cluster: Cluster, loaders: list[Loader], assignment: dict[int, list[int]]):
    """One topic, whose producers have ended: its replicas are the same, and hold just what each of its producers had
    acknowledged, in order."""
    topic = loaders[0].topic
    for p, ids in assignment.items():
        assert_identical(cluster, topic, p, set(ids))
    total = sum(end_of(cluster, topic, p) for p in assignment)
    read = by_partition(CONFLUENT.consume(cluster.bootstrap, topic, total))
    for loader in loaders:
        for p in assignment:
            mine = [r for r in read[p] if r.value.startswith(f"{loader.name}:".encode())]
            found = {r.offset: sequence_of(r.value, loader.name, p) for r in mine}
            assert_exactly_once(f"{topic}-{p} by {loader.name}", found, loader.acked[p], loader.sent[p])


def assert_identical(cluster: Cluster, topic: str, partition: int, ids: set[int], whole=True) -> Copy:
    """No producer may be at it. All replicas show the same bytes; Ringlog's have the same on disk, which only a log that
    nothing was deleted from (`whole`) can be asked for: how much of a segment is left below the log start may differ.
    """
    start, _ = wait_same_extent(cluster, topic, partition, ids)
    copies = {node_id: read(cluster[node_id], topic, partition, start) for node_id in sorted(ids)}
    first_id, first = next(iter(copies.items()))
    for node_id, copy in copies.items():
        where = f"{topic}-{partition} of broker {node_id} and of broker {first_id}"
        assert (copy.log_start, copy.high_watermark) == (first.log_start, first.high_watermark), where
        assert copy.batches == first.batches, f"{where}: {first_difference(copy.batches, first.batches)}"
    if whole and paths.AGAINST == "ringlog":
        dumps = {node_id: wal_dump(cluster[node_id], topic, partition) for node_id in sorted(ids)}
        for node_id, dump in dumps.items():
            lines = first_difference(dump, dumps[first_id])
            assert dump == dumps[first_id], f"{topic}-{partition} on the disks of {node_id} and {first_id}: {lines}"
        assert len(dumps[first_id]) == len(first.batches), "batches on disk and batches shown"
    return first


def first_difference(one, other) -> str:
    at = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    short = lambda some: [part[:80] for part in some[at : at + 2]]  # noqa: E731
    return f"from number {at} of {len(one)} and {len(other)}: {short(one)} and {short(other)}"


def directories(node: Node, topic: str, partition: int) -> list[Path]:
    """Where the broker keeps the replica: one folder, or none."""
    return [path for path in node.data_dir.glob(f"**/{topic}-{partition}") if path.is_dir()]


def wal_dump(node: Node, topic: str, partition: int) -> list[str]:
    """Ringlog's own view of a replica's log on disk, a line for each batch."""
    (folder,) = directories(node, topic, partition)
    done = subprocess.run(
        [str(paths.ringlog_binary()), "wal", "dump", "--batches", str(folder)],
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, f"wal dump of {folder}: {done.stderr}"
    return done.stdout.splitlines()


def on_disk(node: Node, text: bytes) -> bool:
    """Whether a file of the broker has these bytes: what it has stored, whether it shows it or not.

    Uncompressed records lie in logs as they were sent, in Kafka's segments, Ringlog's segments and its journal.
    """
    for path in node.data_dir.rglob("*"):
        try:
            if path.is_file() and any(text in part for part in _written_parts(path)):
                return True
        except FileNotFoundError:  # a segment that went meanwhile
            continue
    return False


def _written_parts(path: Path):
    """A file's contents without the space that is only reserved, which can be most of it."""
    with open(path, "rb", buffering=0) as file:
        at = 0
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError as e:
                if e.errno == errno.ENXIO:  # nothing more
                    return
                raise
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            yield os.pread(file.fileno(), end - at, at)
            at = end


def elect_uncleanly(cluster: Cluster, topic: str, partition: int, asked: set[int]):
    """Has a replica lead that may lack what was acknowledged, as `kafka-leader-election --election-type unclean` does.

    Asked again until some replica may: those that have just started may be fenced yet.
    """

    def elected():
        for node_id in sorted(asked):
            try:
                elected.last = quorum.elect_leader(cluster[node_id].address, topic, partition, quorum.UNCLEAN)
            except Unanswered as e:
                elected.last = e
            if elected.last in (wire.NONE, wire.ELECTION_NOT_NEEDED):
                return True
        return False

    elected.last = None
    wait_until(elected, f"an unclean election of {topic}-{partition}")
