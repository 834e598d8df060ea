"""What an app that pulls has reported of one Flow, beside its marks: failures of files, its percent, and its last words."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pipeline.codec.wire import Count, decode_document, to_document
from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import EventFileId, FlowName, ObjectKey, encode_name
from pipeline.domain.object_keys import flow_prefix
from pipeline.ports.object_store import ObjectStore, PutCondition

MOST_TRIES = 20
D = TypeVar("D", bound=msgspec.Struct)


class FileReport(msgspec.Struct):
    """Why the app could not load a file in a Movement. A passing failure may be followed by a mark."""

    movement: Count
    reason: str
    final: bool
    tries: Count = 1


class AppProgress(msgspec.Struct):
    """How far the app says that it is: `percent` never falls."""

    percent: float
    message: str = ""


class Reports:
    """The objects beside the marks of a Flow (`Kept`)."""

    def __init__(self, store: ObjectStore, namespace: FlowName) -> None:
        flow, _, created = namespace.rpartition(" ")
        self._store = store
        self._prefix = f"{flow_prefix(FlowName(flow))}imports/{encode_name(created)}/reports/"

    async def failure(self, file: EventFileId, movement: int) -> str | None:
        """Return why a file has failed for good in this Movement; None if it has not."""
        report = await self.report(file)
        return report.reason if report and report.final and report.movement == movement else None

    async def report(self, file: EventFileId) -> FileReport | None:
        """Return the last failure of a file."""
        return await self._read(self._file_key(file), FileReport)

    async def put_failure(self, file: EventFileId, movement: int, reason: str, *, final: bool) -> FileReport:
        """Store a failure of a file, and count how often it has failed."""
        before = await self.report(file)
        tries = before.tries + 1 if before and before.movement == movement else 1
        report = FileReport(movement, reason, final, tries)
        await self._store.put(self._file_key(file), _encoded(report), PutCondition.NONE)
        return report

    async def progress(self, movement: int) -> AppProgress:
        """Return the progress that the app has reported."""
        return await self._read(self._progress_key(movement), AppProgress) or AppProgress(0.0)

    async def put_progress(self, movement: int, percent: float, message: str) -> AppProgress:
        """Store a progress; one that is lower than the last is replaced by that. Return what is stored now."""
        key = self._progress_key(movement)
        for _ in range(MOST_TRIES):
            try:
                stored = await self._store.get(key)
            except AbsentError:
                condition, before = PutCondition.ABSENT, 0.0
            else:
                condition, before = stored.version, decode_document(stored.data, AppProgress, key).percent  # type: ignore[assignment]
            progress = AppProgress(max(percent, before), message)
            try:
                await self._store.put(key, _encoded(progress), condition)
            except ConflictError:
                continue
            return progress
        raise ConflictError(f"{key} changes too often. Send the progress again.")

    async def _read(self, key: ObjectKey, kind: type[D]) -> D | None:
        try:
            return decode_document((await self._store.get(key)).data, kind, key)
        except AbsentError:
            return None

    def _file_key(self, file: EventFileId) -> ObjectKey:
        return ObjectKey(f"{self._prefix}files/{encode_name(str(file))}")

    def _progress_key(self, movement: int) -> ObjectKey:
        return ObjectKey(f"{self._prefix}progress/{movement}")


def _encoded(document: msgspec.Struct) -> bytes:
    return msgspec.json.encode(to_document(document))
