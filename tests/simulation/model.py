"""What must hold at every moment of a run: checked in the step in which something is stored, sent or committed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
from blake3 import blake3

from pipeline.codec.documents import decode_movement
from pipeline.codec.event_file import EventFileReader
from pipeline.codec.file_list import decode_file_list
from pipeline.codec.message import GroupCompleted, decode_message
from pipeline.codec.progress import Progress, decode_progress
from pipeline.domain import layout
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import EventFileId, Label, ObjectKey, Phase
from pipeline.domain.movement import Movement, Status
from tests.simulation.destination import REFUSED_PREFIX, Place, Record
from tests.simulation.plan import FILE_TEXTS
from tests.simulation.process import Disks, Process, current
from tests.simulation.queue import Ring
from tests.simulation.source import Tables
from tests.simulation.store import Bucket

_IMMUTABLE = re.compile(r"flows/[^/]+/(events|binaries|snapshots|movements/\d+/groups)/")
_CONTENTS = {blake3(text.encode()).hexdigest(): text for text in FILE_TEXTS}


@dataclass
class Model:
    """Watches bucket, queue and destination, and notes every promise that is broken, in `broken`."""

    bucket: Bucket
    place: Place
    disks: Disks
    broken: list[str] = field(default_factory=list)
    files: dict[EventFileId, tuple[str, list[Record]]] = field(default_factory=dict)
    contents: set[str] = field(default_factory=set)
    lists: dict[str, Sequence[FileEntry]] = field(default_factory=dict)
    listed: set[EventFileId] = field(default_factory=set)
    loads: Counter[EventFileId] = field(default_factory=Counter)
    rows: Tables = field(default_factory=lambda: defaultdict(dict))
    movements: dict[int, Movement] = field(default_factory=dict)
    came_again: set[Label] = field(default_factory=set)
    refusals_before: dict[int, int] = field(default_factory=dict)
    exported_by: dict[int, Process] = field(default_factory=dict)
    committed: dict[str, list[EventFileId]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        """Begin to watch."""
        self.bucket.on_change = self.changed
        self.place.on_commit = self.marked

    def must(self, holds: object, what: str) -> None:
        """Note `what` as broken unless it `holds`."""
        if not holds:
            self.broken.append(what)

    def changed(self, key: ObjectKey, before: bytes | None, after: bytes | None) -> None:
        """An object was stored or deleted."""
        if _IMMUTABLE.match(key):
            self.must(after is not None, f"{key} is never deleted, and it was")
            self.must(before is None or before == after, f"{key} is created once, and it was changed")
        if after is None:
            return
        try:
            self._read(key, before, after)
        except DamagedError as error:
            self.must(False, f"{key} was stored, and is not whole: {error}")

    def _read(self, key: ObjectKey, before: bytes | None, after: bytes) -> None:
        if "/binaries/" in key:  # whether alone or many in a pack
            self.contents |= {text for text in FILE_TEXTS if text.encode() in after}
        elif "/events/" in key:
            self._event_file(key, after)
        elif "/groups/" in key:
            self._file_list(key, after)
        elif key.endswith("/movement.json"):
            self._movement(key, before, after)
        elif "/progress/" in key and before is not None:
            self._progress(key, decode_progress(before, key), decode_progress(after, key))

    def _event_file(self, key: ObjectKey, data: bytes) -> None:
        reader = EventFileReader(Encoding.ZSTD, what=key)
        lines = [line for block in reader.feed(data) for line in block.splitlines()]
        reader.close()
        header = reader.header
        if header is None:
            self.must(header, f"{key} has no header")
            return
        if header.state is not None:
            part = layout.state_part_key(header.flow, header.schema.stream, header.state)
            self.must(part in self.bucket.content, f"{key} was stored before its state {part}")
        records = [self._record(key, line) for line in lines]
        self.files[header.id] = blake3(data).hexdigest(), records

    def _record(self, key: ObjectKey, line: bytes) -> Record:
        ((kind, row),) = orjson.loads(line).items()
        if "file" not in row:
            return kind, row["number"], row.get("text", "")
        content = _CONTENTS[row["file"]]
        self.must(content in self.contents, f"{key} was stored before the Binary File {row['file']} it names")
        return kind, row["number"], content

    def _file_list(self, key: ObjectKey, data: bytes) -> None:
        self.lists[key] = entries = decode_file_list(data, key)
        self.listed |= {entry.id for entry in entries}
        for entry in entries:
            checksum, _ = self.files.get(entry.id, ("", []))
            self.must(checksum == entry.checksum, f"{key} was stored before {entry.key}, or names another content")
        orders = [(str(entry.id.stream), *_position(entry.id)) for entry in entries]
        streams = {stream for stream, *_ in orders}
        for stream in streams:
            lane = [order for order in orders if order[0] == stream]
            self.must(lane == sorted(set(lane)), f"{key} names the files of {stream} out of order or twice")

    def _movement(self, key: ObjectKey, before: bytes | None, after: bytes) -> None:
        movement = decode_movement(after, key)
        for listed in (*movement.file_lists.values(), *movement.states.values()):
            self.must(listed in self.bucket.content, f"{key} names {listed} before it is stored")
        earlier = None if before is None else decode_movement(before, key)
        if earlier is not None:
            self._changed_movement(key, earlier, movement)
        self.refusals_before.setdefault(movement.number, self.disks.refusals)
        self.movements[movement.number] = movement
        if movement.exported and not (earlier and earlier.exported):
            self.exported_by[movement.number] = current.get()
        if movement.settled and not (earlier and earlier.settled):
            self._settled(movement)
        if movement.status is Status.SUCCESS:
            marks = self.place.marked()
            missing = [entry.id for name in movement.file_lists.values() for entry in self.lists[name]]
            missing = [file for file in missing if file not in marks]
            self.must(not missing, f"Movement {movement.number} is SUCCESS, and {', '.join(map(str, missing))} missing")

    def _changed_movement(self, key: ObjectKey, before: Movement, after: Movement) -> None:
        if before.settled:
            self.must(before.status is after.status, f"{key} was settled as {before.status}, and became {after.status}")
            same = (before.file_lists, before.states) == (after.file_lists, after.states)
            self.must(same, f"{key} was settled, and its File Lists or states were changed")
        self.must(before.attempts <= after.attempts, f"{key} forgot an attempt")

    def _settled(self, movement: Movement) -> None:
        if movement.status in (Status.TIMED_OUT, Status.CANCELLED):
            return
        if movement.status is not Status.SUCCESS and self._was_refused(movement.number):
            return
        seen = self.exported_by[movement.number].seen
        expected = Status.INCOMPLETE if refused(seen) else Status.SUCCESS
        what = f"Movement {movement.number} settled as {movement.status}, not {expected}: {movement.problems}"
        self.must(movement.status is expected, what)
        self.check_arrived(seen)

    def _was_refused(self, number: int) -> bool:
        """Whether the destination's disk was full while this Movement went on: then files may be missing."""
        return self.disks.refusals > self.refusals_before[number]

    def check_arrived(self, wanted: Tables) -> None:
        """The destination must hold these tables, but for what it refuses."""
        passed_over = refused(wanted)
        for name in sorted(wanted.keys() | self.place.tables.keys()):
            rows, held = wanted.get(name, {}), self.place.tables.get(name, {})
            numbers = {number for number in rows.keys() | held.keys() if (name, number) not in passed_over}
            wrong = sorted(number for number in numbers if rows.get(number) != held.get(number))
            self.must(not wrong, f"the rows {wrong} of {name} are not at the destination as they are at the source")

    def _progress(self, key: ObjectKey, before: Progress, after: Progress) -> None:
        if before.started != after.started:
            return  # it began on the Movement anew, and counts from there
        for label, group in before.groups.items():
            now = after.groups.get(label)
            counts = ("rows_read", "files_stored", "files_imported", "records_imported", "complete")
            fell = now is None or any(getattr(now, name) < getattr(group, name) for name in counts)
            self.must(not fell, f"{key}: the progress of {label} fell")

    def sent(self, body: bytes) -> None:
        """A message was put into the queue."""
        message = decode_message(body)
        if isinstance(message, GroupCompleted):
            self.must(message.key in self.lists, f"{message.key} was announced before it is stored")

    def acknowledged(self, body: bytes, receive_count: int, ring: Ring) -> None:
        """A message was acknowledged: what it was about is done, or there is another about it.

        Of one that came again nothing is asked: whoever has it in hand may have another of the group acknowledged.
        """
        message = decode_message(body)
        if not isinstance(message, GroupCompleted) or message.grown_from is not None:
            return  # of a group that grows nothing is promised: the message about the complete one names all again
        if receive_count > 1:
            self.came_again.add(message.label)
        if message.label in self.came_again or ring.has_lost:
            return
        movement = self.movements[message.movement]
        superseded = movement.file_lists.get(message.label) != message.key
        if superseded or movement.settled or self._was_refused(movement.number):
            return
        marks = self.place.marked()
        missing = [str(entry.id) for entry in self.lists[message.key] if entry.id not in marks]
        others = [other for other in map(decode_message, ring.bodies()) if isinstance(other, GroupCompleted)]
        left = any(other.label == message.label for other in others)
        self.must(not missing or left, f"{message.key} was acknowledged, and {', '.join(missing)} missing")

    def marked(self, file: EventFileId) -> None:
        """A file was marked at the destination: its rows must be there, and those of all files before it."""
        self.loads[file] += 1
        self.must(self.loads[file] == 1, f"{file} was loaded {self.loads[file]} times")
        self.must(file in self.listed, f"{file} was loaded, and no File List names it")
        lane = self.committed[file.stream]
        early = [other for other in lane if _overtakes(other, file)]
        self.must(not early, f"{file} was loaded after {', '.join(map(str, early))}")
        lane.append(file)
        _, records = self.files.get(file, ("", []))
        self._check_rows(file, records)

    def _check_rows(self, file: EventFileId, records: Sequence[Record]) -> None:
        rows, held = self.rows[file.stream], self.place.tables.get(file.stream, {})
        for kind, number, text in records:
            if kind == "delete":
                rows.pop(number, None)
            elif not text.startswith(REFUSED_PREFIX):
                rows[number] = text
        numbers = rows.keys() | held.keys() if self.place.has_transactions else {number for _, number, _ in records}
        wrong = sorted(number for number in numbers if rows.get(number) != held.get(number))
        self.must(not wrong, f"{file} is marked, and the rows {wrong} are not as it and those before it say")


def refused(tables: Tables) -> set[tuple[str, int]]:
    """Return the table and number of each row that the destination refuses."""
    rows = ((name, number, text) for name, table in tables.items() for number, text in table.items())
    return {(name, number) for name, number, text in rows if text.startswith(REFUSED_PREFIX)}


def _position(file: EventFileId) -> tuple[int, bool, int]:
    return file.movement, file.phase is not Phase.FULL, file.chunk


def _overtakes(other: EventFileId, file: EventFileId) -> bool:
    """Whether `other`, loaded before `file`, should have waited for it."""
    side_by_side = other.movement == file.movement and other.phase is file.phase is Phase.FULL
    return not side_by_side and _position(other) > _position(file)
