"""The suite for an Importer: fixture streams of its own row types, and faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import pytest

from pipeline.domain.ids import StreamName
from pipeline.kit.dump.dumped_rows import scratch
from pipeline.kit.exporter import Exporter
from pipeline.kit.importer import Importer
from pipeline.testing.simulated.virtual_time import run_virtually
from pipeline.testing.suites.fixture_streams import FIXTURES, LARGE, States, parents, row, versions
from pipeline.testing.suites.moving import UndisturbedFlow
from pipeline.testing.suites.single_files import Action, Records
from pipeline.testing.suites.under_faults import check_under_faults, seeds_of
from pipeline.testing.torture.apps.generated_app import GeneratedApp, GeneratedStream, Values, streams_for
from pipeline.testing.torture.ends import Subject
from pipeline.testing.torture.loading import hooked
from pipeline.testing.torture.run import learned

Keys = Mapping[str, str | tuple[str, ...]]
UPSERT, DELETE = Action.UPSERT, Action.DELETE


def importer_suite(importer: Importer, *, keys: Keys | None = None) -> type:
    """Return a class of tests for an Importer, which needs `dump` and `scratch`.

    Every fixture stream is moved into a new app, and compared with what `dump` gives: each row must be there as it was, or
    be rejected with a reason. Then the Importer runs under faults, as `pipeline torture` does it. `keys` names the key
    fields of streams where neither their names nor what `dump` gives show them.
    """
    names = {stream: (key,) if isinstance(key, str) else tuple(key) for stream, key in (keys or {}).items()}
    subject = Subject(None, importer, names)

    @cache
    def known() -> Subject:
        subject.check()
        return learned(subject)

    class ImporterSuite:
        """Tests of one Importer."""

        def test_it_has_what_the_tests_need(self) -> None:
            """`dump` and `scratch` are declared, and each stream has a key."""
            subject.check()
            assert streams_for(importer, names, {})

        @pytest.mark.parametrize("name", FIXTURES)
        def test_fixture_stream(self, name: str, request: pytest.FixtureRequest) -> None:
            """Every row of a fixture stream arrives as it is, or is rejected with a reason."""
            if name in LARGE and not request.config.getoption("--large", default=False):
                pytest.skip("it takes long: add --large")
            states = {stream.name: made for stream in _streams(known()) if (made := FIXTURES[name](stream)) is not None}
            if not states:
                pytest.skip("no stream has a field for it")
            one = known()
            run_virtually(lambda: _check_states(one, states))

        def test_deletes_of_unknown_keys(self) -> None:
            """A delete of a row that was never there changes nothing."""
            one = known()  # it runs a loop of its own
            run_virtually(lambda: _check_records(one, lambda old, new, other: [(DELETE, other), (UPSERT, new)]))

        def test_a_key_twice_in_an_event_file(self) -> None:
            """Of two versions of a row in one Event File, the later one counts."""
            one = known()  # it runs a loop of its own
            run_virtually(lambda: _check_records(one, lambda old, new, other: [(UPSERT, old), (UPSERT, new)]))

        def test_a_delete_before_the_row(self) -> None:
            """A row that is deleted, and then comes in the same Event File, is there."""
            one = known()  # it runs a loop of its own
            run_virtually(lambda: _check_records(one, lambda old, new, other: [(DELETE, old), (UPSERT, new)]))

        def test_an_unchanged_movement_calls_nothing(self) -> None:
            """A second Movement of the same rows calls no function of the Importer."""
            one = known()  # it runs a loop of its own
            run_virtually(lambda: _check_unchanged(one))

        def test_it_survives_faults(self, request: pytest.FixtureRequest) -> None:
            """Killed, interrupted, asked twice: nothing is lost, and nothing is there twice."""
            check_under_faults(Subject(None, hooked(importer), names), seeds_of(request.config), importer)

    return ImporterSuite


def _streams(subject: Subject) -> Sequence[GeneratedStream]:
    assert subject.importer is not None
    return streams_for(subject.importer, subject.keys, subject.references)


def _flow(
    importer: Importer, exporter: Exporter, client: Any, target: Any, streams: Sequence[GeneratedStream]
) -> UndisturbedFlow:
    keys = {stream.name: stream.key for stream in streams}
    return UndisturbedFlow(exporter, client, importer, target, lambda name: keys.get(name, ("id",)))


async def _check_states(subject: Subject, states: Mapping[str, States]) -> None:
    importer, streams = subject.importer, _streams(subject)
    assert importer is not None
    by_name = {stream.name: stream for stream in streams}
    for name, changing in states.items():
        async with scratch(importer) as target:
            app = GeneratedApp(streams)
            flow = _flow(importer, app.exporter(_contract(importer)), app, target, streams)
            for parent in parents(by_name[name], by_name):
                app.put_rows(by_name[parent], [row(by_name[parent], 1)])
            for rows in changing:
                app.put_rows(by_name[name], rows)
                await flow.move_whole()
                await flow.check(app.rows())
                assert all(one.reason for one in await flow.rejections()), "a record is rejected without a reason"


def _contract(importer: Importer) -> str | None:
    return importer.accepts[0] if importer.accepts else None


async def _check_records(subject: Subject, records_of: Callable[[Values, Values, Values], Records]) -> None:
    """Load an Event File of each stream, which ends with the row 1 in its new version.

    `records_of` makes its records of the old and the new version of the row 1, and of the row 2, which is never there.
    """
    importer, streams = subject.importer, _streams(subject)
    assert importer is not None
    by_name = {stream.name: stream for stream in streams}
    for stream in streams:
        async with scratch(importer) as target:
            app = GeneratedApp(streams)
            for parent in parents(stream, by_name):
                app.put_rows(by_name[parent], [row(by_name[parent], 1)])
            flow = _flow(importer, app.exporter(_contract(importer)), app, target, streams)
            made = await flow.move_whole()
            old, new = versions(stream)
            await flow.load(StreamName(stream.name), made.number + 1, records_of(old, new, row(stream, 2)))
            app.put_rows(stream, [new])
            await flow.check(app.rows())


async def _check_unchanged(subject: Subject) -> None:
    importer, streams = subject.importer, _streams(subject)
    assert importer is not None
    async with scratch(importer) as target:
        app = GeneratedApp(streams)
        for stream in streams:
            app.put_rows(stream, [row(stream, number) for number in (1, 2)])
        flow = _flow(importer, app.exporter(_contract(importer)), app, target, streams)
        await flow.move_whole()
        waits = bool(await flow.rejections())  # those are tried again
        before = flow.calls
        movement = await flow.move_whole()
        assert movement.totals.files_exported == 0, "rows that have not changed were exported again"
        assert waits or flow.calls == before, "a function was called though nothing has changed"
