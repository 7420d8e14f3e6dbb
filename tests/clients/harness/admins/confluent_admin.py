"""confluent-kafka's AdminClient (librdkafka). It has no operation that deletes committed offsets."""

from concurrent.futures import Future

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from ..wait import PATIENCE_S
from .base import Admin, refused


def _result(future: Future):
    try:
        return future.result(PATIENCE_S)
    except KafkaException as e:
        raise refused(e.args[0].code()) from e


class ConfluentAdmin(Admin):
    name = "confluent-kafka"

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.client = AdminClient({"bootstrap.servers": bootstrap})

    def create_topic(self, topic, partitions=1, replication=1, configs=None):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=replication, config=configs or {})
        _result(self.client.create_topics([new])[topic])

    def delete_topic(self, topic):
        _result(self.client.delete_topics([topic])[topic])

    def list_topics(self):
        return set(self.client.list_topics(timeout=PATIENCE_S).topics)

    def describe_topic(self, topic):
        # Not list_topics(topic): that asks the broker to make the topic.
        found = _result(self.client.describe_topics(TopicCollection([topic]))[topic])
        ids = lambda nodes: [node.id for node in nodes]  # noqa: E731
        return {p.id: (p.leader.id if p.leader else -1, ids(p.replicas), ids(p.isr)) for p in found.partitions}

    def create_partitions(self, topic, total):
        _result(self.client.create_partitions([NewPartitions(topic, total)])[topic])

    def describe_configs(self, topic):
        resource = ConfigResource(ResourceType.TOPIC, topic)
        entries = _result(self.client.describe_configs([resource])[resource])
        own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        return {name: (entry.value, entry.source == own) for name, entry in entries.items()}

    def alter_configs(self, topic, configs):
        entries = [
            ConfigEntry(
                name, value, incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
            )
            for name, value in configs.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        _result(self.client.incremental_alter_configs([resource])[resource])

    def delete_records(self, topic, before):
        futures = self.client.delete_records([TopicPartition(topic, p, offset) for p, offset in before.items()])
        return {p.partition: _result(future).low_watermark for p, future in futures.items()}

    def list_offsets(self, topic, at):
        specs = {"earliest": OffsetSpec.earliest, "latest": OffsetSpec.latest, "max_timestamp": OffsetSpec.max_timestamp}
        spec = specs[at]() if isinstance(at, str) else OffsetSpec.for_timestamp(at)
        request = {TopicPartition(topic, p): spec for p in self.describe_topic(topic)}
        found = {p.partition: _result(future).offset for p, future in self.client.list_offsets(request).items()}
        return {p: offset if offset >= 0 else None for p, offset in found.items()}

    def brokers(self):
        return {(node.id, node.host, node.port) for node in _result(self.client.describe_cluster()).nodes}

    def list_groups(self):
        return {group.group_id for group in _result(self.client.list_consumer_groups()).valid}

    def describe_group(self, group):
        found = _result(self.client.describe_consumer_groups([group])[group])
        return found.state.name.lower(), len(found.members)

    def delete_group(self, group):
        _result(self.client.delete_consumer_groups([group])[group])

    def committed(self, group, topic):
        found = _result(self.client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group])
        return {p.partition: p.offset for p in found.topic_partitions if p.topic == topic and p.offset >= 0}
