"""What must hold of the objects in the bucket at every moment: checked in the step in which each is stored or deleted."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from blake3 import blake3

from pipeline.codec.documents.file_list import decode_file_list
from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.domain import object_keys
from pipeline.domain.event_file import Encoding, FileEntry, Header
from pipeline.domain.ids import EventFileId, FlowName, ObjectKey
from pipeline.domain.movement import Movement
from pipeline.testing.simulated.bucket import Bucket
from tests.fakes.place import Record
from tests.simulation.platform.plan import FILE_TEXTS

Must = Callable[[object, str], None]
"""Notes the text as a broken rule unless the first argument is true."""

_IMMUTABLE = re.compile(r"flows/[^/]+/(events|binaries|snapshots|movements/\d+/(groups|parts))/")
NOT_STORED: tuple[str, list[Record], frozenset[str]] = ("", [], frozenset())
"""Checksum, records and columns of an Event File that is not stored."""
_CONTENTS = {blake3(text.encode()).hexdigest(): text for text in FILE_TEXTS}


@dataclass
class Stored:
    """All immutable objects that were ever stored, and the contents of Binary Files that are stored now.

    `lists` gives all entries of each File List, `own` those of its own lines, `parts` the objects it consists of.
    `orders` gives for each Event File how every File List that names it orders its stream: by file the step it is of.
    """

    bucket: Bucket
    movements: Mapping[tuple[FlowName, int], Movement]
    must: Must
    files: dict[EventFileId, tuple[str, list[Record], frozenset[str]]] = field(default_factory=dict)
    lists: dict[str, Sequence[FileEntry]] = field(default_factory=dict)
    own: dict[str, Sequence[FileEntry]] = field(default_factory=dict)
    parts: dict[str, Sequence[str]] = field(default_factory=dict)
    listed: set[EventFileId] = field(default_factory=set)
    orders: defaultdict[EventFileId, list[Mapping[EventFileId, int]]] = field(default_factory=lambda: defaultdict(list))
    holders: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def changed(self, key: ObjectKey, before: bytes | None, after: bytes | None) -> bool:
        """Take note of an object that was stored or deleted; return whether it was deleted and should be immutable."""
        if not _IMMUTABLE.match(key):
            return False
        if after is None:
            for holders in self.holders.values():
                holders.discard(key)
            return True
        self.must(before is None or before == after, f"{key} is created once, and it was changed")
        if "/binaries/" in key:  # whether alone or many in a pack
            for text in FILE_TEXTS:
                if text.encode() in after:
                    self.holders[text].add(key)
        elif "/events/" in key:
            self._event_file(key, after)
        elif "/groups/" in key:
            self._file_list(key, after)
        return False

    def check_whole(self, key: ObjectKey, namer: str) -> None:
        """Check that a File List or state that `namer` names is stored, and all that the list names."""
        keys = [*self.parts.get(key, [key]), *(entry.key for entry in self.lists.get(key, ()))]
        gone = [one for one in keys if one not in self.bucket.content]
        self.must(not gone, f"{namer} names {key}, and {', '.join(gone)} is not stored")

    def rows_of(self, lists: Iterable[ObjectKey]) -> dict[str, dict[int, str]]:
        """Return the rows that result from applying all files of these lists in order."""
        tables: dict[str, dict[int, str]] = {}
        for entry in (entry for key in lists for entry in self.lists[key]):
            rows = tables.setdefault(entry.id.stream, {})
            for kind, number, text in self.files[entry.id][1]:
                if kind == "delete":
                    rows.pop(number, None)
                else:
                    rows[number] = text
        return tables

    def columns_of(self, lists: Iterable[ObjectKey]) -> dict[str, frozenset[str]]:
        """Return the columns that each stream of these lists has in its last file."""
        return {entry.id.stream: self.files[entry.id][2] for key in lists for entry in self.lists[key]}

    def _event_file(self, key: ObjectKey, data: bytes) -> None:
        reader = EventFileReader(Encoding.ZSTD, what=key)
        lines = [line for block in reader.feed(data) for line in block.splitlines()]
        reader.close()
        header = reader.header
        if header is None:
            self.must(header, f"{key} has no header")
            return
        records = [_record(line) for line in lines]
        self.files[header.id] = blake3(data).hexdigest(), records, frozenset(header.schema.column_names)
        movement = self.movements.get((header.flow, header.id.movement))
        if movement is None or not movement.settled:  # no attempt adopts a file that comes later
            self._check_needs(key, header, records)

    def _check_needs(self, key: ObjectKey, header: Header, records: Sequence[Record]) -> None:
        """Check that all that an Event File names was stored before it."""
        if header.state is not None:
            part = object_keys.state_part_key(header.flow, header.schema.stream, header.state)
            self.must(part in self.bucket.content, f"{key} was stored before its state {part}")
        for _, _, text in records:
            self.must(
                text not in FILE_TEXTS or self.holders[text], f"{key} was stored before the Binary File of {text!r}"
            )

    def _file_list(self, key: ObjectKey, data: bytes) -> None:
        document = decode_file_list(data, key)
        self.parts[key] = [*(part.key for part in document.parts), key]
        self.own[key] = document.entries
        missing = [part for part in self.parts[key] if part not in self.own]
        self.must(not missing, f"{key} was stored before {', '.join(missing)}, of which it consists")
        self.lists[key] = entries = [entry for part in self.parts[key] for entry in self.own.get(part, ())]
        self.listed |= {entry.id for entry in entries}
        for entry in entries:
            checksum, *_ = self.files.get(entry.id, NOT_STORED)
            self.must(checksum == entry.checksum, f"{key} was stored before {entry.key}, or names another content")
        for stream in dict.fromkeys(entry.id.stream for entry in entries):
            lane = [entry for entry in entries if entry.id.stream == stream]
            self._lane(key, lane)

    def _lane(self, key: ObjectKey, lane: Sequence[FileEntry]) -> None:
        """A compaction comes first, its deletes before its snapshot; of any other Movement the snapshot comes first."""
        places = [(entry.id.movement, entry.is_snapshot is bool(entry.replaces), entry.id.chunk) for entry in lane]
        self.must(places == sorted(set(places)), f"{key} names the files of {lane[0].id.stream} out of order or twice")
        steps = [place[:2] if entry.is_snapshot else place for place, entry in zip(places, lane, strict=True)]
        numbers = {step: number for number, step in enumerate(dict.fromkeys(steps))}
        order = {entry.id: numbers[step] for step, entry in zip(steps, lane, strict=True)}
        for file in order:
            self.orders[file].append(order)


def _record(line: bytes) -> Record:
    ((kind, row),) = orjson.loads(line).items()
    if "file" not in row:
        return kind, row["number"], row.get("text", "")
    return kind, row["number"], _CONTENTS[row["file"]]
