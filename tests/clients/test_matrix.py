"""Whatever one client wrote, with every codec, every other client reads."""

from dataclasses import replace

import pytest

from harness.clients import ALL_CODECS, CLIENTS
from harness.records import TEXT_HEADERS, assert_same, assorted, edge_cases, partitions_for
from harness.topics import create_topic

pytestmark = pytest.mark.matrix


@pytest.fixture(scope="module")
def produced(_shared):
    """Per producing client a topic with records of each codec: made when first asked for."""
    made = {}

    def get(producer):
        broker = _shared.get()
        if made.get(producer.name, (None,))[0] is not broker:
            sets = replace(producer.sets, headers=min(producer.sets.headers, TEXT_HEADERS))  # kcat reads only text
            partitions = partitions_for(sets, 3)
            name = f"matrix-from-{producer.name}-{broker.pid}"
            create_topic(broker.bootstrap, name, partitions)
            sent = []
            for n, codec in enumerate(ALL_CODECS):
                records = edge_cases(sets) + assorted(60, partitions, n, sets)
                producer.produce(broker.bootstrap, name, records, compression=codec)
                sent += records
            made[producer.name] = broker, name, sent
        return made[producer.name][1:]

    return get


@pytest.mark.parametrize("consumer", CLIENTS, ids=lambda c: f"to-{c}")
@pytest.mark.parametrize("producer", CLIENTS, ids=lambda c: f"from-{c}")
def test_one_writes_the_other_reads(producer, consumer, broker, produced):
    """Byte-equal, in order per partition, offsets dense, over five codecs in one topic."""
    name, sent = produced(producer)
    read = consumer.consume(broker.bootstrap, name, len(sent))
    assert_same(sent, read, producer.sets & consumer.sees)
