"""A rejected record as a destination stores it, so that it can be retried."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.codec.values import dumps
from pipeline.domain.ids import EventFileId, StreamName
from pipeline.ports.destination import Rejection

NO_KEY = "null"
"""The key of a record whose key cannot be read."""

COLUMNS = ("key", "event_file", "line", "record", "reason", "column_name", "in_the_way")
"""The columns of a stored rejected record, in the order of `RejectedRecord.to_row` and after the id in `from_row`."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that the destination rejected. `record` is its JSON line, without a line feed.

    `blocked`: another row, or a missing one, was the reason, so the record may be accepted once that has changed.
    `id` is its number in the destination's table, 0 before it is stored.
    """

    stream: StreamName
    rejection: Rejection
    record: bytes
    blocked: bool
    id: int = 0

    def to_row(self) -> tuple[str, str, int, bytes, str, str | None, bool]:
        """Return the values of `COLUMNS`."""
        it = self.rejection
        return it.key, str(it.file), it.line, self.record, it.reason, it.column, self.blocked

    @classmethod
    def from_row(
        cls, id_: int, key: str, file: str, line: int, record: bytes, reason: str, column: str | None, blocked: bool
    ) -> RejectedRecord:
        """Return the record that is stored as `id` and `COLUMNS`."""
        event_file = EventFileId.parse(file)
        rejection = Rejection(event_file, line, key, reason, column)
        return cls(event_file.stream, rejection, bytes(record), bool(blocked), id_)


def key_text_of(body: object, key: tuple[str, ...]) -> str:
    """Return the key in the body of an upsert or a delete as JSON text, as `pipeline.codec.values.key_text` writes it."""
    if not isinstance(body, dict) or any(name not in body for name in key):
        return NO_KEY
    return dumps([body[name] for name in key]).decode()
