"""What every admin client offers to the tests, and one exception for what the broker refuses."""


class Refused(Exception):
    """The broker's error, by its name in the protocol, whatever the client calls it."""

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name


NAMES = {
    1: "OFFSET_OUT_OF_RANGE",
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    10: "MESSAGE_TOO_LARGE",
    15: "COORDINATOR_NOT_AVAILABLE",
    16: "NOT_COORDINATOR",
    17: "INVALID_TOPIC_EXCEPTION",
    24: "INVALID_GROUP_ID",
    36: "TOPIC_ALREADY_EXISTS",
    37: "INVALID_PARTITIONS",
    38: "INVALID_REPLICATION_FACTOR",
    39: "INVALID_REPLICA_ASSIGNMENT",
    40: "INVALID_CONFIG",
    42: "INVALID_REQUEST",
    44: "POLICY_VIOLATION",
    68: "NON_EMPTY_GROUP",
    69: "GROUP_ID_NOT_FOUND",
    86: "GROUP_SUBSCRIBED_TO_TOPIC",
}


def refused(code: int) -> Refused:
    return Refused(NAMES.get(code, f"error code {code}"))


class Admin:
    """An admin client. Operations raise Refused with the broker's error."""

    name: str

    def __init__(self, bootstrap: str):
        self.bootstrap = bootstrap

    def close(self):
        pass

    def create_topic(self, topic, partitions=1, replication=1, configs=None):
        raise NotImplementedError

    def delete_topic(self, topic):
        raise NotImplementedError

    def list_topics(self) -> set[str]:
        raise NotImplementedError

    def describe_topic(self, topic) -> dict[int, tuple[int, list[int], list[int]]]:
        """Partition -> (leader, replicas, in-sync replicas)."""
        raise NotImplementedError

    def create_partitions(self, topic, total):
        raise NotImplementedError

    def describe_configs(self, topic) -> dict[str, tuple[str, bool]]:
        """Name -> (value, whether it is set on the topic itself)."""
        raise NotImplementedError

    def alter_configs(self, topic, configs: dict[str, str | None]):
        """Sets, or with None deletes, the named ones and leaves the others alone."""
        raise NotImplementedError

    def delete_records(self, topic, before: dict[int, int]) -> dict[int, int]:
        """Returns the new log start offsets."""
        raise NotImplementedError

    def list_offsets(self, topic, at: str | int) -> dict[int, int | None]:
        """`at` is "earliest", "latest", "max_timestamp" or a time in ms; None where there is no such record."""
        raise NotImplementedError

    def brokers(self) -> set[tuple[int, str, int]]:
        """(id, host, port) of the cluster's brokers."""
        raise NotImplementedError

    def log_dir_sizes(self, topic) -> dict[int, int]:
        """Partition -> bytes."""
        raise NotImplementedError

    def list_groups(self) -> set[str]:
        raise NotImplementedError

    def describe_group(self, group) -> tuple[str, int]:
        """(state in lower case, members)."""
        raise NotImplementedError

    def delete_group(self, group):
        raise NotImplementedError

    def committed(self, group, topic) -> dict[int, int]:
        raise NotImplementedError

    def delete_offsets(self, group, topic, partitions: list[int]):
        raise NotImplementedError

    def __repr__(self):
        return self.name
