"""Records that flow into the topics of a group all the while, and where they end."""

import threading
from collections import Counter

from confluent_kafka import Producer

from ..wait import PATIENCE_S, wait_until
from .checker import Place

ROUND_EVERY_S = 0.1


class Feed:
    """Rounds of one record for each partition, until it is stopped. Idempotent, so that each record is there once."""

    def __init__(self, bootstrap: str, topics: dict[str, int]):
        self.producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 0})
        self.places: list[Place] = [(t, p) for t, count in topics.items() for p in range(count)]
        self.acked: dict[Place, int] = {place: 0 for place in self.places}
        # Records of each place.
        self.sent: Counter[Place] = Counter()
        self.delivered: Counter[Place] = Counter()
        self.failures: list[str] = []
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def add(self, topic: str, partitions: int):
        with self._lock:
            self.places += [(topic, p) for p in range(partitions)]
            self.acked |= {(topic, p): 0 for p in range(partitions)}

    def _run(self):
        while not self._stop.wait(ROUND_EVERY_S):
            self.round()

    def round(self):
        """One more record for each partition."""
        with self._lock:
            places = list(self.places)
        for topic, partition in places:
            self.producer.produce(topic, value=b"r", partition=partition, on_delivery=self._delivered)
            self.sent[topic, partition] += 1
        self.producer.poll(0)

    def _delivered(self, error, message):
        if error:
            self.failures.append(str(error))
            return
        place = message.topic(), message.partition()
        self.delivered[place] += 1
        self.acked[place] = max(self.acked[place], message.offset() + 1)

    def ends(self) -> dict[Place, int]:
        """The ends once all records of before this call are acknowledged.

        A flush would wait for those that come meanwhile too, and they always do.
        """
        sent = dict(self.sent)

        def all_taken():
            return self.failures or all(self.delivered[place] >= count for place, count in sent.items())

        wait_until(all_taken, "records to be taken")
        return dict(self.acked)

    def stop(self) -> dict[Place, int]:
        self._stop.set()
        self._thread.join(PATIENCE_S)
        self.producer.flush(PATIENCE_S)
        ends = dict(self.acked)
        assert not self.failures, f"records that were not taken: {self.failures[:3]}"
        return ends
