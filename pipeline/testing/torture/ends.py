"""The two ends of a run: the app that is read, and the app that is loaded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from anyio.lowlevel import checkpoint

from pipeline.domain.errors import ConfigurationError, UnreadableError
from pipeline.kit.authors_line import misuse
from pipeline.kit.calls import call, iterated, open_client, opened
from pipeline.kit.configuration.names import REQUIRES, SettingNames
from pipeline.kit.configuration.settings import read_settings
from pipeline.kit.declared import DeclaredStream, Delivery, Reading
from pipeline.kit.exporter import Exporter
from pipeline.kit.importer import Importer
from pipeline.kit.loading.levels import check_levels
from pipeline.testing.torture.apps.generated_app import GeneratedApp, streams_for
from pipeline.testing.torture.apps.plain_app import PlainApp, plain_importer

MOST_PAGES = 10_000
"""A list or a feed of an app for tests ends before that."""
Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class SourceEnd:
    """An app that is read: its Exporter, its client, how it changes, and all of its rows."""

    exporter: Exporter
    client: Any
    change: Callable[[Random, int], Awaitable[None]]
    rows: Callable[[], Awaitable[Rows]]


@dataclass(frozen=True)
class Subject:
    """What is tortured: an Exporter, an Importer, or both, one after the other.

    `keys` names the key fields of the streams of an Importer alone, where their names do not show them. `references` are
    fields that hold keys of other streams, as far as a run has shown them.
    """

    exporter: Exporter | None
    importer: Importer | None
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    references: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @asynccontextmanager
    async def open_source(self) -> AsyncIterator[SourceEnd]:
        """Open the app that is read: the Exporter's own for tests, or rows that fit the Importer."""
        if self.exporter is None:
            assert self.importer is not None
            app = GeneratedApp(streams_for(self.importer, self.keys, self.references))

            async def change(random: Random, changes: int) -> None:
                await checkpoint()
                app.change(random, changes)

            async def rows() -> Rows:
                await checkpoint()
                return app.rows()

            contract = self.importer.accepts[0] if self.importer.accepts else None
            yield SourceEnd(app.exporter(contract), app, change, rows)
            return
        exporter, changes_app = self.exporter, self.exporter.change_function
        async with _open_client(exporter) as client:

            async def change_app(random: Random, changes: int) -> None:
                await checkpoint()
                for _ in range(changes):
                    if changes_app is not None:
                        await changes_app(client, random)

            yield SourceEnd(exporter, client, change_app, lambda: all_rows(exporter, client))

    @asynccontextmanager
    async def open_target(self) -> AsyncIterator[tuple[Importer, Any]]:
        """Open the app that is loaded, new and empty."""
        if self.importer is None:
            yield plain_importer(), PlainApp()
            return
        scratch = self.importer.scratch_function
        assert scratch is not None  # checked before a run
        async with opened(scratch, scratch, "the app for tests") as target:
            yield self.importer, target

    def check(self) -> None:
        """ConfigurationError when the author has not declared what torture needs, or when the two do not fit."""
        if self.importer is not None:
            self._check_importer(self.importer)
        if self.exporter is not None:
            if not self.exporter.streams:
                raise misuse(self.exporter.line, "the Exporter has no stream", "Declare one")
            if self.exporter.scratch_function is None:
                _check_settings(self.exporter)

    def _check_importer(self, importer: Importer) -> None:
        names = [name for name in ("dump", "scratch") if getattr(importer, f"{name}_function") is None]
        if names:
            raise ConfigurationError(_missing(importer.line, "Importer", names, _IMPORTER))
        check_levels(importer, {REQUIRES: Delivery.AT_LEAST_ONCE.value})
        if self.exporter is None:
            streams_for(importer, self.keys, {})
        elif importer.accepts and self.exporter.contract not in importer.accepts:
            fault = f"the Importer accepts {' or '.join(importer.accepts)}, not the contract of {self.exporter.name!r}"
            raise misuse(importer.line, fault, f"Connect two that fit: see {self.exporter.line}")


@asynccontextmanager
async def _open_client(exporter: Exporter) -> AsyncIterator[Any]:
    """Open the app for tests, or the one that the settings in the environment name."""
    scratch = exporter.scratch_function
    if scratch is not None:
        async with opened(scratch, scratch, "the app for tests") as client:
            yield client
        return
    async with open_client(exporter.connection, _settings_of(exporter), exporter.name) as client:
        yield client


def _settings_of(exporter: Exporter) -> object | None:
    names = SettingNames("--source-set", "PIPELINE_SOURCE_")
    return read_settings(exporter.connection, {}, names, exporter.name).value


def _check_settings(exporter: Exporter) -> None:
    try:
        _settings_of(exporter)
    except ConfigurationError as error:
        missing = _missing(exporter.line, "Exporter", ("scratch", "change"), _EXPORTER)
        raise ConfigurationError(
            f"{missing}\n\nWithout `scratch`, the app is read that the environment names. {error}"
        ) from error


_IMPORTER = {
    "dump": """@importer.dump
async def dump(target: Client) -> AsyncIterator[tuple[str, Key, Mapping[str, object]]]:
    for item in await target.all_issues():          # everything that is at the app: stream, key, row
        yield "issues", item["id"], item""",
    "scratch": """@importer.scratch
async def scratch() -> AsyncIterator[Client]:
    yield Client(FakeServer())                      # a new, empty app, as `connect` would open it""",
}
_EXPORTER = {
    "scratch": """@exporter.scratch
async def scratch() -> AsyncIterator[Client]:
    yield Client(FakeServer())                      # a new app for tests, as `connect` would open it""",
    "change": """@exporter.change
async def change(client: Client, random: Random) -> None:
    await client.put(random.randrange(8), {"title": random.choice("abc")})   # insert, update or delete a row""",
}


def _missing(line: str, what: str, names: Sequence[str], examples: Mapping[str, str]) -> str:
    shown = "\n\n".join(examples[name] for name in names)
    return f"{line}: the {what} has no `{'` and no `'.join(names)}`, which torture needs. Declare it, for example:\n\n{shown}"


async def all_rows(exporter: Exporter, client: Any) -> Rows:
    """Return all rows that an Exporter gives when nothing goes wrong, by stream and key."""
    return {name: await stream_rows(exporter, stream, client) for name, stream in exporter.streams.items()}


async def stream_rows(exporter: Exporter, stream: DeclaredStream, client: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return all rows of a stream that an Exporter gives, by key."""
    names, what = [column.name for column in stream.row.columns], f"reading the stream {stream.name!r}"
    found: dict[tuple[Any, ...], dict[str, Any]] = {}

    def add(rows: Sequence[Any]) -> None:
        for row in rows:
            values = dict(zip(names, stream.row.read(row), strict=True))
            found[tuple([values[name] for name in stream.key])] = values

    pages = count(1)

    def count_page() -> None:
        if next(pages) == MOST_PAGES:
            raise UnreadableError(
                f"{stream.line}: {what} has not ended after {MOST_PAGES:,} answers. Check its cursors."
            )

    match stream.reading:
        case Reading.ROWS:
            async for row in iterated(stream.function, client, what=what):
                add([row])
        case Reading.PAGES:
            page = await call(stream.function, client, None, what=what)
            add(page.rows)
            while page.next:
                count_page()
                page = await call(stream.function, client, page.next, what=what)
                add(page.rows)
        case Reading.CHANGES:
            feed, since, more = exporter.feeds[stream.name], None, True
            while more:
                part = await call(feed.function, client, since, what=what)
                add(part.upserts)
                for key in part.deletes:
                    found.pop(key if isinstance(key, tuple) else (key,), None)
                since, more = part.cursor, part.more
                count_page()
    return found
