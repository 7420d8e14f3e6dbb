"""A broker that is stopped or killed and started again has its topics, configs, records and committed offsets."""

import signal

import pytest

from harness.admins import ConfluentAdmin, KadmAdmin
from harness.broker import BrokerDied
from harness.clients import CLIENTS, CONFLUENT
from harness.groups import committed, positions
from harness.paths import AGAINST
from harness.records import Record, assert_same, assorted, partitions_for
from harness.topics import create_topic, offsets
from harness.wait import wait_until

pytestmark = pytest.mark.restart


def end(broker, how):
    broker.kill9() if how == "kill9" else broker.stop()


@pytest.mark.parametrize("how", ["sigterm", "kill9"])
def test_everything_is_there_again(how, own_broker, seed):
    """Three restarts in the same way; each time all is as it was, and more can be written, read and committed."""
    broker = own_broker()
    configs = {"retention.ms": "-1", "max.message.bytes": "2000000"}
    partitions = {client: partitions_for(client.sets, 3) for client in CLIENTS}
    sent = {client: [] for client in CLIENTS}
    for client in CLIENTS:
        create_topic(broker.bootstrap, f"from-{client}", partitions[client], configs)
    create_topic(broker.bootstrap, "deleted-before")
    ConfluentAdmin(broker.bootstrap).delete_topic("deleted-before")
    java_free = [client for client in CLIENTS if client.name != "java-console"]  # a JVM start each: only in round 0

    for round_ in range(3):
        for client in CLIENTS if round_ == 0 else java_free:
            lot = assorted(60, partitions[client], seed + round_, client.sets)
            client.produce(broker.bootstrap, f"from-{client}", lot)
            sent[client] += lot
            # Each client's own group reads it all, and commits when it closes.
            member = client.member(broker.bootstrap, f"from-{client}", f"group-{client}")
            wait_until(lambda: len(positions(member.reads())) >= len(lot), f"{client} to read {len(lot)} records")
            member.close()
            if round_ > 0:
                again = [r for r in member.reads() if r.offset < round_ * 60 // partitions[client]]
                assert not again, f"{client} read what was committed before the restart: {again[:3]}"

        end(broker, how)
        broker.start()

        admin = ConfluentAdmin(broker.bootstrap)
        assert {f"from-{client}" for client in CLIENTS} <= admin.list_topics()
        assert "deleted-before" not in admin.list_topics()
        for client in CLIENTS:
            name = f"from-{client}"
            assert set(admin.describe_topic(name)) == set(range(partitions[client]))
            found = admin.describe_configs(name)
            assert {key: found[key] for key in configs} == {key: (value, True) for key, value in configs.items()}
            ends = {p: len(sent[client]) // partitions[client] for p in range(partitions[client])}
            assert {p: offsets(broker, name, p) for p in ends} == {p: (0, n) for p, n in ends.items()}
            assert committed(broker.bootstrap, f"group-{client}", name) == ends
            read = CONFLUENT.consume(broker.bootstrap, name, len(sent[client]))
            assert_same(sent[client], read, client.sets & CONFLUENT.sees)


def test_log_start_survives(own_broker):
    """What DeleteRecords took away stays away after a restart, up to all of it, and offsets go on."""
    broker = own_broker()
    create_topic(broker.bootstrap, "t")
    CONFLUENT.produce(broker.bootstrap, "t", [Record(value=b"%d" % i) for i in range(100)])
    admin = KadmAdmin(broker.bootstrap)
    assert admin.delete_records("t", {0: 40}) == {0: 40}
    broker.restart()
    assert offsets(broker, "t") == (40, 100)
    admin = KadmAdmin(broker.bootstrap)
    assert admin.delete_records("t", {0: 100}) == {0: 100}
    broker.restart()
    assert offsets(broker, "t") == (100, 100)
    CONFLUENT.produce(broker.bootstrap, "t", [Record(value=b"next")])
    read = CONFLUENT.consume(broker.bootstrap, "t", 1)
    assert [(r.offset, r.value) for r in read] == [(100, b"next")]


@pytest.mark.skipif(AGAINST != "ringlog", reason="Ringlog's own command line")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
def test_clean_stop(sign, own_broker):
    """SIGTERM and SIGINT end the process with status 0 while clients are connected and fetches wait."""
    broker = own_broker()
    create_topic(broker.bootstrap, "t", 4)
    member = CONFLUENT.member(broker.bootstrap, "t", "g")
    CONFLUENT.produce(broker.bootstrap, "t", [Record(value=b"v", partition=p) for p in range(4)])
    wait_until(lambda: len(member.reads()) == 4, "the records to be read")
    broker.process.send_signal(sign)
    assert broker.process.wait(30) == 0
    broker.process = None
    broker.start()
    assert [offsets(broker, "t", p) for p in range(4)] == [(0, 1)] * 4
    member.close()


@pytest.mark.skipif(AGAINST != "ringlog", reason="Ringlog's own lock")
def test_second_broker_on_the_same_data_is_refused(own_broker):
    """Two processes never share a data directory: the second ends with a message that names it, the first goes on."""
    first = own_broker()
    second = own_broker(start=False, data_dir=first.data_dir)
    with pytest.raises(BrokerDied) as e:
        second.start()
    assert str(first.data_dir) in str(e.value)
    create_topic(first.bootstrap, "t")
    CONFLUENT.produce(first.bootstrap, "t", [Record(value=b"v")])
