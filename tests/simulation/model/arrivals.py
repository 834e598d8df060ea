"""What must hold at one destination at every moment: checked in the step in which a file is marked there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, FlowName
from pipeline.domain.lifecycle.status import Reason
from tests.fakes.destination import MemoryDestination
from tests.fakes.place import Record, Writer
from tests.fakes.rows import Tables, copied
from tests.simulation.model.stored import NOT_STORED, Must, Stored
from tests.simulation.platform.plan import REJECTED_PREFIXES

Rows = set[tuple[str, int]]
"""Rows by table and number."""


@dataclass
class Arrivals:
    """Watches one place. `rows` is the result of applying all files marked there, in the order of their marks.

    `own` are the app's own rows at the destination. Each refers to a row of a stream, and is gone only when a record has
    deleted that row.
    """

    place: MemoryDestination
    stored: Stored
    must: Must
    flow: FlowName
    loads: Counter[EventFileId] = field(default_factory=Counter)
    rows: Tables = field(default_factory=lambda: defaultdict(dict))
    own: dict[int, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start watching."""
        self.place.on_commit = self.marked

    def marked(self, file: EventFileId) -> None:
        """A file was marked: its rows must be there, and those of all files before it."""
        self.loads[file] += 1
        self.must(self.loads[file] == 1, f"{file} was loaded {self.loads[file]} times")
        self.must(file in self.stored.listed, f"{file} was loaded, and no File List names it")
        self._check_not_ended(file)
        for order in self.stored.orders[file]:
            early = [other for other, stage in order.items() if stage > order[file] and other in self.loads]
            self.must(not early, f"{file} was loaded after {', '.join(map(str, early))}")
        _, records, columns = self.stored.files.get(file, NOT_STORED)
        self._check_rows(file, records)
        self._check_app(file, records)
        lacking = columns - self.place.columns[file.stream]
        self.must(not lacking, f"{file} is marked, and its columns {sorted(lacking)} are not there")

    def _check_not_ended(self, file: EventFileId) -> None:
        """Check that nothing is imported in a Movement that was stopped, or whose time was up, and that has ended."""
        marks = {marked: mark for marks in self.place.marks.values() for marked, mark in marks.items()}
        movement = self.stored.movements.get((self.flow, marks[file].movement))
        early = (Reason.STOPPED, Reason.NO_PROGRESS, Reason.TOO_OLD)
        ended = movement is not None and movement.because in early
        self.must(not ended, f"{file} was loaded in a Movement that was stopped or timed out, and has ended")

    def lives(self, own: Mapping[int, tuple[str, int]]) -> None:
        """Give the destination's app these rows of its own, in place of those it had."""
        self.own = dict(own)
        self.place.own.clear()
        self.place.own.update(own)

    def change_by_hand(self, wanted: Tables, random: Random) -> None:
        """Let a person change rows of the tables that the source has."""
        writer, names = Writer(self.place), sorted(wanted.keys() & self.place.tables.keys())
        for name in random.choices(names, k=3) if names else ():
            number = random.randrange(17)
            if random.random() < 0.4:
                writer.delete(name, number)
            else:
                writer.upsert(name, number, "changed by hand")
        self.rows = defaultdict(dict, copied(self.place.tables))
        self.lives(dict(self.place.own))

    def _check_app(self, file: EventFileId, records: Sequence[Record]) -> None:
        """Check that no row of the app's own is gone without a record.

        Without transactions nothing is checked: a file that is applied in part may have deleted rows before its mark.
        """
        gone = {(file.stream, number) for kind, number, _ in records if kind == "delete"}
        self.own = {number: referred for number, referred in self.own.items() if referred not in gone}
        lost = sorted(self.own.keys() - self.place.own.keys())
        self.must(
            not (lost and self.place.has_transactions), f"{file} is marked, and the app's own rows {lost} are gone"
        )

    def _check_rows(self, file: EventFileId, records: Sequence[Record]) -> None:
        rows, held = self.rows[file.stream], self.place.tables.get(file.stream, {})
        for kind, number, text in records:
            if kind == "delete":
                rows.pop(number, None)
            elif not text.startswith(REJECTED_PREFIXES):
                rows[number] = text
        numbers = rows.keys() | held.keys() if self.place.has_transactions else {number for _, number, _ in records}
        wrong = sorted(number for number in numbers if rows.get(number) != held.get(number))
        self.must(not wrong, f"{file} is marked, and the rows {wrong} are not as it and those before it say")

    def missing(self, entries: Sequence[FileEntry]) -> list[str]:
        """Return the files that are neither marked themselves nor by way of all the files that they replace."""
        marks = self.place.marked()
        return [
            str(entry.id)
            for entry in entries
            if entry.id not in marks and not (entry.replaces and marks.issuperset(entry.replaces))
        ]

    def check_equal(self, wanted: Tables, held: Collection[str] = ()) -> None:
        """Check that the place holds these tables.

        Rows that it rejects may differ. A table whose deletes are `held` may have more rows.
        """
        passed_over = refused(wanted)
        for name in sorted(wanted.keys() | self.place.tables.keys()):
            rows, here = wanted.get(name, {}), self.place.tables.get(name, {})
            kept = rows.keys() if name in held else rows.keys() | here.keys()
            numbers = {number for number in kept if (name, number) not in passed_over}
            wrong = sorted(number for number in numbers if rows.get(number) != here.get(number))
            what = f"the rows {wrong} of {name} are not at {self.place.location} as they are at the source"
            self.must(not wrong, what)


def rows_that_differ(one: Tables, other: Tables) -> Rows:
    """Return the table and number of each row that only one has, or that differs."""
    return {
        (name, number)
        for name in one.keys() | other.keys()
        for number in one.get(name, {}).keys() | other.get(name, {}).keys()
        if one.get(name, {}).get(number) != other.get(name, {}).get(number)
    }


def refused(tables: Tables) -> Rows:
    """Return the table and number of each row that the destination rejects."""
    rows = ((name, number, text) for name, table in tables.items() for number, text in table.items())
    return {(name, number) for name, number, text in rows if text.startswith(REJECTED_PREFIXES)}
