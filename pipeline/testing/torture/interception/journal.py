"""What an app has been asked to do in a run: by which process, when, for which rows, and with what result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from pipeline.kit.context import Import
from pipeline.kit.ledger.id_map import source_text
from pipeline.testing.simulated.process import Process

RowName = tuple[str, str]
"""A stream, and the key of a row in it as text."""


@dataclass(slots=True)
class AppCall:
    """A call that changes an app: the process that made it, and when it began and ended."""

    process: Process
    begun: float
    ended: float = float("inf")


@dataclass
class Journal:
    """Notes calls by rows. `ids` are the ids that an app has given to a row; `translated` those known by the id map, and
    `staged` the rows of each token.

    `looked_up` has, for a stream and a kind, the fields of its rows whose values alone have been looked up in the id map.
    """

    started: dict[str, float] = field(default_factory=dict)
    calls: dict[RowName, list[AppCall]] = field(default_factory=lambda: defaultdict(list))
    ids: dict[RowName, list[str]] = field(default_factory=lambda: defaultdict(list))
    translated: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    staged: dict[str, tuple[str, Sequence[object]]] = field(default_factory=dict)
    looked_up: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    @contextmanager
    def noted(self, process: Process, stream: str, keys: Sequence[object]) -> Iterator[None]:
        """Note a call for rows while it lasts."""
        call = AppCall(process, anyio.current_time())
        for key in keys:
            self.calls[stream, source_text(key)].append(call)
        try:
            yield
        finally:
            call.ended = anyio.current_time()

    def references(self) -> dict[str, dict[str, str]]:
        """Return the fields of each stream that hold keys of another one, with its name."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for (stream, kind), names in self.looked_up.items():
            found[stream] |= dict.fromkeys(names, kind)
        return found

    def made(self, stream: str, key: object, id_: object) -> None:
        """Note the id that an app has given to a row."""
        if isinstance(id_, str):
            self.ids[stream, source_text(key)].append(id_)
            self.translated[source_text(key)].add(id_)

    def raced(self, row: RowName) -> bool:
        """Whether two processes that were at work at the same time have both changed this row."""
        calls = self.calls[row]
        return any(
            earlier.process is not later.process and self.started[later.process.name] < earlier.ended
            for at, earlier in enumerate(calls)
            for later in calls[at + 1 :]
        )

    def context(self, ctx: Import, stream: str, *rows: object) -> Import:
        """Return a context that notes what is looked up in the id map for these rows."""
        values = [_values(row) for row in rows]
        return replace(ctx, ids=_NotedIds(ctx.ids, self, stream, values))  # type: ignore[type-var]  # it is a dataclass


@dataclass(frozen=True, slots=True)
class _NotedIds:
    """An id map that notes what it is asked, and what it answers."""

    ids: Any
    journal: Journal
    stream: str
    rows: Sequence[Mapping[str, object]]

    async def get(self, kind: str, source: object) -> str | None:
        self._asked(kind, source)
        return self._answered(source, await self.ids.get(kind, source))

    async def need(self, kind: str, source: object) -> str:
        self._asked(kind, source)
        found: str = await self.ids.need(kind, source)
        self._answered(source, found)
        return found

    async def put(self, kind: str, source: object, target: str) -> None:
        await self.ids.put(kind, source, target)
        self._answered(source, target)

    async def many(self, kind: str, sources: Sequence[object]) -> Mapping[object, str]:
        found: Mapping[object, str] = await self.ids.many(kind, sources)
        for source, target in found.items():
            self._answered(source, target)
        return found

    def _asked(self, kind: str, source: object) -> None:
        names = {name for row in self.rows for name, value in row.items() if value == source}
        looked_up = self.journal.looked_up
        looked_up[self.stream, kind] = looked_up.get((self.stream, kind), names) & names

    def _answered(self, source: object, target: str | None) -> str | None:
        if target is not None:
            self.journal.translated[source_text(source)].add(target)
        return target


def _values(row: object) -> Mapping[str, object]:
    if isinstance(row, Mapping):
        return row
    kinds = ("__dataclass_fields__", "__struct_fields__", "model_fields")
    return {name: getattr(row, name) for kind in kinds for name in getattr(type(row), kind, ())}
