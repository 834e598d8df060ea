"""The rejected records of a Flow, kept until they are applied or later records with their keys are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

import msgspec

from pipeline.domain.ids import EventFileId, StreamName
from pipeline.kit.ledger.circles import Id, circles
from pipeline.kit.ledger.id_map import source_text
from pipeline.kit.ledger.journal import Change, Journal
from pipeline.kit.ledger.kept import Kept, KeptRejection, KeptStream
from pipeline.kit.loading.outcomes import RejectedError
from pipeline.kit.loading.records import Invalid, Records
from pipeline.ports.destination import KeptRecord, Rejection

CIRCLES_AMONG = 100_000
"""Circles are looked for among this many of the records that wait."""

_DECODER = msgspec.json.Decoder(KeptRejection)


class RejectedRecords:
    """Rejected records in the object store, with an index on disk."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._journal = Journal(kept.store, f"{kept.prefix}rejections/")

    def close(self) -> None:
        """Free what it has on disk."""
        self._journal.close()

    async def refresh(self) -> None:
        """Read what other workers have written, and what earlier releases have."""
        is_first = not self._journal.is_open
        await self._journal.refresh()
        if is_first:
            self._journal.add_earlier([_change(one) for one in await self._kept.earlier_rejections()])
        await self._journal.flush()

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return self._journal.is_empty

    def find(self, stream: StreamName, key: str) -> KeptRejection | None:
        """Return the rejected record with a key; None when there is none."""
        value = self._journal.get(stream, key)
        return None if value is None else _DECODER.decode(value)

    async def keep(
        self, records: Records, rejected: Mapping[int, RejectedError], stream: KeptStream
    ) -> Sequence[Rejection]:
        """Store those of these records that are rejected, and drop older ones with the keys of the others.

        Return those that do not just wait for an id.
        """
        found, changes = list[Rejection](), dict[str, Change]()
        for at in range(len(records.values)) if rejected or not self.is_empty else ():
            file, error = records.file(at), rejected.get(at)
            key = records.key(at)
            if error is None:
                if key in changes or self._journal.get(file.stream, key) is not None:
                    changes[key] = Change(file.stream, key, None)
                continue
            value = records.values[at]
            kept = KeptRejection(
                str(file),
                value.line,
                key,
                error.reason,
                records.lines[at].decode(),
                stream,
                error.column,
                waits=error.needs is not None,
                needs=error.needs,
                source="" if isinstance(value, Invalid) else source_text(value.key),
            )
            changes[key] = _change(kept)
            if error.needs is None:
                found.append(kept.rejection())
        if changes:
            await self._journal.put(list(changes.values()))
        return found

    async def replace(self, rejected: Sequence[KeptRejection], accepted: Sequence[tuple[StreamName, str]]) -> None:
        """Store rejected records, and drop those with the keys of records that are accepted."""
        gone = [Change(stream, key, None) for stream, key in accepted if self._journal.get(stream, key) is not None]
        if rejected or gone:
            await self._journal.put([*gone, *map(_change, rejected)])

    async def give_reason(self, kept: Sequence[KeptRejection], reason: str) -> None:
        """Keep these rejected records with another reason: what they waited for is there, and they were not applied."""
        changed = [msgspec.structs.replace(one, reason=reason, column=None, waits=False, needs=None) for one in kept]
        await self.replace(changed, ())

    def groups(self) -> Iterator[tuple[StreamName, KeptStream, Sequence[KeptRejection]]]:
        """Yield the records of each stream and schema in parts, in order. They may be kept or dropped meanwhile."""
        for page in self._journal.pages():
            kept = [_DECODER.decode(entry.value) for entry in page if entry.value is not None]
            for _, some in groupby(kept, key=lambda one: (_stream(one), str(one.stream))):
                part = list(some)
                yield _stream(part[0]), part[0].stream, part

    def kept_records(self) -> Sequence[KeptRecord]:
        """Return all of them with their contents."""
        return [
            KeptRecord(one.rejection(), one.record.encode(), tuple(schema.primary_keys))
            for _, schema, part in self.groups()
            for one in part
        ]

    async def correct(self, corrected: Sequence[KeptRecord]) -> int:
        """Give rejected records another content; return how many of them are still rejected."""
        changes: list[Change] = []
        for one in corrected:
            kept = self.find(one.rejection.file.stream, one.rejection.key)
            if kept is not None and (kept.file, kept.line) == (str(one.rejection.file), one.rejection.line):
                changes.append(_change(msgspec.structs.replace(kept, record=one.record.decode())))
        if changes:
            await self._journal.put(changes)
        return len(changes)

    def rejections(self) -> Sequence[Rejection]:
        """Return all of them. Of those that wait for each other in a circle, the reason names the circle."""
        needs: dict[Id, Id] = {}
        for stream, _, part in self.groups():
            waiting = ((one.source, one.needs) for one in part if one.needs is not None)
            needs |= {(stream, source): (kind, id_) for source, (kind, id_) in waiting if len(needs) < CIRCLES_AMONG}
        found = circles(needs)
        return [
            one.rejection(
                None if (circle := found.get((stream, one.source))) is None else f"it is in a circle: {circle}"
            )
            for stream, _, part in self.groups()
            for one in part
        ]


@asynccontextmanager
async def opened_rejections(kept: Kept) -> AsyncIterator[RejectedRecords]:
    """Open the rejected records of a Flow as they are now."""
    rejected = RejectedRecords(kept)
    try:
        await rejected.refresh()
        yield rejected
    finally:
        rejected.close()


def _stream(kept: KeptRejection) -> StreamName:
    return EventFileId.parse(kept.file).stream


def _change(kept: KeptRejection) -> Change:
    file = EventFileId.parse(kept.file)
    place = f"{file.movement:012d} {file.phase.value} {file.chunk:012d} {kept.line:012d}"
    return Change(file.stream, kept.key, msgspec.json.encode(kept), place)
