"""A client in a process of its own, because it runs in another network: client.py produce|consume BOOTSTRAP TOPIC COUNT.

`produce` ends when all records are acknowledged by acks=all; `consume` when exactly the records 0 to COUNT - 1 of `produce`
were read from the beginning, in order.
"""

import sys
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE_S = 60.0


def produce(bootstrap: str, topic: str, count: int, first: int = 0):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if topic not in admin.list_topics(timeout=PATIENCE_S).topics:
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(PATIENCE_S)
    failed = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "message.timeout.ms": 60_000})
    for number in range(first, first + count):
        while True:
            try:
                producer.produce(topic, value(number), on_delivery=lambda error, _: error and failed.append(error))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(PATIENCE_S)
    assert not failed and left == 0, f"{len(failed)} failed ({failed[:1]}), {left} were not acknowledged"


def consume(bootstrap: str, topic: str, count: int):
    settings = {"bootstrap.servers": bootstrap, "group.id": "check", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    number, deadline = 0, time.monotonic() + PATIENCE_S
    while number < count:
        assert time.monotonic() < deadline, f"{number} of {count} records"
        for message in consumer.consume(1000, 0.5):
            assert message.error() is None, message.error()
            assert message.value() == value(number), f"{message.value()[:20]} at {number}"
            number += 1
    extra = consumer.consume(1, 0.5)
    assert not extra, extra
    consumer.close()


def value(number: int) -> bytes:
    return f"{number:08}".encode() * 20


def main(what: str, bootstrap: str, topic: str, count: str, first: str = "0"):
    if what == "produce":
        produce(bootstrap, topic, int(count), int(first))
    else:
        consume(bootstrap, topic, int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
