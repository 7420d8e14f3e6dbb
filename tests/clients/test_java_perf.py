"""Kafka's performance tools run to their end and count right."""

import re

import pytest

from harness.clients.java_client import tool
from harness.topics import offsets

pytestmark = pytest.mark.java
RECORDS = 50_000


@pytest.mark.parametrize("acks, compression", [("all", "none"), ("1", "lz4")])
def test_producer_then_consumer_performance(acks, compression, broker, topic):
    """ProducerPerformance reports all records sent, the partitions hold them, ConsumerPerformance reads them all."""
    name = topic(partitions=4)
    done = tool(
        "ProducerPerformance", "--bootstrap-server", broker.bootstrap, "--topic", name, "--num-records", str(RECORDS),
        "--record-size", "100", "--throughput", "-1", "--command-property", f"acks={acks}",
        f"compression.type={compression}",
    )  # fmt: skip
    out = done.stdout.decode()
    assert re.search(rf"^{RECORDS} records sent, .* 99.9th", out, re.MULTILINE), out
    assert sum(offsets(broker, name, p)[1] for p in range(4)) == RECORDS

    done = tool(
        "ConsumerPerformance", "--bootstrap-server", broker.bootstrap, "--topic", name, "--num-records", str(RECORDS),
        "--timeout", "60000", "--hide-header",
    )  # fmt: skip
    row = done.stdout.decode().strip().splitlines()[-1].split(", ")
    assert int(row[4]) == RECORDS, f"records that ConsumerPerformance read: {row}"


def test_end_to_end_latency(broker, topic):
    """EndToEndLatency sends one record at a time and gets each of them back before the next."""
    name = topic()
    done = tool("EndToEndLatency", "--bootstrap-server", broker.bootstrap, "--topic", name, "--num-records", "200",
                "--producer-acks", "1", "--record-size", "100")  # fmt: skip
    assert b"Percentiles: 50th" in done.stdout, done.stdout
    assert offsets(broker, name)[1] == 200
