"""Faults planted in how a destination writes rows: what its app has is changed, and no record says so."""

from __future__ import annotations

from pipeline.domain.ids import Phase
from pipeline.ports.destination import FileToLoad
from tests.fakes.place import Writer
from tests.simulation.planted_faults.worlds import with_releases, with_triggers
from tests.simulation.scenarios.planting import in_writers


@in_writers(range(100))
class ReplacesARowByDeletingIt(Writer):
    def upsert(self, stream: str, number: int, text: str) -> str | None:
        self.delete(stream, number)
        return super().upsert(stream, number, text)


@in_writers(range(150), world=with_triggers)
class OverlooksThatATriggerDropsARow(Writer):
    def upsert(self, stream: str, number: int, text: str) -> str | None:
        return None if self.at.trigger(text) is None else super().upsert(stream, number, text)


@in_writers(range(50), world=with_triggers)
class KeepsWhatATriggerHasAltered(Writer):
    def upsert(self, stream: str, number: int, text: str) -> str | None:
        return super().upsert(stream, number, self.at.trigger(text) or text)


@in_writers(range(50), world=with_triggers)
class SwitchesTriggersOff(Writer):
    """The app relies on its triggers: the row that they would drop is there."""

    def upsert(self, stream: str, number: int, text: str) -> str | None:
        if reason := self.at.rejects(number, text):
            return reason
        self.at.tables[stream][number] = text
        return None


@in_writers(range(50))
class EmptiesATableBeforeASnapshot(Writer):
    def prepare(self, file: FileToLoad) -> None:
        super().prepare(file)
        if file.entry.id.phase is Phase.FULL:
            for number in list(self.at.tables.get(file.entry.id.stream, ())):
                self.delete(file.entry.id.stream, number)


@in_writers(range(100), world=with_releases)
class CreatesATableAgainForANewColumn(Writer):
    def prepare(self, file: FileToLoad) -> None:
        stream = file.entry.id.stream
        if not self.at.columns[stream].issuperset(file.header.schema.column_names):
            self.at.tables[stream] = {}
        super().prepare(file)


@in_writers(range(100), world=with_releases)
class AddsNoColumns(Writer):
    def prepare(self, file: FileToLoad) -> None:
        if not self.at.columns[file.entry.id.stream]:
            super().prepare(file)
