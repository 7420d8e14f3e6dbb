"""What producers and consumers are told when something is not there or not allowed, and topics that come to be by use."""

import pytest
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPythonPartition
from kafka.errors import MessageSizeTooLargeError, NoOffsetForPartitionError, OffsetOutOfRangeError

from harness import wire
from harness.admins import ConfluentAdmin
from harness.batch import batch
from harness.clients import CLIENTS, CONFLUENT
from harness.clients.franz_client import FranzFailed
from harness.records import Record
from harness.topics import offsets
from harness.wait import PATIENCE_S, wait_until

pytestmark = pytest.mark.admin
every_client = pytest.mark.parametrize("client", CLIENTS, ids=repr)


@every_client
def test_topic_comes_to_be_when_produced_to(client, broker, topic_name):
    """auto.create.topics.enable is on by default: the first produce makes the topic, with num.partitions=1."""
    if client.name == "franz-go":
        pytest.skip("franz-go asks for auto-creation only when told to, and the program does not")
    client.produce(broker.bootstrap, topic_name, [Record(value=b"first", key=b"k")])
    assert [r.value for r in client.consume(broker.bootstrap, topic_name, 1)] == [b"first"]
    assert set(ConfluentAdmin(broker.bootstrap).describe_topic(topic_name)) == {0}


def test_franz_is_told_that_the_topic_is_unknown(broker, topic_name):
    """A client that does not ask for auto-creation gets UNKNOWN_TOPIC_OR_PARTITION, and no topic comes to be."""
    with pytest.raises(FranzFailed, match="UNKNOWN_TOPIC_OR_PARTITION"):
        CLIENTS[4].produce(broker.bootstrap, topic_name, [Record(value=b"v")])
    assert topic_name not in ConfluentAdmin(broker.bootstrap).list_topics()


def test_no_auto_creation_when_switched_off(own_broker, topic_name):
    """With auto.create.topics.enable=false a produce to an unknown topic fails and makes nothing; num.partitions holds."""
    broker = own_broker({"auto.create.topics.enable": "false", "num.partitions": "7"})
    producer = Producer({"bootstrap.servers": broker.bootstrap, "topic.metadata.propagation.max.ms": 100})
    told = []
    producer.produce(topic_name, b"v", on_delivery=lambda error, _: told.append(error))
    producer.flush(PATIENCE_S)
    assert [error.code() for error in told] in ([KafkaError.UNKNOWN_TOPIC_OR_PART], [KafkaError._UNKNOWN_TOPIC])
    admin = ConfluentAdmin(broker.bootstrap)
    assert topic_name not in admin.list_topics()
    admin.create_topic(topic_name, partitions=-1, replication=-1)
    wait_until(lambda: topic_name in admin.list_topics(), "the topic in the list")
    assert len(admin.describe_topic(topic_name)) == 7, "-1 partitions: num.partitions"


@pytest.mark.parametrize("name", ["kafka-python", "confluent-kafka"])
def test_record_above_max_message_bytes(name, broker, topic):
    """MESSAGE_TOO_LARGE reaches the application, nothing of it is stored, and smaller records still pass."""
    topic_name = topic(configs={"max.message.bytes": "10000"})
    big, small = b"x" * 20_000, b"y" * 100
    if name == "kafka-python":
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap, retries=0, enable_idempotence=False)
        with pytest.raises(MessageSizeTooLargeError):
            producer.send(topic_name, big).get(PATIENCE_S)
        producer.send(topic_name, small).get(PATIENCE_S)
        producer.close()
    else:
        with pytest.raises(KafkaException) as e:
            CONFLUENT.produce(broker.bootstrap, topic_name, [Record(value=big)])
        assert e.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
        CONFLUENT.produce(broker.bootstrap, topic_name, [Record(value=small)])
    assert offsets(broker, topic_name) == (0, 1)
    assert CONFLUENT.consume(broker.bootstrap, topic_name, 1)[0].value == small


def test_unknown_partition(broker, topic):
    """A partition that the topic does not have is unknown, for produce, fetch and ListOffsets."""
    name = topic(partitions=2)
    with wire.Connection(broker.address) as c:
        unknown = wire.UNKNOWN_TOPIC_OR_PARTITION
        for partition in (2, -1, 2**31 - 1):
            assert wire.produce(c, name, partition, batch([b"v"]))[0] == unknown
            assert wire.fetch(c, name, partition, 0)[0] == unknown
            assert wire.list_offset(c, name, partition, -1)[0] == unknown
        assert wire.produce(c, "no-such-topic", 0, batch([b"v"]))[0] == unknown
        assert wire.fetch(c, "no-such-topic", 0, 0)[0] == unknown
        assert wire.list_offset(c, "no-such-topic", 0, -1)[0] == unknown


def test_fetch_out_of_range(broker, topic):
    """Offsets beyond the end, before the start, and negative ones are OFFSET_OUT_OF_RANGE; the end itself is not."""
    name = topic()
    CONFLUENT.produce(broker.bootstrap, name, [Record(value=b"%d" % i) for i in range(10)])
    assert ConfluentAdmin(broker.bootstrap).delete_records(name, {0: 4}) == {0: 4}
    with wire.Connection(broker.address) as c:
        for offset in (11, 3, 0, -5, 2**62):
            assert wire.fetch(c, name, 0, offset)[0] == wire.OFFSET_OUT_OF_RANGE, f"offset {offset}"
        error, high_watermark, data = wire.fetch(c, name, 0, 10, max_wait_ms=10)
        assert (error, high_watermark, data) == (wire.NONE, 10, b"")


def test_consumer_without_reset_policy_is_told(broker, topic, topic_name):
    """auto.offset.reset=none: an offset that is gone is an error for the application (kafka-python)."""
    name = topic()
    CONFLUENT.produce(broker.bootstrap, name, [Record(value=b"%d" % i) for i in range(10)])
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="none", enable_auto_commit=False)
    try:
        partition = KafkaPythonPartition(name, 0)
        consumer.assign([partition])
        consumer.seek(partition, 100)
        with pytest.raises((OffsetOutOfRangeError, NoOffsetForPartitionError)):
            wait_until(lambda: consumer.poll(timeout_ms=500) or None, "an error")
    finally:
        consumer.close()


def test_consumer_resets_to_earliest_after_deletion(broker, topic):
    """auto.offset.reset=earliest: a consumer whose offset was deleted goes on at the new log start."""
    name = topic()
    CONFLUENT.produce(broker.bootstrap, name, [Record(value=b"%d" % i) for i in range(10)])
    ConfluentAdmin(broker.bootstrap).delete_records(name, {0: 6})
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(name, 0, 2)])
        first = wait_until(lambda: consumer.poll(0.5), "a record")
        assert (first.error(), first.offset(), first.value()) == (None, 6, b"6")
    finally:
        consumer.close()


def test_consumer_at_the_end_sees_only_what_comes(broker, topic):
    """A consumer placed at the end gets exactly what is produced afterwards."""
    name = topic()
    CONFLUENT.produce(broker.bootstrap, name, [Record(value=b"before")] * 5)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g"})
    try:
        consumer.assign([TopicPartition(name, 0, OFFSET_END)])
        # Not produced before the consumer has its position.
        wait_until(lambda: consumer.poll(0.1) is None and consumer.get_watermark_offsets(
            TopicPartition(name, 0), cached=True)[1] == 5, "the consumer to have fetched once")
        CONFLUENT.produce(broker.bootstrap, name, [Record(value=b"after")])
        message = wait_until(lambda: consumer.poll(0.5), "a record")
        assert (message.offset(), message.value()) == (5, b"after")
    finally:
        consumer.close()
