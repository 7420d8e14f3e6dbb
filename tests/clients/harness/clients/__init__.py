"""The clients under test, each behind the same small face (see base.Client)."""

from .aiokafka_client import AioKafka
from .base import ALL_CODECS, Client, Member
from .confluent_client import Confluent
from .franz_client import Franz
from .java_client import JavaConsole
from .kafka_python_client import KafkaPython
from .kcat_client import Kcat

CLIENTS: list[Client] = [KafkaPython(), Confluent(), AioKafka(), Kcat(), Franz(), JavaConsole()]
CONFLUENT = CLIENTS[1]

__all__ = ["ALL_CODECS", "CLIENTS", "CONFLUENT", "Client", "Member"]
