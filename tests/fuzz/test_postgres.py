"""Altered Event Files, imported by the engine into PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.connectors.postgres.loading.destination import PostgresDestination
from tests.connectors.postgres.places import Place, place_factory
from tests.fuzz import samples
from tests.fuzz.holding import fuzz
from tests.fuzz.hostile import altered_json, dump, nested
from tests.fuzz.importing import Outcome, Stored, import_altered
from tests.servers.postgresql import PostgresqlServer

OTHERS = ("information_schema", "pg_catalog", "pg_toast", "kept")


@pytest.fixture(scope="module")
def place(postgresql: PostgresqlServer) -> Place:
    """A database that is not empty."""
    place = place_factory(postgresql)()
    place.run(
        "CREATE SCHEMA kept", "CREATE TABLE kept.sentinel (id integer)", "INSERT INTO kept.sentinel VALUES (1), (2)"
    )
    return place


def empty(place: Place) -> None:
    """Drop everything that was added."""
    schemas = place.rows(
        "SELECT nspname FROM pg_namespace WHERE nspname <> ALL(%s) AND nspname !~ '^pg_'", [list(OTHERS)]
    )
    place.run(*[f'DROP SCHEMA "{name}" CASCADE' for (name,) in schemas], "CREATE SCHEMA public")


def import_into(place: Place, lines: list[Any]) -> Outcome:
    """Import a file of these lines into the restored database, and check that nothing else changes."""
    empty(place)
    data = b"".join(dump(line) + b"\n" for line in lines)
    outcome = import_altered(lambda: PostgresDestination(place.uri), [Stored.honest(samples.FILE, "plain", data)])
    assert place.rows("SELECT count(*) FROM kept.sentinel") == [(2,)]
    tables = place.rows("SELECT 1 FROM pg_class WHERE relname = 't' AND relnamespace = 'public'::regnamespace")
    rows = place.rows("SELECT count(*) FROM public.t")[0][0] if tables else 0
    if not outcome.marks:
        assert outcome.error is not None or outcome.failed
        assert rows == 0
    else:
        (mark,) = outcome.marks.values()
        assert isinstance(rows, int)
        assert rows <= mark.upserts
    return outcome


@fuzz(0.15)
@given(st.lists(st.sampled_from(samples.RECORDS).flatmap(altered_json) | st.sampled_from(samples.RECORDS), max_size=6))
def test_altered_records_are_loaded_or_rejected(place: Place, records: list[Any]) -> None:
    import_into(place, [samples.EVENT_FILE[0] | {"rowCount": len(records)}, *records])


@fuzz(0.15)
@given(altered_json(samples.EVENT_FILE[0]))
def test_a_false_header_is_refused_or_creates_its_table(place: Place, header: Any) -> None:
    import_into(place, [header, *samples.RECORDS])


def test_a_record_nested_too_deeply_to_be_written_again_is_rejected(place: Place) -> None:
    records = [{"upsert": {"id": nested(300)}}, {"upsert": {"id": 7, "data": nested(300, 1)}}, samples.RECORDS[0]]
    outcome = import_into(place, [samples.EVENT_FILE[0] | {"rowCount": 3}, *records])
    (mark,) = outcome.marks.values()
    assert (mark.upserts, mark.rejected) == (1, 2)


@fuzz(0.15)
@given(altered_json(samples.CONSTRAINTS))
def test_constraints_in_a_header_affect_no_other_table(place: Place, constraints: Any) -> None:
    import_into(place, [samples.EVENT_FILE[0] | {"native": {"another": {"promises": constraints}}}, *samples.RECORDS])
