"""The suites for authors hold for what is sound, and fail for planted mistakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, make_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pipeline.domain.errors import ConfigurationError, RefusedError, UnreadableError
from pipeline.kit import Batch, Exporter, Import, Importer, Json, Page, Refused, Upsert
from pipeline.kit.places.load import load
from pipeline.kit.places.reference import Kind, PluginReference
from pipeline.testing import exporter_suite, importer_suite
from pipeline.testing.suites.fixture_streams import FIXTURES, LARGE
from pipeline.testing.suites.under_faults import check_under_faults
from pipeline.testing.torture import run as torture_run
from pipeline.testing.torture.apps.generated_app import streams_for
from pipeline.testing.torture.ends import Subject
from pipeline.testing.torture.plan import plan_of
from tests.testing import planted, sound
from tests.testing.apps import Notes, Tables
from tests.testing.sound import Note

TestCreated = importer_suite(sound.created)
TestKeyed = importer_suite(sound.keyed)
TestTransacted = importer_suite(sound.transacted)
TestStaged = importer_suite(sound.staged)
TestListed = exporter_suite(sound.listed)
TestPaged = exporter_suite(sound.paged)
TestShifting = exporter_suite(sound.shifting)
TestFed = exporter_suite(sound.fed)


CSV_FOLDER = Path(__file__).parents[2] / "examples" / "csv_folder" / "csv_folder.py"


@dataclass
class Everything:
    """A row with a field of every type."""

    id: int
    parent_id: int | None
    count: int
    amount: Decimal
    ratio: float
    name: str | None
    content: bytes
    is_open: bool
    at: datetime
    day: date
    hour: time
    duration: timedelta
    uuid: UUID
    extra: Json


@dataclass
class Tag:
    """A row whose key is text."""

    name: str
    weight: int


Change = Callable[[dict[str, object]], dict[str, object]]


async def apply_rows(target: Tables, batch: Batch[Any], ctx: Import, change: Change = lambda row: row) -> None:
    """Apply records; `change` is what their author does to the rows."""
    for record in batch.records:
        if isinstance(record, Upsert):
            await target.put(ctx.stream, record.key, change(asdict(record.row)))
        else:
            await target.delete(ctx.stream, record.key)


def everything(change: Change = lambda row: row) -> Importer:
    """Return an Importer of rows of every type; `change` is what its author does to them."""
    importer = Importer("everything")

    @importer.scratch
    async def scratch() -> AsyncIterator[Tables]:
        yield Tables()

    @importer.dump
    async def dump(target: Tables) -> AsyncIterator[tuple[str, Any, Mapping[str, object]]]:
        async for one in target.dump():
            yield one

    async def apply(target: Tables, batch: Batch[Any], ctx: Import) -> None:
        await apply_rows(target, batch, ctx, change)

    importer.applies("things", row=Everything)(apply)
    importer.applies("tags", row=Tag)(apply)
    return importer


TestCsvFolder = importer_suite(load(PluginReference(Kind.FILE, str(CSV_FOLDER), "importer"), Importer))
TestEverything = importer_suite(everything(), keys={"tags": "name"})


def test_every_fixture_stream_fits_a_row_with_every_type() -> None:
    streams = [*streams_for(everything(), {"tags": ("name",)}, {}), *streams_for(sound.created, {}, {})]
    unused = [name for name in FIXTURES if all(FIXTURES[name](stream) is None for stream in streams)]
    assert (unused, len(FIXTURES)) == ([], 37)
    assert {"a_hundred_thousand_rows", "a_record_of_50_megabytes"} == LARGE


def _altered(kind: type, change: Callable[[Any], object]) -> Change:
    return lambda row: {name: change(value) if type(value) is kind else value for name, value in row.items()}


def _refused(kind: type, is_refused: Callable[[Any], bool]) -> Change:
    def check(row: dict[str, object]) -> dict[str, object]:
        if any(type(value) is kind and is_refused(value) for value in row.values()):
            raise Refused("the app takes no such value")
        return row

    return check


@pytest.mark.parametrize(
    ("fixture", "change"),
    [
        ("odd_text", _altered(str, str.strip)),
        ("text_with_nul", _altered(str, lambda text: text.replace("\0", ""))),
        ("keys_that_differ_by_case", _altered(str, str.lower)),
        ("integers_of_64_bits", _altered(int, lambda number: int(float(number)))),
        ("integers_wider_than_64_bits", _altered(Decimal, lambda number: Decimal(float(number)))),
        ("floats_at_their_limits", _altered(float, lambda number: number + 0.0)),
        ("floats_that_are_no_numbers", _altered(float, lambda number: number if number == number else None)),
        ("empty_text_beside_null", _altered(str, lambda text: text or None)),
        ("all_bytes", _altered(bytes, lambda content: content.rstrip(b"\0"))),
        ("moments_at_their_limits", _altered(datetime, lambda moment: moment.replace(microsecond=0))),
        ("durations", _altered(timedelta, abs)),
    ],
)
def test_a_value_that_is_altered_is_found(fixture: str, change: Change, request: pytest.FixtureRequest) -> None:
    suite = importer_suite(everything(change), keys={"tags": "name"})()
    with pytest.raises(AssertionError, match="in place of"):
        suite.test_fixture_stream(fixture, request)


def test_a_value_that_is_refused_with_a_reason_is_not_wrong(request: pytest.FixtureRequest) -> None:
    refuses = everything(_refused(str, lambda text: "\0" in text))
    importer_suite(refuses, keys={"tags": "name"})().test_fixture_stream("text_with_nul", request)


@pytest.mark.parametrize(
    ("importer", "fixture"),
    [
        (planted.appends, "a_row_that_changes"),
        (planted.keeps_deleted, "a_row_that_goes"),
        (planted.update_creates, "a_row_that_changes"),
    ],
)
def test_a_mistake_that_needs_no_fault_is_found_by_a_fixture_stream(
    importer: Importer, fixture: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(AssertionError, match=r"times: |has no such row|belongs to no row"):
        importer_suite(importer)().test_fixture_stream(fixture, request)


def test_a_handler_that_loses_a_record_of_a_large_batch_is_found(request: pytest.FixtureRequest) -> None:
    importer = Importer("large")
    importer.scratch(sound.tables)
    importer.dump(sound.dump_tables)

    @importer.applies("tags", row=Tag)
    async def apply(target: Tables, batch: Batch[Tag], ctx: Import) -> None:
        await apply_rows(target, Batch(batch.records[:400]), ctx)

    with pytest.raises(AssertionError, match="the source has this row, and the app does not"):
        importer_suite(importer, keys={"tags": "name"})().test_fixture_stream("many_rows", request)


async def _upserts_first(target: Tables, batch: Batch[Any], ctx: Import) -> None:
    for upsert in batch.upserts:
        await target.put(ctx.stream, upsert.key, asdict(upsert.row))
    for delete in batch.deletes:
        await target.delete(ctx.stream, delete.key)


async def _each_key_once(target: Tables, batch: Batch[Any], ctx: Import) -> None:
    first = {record.key: record for record in reversed(batch.records)}
    await apply_rows(target, Batch(list(first.values())), ctx)


async def _deletes_what_is_there(target: Tables, batch: Batch[Any], ctx: Import) -> None:
    for record in batch.records:
        if isinstance(record, Upsert):
            await apply_rows(target, Batch([record]), ctx)
        else:
            del target.rows[ctx.stream, record.key]


@pytest.mark.parametrize(
    ("handler", "test", "found"),
    [
        (_upserts_first, "test_a_delete_before_the_row", "the source has this row, and the app does not"),
        (_each_key_once, "test_a_key_twice_in_an_event_file", "in place of"),
        (_deletes_what_is_there, "test_deletes_of_unknown_keys", "KeyError"),
    ],
)
def test_an_order_of_records_that_no_exporter_gives_is_tried(handler: Any, test: str, found: str) -> None:
    importer = Importer("disorder")
    importer.scratch(sound.tables)
    importer.dump(sound.dump_tables)
    importer.applies("things", row=Everything)(handler)
    with pytest.raises((AssertionError, RefusedError), match=found):
        getattr(importer_suite(importer)(), test)()


@pytest.mark.parametrize("importer", [planted.no_find, planted.lost_records])
def test_a_mistake_of_an_importer_is_found_under_faults(
    importer: Importer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request.config.option, "torture_seeds", 300)
    with pytest.raises(pytest.fail.Exception, match=r"again: pipeline torture .*planted\.py:\w+ --seed \d+") as failed:
        importer_suite(importer)().test_it_survives_faults(request)
    assert "planted.py, line " in str(failed.value)


@pytest.mark.parametrize("exporter", [planted.cursor_first, planted.cursor_of_now])
def test_a_mistake_of_an_exporter_is_found_under_faults(
    exporter: Exporter, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request.config.option, "torture_seeds", 100)
    with pytest.raises(pytest.fail.Exception, match="BROKEN: notes"):
        exporter_suite(exporter)().test_it_survives_faults(request)


@pytest.mark.parametrize("exporter", [planted.partial_list, planted.partial_rows])
def test_an_error_that_ends_a_list_is_found_at_the_first_request_that_fails(exporter: Exporter) -> None:
    with pytest.raises(AssertionError, match=r"a request failed \(planted\.py, line \d+: await .*gave \d of \d rows"):
        exporter_suite(exporter)().test_failed_requests_are_errors()


def test_rows_that_are_kept_from_an_earlier_movement_are_found() -> None:
    kept, fetched = list[Note](), sound.notes_exporter("kept")

    async def notes(client: Notes) -> AsyncIterator[Note]:
        if not kept:
            kept.extend(Note(number, text) for number, text in client.texts.items())
        for one in kept:
            yield one

    fetched.rows("notes", row=Note, key="id")(notes)
    with pytest.raises(AssertionError, match="the Exporter gives the same rows"):
        exporter_suite(fetched)().test_changes_are_seen()
    fetched.fetch("notes")(sound.notes_by_ids)
    kept.clear()
    with pytest.raises(AssertionError):
        exporter_suite(fetched)().test_single_rows_are_those_of_the_list()


@pytest.mark.parametrize("key", [UUID(int=1), date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), Decimal("1.5")])
def test_keys_may_be_more_than_numbers_and_text(key: Any, request: pytest.FixtureRequest) -> None:
    keyed = make_dataclass("Keyed", [("id", type(key)), ("name", str)])
    exporter, importer = Exporter("keyed"), Importer("keyed")

    @exporter.scratch
    async def empty() -> AsyncIterator[None]:
        yield

    @exporter.rows("things", row=keyed, key="id")
    async def rows(client: None) -> AsyncIterator[Any]:
        yield keyed(key, "a")

    importer.scratch(sound.tables)
    importer.dump(sound.dump_tables)
    importer.applies("things", row=keyed)(apply_rows)
    exporter_suite(exporter)().test_everything_arrives()
    importer_suite(importer)().test_fixture_stream("one_row", request)
    assert torture_run.run_seed(torture_run.learned(Subject(exporter, importer)), 0).broken == ()


@pytest.mark.parametrize("following", ["again", ""])
def test_a_list_that_does_not_end_is_named(following: str) -> None:
    exporter = Exporter("endless")

    @exporter.scratch
    async def scratch() -> AsyncIterator[None]:
        yield None

    @exporter.pages("tags", row=Tag, key="name", order="stable")
    async def tags(client: None, after: str | None) -> Page[Tag]:
        return Page([Tag("a", 1)], next=following)

    suite = exporter_suite(exporter)()
    if not following:  # it is the last page
        suite.test_everything_arrives()
        return
    with pytest.raises(UnreadableError, match="has not ended after 10,000 answers"):
        suite.test_reading_again_gives_the_same()


def test_a_dump_that_gives_no_rows_is_told_with_its_line() -> None:
    importer = Importer("bad dump")
    importer.scratch(sound.tables)
    importer.applies("things", row=Everything)(apply_rows)

    @importer.dump
    async def dump(target: Tables) -> AsyncIterator[Any]:
        yield "things", 1

    (broken,) = torture_run.run_script(Subject(None, importer), plan_of(0), ()).broken
    assert "test_suites.py, line " in broken
    assert "the dump yields a tuple that is no tuple of three" in broken


def test_without_seeds_the_run_without_faults_is_left() -> None:
    check_under_faults(Subject(None, planted.no_find), range(0), planted.no_find)
    with pytest.raises(pytest.fail.Exception, match="shrunk to no faults"):
        check_under_faults(Subject(None, planted.appends), range(7, 7), planted.appends)


def test_a_suite_says_what_an_author_has_to_declare() -> None:
    with pytest.raises(ConfigurationError, match="the Importer has no `dump` and no `scratch`"):
        importer_suite(Importer("bare"))().test_it_has_what_the_tests_need()
