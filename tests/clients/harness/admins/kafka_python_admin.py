"""kafka-python's KafkaAdminClient."""

from contextlib import contextmanager

from kafka import KafkaAdminClient, OffsetSpec, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from .base import Admin, Refused, refused


@contextmanager
def _refusals():
    try:
        yield
    except kafka_errors.BrokerResponseError as e:
        raise refused(e.errno) from e


def _check(error):
    """Some operations return an error class, its name, or "[Error 40] InvalidConfig…: text" instead of raising."""
    if error in ("OK", kafka_errors.NoError):
        return
    if isinstance(error, str):
        by_name = {cls.__name__: cls for cls in vars(kafka_errors).values() if isinstance(cls, type)}
        named = [cls for name, cls in by_name.items() if name in error]
        if not named:
            raise Refused(error)
        error = max(named, key=lambda cls: len(cls.__name__))
    raise refused(error.errno)


class KafkaPythonAdmin(Admin):
    name = "kafka-python"

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.client = KafkaAdminClient(bootstrap_servers=bootstrap)

    def close(self):
        self.client.close()

    def create_topic(self, topic, partitions=1, replication=1, configs=None):
        new = {"num_partitions": partitions, "replication_factor": replication, "configs": configs or {}}
        with _refusals():
            self.client.create_topics({topic: new})

    def delete_topic(self, topic):
        with _refusals():
            self.client.delete_topics([topic])

    def list_topics(self):
        return set(self.client.list_topics())

    def describe_topic(self, topic):
        (found,) = self.client.describe_topics([topic])
        if found["error_code"]:
            raise refused(found["error_code"])
        return {p["partition_index"]: (p["leader_id"], p["replica_nodes"], p["isr_nodes"]) for p in found["partitions"]}

    def create_partitions(self, topic, total):
        with _refusals():
            self.client.create_partitions({topic: total})

    def describe_configs(self, topic):
        with _refusals():
            found = self.client.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all"
            )["topic"][topic]
        if not found:  # it drops the broker's error; asking for the topic brings it out
            self.describe_topic(topic)
        return {name: (c["value"], c["config_source"] == "DYNAMIC_TOPIC_CONFIG") for name, c in found.items()}

    def alter_configs(self, topic, configs):
        changes = {name: ("DELETE", None) if value is None else ("SET", value) for name, value in configs.items()}
        with _refusals():
            result = self.client.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic, configs=changes)], raise_on_unknown=False
            )
        _check(result["topic"][topic])

    def delete_records(self, topic, before):
        with _refusals():
            result = self.client.delete_records({TopicPartition(topic, p): offset for p, offset in before.items()})
        return {p.partition: answer["low_watermark"] for p, answer in result.items()}

    def list_offsets(self, topic, at):
        specs = {"earliest": OffsetSpec.EARLIEST, "latest": OffsetSpec.LATEST, "max_timestamp": OffsetSpec.MAX_TIMESTAMP}
        spec = specs[at] if isinstance(at, str) else at
        request = {TopicPartition(topic, p): spec for p in self.describe_topic(topic)}
        with _refusals():
            found = self.client.list_partition_offsets(request)
        return {p.partition: answer.offset if answer.offset >= 0 else None for p, answer in found.items()}

    def brokers(self):
        return {(b["broker_id"], b["host"], b["port"]) for b in self.client.describe_cluster()["brokers"]}

    def log_dir_sizes(self, topic):
        sizes: dict[int, int] = {}
        for broker in self.client.describe_log_dirs([topic]):
            for log_dir in broker["log_dirs"]:
                for found in log_dir["topics"]:
                    for p in found["partitions"]:
                        sizes[p["partition_index"]] = sizes.get(p["partition_index"], 0) + p["partition_size"]
        return sizes

    def list_groups(self):
        return {group["group_id"] for group in self.client.list_groups()}

    def describe_group(self, group):
        with _refusals():
            found = self.client.describe_groups([group])[group]
        return found["group_state"].lower(), len(found["members"])

    def delete_group(self, group):
        _check(self.client.delete_groups([group])[group])

    def committed(self, group, topic):
        with _refusals():
            found = self.client.list_group_offsets(group)[group]
        return {p.partition: answer.offset for p, answer in found.items() if p.topic == topic}

    def delete_offsets(self, group, topic, partitions):
        with _refusals():
            result = self.client.delete_group_offsets(group, [TopicPartition(topic, p) for p in partitions])
        for error in result.values():
            _check(error)
