"""Compares the rows of one stream that a destination has before a Flow's first load with those of the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from pipeline.codec.values import key_text
from pipeline.domain.comparison.report import Difference, Finding, StreamReport
from pipeline.domain.comparison.values import pair_columns, why_not_comparable
from pipeline.domain.errors import UnreadableError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.engine.verify.scope import counterpart
from pipeline.engine.verify.stream_comparison import DifferenceSink, StreamComparison
from pipeline.engine.verify.verifier import aligned
from pipeline.ports.ranged_source import open_rows_along
from pipeline.ports.source import Snapshot, has_rows

KEYS_NAMED = 3
_CONTENT = frozenset({"kind", "digest", "target"})
"""The columns of an entry of a tree that are its content. Permissions and times may differ."""


@dataclass(slots=True)
class ExistingStream:
    """The rows of one stream at the destination, and those that the source has with the same key and other values."""

    stream: StreamName
    report: StreamReport
    overwritten: int = 0
    keys: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows the destination has."""
        return self.report.destination.rows

    def __str__(self) -> str:
        more = ", …" if self.overwritten > len(self.keys) else ""
        return f"{self.stream}: {self.overwritten:,} of {self.rows:,} ({', '.join(self.keys)}{more})"


async def compare_existing(
    schema: StreamSchema, snapshot: Snapshot, copy: Snapshot, there: Sequence[StreamSchema]
) -> ExistingStream | None:
    """Compare one stream; None when the destination has no row of it. One that cannot be read is `incomparable`."""
    try:
        with unwrap_exception_group():
            return await _compare(schema, snapshot, copy, there)
    except UnreadableError as error:
        return ExistingStream(schema.stream, StreamReport(schema.stream, incomparable=str(error)))


async def _compare(
    schema: StreamSchema, snapshot: Snapshot, copy: Snapshot, there: Sequence[StreamSchema]
) -> ExistingStream | None:
    found = counterpart(schema.stream, there)
    if found is None or not await has_rows(copy, found):
        return None
    pairing = pair_columns(schema, found)
    existing = ExistingStream(schema.stream, StreamReport(schema.stream))
    if reason := why_not_comparable(schema, found, pairing):
        existing.report = StreamReport(schema.stream, incomparable=reason)
        return existing
    is_tree = not schema.native and _CONTENT.issubset(schema.column_names)

    def note(difference: Difference) -> None:
        columns = set(difference.columns).difference(pairing.missing)
        if is_tree:
            columns &= _CONTENT
        if difference.finding is Finding.DIFFERENT and (columns or not difference.columns):
            existing.overwritten += 1
            if len(existing.keys) < KEYS_NAMED:
                existing.keys.append(key_text(difference.key))

    copied = partial(open_rows_along, copy, aligned(schema, found, pairing))
    comparison = StreamComparison(existing.report, pairing, DifferenceSink(0, note))
    existing.report = await comparison.run(snapshot.open_rows(schema), copied)
    return existing
