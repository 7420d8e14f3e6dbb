"""franz-go's kadm, through the program in ../../franz."""

import json

from ..clients.franz_client import run
from .base import Admin, Refused


class KadmAdmin(Admin):
    name = "kadm"

    def _run(self, operation, **arguments):
        answer = json.loads(run("admin", self.bootstrap, operation, stdin=json.dumps(arguments)))
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    @staticmethod
    def _by_partition(answer):
        return {int(p): value for p, value in (answer or {}).items()}

    def create_topic(self, topic, partitions=1, replication=1, configs=None):
        self._run("create_topic", topic=topic, partitions=partitions, replication=replication, configs=configs or {})

    def delete_topic(self, topic):
        self._run("delete_topic", topic=topic)

    def list_topics(self):
        return set(self._run("list_topics"))

    def describe_topic(self, topic):
        return {p["partition"]: (p["leader"], p["replicas"], p["isr"]) for p in self._run("describe_topic", topic=topic)}

    def create_partitions(self, topic, total):
        self._run("create_partitions", topic=topic, partitions=total)

    def describe_configs(self, topic):
        found = self._run("describe_configs", topic=topic)
        return {name: (value, source == "DYNAMIC_TOPIC_CONFIG") for name, (value, source) in found.items()}

    def alter_configs(self, topic, configs):
        self._run("alter_configs", topic=topic, configs=configs)

    def delete_records(self, topic, before):
        return self._by_partition(self._run("delete_records", topic=topic, offsets=before))

    def list_offsets(self, topic, at):
        kind, timestamp = (at, 0) if isinstance(at, str) else ("by_timestamp", at)
        answer = self._by_partition(self._run("list_offsets", topic=topic, timestamp_ms=timestamp)[kind])
        if kind == "by_timestamp":
            # kadm answers the log end where the broker says that there is none; only its timestamp tells.
            return {p: offset if found >= 0 else None for p, (offset, found) in answer.items()}
        return {p: offset if offset >= 0 else None for p, (offset, _) in answer.items()}

    def brokers(self):
        return {(b["id"], b["host"], b["port"]) for b in self._run("describe_cluster")["brokers"]}

    def log_dir_sizes(self, topic):
        return self._by_partition(self._run("describe_log_dirs", topic=topic))

    def list_groups(self):
        return set(self._run("list_groups"))

    def describe_group(self, group):
        answer = self._run("describe_group", group=group)
        return answer["state"].lower(), answer["members"]

    def describe_shares(self, group, kind="classic") -> tuple[str, list[int]]:
        """(state, how many partitions each member has, sorted) of a group of either protocol."""
        answer = self._run("describe_shares", group=group, kind=kind)
        return answer["state"], sorted(answer["sizes"])

    def delete_group(self, group):
        self._run("delete_group", group=group)

    def committed(self, group, topic):
        return self._by_partition(self._run("fetch_offsets", group=group, topic=topic))

    def delete_offsets(self, group, topic, partitions):
        self._run("delete_offsets", group=group, topic=topic, offsets={p: 0 for p in partitions})
