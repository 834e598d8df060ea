"""What must hold at every moment of a run: checked in the step in which something is stored, sent or committed."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.codec.documents.flow import decode_flow, decode_movement
from pipeline.codec.documents.message import GroupCompleted, decode_message
from pipeline.codec.documents.progress import Progress, decode_progress
from pipeline.domain.errors import DamagedError
from pipeline.domain.ids import FlowName, Label, ObjectKey
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement, Status
from pipeline.testing.simulated.bucket import Bucket
from pipeline.testing.simulated.process import Disks, current
from pipeline.testing.simulated.unreliable_queue import Ring
from tests.fakes.destination import MemoryDestination
from tests.fakes.rows import Tables, copied
from tests.simulation.model.arrivals import Arrivals, refused
from tests.simulation.model.happenings import Happenings
from tests.simulation.model.needs import Needs
from tests.simulation.model.starts import Starts
from tests.simulation.model.stored import Stored

MovementId = tuple[FlowName, int]
Lists = frozenset[tuple[Label, ObjectKey]]


@dataclass
class Model:
    """Watches bucket, queue and destinations. `broken` collects the rules that were broken.

    `arrivals` are by Flow. `sights` is what the exporter saw of the app that ended the export with these File Lists.
    `percents` is how far processes have shown a Movement to be.
    """

    bucket: Bucket
    disks: Disks
    guard_rows: int = 100
    broken: list[str] = field(default_factory=list)
    arrivals: dict[FlowName, Arrivals] = field(default_factory=dict)
    movements: dict[MovementId, Movement] = field(default_factory=dict)
    wished: set[MovementId] = field(default_factory=set)
    came_again: set[tuple[FlowName, Label]] = field(default_factory=set)
    refusals_before: dict[MovementId, int] = field(default_factory=dict)
    sights: dict[Lists, Tables] = field(default_factory=dict)
    percents: dict[MovementId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start watching."""
        self.bucket.on_change = self.changed
        self.stored = Stored(self.bucket, self.movements, self.must)
        self.needs = Needs(self.stored, self.movements, self.must)
        self.happenings = Happenings(self.stored, self.arrivals, self.must)
        self.starts = Starts(self.happenings, self.must)

    def must(self, holds: object, what: str) -> None:
        """Note `what` as broken unless it `holds`."""
        if not holds:
            self.broken.append(what)

    def watch(self, flow: FlowName, place: MemoryDestination) -> None:
        """Watch the destination of a Flow, too."""
        self.arrivals[flow] = Arrivals(place, self.stored, self.must, flow)

    def latest(self, flow: FlowName) -> Movement | None:
        """Return the latest Movement of a Flow."""
        return self.movements.get((flow, max((number for name, number in self.movements if name == flow), default=0)))

    def changed(self, key: ObjectKey, before: bytes | None, after: bytes | None) -> None:
        """An object was stored or deleted."""
        try:
            if self.happenings.changed(key, before, after):
                return
            if self.stored.changed(key, before, after):
                self.needs.deleted(key)
            elif after is not None:
                self._changed_document(key, before, after)
        except DamagedError as error:
            self.must(False, f"{key} was stored, and is not whole: {error}")

    def _changed_document(self, key: ObjectKey, before: bytes | None, after: bytes) -> None:
        if key.endswith("/movement.json"):
            self._movement(key, None if before is None else decode_movement(before, key), decode_movement(after, key))
        elif key.endswith("/flow.json"):
            self.starts.changed(decode_flow(after, key))
        elif "/progress/" in key and before is not None:
            self._progress(key, decode_progress(before, key), decode_progress(after, key))

    def _movement(self, key: ObjectKey, earlier: Movement | None, movement: Movement) -> None:
        known = () if earlier is None else (*earlier.file_lists.values(), *earlier.states.values())
        for listed in {*movement.file_lists.values(), *movement.states.values()}.difference(known):
            self.stored.check_whole(listed, key)
        if earlier is not None:
            self._changed_movement(key, earlier, movement)
        number = movement.flow, movement.number
        if movement.wish.want is not Want.RUN or movement.group_wishes:
            self.wished.add(number)
        self.refusals_before.setdefault(number, self.disks.refusals)
        if movement.exported and not (earlier and earlier.exported):
            self._exported(movement)
        self.movements[number] = movement
        self.starts.began(movement)
        if movement.settled and not (earlier and earlier.settled) and not movement.compaction:
            self._settled(movement)

    def _changed_movement(self, key: ObjectKey, before: Movement, after: Movement) -> None:
        if before.settled:
            self.must(before.status is after.status, f"{key} was settled as {before.status}, and became {after.status}")
            same = (before.file_lists, before.states) == (after.file_lists, after.states)
            self.must(same, f"{key} was settled, and its File Lists or states were changed")
            same = (before.wish, before.group_wishes) == (after.wish, after.group_wishes)
            self.must(same, f"{key} was settled, and something else is wished of it")
        stays = before.wish.want is not Want.STOP or after.wish == before.wish
        self.must(stays, f"{key} was to stop, and that was forgotten")
        for label in before.groups_that(Want.STOP):
            stays = after.group_wishes.get(label) == before.group_wishes[label]
            self.must(stays, f"{key}: the group {label} was to stop, and that was forgotten")
        if before.refused and after.refused != before.refused and after.attempts == before.attempts:
            resumed = current.get().name.startswith("resumer")
            self.must(resumed, f"{key}: the destination refused everything, and that was forgotten")
        self.must(before.original == after.original, f"{key} has another original")
        self.must(before.attempts <= after.attempts, f"{key} forgot an attempt")

    def _exported(self, movement: Movement) -> None:
        """Remember what the exporter saw. A compaction exports what the Movement before it has exported."""
        if movement.origin is not None:
            return
        if not movement.compaction:
            exported = self.sights[frozenset(movement.file_lists.items())] = copied(current.get().seen)
            self._check_deletes(movement, exported)
            return
        before = self.latest_before(movement)
        seen = None if before is None else self.sights.get(frozenset(before.file_lists.items()))
        if seen is not None:
            self.sights[frozenset(movement.file_lists.items())] = seen

    def _check_deletes(self, movement: Movement, seen: Tables) -> None:
        """Check that exactly those deletes are held that are many, not allowed, and not of rows that a new table may have.

        A new table with the same columns and as many rows may have the rows that are gone.

        Nothing is asked of a Movement whose earlier attempts may have stored a part of them, or after one that was never
        exported: what these have stored counts as there.
        """
        before = self.latest_before(movement)
        if movement.attempts > 1 or before is None or not before.exported:
            return
        known, now = self.stored.rows_of(before.file_lists.values()), self.stored.rows_of(movement.file_lists.values())
        columns = self.stored.columns_of(movement.file_lists.values())
        what = f"Movement {movement.number} of {movement.flow}"
        for name, rows in known.items():
            gone = rows.keys() - seen.get(name, {}).keys()
            many = (len(gone) > self.guard_rows and len(gone) * 5 > len(rows)) or not any(seen.values())
            alike = [other for other in seen.keys() - before.states.keys() if columns.get(other) == columns.get(name)]
            moved = name not in seen and any(len(seen[other]) >= len(gone) for other in alike)
            held = bool(gone) and many and not moved and not {"*", name}.intersection(movement.allow_deletes)
            self.must(
                (name in movement.held_deletes) is held, f"{what}: {len(gone)} of {len(rows)} rows of {name} are gone"
            )
            left = gone & now[name].keys()
            self.must(
                left == (gone if held else set()), f"{what} deletes of {name} all of {sorted(gone)} but {sorted(left)}"
            )

    def latest_before(self, movement: Movement) -> Movement | None:
        """Return the Movement before this one."""
        return self.movements.get((movement.flow, movement.number - 1))

    def _settled(self, movement: Movement) -> None:
        self.happenings.check_settled(movement)
        if movement.status in (Status.TIMED_OUT, Status.CANCELLED):
            return
        if movement.status is not Status.SUCCESS and movement.groups_that(Want.STOP):
            return  # what is SUCCESS has all: the group was stopped too late
        if movement.status is not Status.SUCCESS and self._was_refused(movement):
            return
        what = f"Movement {movement.number} of {movement.flow} settled as {movement.status}"
        self.must(movement.exported, f"{what} while it is exported again")
        seen = self.sights.get(frozenset(movement.file_lists.items()))
        self.must(seen is not None, f"{what}, and nobody has exported its File Lists together")
        if seen is None:
            return
        expected = Status.INCOMPLETE if refused(seen) or movement.held_deletes else Status.SUCCESS
        self.must(movement.status is expected, f"{what}, not {expected}: {movement.problems}")
        arrivals = self.arrivals[movement.flow]
        if movement.status is Status.SUCCESS:
            missing = [
                file for name in movement.file_lists.values() for file in arrivals.missing(self.stored.lists[name])
            ]
            self.must(not missing, f"{what}, and {', '.join(missing)} missing")
        arrivals.check_equal(seen, movement.held_deletes)

    def _was_refused(self, movement: Movement) -> bool:
        """Whether a destination's disk was full while this Movement went on: then files may be missing."""
        return self.disks.refusals > self.refusals_before[movement.flow, movement.number]

    def _progress(self, key: ObjectKey, before: Progress, after: Progress) -> None:
        if before.started != after.started:
            return  # the worker has started this Movement again, and counts from zero
        for label, group in before.groups.items():
            now = after.groups.get(label)
            counts = ("rows_read", "files_stored", "files_imported", "records_imported", "complete")
            fell = now is None or any(getattr(now, name) < getattr(group, name) for name in counts)
            self.must(not fell, f"{key}: the progress of {label} fell")

    def sent(self, body: bytes) -> None:
        """A message was put into the queue."""
        message = decode_message(body)
        if isinstance(message, GroupCompleted):
            self.must(message.key in self.stored.lists, f"{message.key} was announced before it is stored")

    def acknowledged(self, body: bytes, receive_count: int, ring: Ring) -> None:
        """Check that the work of an acknowledged message is done, or that the queue has another message about it.

        A message that was delivered twice is not checked: the other worker that holds it may do the work.
        """
        message = decode_message(body)
        if not isinstance(message, GroupCompleted) or message.grown_from is not None:
            return  # no rule for a growing group: the message about the complete group names all of its files
        if receive_count > 1:
            self.came_again.add((message.flow, message.label))
        if (message.flow, message.label) in self.came_again or ring.has_lost:
            return
        movement = self.movements[message.flow, message.movement]
        superseded = movement.file_lists.get(message.label) != message.key
        superseded = superseded or (message.flow, message.movement) in self.wished  # it is announced again
        if superseded or movement.settled or self._was_refused(movement):
            return
        missing = self.arrivals[message.flow].missing(self.stored.lists[message.key])
        others = [other for other in map(decode_message, ring.bodies()) if isinstance(other, GroupCompleted)]
        left = any((other.flow, other.label) == (message.flow, message.label) for other in others)
        self.must(not missing or left, f"{message.key} was acknowledged, and {', '.join(missing)} missing")
