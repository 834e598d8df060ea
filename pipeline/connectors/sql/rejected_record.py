"""A rejected record as a destination stores it, so that it can be retried."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from orjson import loads

from pipeline.codec.values import dumps
from pipeline.domain.ids import EventFileId, StreamName
from pipeline.ports.destination import Rejection

NO_KEY = "null"
"""The key of a record whose key cannot be read."""

COLUMNS = ("key", "event_file", "line", "record", "reason", "column_name", "in_the_way", "depends")
"""The columns of a stored rejected record, in the order of `RejectedRecord.to_row` and after the id in `from_row`."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that the destination rejected. `record` is its JSON line, without a line feed.

    `blocked`: another row, or a missing one, was the reason, so the record may be accepted once that has changed.
    `depends` stands for what the reason depends on: while it holds, the record is not tried again. None: it is always tried.
    `id` is its number in the destination's table, 0 before it is stored.
    """

    stream: StreamName
    rejection: Rejection
    record: bytes
    blocked: bool
    depends: str | None = None
    id: int = 0

    def to_row(self) -> tuple[str, str, int, bytes, str, str | None, bool, str | None]:
        """Return the values of `COLUMNS`."""
        it = self.rejection
        return it.key, str(it.file), it.line, self.record, it.reason, it.column, self.blocked, self.depends

    @classmethod
    def from_row(
        cls,
        id_: int,
        key: str,
        file: str,
        line: int,
        record: bytes,
        reason: str,
        column: str | None,
        blocked: bool,
        depends: str | None,
    ) -> RejectedRecord:
        """Return the record that is stored as `id` and `COLUMNS`."""
        event_file = EventFileId.parse(file)
        rejection = Rejection(event_file, line, key, reason, column)
        return cls(event_file.stream, rejection, bytes(record), bool(blocked), depends, id_)


def digest_of(*facts: str) -> str:
    """Return a text that stands for these facts in this release."""
    from importlib.metadata import version  # only where a record is rejected: it is slow to import

    return sha256(repr((version("app-data-pipeline"), *facts)).encode()).hexdigest()[:32]


def key_text_of(body: object, key: tuple[str, ...]) -> str:
    """Return the key in the body of an upsert or a delete as JSON text, as `pipeline.codec.values.key_text` writes it."""
    if not isinstance(body, dict) or any(name not in body for name in key):
        return NO_KEY
    return dumps([body[name] for name in key]).decode()


def key_text_in(line: bytes, key: tuple[str, ...]) -> str:
    """Return the key in a line of an Event File as JSON text."""
    record = loads(line)
    body = next(iter(record.values()), None) if isinstance(record, dict) and len(record) == 1 else record
    return key_text_of(body, key)
