"""The admin clients under test, each behind the same face (see base.Admin)."""

from .base import Admin, Refused
from .confluent_admin import ConfluentAdmin
from .java_admin import JavaAdmin
from .kadm_admin import KadmAdmin
from .kafka_python_admin import KafkaPythonAdmin

ADMINS: list[type[Admin]] = [ConfluentAdmin, KafkaPythonAdmin, KadmAdmin, JavaAdmin]

__all__ = ["ADMINS", "Admin", "ConfluentAdmin", "Refused"]
