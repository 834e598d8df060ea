"""What destinations remember of a record that they would not take, so that it can be tried again."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.ids import StreamName
from pipeline.ports.destination import Rejection

NO_KEY = "null"
"""The key of a record that has none that could be read."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record set aside. `blocked`: another row stood in its way, so that it may go in when that has changed.

    `row` is its number in the destination's own table, once it is there.
    """

    stream: StreamName
    rejection: Rejection
    record: bytes
    blocked: bool
    row: int = 0
