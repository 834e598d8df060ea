"""What must hold at one destination at every moment: checked in the step in which a file is marked there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId
from tests.fakes.destination import MemoryDestination
from tests.fakes.place import Record
from tests.fakes.rows import Tables
from tests.simulation.model.stored import Must, Stored
from tests.simulation.platform.plan import REJECTED_PREFIX


@dataclass
class Arrivals:
    """Watches one place. `rows` are those of all files marked there, each applied in turn to those before."""

    place: MemoryDestination
    stored: Stored
    must: Must
    loads: Counter[EventFileId] = field(default_factory=Counter)
    rows: Tables = field(default_factory=lambda: defaultdict(dict))

    def __post_init__(self) -> None:
        """Begin to watch."""
        self.place.on_commit = self.marked

    def marked(self, file: EventFileId) -> None:
        """A file was marked: its rows must be there, and those of all files before it."""
        self.loads[file] += 1
        self.must(self.loads[file] == 1, f"{file} was loaded {self.loads[file]} times")
        self.must(file in self.stored.listed, f"{file} was loaded, and no File List names it")
        for order in self.stored.orders[file]:
            early = [other for other, stage in order.items() if stage > order[file] and other in self.loads]
            self.must(not early, f"{file} was loaded after {', '.join(map(str, early))}")
        self._check_rows(file, self.stored.files.get(file, ("", []))[1])

    def _check_rows(self, file: EventFileId, records: Sequence[Record]) -> None:
        rows, held = self.rows[file.stream], self.place.tables.get(file.stream, {})
        for kind, number, text in records:
            if kind == "delete":
                rows.pop(number, None)
            elif not text.startswith(REJECTED_PREFIX):
                rows[number] = text
        numbers = rows.keys() | held.keys() if self.place.has_transactions else {number for _, number, _ in records}
        wrong = sorted(number for number in numbers if rows.get(number) != held.get(number))
        self.must(not wrong, f"{file} is marked, and the rows {wrong} are not as it and those before it say")

    def missing(self, entries: Sequence[FileEntry]) -> list[str]:
        """Return which of these files are not there, nor all that a compaction has folded into them."""
        marks = self.place.marked()
        return [
            str(entry.id)
            for entry in entries
            if entry.id not in marks and not (entry.replaces and marks.issuperset(entry.replaces))
        ]

    def check_equal(self, wanted: Tables, held: Collection[str] = ()) -> None:
        """The place must hold these tables, but for what it rejects, and more rows of those whose deletes are `held`."""
        passed_over = refused(wanted)
        for name in sorted(wanted.keys() | self.place.tables.keys()):
            rows, here = wanted.get(name, {}), self.place.tables.get(name, {})
            kept = rows.keys() if name in held else rows.keys() | here.keys()
            numbers = {number for number in kept if (name, number) not in passed_over}
            wrong = sorted(number for number in numbers if rows.get(number) != here.get(number))
            what = f"the rows {wrong} of {name} are not at {self.place.location} as they are at the source"
            self.must(not wrong, what)


def refused(tables: Tables) -> set[tuple[str, int]]:
    """Return the table and number of each row that the destination rejects."""
    rows = ((name, number, text) for name, table in tables.items() for number, text in table.items())
    return {(name, number) for name, number, text in rows if text.startswith(REJECTED_PREFIX)}
