"""Readers that write all that they get into a history: consumers of two libraries, and raw ones that ask one broker each.

Consumers read every partition from its first offset and go on as long as they are not stopped, with their libraries' own
time-outs and pauses. `auto.offset.reset` is an error, since going elsewhere in silence would hide what is looked for.
"""

import itertools
import json
import threading
import time
from collections import defaultdict

from confluent_kafka import Consumer, KafkaError, TopicPartition
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPythonPartition
from kafka.errors import KafkaError as KafkaPythonError
from kafka.record import MemoryRecords

from . import quorum, wire
from .check.history import Recorder
from .recorded import identify, name_of
from .wait import PATIENCE_S

Where = tuple[str, int]  # topic, partition
POLL_S = 0.2


def records_in(data: bytes, at: int) -> list[list]:
    """[offset, value] of the records of whole batches from an offset on; every CRC is verified."""
    found, batches = [], MemoryRecords(data)
    while batches.has_next():
        batch = batches.next_batch()
        assert batch.validate_crc(), f"CRC of the batch at {batch.base_offset}"
        found += [[record.offset, identify(record.value)] for record in batch if record.offset >= at]
    return found


class Reader:
    """One reader in a thread of its own. `positions` is the next offset that it wants, in each partition."""

    def __init__(self, name: str, recorder: Recorder, bootstrap: str, partitions: list[Where]):
        self.name, self.recorder, self.bootstrap = name, recorder, bootstrap
        self.positions: dict[Where, int] = {where: 0 for where in partitions}
        self.session = 1
        self.failures: list[BaseException] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, daemon=True)
        self._heard = time.monotonic()

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        self._stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"{self.name} does not end"

    def abandon(self):
        """Whatever its library is doing."""
        self._stop.set()

    def is_silent(self, seconds: float) -> bool:
        """It has neither read anything nor been told of an error for so long."""
        return time.monotonic() - self._heard > seconds

    def again(self, name: str) -> "Reader":
        """Another one that goes on where this one is."""
        reader = type(self)(name, self.recorder, self.bootstrap, list(self.positions))
        reader.positions = dict(self.positions)
        return reader

    def check(self):
        assert not self.failures, f"{self.name}: {self.failures[:3]}"

    def _guarded(self):
        try:
            self.recorder.write("client", client=self.name, kind=type(self).__name__)
            self._run()
        except BaseException as e:  # shown by check()
            self.failures.append(e)

    def _run(self):
        raise NotImplementedError

    def _got(self, where: Where, records: list[list]):
        self.recorder.write(
            "poll", client=self.name, session=self.session, partition=name_of(*where), at=self.positions[where],
            records=records,
        )  # fmt: skip
        self.positions[where] = records[-1][0] + 1
        self._heard = time.monotonic()

    def _error(self, error):
        self.recorder.write("error", client=self.name, began=self._heard, error=str(error))
        self._heard = time.monotonic()


class ConfluentReader(Reader):
    """librdkafka; with a rack it is sent to the follower there (KIP-392). `answering` is the broker that it reads from."""

    def __init__(self, *args, rack: str | None = None):
        super().__init__(*args)
        self.rack = rack
        self.answering: dict[Where, int] = {}

    def again(self, name):
        reader = super().again(name)
        reader.rack = self.rack
        return reader

    def _note(self, statistics: str):
        for topic, found in json.loads(statistics)["topics"].items():
            self.answering |= {(topic, int(p)): partition["broker"] for p, partition in found["partitions"].items()}

    def _run(self):
        settings = {
            "bootstrap.servers": self.bootstrap, "group.id": self.name, "enable.auto.commit": False,
            "auto.offset.reset": "error", "log_level": 0, "error_cb": lambda _: None,
            "stats_cb": self._note, "statistics.interval.ms": 1000,
        }  # fmt: skip
        consumer = Consumer({**settings, **({"client.rack": self.rack} if self.rack else {})})
        self._assign(consumer)
        while not self._stop.is_set():
            found, errors = defaultdict(list), []
            for message in consumer.consume(500, POLL_S):
                if message.error() is None:
                    where = (message.topic(), message.partition())
                    found[where].append([message.offset(), identify(message.value())])
                else:
                    errors.append(message.error())
            for where, records in found.items():
                self._got(where, records)
            for error in errors:
                # That nobody can be reached is told for information: the library goes on trying.
                if error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
                    continue
                self._error(error)
            if errors and errors[-1].code() == KafkaError._AUTO_OFFSET_RESET:
                self._assign(consumer)  # it has given up some partition
        consumer.close()

    def _assign(self, consumer):
        consumer.assign([TopicPartition(*where, offset) for where, offset in self.positions.items()])


class KafkaPythonReader(Reader):
    def _run(self):
        consumer = KafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="none"
        )
        consumer.assign([KafkaPythonPartition(*where) for where in self.positions])
        for where, offset in self.positions.items():
            consumer.seek(KafkaPythonPartition(*where), offset)
        while not self._stop.is_set():
            try:
                found = consumer.poll(timeout_ms=int(POLL_S * 1000))
            except KafkaPythonError as e:
                self._error(f"{type(e).__name__}: {e}")
                continue
            for where, records in found.items():
                self._got(tuple(where), [[r.offset, identify(r.value)] for r in records])
        consumer.close()


class RawReader(Reader):
    """Asks one broker for its replicas, naming the leader epoch that this broker told: one that is at another epoch
    answers with an error, so what is answered is of that epoch for certain. Of a leader it asks the end too.

    A follower may lag or be restarted behind what it showed before; that is no error, and is asked for again later.
    """

    def __init__(self, name, recorder, node, partitions):
        super().__init__(name, recorder, node.bootstrap, partitions)
        self.node_id, self.address = node.id, node.address
        self._sessions = itertools.count(1)

    def _run(self):
        while not self._stop.is_set():
            try:
                with wire.Connection(self.address, timeout_s=5.0) as connection:
                    self.session = next(self._sessions)
                    self._shown: dict[Where, int] = {}
                    self._read(connection)
            except (OSError, wire.Closed, quorum.Unanswered):
                self._stop.wait(POLL_S)

    def _read(self, connection):
        while not self._stop.is_set():
            terms = {}
            for topic in {topic for topic, _ in self.positions}:
                found = quorum.leader_epochs(self.address, topic, timeout_s=5.0)
                terms |= {(topic, p): term for p, term in found.items()}
            for _ in range(5):
                for where in self.positions:
                    if where in terms and not self._stop.is_set():
                        self._fetch(connection, where, *terms[where])
                self._stop.wait(POLL_S)
            for where, (leader, _) in terms.items():
                if leader == self.node_id:
                    self._end(connection, where)

    def _fetch(self, connection, where: Where, leader: int, epoch: int):
        began, at = self.recorder.now(), self.positions[where]
        found = wire.fetch_replica(connection, *where, at, max_bytes=1 << 20, leader_epoch=epoch)
        if found.error not in (wire.NONE, wire.OFFSET_OUT_OF_RANGE):
            return
        records = records_in(found.data, at)
        if not records and not found.error and self._shown.get(where) == found.high_watermark:
            return
        self._shown[where] = found.high_watermark
        self.recorder.write(
            "fetch", client=self.name, session=self.session, partition=name_of(*where), began=began,
            broker=self.node_id, epoch=epoch, leading=leader == self.node_id, at=at, error=found.error,
            high_watermark=found.high_watermark, log_start=found.log_start, records=records,
        )  # fmt: skip
        if records:
            self.positions[where] = records[-1][0] + 1

    def _end(self, connection, where: Where):
        began = self.recorder.now()
        error, _, offset = wire.list_offset(connection, *where, -1)
        if error == wire.NONE:
            self.recorder.write("end", client=self.name, began=began, partition=name_of(*where), offset=offset)
