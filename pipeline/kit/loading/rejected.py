"""The rejected records of a Flow, kept until they are applied or later records with their keys are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipeline.domain.ids import EventFileId, ObjectKey, StreamName
from pipeline.kit.ledger.kept import Kept, KeptRejection, KeptStream
from pipeline.kit.loading.outcomes import RejectedError
from pipeline.kit.loading.records import Records
from pipeline.ports.destination import Rejection

RETRIED_AT_ONCE = 1000


class RejectedRecords:
    """Rejected records in the object store, with a copy in memory."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self.by_key: dict[ObjectKey, KeptRejection] = {}

    async def read(self) -> None:
        """Read them from the store."""
        self.by_key = dict(await self._kept.rejections())

    async def keep(
        self, records: Records, rejected: Mapping[int, RejectedError], stream: KeptStream
    ) -> Sequence[Rejection]:
        """Store those of these records that are rejected, and drop older ones with the keys of the others.

        Return those that do not just wait for an id.
        """
        found = []
        for at in range(len(records.values)) if self.by_key else sorted(rejected):
            file, error = records.file(at), rejected.get(at)
            if error is None:
                key = self._kept.rejection_key(file.stream, records.key(at))
                if key in self.by_key:
                    await self._kept.drop_rejection(key)
                    del self.by_key[key]
                continue
            text, line = records.lines[at].decode(), records.values[at].line
            kept = KeptRejection(
                str(file), line, records.key(at), error.reason, text, stream, error.column, error.waits
            )
            self.by_key[await self._kept.put_rejection(kept)] = kept
            if not error.waits:
                found.append(kept.rejection())
        return found

    def groups(self) -> Iterator[tuple[StreamName, Sequence[tuple[EventFileId, int, bytes]], KeptStream]]:
        """Yield the records of each stream and schema: file, line number and line. They may be kept or dropped meanwhile."""
        kept = sorted(self.by_key.values(), key=lambda one: (one.file, one.line))
        places: dict[tuple[StreamName, str], list[KeptRejection]] = {}
        for one in kept:
            places.setdefault((EventFileId.parse(one.file).stream, str(one.stream)), []).append(one)
        for (stream, _), group in places.items():
            for start in range(0, len(group), RETRIED_AT_ONCE):
                part = group[start : start + RETRIED_AT_ONCE]
                lines = [(EventFileId.parse(one.file), one.line, one.record.encode()) for one in part]
                yield stream, lines, part[0].stream
