"""Record batches of format v2 (and old message sets), made by hand so that each field can be made wrong."""

import struct

import crc32c

from .records import T0
from .wire import int8, int16, int32, int64, varint

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def record(offset_delta, key, value, headers=(), timestamp_delta=0) -> bytes:
    def blob(b):
        return varint(-1) if b is None else varint(len(b)) + b

    body = int8(0) + varint(timestamp_delta) + varint(offset_delta) + blob(key) + blob(value)
    body += varint(len(headers)) + b"".join(blob(k.encode()) + blob(v) for k, v in headers)
    return varint(len(body)) + body


def batch(
    values,
    *,
    base_offset=0,
    timestamp_ms=T0,
    attributes=0,
    producer_id=-1,
    producer_epoch=-1,
    base_sequence=-1,
    magic=2,
    record_count=None,
    last_offset_delta=None,
    crc=None,
    batch_length=None,
    payload=None,
) -> bytes:
    """A batch of uncompressed records, one per value; any keyword set replaces what would be right."""
    if payload is None:
        payload = b"".join(record(i, None, v) for i, v in enumerate(values))
    count = len(values) if record_count is None else record_count
    delta = len(values) - 1 if last_offset_delta is None else last_offset_delta
    covered = int16(attributes) + int32(delta) + int64(timestamp_ms) * 2
    covered += int64(producer_id) + int16(producer_epoch) + int32(base_sequence) + int32(count) + payload
    checksum = crc32c.crc32c(covered) if crc is None else crc
    rest = int32(0) + int8(magic) + struct.pack(">I", checksum) + covered
    return int64(base_offset) + int32(len(rest) if batch_length is None else batch_length) + rest


def message_set(magic, value) -> bytes:
    """One message of the formats before v2 (magic 0 and 1), with the CRC-32 those use."""
    import zlib

    covered = int8(magic) + int8(0)
    if magic == 1:
        covered += int64(T0)
    covered += int32(-1) + int32(len(value)) + value
    message = struct.pack(">I", zlib.crc32(covered)) + covered
    return int64(0) + int32(len(message)) + message


def batch_headers(data: bytes):
    """(base offset, last offset, record count, start, end) of each complete v2 batch in `data`."""
    at, found = 0, []
    while at + 61 <= len(data):
        base_offset, length = struct.unpack_from(">qi", data, at)
        end = at + 12 + length
        if end > len(data):
            break  # a fetch may end in a partial batch
        assert data[at + 16] == 2, f"magic {data[at + 16]} at byte {at}"
        (checksum,) = struct.unpack_from(">I", data, at + 17)
        assert checksum == crc32c.crc32c(data[at + 21 : end]), f"CRC of the batch at offset {base_offset}"
        (last_delta,) = struct.unpack_from(">i", data, at + 23)
        (count,) = struct.unpack_from(">i", data, at + 57)
        found.append((base_offset, base_offset + last_delta, count, at, end))
        at = end
    return found
