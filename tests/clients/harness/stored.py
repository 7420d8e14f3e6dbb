"""What the broker holds for a partition, read by raw Fetch: the batches exactly as they are on the wire."""

import struct
from dataclasses import dataclass

from . import batch, wire
from .topics import offsets


@dataclass(frozen=True)
class Batch:
    base_offset: int
    last_offset: int
    count: int
    attributes: int
    producer_id: int
    data: bytes

    @property
    def codec(self) -> int:
        return self.attributes & 7


def batches(broker, topic, partition=0) -> list[Batch]:
    """All batches of the partition from its log start to its high watermark; each CRC-32C is verified."""
    at, end = offsets(broker, topic, partition)
    found = []
    with wire.Connection(broker.address) as c:
        while at < end:
            error, _, data = wire.fetch(c, topic, partition, at)
            assert error == wire.NONE, f"Fetch of {topic}-{partition} at {at}: error {error}"
            headers = [h for h in batch.batch_headers(data) if h[1] >= at]
            assert headers, f"Fetch of {topic}-{partition} at {at} of {end} returned no batch"
            for base, last, count, start, stop in headers:
                (attributes,) = struct.unpack_from(">h", data, start + 21)
                (producer_id,) = struct.unpack_from(">q", data, start + 43)
                found.append(Batch(base, last, count, attributes, producer_id, data[start:stop]))
            at = found[-1].last_offset + 1
    return found


def assert_dense(found: list[Batch], first: int, end: int):
    """The batches follow each other without gap or overlap from `first` up to, not including, `end`."""
    at = first
    for b in found:
        assert b.base_offset == at, f"batch at {b.base_offset}, expected {at}"
        assert b.count == b.last_offset - b.base_offset + 1, f"{b.count} records in [{b.base_offset}, {b.last_offset}]"
        at = b.last_offset + 1
    assert at == end, f"the log ends at {at}, expected {end}"
