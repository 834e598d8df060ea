"""What a destination must hold at the end of a run, by the delivery levels of its handlers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from pipeline.kit.declared import Delivery, Handler
from pipeline.kit.importer import Importer
from pipeline.kit.ledger.id_map import source_text
from pipeline.ports.destination import Rejection
from pipeline.testing.torture.interception.journal import Journal
from pipeline.testing.torture.meaning import differing

Rows = Mapping[str, Mapping[tuple[object, ...], Mapping[str, object]]]
"""Rows by stream and key."""
Dumped = Sequence[tuple[str, object, Mapping[str, object]]]
"""What an Importer's `dump` gives: stream, key and row of each object."""


Objects = Sequence[tuple[object, Mapping[str, object]]]
"""The keys and rows of the objects of a stream."""
CREATING = (Delivery.FOUND, Delivery.AT_LEAST_ONCE)
"""The levels of handlers that create objects, whose ids are the app's own."""
NAMELESS = "\0"
"""The beginning of what stands for the key of an object that belongs to no row."""


def keys_of(dumped: Dumped) -> dict[str, tuple[str, ...]]:
    """Return the names of the key fields of each stream, where what was dumped shows them: values that are parts of the key."""
    found: dict[str, list[list[str]]] = {}
    for stream, key, row in dumped:
        parts = key if isinstance(key, tuple) else (key,)
        now = [[name for name, value in row.items() if type(value) is type(part) and value == part] for part in parts]
        before = found.get(stream, now)
        found[stream] = [[name for name in old if name in new] for old, new in zip(before, now, strict=False)]
    return {
        stream: names
        for stream, parts in found.items()
        if (names := tuple(dict.fromkeys(part[0] for part in parts if part))) and len(names) == len(parts)
    }


def key_text(rejection: Rejection) -> str:
    """Return the key of a rejected record as the id map has it."""
    key = orjson.loads(rejection.key)
    return source_text(tuple(key) if len(key) > 1 else key[0])


@dataclass
class Verdict:
    """What is wrong, and what its delivery level allows: second objects, and races of two workers."""

    broken: list[str] = field(default_factory=list)
    duplicates: int = 0
    races: int = 0


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is wrong with the row of a key, and whether it is about an object beside the row's own."""

    key: str
    text: str
    is_second: bool = False


@dataclass(frozen=True, slots=True)
class Oracle:
    """Compares what an app holds with what it must hold. Rows in `rejected`, by stream and key as text, are left out."""

    importer: Importer
    journal: Journal
    rejected: frozenset[tuple[str, str]]

    def judge(self, expected: Rows, dumped: Dumped) -> Verdict:
        """Return what is wrong with what was dumped."""
        verdict, found = Verdict(), defaultdict[str, list[tuple[object, Mapping[str, object]]]](list)
        for stream, key, row in dumped:
            found[stream].append((key, row))
        for stream in sorted({*expected, *found}):
            handler = self.importer.handler_of(stream)
            if handler is not None:
                self._judge_stream(handler, stream, expected.get(stream, {}), found[stream], verdict)
        return verdict

    def _judge_stream(
        self,
        handler: Handler,
        stream: str,
        expected: Mapping[tuple[object, ...], Mapping[str, object]],
        found: Objects,
        verdict: Verdict,
    ) -> None:
        """Judge the objects of one stream. An app of `creates` has ids of its own; its `dump` may give the source's instead."""
        rows = {source_text(key if len(key) > 1 else key[0]): row for key, row in expected.items()}
        readings: list[Callable[[str], str]] = [lambda text: text]
        if handler.delivery in CREATING:
            owners = self._owners(stream)
            readings.append(lambda text: owners.get(text, f"{NAMELESS}{text}"))
        faults = [self._faults_of(stream, rows, found, owner) for owner in readings]
        for fault in min(faults, key=len):
            self._count(handler, stream, fault, verdict)

    def _faults_of(
        self, stream: str, rows: Mapping[str, Mapping[str, object]], found: Objects, owner: Callable[[str], str]
    ) -> list[_Fault]:
        """Return what is wrong. `owner` says to which row an object with a key belongs."""
        objects = defaultdict[str, list[tuple[object, Mapping[str, object]]]](list)
        for key, row in found:
            objects[owner(source_text(key if not isinstance(key, tuple) or len(key) > 1 else key[0]))].append(
                (key, row)
            )
        return [
            fault
            for text in sorted({*rows, *objects})
            if (stream, text) not in self.rejected
            and (fault := self._fault(stream, text, rows.get(text), objects.get(text, [])))
        ]

    def _owners(self, stream: str) -> Mapping[str, str]:
        """Return the keys of the rows for which the app has made objects, by the ids of those."""
        return {id_: key for (name, key), ids in self.journal.ids.items() if name == stream for id_ in ids}

    def _fault(self, stream: str, key: str, row: Mapping[str, object] | None, objects: Objects) -> _Fault | None:
        shown = " and ".join(repr(key) for key, _ in objects)
        if key.startswith(NAMELESS):
            text = f"{stream}: the app has the object {objects[0][0]!r}, which belongs to no row: {dict(objects[0][1])}"
            return _Fault(key, text, is_second=True)
        if row is None:
            text = f"{stream} {key}: the source has no such row, and the app still has {shown}"
            return _Fault(key, text, is_second=self._are_seconds(stream, key, objects))
        if not objects:
            return _Fault(key, f"{stream} {key}: the source has this row, and the app does not")
        if len(objects) > 1:
            return _Fault(key, f"{stream} {key}: the app has it {len(objects)} times: {shown}", is_second=True)
        wrong = differing(row, objects[0][1], self.journal.translated)
        return _Fault(key, f"{stream} {key}: {wrong}") if wrong else None

    def _are_seconds(self, stream: str, key: str, objects: Objects) -> bool:
        """Whether these objects of a row were made beside the last one, which is the one that the id map knows."""
        made = self.journal.ids.get((stream, key), [])
        left = {source_text(key) for key, _ in objects}
        return made[-1] not in left if left <= {*made} else len(objects) < len({*made})

    def _count(self, handler: Handler, stream: str, fault: _Fault, verdict: Verdict) -> None:
        if handler.delivery is Delivery.AT_LEAST_ONCE and fault.is_second:
            verdict.duplicates += 1
        elif self._may_race(handler, fault.is_second) and self._raced((stream, fault.key)):
            verdict.races += 1
        else:
            verdict.broken.append(fault.text)

    def _raced(self, row: tuple[str, str]) -> bool:
        """Whether two workers at once have changed this row; of an object without a row, whether any of the stream."""
        if not row[1].startswith(NAMELESS):
            return self.journal.raced(row)
        return any(self.journal.raced(other) for other in list(self.journal.calls) if other[0] == row[0])

    def _may_race(self, handler: Handler, is_second: bool) -> bool:
        """Whether two workers at once may do harm: no transaction and no key holds one of them back."""
        if handler.delivery is Delivery.TRANSACTION:
            return False
        return not is_second or handler.delivery is not Delivery.FOUND or handler.find is not None
