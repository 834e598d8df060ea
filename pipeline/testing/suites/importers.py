"""The suite for an Importer: fixture streams of its own row types, and faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from pipeline.kit.dump.dumped_rows import scratch
from pipeline.kit.exporter import Exporter
from pipeline.kit.importer import Importer
from pipeline.kit.values import Changes
from pipeline.testing.simulated.virtual_time import run_virtually
from pipeline.testing.suites.fixture_streams import FIXTURES, LARGE, States, parents, row, versions
from pipeline.testing.suites.moving import UndisturbedFlow
from pipeline.testing.suites.under_faults import check_under_faults, seeds_of
from pipeline.testing.torture.apps.generated_app import GeneratedApp, GeneratedStream, Values, streams_for
from pipeline.testing.torture.ends import Subject
from pipeline.testing.torture.loading import hooked
from pipeline.testing.torture.run import learned

Keys = Mapping[str, str | tuple[str, ...]]


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
            run_virtually(lambda: _check_feed(one, lambda stream: [([row(stream, 1)], [2]), ([], [3])]))

        def test_a_key_twice_in_a_part(self) -> None:
            """Of two versions of a row in one Event File, the later one counts."""
            one = known()  # it runs a loop of its own
            run_virtually(lambda: _check_feed(one, lambda stream: [(versions(stream), [])]))

        def test_a_delete_before_the_row(self) -> None:
            """A row that is deleted, and then comes, is there."""
            one = known()  # it runs a loop of its own
            run_virtually(lambda: _check_feed(one, lambda stream: [([], [1]), ([row(stream, 1)], [])]))

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


_Parts = Sequence[tuple[Sequence[Any], Sequence[Any]]]
"""Rows, and numbers of rows that are deleted."""


@dataclass
class _Feed:
    """A change feed that gives its parts one after the other, one in each Movement."""

    parts: _Parts
    given: int = 0
    rows: dict[tuple[Any, ...], Values] = field(default_factory=dict)


async def _check_feed(subject: Subject, parts_of: Callable[[GeneratedStream], _Parts]) -> None:
    importer, streams = subject.importer, _streams(subject)
    assert importer is not None
    for stream in streams:
        if stream.references or len(stream.key) > 1:
            continue
        async with scratch(importer) as target:
            feed = _Feed(parts_of(stream))
            flow = _flow(importer, _feed_exporter(stream, _contract(importer)), feed, target, streams)
            for given in range(1, len(feed.parts) + 1):
                feed.given = given
                await flow.move_whole()
            await flow.check({stream.name: _rows_of(feed, stream)})


def _feed_exporter(stream: GeneratedStream, contract: str | None) -> Exporter:
    exporter = Exporter("feed", contract=contract)
    columns = stream.columns

    async def changes(client: _Feed, since: str | None) -> Changes[Any]:
        at = int(since or 0)
        upserts, deletes = client.parts[at] if at < client.given else ((), ())
        rows = [stream.row.make(values) if columns is None else values for values in upserts]
        return Changes(rows, _keys(stream, deletes), cursor=str(max(at + 1, client.given)), more=at + 1 < client.given)

    kind = stream.row.type_ if columns is None else dict
    exporter.changes(stream.name, row=kind, key=stream.key, columns=columns)(changes)
    return exporter


def _keys(stream: GeneratedStream, numbers: Sequence[int]) -> list[Any]:
    return [row(stream, number)[stream.key[0]] for number in numbers]


def _rows_of(feed: _Feed, stream: GeneratedStream) -> dict[tuple[Any, ...], Values]:
    found: dict[tuple[Any, ...], Values] = {}
    for upserts, deletes in feed.parts:
        found |= {tuple([values[name] for name in stream.key]): values for values in upserts}
        for key in _keys(stream, deletes):
            found.pop((key,), None)
    return found


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
