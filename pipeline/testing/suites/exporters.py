"""The suite for an Exporter: what it gives arrives, once, and under faults."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import pytest

from pipeline.domain.ids import StreamName
from pipeline.kit.calls import call
from pipeline.kit.declared import Reading
from pipeline.kit.exporter import Exporter
from pipeline.kit.values import Page
from pipeline.testing.simulated.virtual_time import run_virtually
from pipeline.testing.suites.failed_requests import check_failed_requests
from pipeline.testing.suites.moving import UndisturbedFlow
from pipeline.testing.suites.under_faults import check_under_faults, seeds_of
from pipeline.testing.torture.apps.plain_app import PlainApp, plain_importer
from pipeline.testing.torture.ends import MOST_PAGES, SourceEnd, Subject, stream_rows
from pipeline.testing.torture.loading import hooked

CHANGES = 20
"""How often the app is changed before its rows are read, so that there are some."""
MOST_CHANGES = 100
"""After this number of changes the rows are others, whatever `change` chooses."""


def exporter_suite(exporter: Exporter) -> type:
    """Return a class of tests for an Exporter.

    It reads the app that `scratch` gives, which `change` changes; without `scratch`, the app that `connect` opens, with the
    settings in the environment. Its rows are moved into an app in memory, which must hold them all. A request that fails
    must be an error, and changes must be seen. Then it runs under faults, as `pipeline torture` does it.
    """
    subject = Subject(exporter, None)

    class ExporterSuite:
        """Tests of one Exporter."""

        def test_it_has_what_the_tests_need(self) -> None:
            """There is a stream, and an app to read."""
            subject.check()
            assert exporter.streams

        def test_cursors_lead_to_an_end(self) -> None:
            """Pages have cursors that are text, none of which comes twice."""
            run_virtually(lambda: _check_cursors(subject))

        def test_reading_again_gives_the_same(self) -> None:
            """While the app does not change, its rows are the same each time."""
            run_virtually(lambda: _check_again(subject))

        def test_everything_arrives(self) -> None:
            """All rows are in an app in memory after a Movement, and a second Movement moves nothing."""
            run_virtually(lambda: _check_arrival(subject))

        def test_changes_arrive(self) -> None:
            """What changes between Movements arrives with the next one."""
            _need(exporter.change_function, "change")
            run_virtually(lambda: _check_changes(subject))

        def test_changes_are_seen(self) -> None:
            """After changes, other rows are given: no function keeps those of an earlier Movement."""
            _need(exporter.change_function, "change")
            run_virtually(lambda: _check_seen(subject))

        def test_failed_requests_are_errors(self) -> None:
            """A request that fails is an error, and never a list that ends too early."""
            run_virtually(lambda: _check_failures(Subject(hooked(exporter), None)))

        def test_single_rows_are_those_of_the_list(self) -> None:
            """`fetch` gives the rows of the keys that it is asked for, as the list has them."""
            _need(exporter.fetches, "fetch")
            run_virtually(lambda: _check_fetch(subject))

        def test_estimates_are_counts(self) -> None:
            """`estimate` gives a number of rows."""
            _need(exporter.estimates, "estimate")
            run_virtually(lambda: _check_estimates(subject))

        def test_it_survives_faults(self, request: pytest.FixtureRequest) -> None:
            """Killed, interrupted, changed meanwhile: no row is lost, and none is deleted that is there."""
            check_under_faults(Subject(hooked(exporter), None), seeds_of(request.config), exporter)

    return ExporterSuite


def _need(declared: object, what: str) -> None:
    """Skip a test of what the Exporter has not declared."""
    if not declared:
        pytest.skip(f"the Exporter has no `{what}`")


@asynccontextmanager
async def _filled(subject: Subject) -> AsyncIterator[SourceEnd]:
    async with subject.open_source() as source:
        await source.change(Random(0), CHANGES)
        yield source


def _flow(source: SourceEnd) -> UndisturbedFlow:
    return UndisturbedFlow(source.exporter, source.client, plain_importer(), PlainApp(), lambda stream: ())


async def _check_cursors(subject: Subject) -> None:
    async with _filled(subject) as source:
        for stream in source.exporter.streams.values():
            after, seen = None, set[str]()
            while stream.reading is Reading.PAGES:
                page = await call(stream.function, source.client, after, what=f"reading {stream.name}")
                assert isinstance(page, Page)
                after = page.next
                if after is None:
                    break
                assert isinstance(after, str)
                assert after not in seen, f"the cursor {after!r} of {stream.name!r} comes twice"
                seen.add(after)
                assert len(seen) < MOST_PAGES


async def _check_again(subject: Subject) -> None:
    async with _filled(subject) as source:
        assert await source.rows() == await source.rows(), "the rows are others when they are read again"


async def _check_arrival(subject: Subject) -> None:
    async with _filled(subject) as source:
        flow = _flow(source)
        await flow.move_whole()
        await flow.check(await source.rows())
        movement = await flow.move_whole()
        assert movement.totals.files_exported == 0, "rows that have not changed were exported again"


async def _check_changes(subject: Subject) -> None:
    async with _filled(subject) as source:
        flow = _flow(source)
        await flow.move_whole()
        for seed in range(5):
            await source.change(Random(seed), 3)
            await flow.move_whole()
            if any(stream.shifting for stream in source.exporter.streams.values()):
                await flow.move_whole()  # a row is gone when two lists lack it
            await flow.check(await source.rows())


async def _check_seen(subject: Subject) -> None:
    async with _filled(subject) as source:
        before = await source.rows()
        for seed in range(MOST_CHANGES):
            await source.change(Random(seed), 1)
            if await source.rows() != before:
                return
    raise AssertionError(
        f"`change` has changed the app {MOST_CHANGES} times, and the Exporter gives the same rows. Read the app in each "
        "Movement: keep no rows in a module, or in what `scratch` gives. Or does `change` change what no stream has?"
    )


async def _check_failures(subject: Subject) -> None:
    async with _filled(subject) as source:
        exporter, client, rows = source.exporter, source.client, await source.rows()
        streams = {
            f"the stream {name!r}": partial(stream_rows, exporter, stream, client)
            for name, stream in exporter.streams.items()
        }
        fetches = {
            f"`fetch` of {name!r}": partial(_fetched, source, name, list(rows[name])[:10]) for name in exporter.fetches
        }
        await check_failed_requests({**streams, **fetches})


async def _check_fetch(subject: Subject) -> None:
    async with _filled(subject) as source:
        await source.rows()
        await source.change(Random(1), CHANGES)  # a list that is kept differs from now on
        rows = await source.rows()
        for name in source.exporter.fetches:
            keys = list(rows[name])[:10]
            assert await _fetched(source, name, keys) == {key: rows[name][key] for key in keys}


async def _fetched(source: SourceEnd, name: StreamName, keys: Sequence[Any]) -> dict[Any, dict[str, Any]]:
    """Return single rows of a stream by key."""
    stream, asked = source.exporter.streams[name], [key if len(key) > 1 else key[0] for key in keys]
    found = await call(source.exporter.fetches[name], source.client, asked, what=f"fetching {name}")
    names = [column.name for column in stream.row.columns]
    given = [dict(zip(names, stream.row.read(one), strict=True)) for one in found]
    return {tuple([one[part] for part in stream.key]): one for one in given}


async def _check_estimates(subject: Subject) -> None:
    async with _filled(subject) as source:
        for name, estimate in source.exporter.estimates.items():
            count = await call(estimate, source.client, what=f"estimating {name}")
            assert type(count) is int, f"the estimate of {name!r} is {count!r}, no number of rows"
            assert count >= 0
