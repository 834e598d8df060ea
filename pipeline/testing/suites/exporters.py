"""The suite for an Exporter: what it gives arrives, once, and under faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from pipeline.kit.calls import call
from pipeline.kit.declared import Reading
from pipeline.kit.exporter import Exporter
from pipeline.kit.values import Page
from pipeline.testing.simulated.virtual_time import run_virtually
from pipeline.testing.suites.moving import UndisturbedFlow
from pipeline.testing.suites.under_faults import check_under_faults, seeds_of
from pipeline.testing.torture.apps.plain_app import PlainApp, plain_importer
from pipeline.testing.torture.ends import MOST_PAGES, SourceEnd, Subject
from pipeline.testing.torture.loading import hooked

CHANGES = 20
"""How often the app is changed before its rows are read, so that there are some."""


def exporter_suite(exporter: Exporter) -> type:
    """Return a class of tests for an Exporter.

    It reads the app that `scratch` gives, which `change` changes; without `scratch`, the app that `connect` opens, with the
    settings in the environment. Its rows are moved into an app in memory, which must hold them all; then it runs under
    faults, as `pipeline torture` does it.
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
            if exporter.change_function is None:
                pytest.skip("the Exporter has no `change`")
            run_virtually(lambda: _check_changes(subject))

        def test_single_rows_are_those_of_the_list(self) -> None:
            """`fetch` gives the rows of the keys that it is asked for, as the list has them."""
            if not exporter.fetches:
                pytest.skip("the Exporter has no `fetch`")
            run_virtually(lambda: _check_fetch(subject))

        def test_estimates_are_counts(self) -> None:
            """`estimate` gives a number of rows."""
            if not exporter.estimates:
                pytest.skip("the Exporter has no `estimate`")
            run_virtually(lambda: _check_estimates(subject))

        def test_it_survives_faults(self, request: pytest.FixtureRequest) -> None:
            """Killed, interrupted, changed meanwhile: no row is lost, and none is deleted that is there."""
            check_under_faults(Subject(hooked(exporter), None), seeds_of(request.config), exporter)

    return ExporterSuite


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


async def _check_fetch(subject: Subject) -> None:
    async with _filled(subject) as source:
        rows = await source.rows()
        for name, fetch in source.exporter.fetches.items():
            stream = source.exporter.streams[name]
            keys = list(rows[name])[:10]
            asked = [key if len(key) > 1 else key[0] for key in keys]
            found = await call(fetch, source.client, asked, what=f"fetching {name}")
            names = [column.name for column in stream.row.columns]
            given = [dict(zip(names, stream.row.read(one), strict=True)) for one in found]
            assert {tuple([one[part] for part in stream.key]): one for one in given} == {
                key: rows[name][key] for key in keys
            }


async def _check_estimates(subject: Subject) -> None:
    async with _filled(subject) as source:
        for name, estimate in source.exporter.estimates.items():
            count = await call(estimate, source.client, what=f"estimating {name}")
            assert type(count) is int, f"the estimate of {name!r} is {count!r}, no number of rows"
            assert count >= 0
