"""The listings of a place that is written to. Each Flow has its own; its entries are the marks of that Flow as well.

So an Event File is imported with one put: that of the listing that names its data.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.codec.wire import parsing
from pipeline.connectors.sam.listing import ListedFile, encode_listing, parse_listing
from pipeline.connectors.sam.names import FileName, is_listing, parse_name
from pipeline.connectors.sam.storage.port import ExportStorage
from pipeline.domain.errors import AbsentError
from pipeline.domain.ids import EventFileId, FlowName, Phase
from pipeline.ports.destination import FileToLoad, Mark
from pipeline.ports.object_store import PutCondition, Version

_NAMESPACE = uuid.UUID("6f1c1a52-5a0e-4a7b-9a43-0c9f3d1f8c61")


class _Mark(msgspec.Struct):
    """What the entry of a file of ours says about the Event File in it. `last` is the sequence number of its last row."""

    flow: FlowName
    file: str
    movement: int
    upserts: int
    deletes: int
    last: int
    binaries: int = 0


class _Fence(msgspec.Struct):
    movement: int


@dataclass(frozen=True, slots=True)
class Written:
    """A file of a Flow: its mark, and the name it has in the listing."""

    flow: FlowName
    id: EventFileId
    mark: Mark
    name: FileName
    last: int


@dataclass(frozen=True, slots=True)
class Catalog:
    """All listings of a place. `own` are the entries of the Flow's listing, as they were read, at this `version`.

    `taken` are the names of listed files. `unlisted` are files of a place that has no listing at all. `fenced` is the latest
    Movement of the Flow that was stopped.
    """

    listing: str
    own: Sequence[Mapping[str, Any]]
    version: PutCondition | Version
    written: Sequence[Written]
    taken: frozenset[str]
    unlisted: Sequence[str]
    fenced: int = 0
    fence_version: PutCondition | Version = PutCondition.ABSENT
    data: bytes = b""

    def marks(self, flow: FlowName) -> dict[EventFileId, Mark]:
        """Return the marks of a Flow."""
        return {one.id: one.mark for one in self.written if one.flow == flow}

    def names(self, file_id: str) -> bool:
        """Whether the listing of the Flow names the file with this id."""
        return any(entry.get("fileId") == file_id for entry in self.own)

    def next_sequence(self, table: str) -> int:
        """Return a number above those of all rows of a table that were written."""
        return max((one.last for one in self.written if one.name.table == table), default=0) + 1

    def name_for(self, file: FileToLoad, flow: FlowName) -> FileName:
        """Return the name of the next file of a table.

        It belongs to the snapshot as long as the Movement that began the table writes keys that were not stored before,
        and nothing else. All later files are changes.
        """
        id_, earlier = file.entry.id, [one for one in self.written if one.name.table == file.entry.id.stream]
        is_snapshot = id_.phase is Phase.FULL and all(
            one.name.phase is Phase.FULL and one.flow == flow and one.mark.movement == file.movement for one in earlier
        )
        phase, chunk = Phase.FULL if is_snapshot else Phase.INCREMENTAL, 0
        while str(FileName(id_.stream, phase, chunk)) in self.taken:
            chunk += 1
        return FileName(id_.stream, phase, chunk)

    def with_file(
        self, file: FileToLoad, flow: FlowName, name: FileName, file_id: str, mark: Mark, more: Mapping[str, object]
    ) -> bytes:
        """Return the Flow's listing with one more file."""
        last = self.next_sequence(name.table) - 1 + mark.upserts + mark.deletes
        kept = _Mark(flow, str(file.entry.id), mark.movement, mark.upserts, mark.deletes, last, mark.binaries)
        entry = {
            "fileId": file_id,
            "fullName": str(name),
            "table": name.table,
            "phase": name.phase.value,
            "chunk": name.chunk,
            "rowCount": mark.upserts + mark.deletes,
            **more,
            "pipeline": msgspec.to_builtins(kept),
        }
        return encode_listing([*self.own, entry])


def listing_name(flow: FlowName) -> str:
    """Return the name of the listing of a Flow."""
    return f"listing/{uuid.uuid5(_NAMESPACE, flow)}-metadata.json"


def fence_name(flow: FlowName) -> str:
    """Return the name of the object that names the latest Movement of a Flow that was stopped."""
    return f"fence/{uuid.uuid5(_NAMESPACE, flow)}.json"


async def _read_fence(storage: ExportStorage, flow: FlowName) -> tuple[int, PutCondition | Version]:
    """Return the latest Movement of a Flow that was stopped, 0 if none was, and the version of the object that says so."""
    try:
        stored = await storage.get(fence_name(flow))
    except AbsentError:
        return 0, PutCondition.ABSENT
    with parsing(f"The object {fence_name(flow)}"):
        return msgspec.json.decode(stored.data, type=_Fence).movement, stored.version


def encode_fence(movement: int) -> bytes:
    """Return the object that names a Movement that was stopped."""
    return msgspec.json.encode(_Fence(movement))


async def read_catalog(storage: ExportStorage, flow: FlowName) -> Catalog:
    """Read the listings of a place. DamagedError when one cannot be read."""
    names = list(await storage.objects())
    own = listing_name(flow)
    version: PutCondition | Version = PutCondition.ABSENT
    entries: Sequence[Mapping[str, Any]] = ()
    written: list[Written] = []
    data = b""
    taken: set[str] = set()
    listings = [name for name in names if is_listing(name)]
    unlisted = () if listings else tuple(name for name in names if parse_name(name))
    for name in listings:
        try:
            stored = await storage.get(name)
        except AbsentError:
            continue
        listed = parse_listing(stored.data, f"The listing {name}")
        written += [found for one in listed if (found := _written(one, name)) is not None]
        taken |= {str(known) for one in listed if (known := parse_name(one.full_name))}
        if name == own:
            with parsing(f"The listing {name}"):
                entries = [msgspec.json.decode(line, type=dict[str, Any]) for line in stored.data.splitlines() if line]
            version, data = stored.version, stored.data
    return Catalog(own, entries, version, written, frozenset(taken), unlisted, *await _read_fence(storage, flow), data)


def _written(entry: ListedFile, listing: str) -> Written | None:
    """Return what an entry of this software says; None for one of another."""
    name = parse_name(entry.full_name)
    if not entry.more or name is None:
        return None
    with parsing(f"The listing {listing}"):
        kept = msgspec.convert(entry.more, _Mark)
        mark = Mark(kept.upserts, kept.deletes, binaries=kept.binaries, movement=kept.movement)
        return Written(kept.flow, EventFileId.parse(kept.file), mark, name, kept.last)
