"""Makes a history wrong on purpose, in what readers are said to have got: the checker must notice.

Each is a function for one run, given every operation as it is written down. It chooses the first record that will do.
"""

from typing import Callable

from .history import Op

READS = ("poll", "fetch", "log")
PATIENCE = 100  # records that are read before something is planted


class Plant:
    """What all have in common: the offset that is hit, in one partition, is chosen when some records have been read."""

    def __init__(self):
        self.partition: str | None = None
        self.offset = -1
        self._read = 0

    def __call__(self, op: Op) -> Op:
        if op["op"] not in READS:
            return op
        self._read += len(op["records"])
        if self.partition is None and self._read > PATIENCE and self.fits(op):
            self.partition = op["partition"]
            self.offset = op["records"][0][0]
        if self.partition != op["partition"]:
            return op
        return {**op, "records": self.alter(op, [list(record) for record in op["records"]])}

    def fits(self, op: Op) -> bool:
        return len(op["records"]) >= 2

    def alter(self, op: Op, records: list) -> list:
        raise NotImplementedError


class Drop(Plant):
    """No reader gets it from now on."""

    def fits(self, op):
        return op["op"] == "poll" and len(op["records"]) >= 2

    def alter(self, op, records):
        return [record for record in records if record[0] != self.offset]


class DropOnce(Drop):
    """One reader does not get it."""

    done = False

    def alter(self, op, records):
        if self.done:
            return records
        self.done = True
        return super().alter(op, [*records])


class Double(Plant):
    """The next record is this one again, for one reader."""

    done = False

    def alter(self, op, records):
        if not self.done:
            self.done = True
            records[1][1] = records[0][1]
        return records


class Swap(Plant):
    """Two records change places, for all readers that get both at once."""

    def alter(self, op, records):
        for one, other in zip(records, records[1:]):
            if one[0] == self.offset:
                one[1], other[1] = other[1], one[1]
        return records


class Alter(Plant):
    """A byte of a value is another one, for one reader."""

    done = False

    def alter(self, op, records):
        if not self.done:
            self.done = True
            records[0][1] += "~"
        return records


PLANTS: dict[str, Callable[[], Plant]] = {
    "drop": Drop, "drop-once": DropOnce, "double": Double, "swap": Swap, "alter": Alter,
}  # fmt: skip
