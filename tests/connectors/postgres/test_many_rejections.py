"""Thousands of rejected records cost a few statements a block, and have the reason that each would have alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
import pytest

from pipeline.connectors.postgres import PostgresDestination
from pipeline.ports.destination import Loaded
from tests.connectors.postgres.loading import FLOW, file, schema, upsert
from tests.connectors.postgres.owners import owned_place
from tests.connectors.postgres.places import Place
from tests.servers.postgresql import PostgresqlServer

COLUMNS = {"id": "integer", "code": "text", "n": "integer"}
TABLE = "CREATE TABLE item (id bigint PRIMARY KEY, code text, n bigint)"
ROWS = 1200


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Note the statements that are sent."""
    sent: list[object] = []
    execute = psycopg.Connection.execute

    def noting(self: psycopg.Connection, query: bytes, *arguments: object, **options: object) -> object:
        sent.append(query)
        return execute(self, query, *arguments, **options)  # type: ignore[call-overload]  # as they came

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Connection, "execute", noting)
        yield sent


Row = Mapping[str, object]
KINDS: Sequence[tuple[str, Row, str]] = [
    ("ALTER TABLE item ADD CHECK (n < 5000)", {"n": 5001}, "violates check constraint"),
    ("ALTER TABLE item ALTER code SET NOT NULL", {"code": None}, "violates not-null constraint"),
    ("ALTER TABLE item ALTER code TYPE varchar(5)", {"code": "too long"}, "value too long for type"),
    ("ALTER TABLE item ALTER n TYPE int2", {"n": 40_000}, "out of range for type smallint"),
    ("INSERT INTO item VALUES (-1, 'other')", {"code": "other"}, "violates unique constraint"),
    ("INSERT INTO item VALUES (-1, 'Other')", {"code": "OTHER"}, "violates unique constraint"),
    ("ALTER TABLE item ADD UNIQUE (n); INSERT INTO item VALUES (-1, '', -1)", {"n": -1}, "violates unique constraint"),
    (
        "ALTER TABLE item ADD EXCLUDE (n WITH =) WHERE (n < 0); INSERT INTO item VALUES (-1, '', -1)",
        {"n": -1},
        "violates exclusion constraint",
    ),
    (
        "CREATE TABLE parent (n bigint PRIMARY KEY); INSERT INTO parent SELECT generate_series(0, 2000);"
        "ALTER TABLE item ADD FOREIGN KEY (n) REFERENCES parent",
        {"n": 9999},
        "violates foreign key constraint",
    ),
    ("SELECT 1", {"code": "a\0b"}, "U+0000"),
]
UNIQUE = "CREATE UNIQUE INDEX ON item (lower(code)) WHERE id <> 0"


@pytest.mark.parametrize(("statements", "bad", "words"), KINDS)
@pytest.mark.parametrize("full", [True, False])
async def test_the_statements_do_not_grow_with_the_rejected_records(
    postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch, full: bool, statements: str, bad: Row, words: str
) -> None:
    counts = []
    for every in (100, 3):
        rows: list[dict[str, object]] = [{"id": n, "code": f"c{n}", "n": n} for n in range(ROWS)]
        for row in rows[every - 1 :: every]:
            row.update(bad)
        with owned_place(postgresql) as (_, place):
            place.run(TABLE, UNIQUE, statements)
            async with PostgresDestination(place.uri).open(FLOW) as session:
                lines = [upsert(**row) for row in rows]
                with counted(monkeypatch) as sent:
                    outcome = await session.load(file(schema(COLUMNS), lines, full=full), after=[])
                    left = await session.retry_rejected()
            ids = {number for (number,) in place.rows("SELECT id FROM item WHERE id >= 0")}
        assert isinstance(outcome, Loaded)
        assert [rejection.line for rejection in outcome.rejections] == list(range(every + 1, ROWS + 2, every))
        assert len(left) == len(outcome.rejections) == outcome.mark.rejected
        assert all(words in rejection.reason for rejection in left)
        assert ids == {*range(ROWS)} - {*range(every - 1, ROWS, every)}
        counts.append(len(sent))
    few, many = counts
    assert many <= few + 5


TYPES = {
    "a": ("integer", 1, "x"),
    "b": ("numeric(4,1)", "1.5", "12345"),
    "c": ("date", "2024-01-31", "2024-02-30"),
    "d": ("uuid", "6f1ed002-ab59-4b8a-a1c2-5e4f3a2b1c0d", "6f1e"),
    "e": ("interval", "1 day", "1 lightyear"),
    "f": ("int[]", "{1,2}", "{1,x}"),
    "g": ("mood", "fine", "odd"),
    "h": ("small", 7, 70),
    "i": ("inet", "10.0.0.1", "10.0.0.256"),
    "j": ("point", "(1,2)", "(1;2)"),
    "k": ("int4range", "[1,3)", "[3,1)"),
    "l": ("pair", "(1,2)", "(1,2,3)"),
    "m": ("bit(3)", "101", "10"),
    "n": ("timestamp", "2024-01-31 10:00", "2024-02-30 10:00"),
    "o": ("time", "10:00", "25:00"),
}


async def test_values_that_a_type_does_not_have_have_the_reason_that_a_copy_gives(place: Place) -> None:
    columns = ", ".join(f"{name} {type_}" for name, (type_, _, _) in TYPES.items())
    place.run(
        "CREATE TYPE mood AS ENUM ('fine')",
        "CREATE DOMAIN small AS smallint NOT NULL CHECK (VALUE < 10)",
        "CREATE TYPE pair AS (a int, b int)",
        f"CREATE TABLE item (id bigint PRIMARY KEY, {columns})",
    )
    good = {name: value for name, (_, value, _) in TYPES.items()}
    bad = {name: value for name, (_, _, value) in TYPES.items()}
    rows: list[dict[str, object]] = [{**good, name: bad[name]} for name in TYPES]
    rows += [{**good, "h": None}, {**good, "d": bad["d"], "f": bad["f"]}, good]
    stream = schema({"id": "integer", **dict.fromkeys(TYPES, "text")})
    async with PostgresDestination(place.uri).open(FLOW) as session:
        many = await session.load(file(stream, [upsert(id=n, **row) for n, row in enumerate(rows)]), after=[])
        alone = [
            await session.load(file(stream, [upsert(id=100 + n, **row)], 1 + n), after=[]) for n, row in enumerate(rows)
        ]
    assert isinstance(many, Loaded)
    found = [(it.reason, it.column) for it in sorted(many.rejections, key=lambda it: it.line)]
    assert found == [(it.reason, it.column) for one in alone if isinstance(one, Loaded) for it in one.rejections]
    assert [column for _, column in found] == [name if name != "b" else None for name in (*TYPES, "h", "d")]
    assert place.rows("SELECT id FROM item ORDER BY id") == [(len(TYPES) + 2,), (100 + len(TYPES) + 2,)]


async def test_rows_may_exchange_unique_values_beside_others_that_are_rejected(place: Place) -> None:
    """A chain of rows takes values one from the next; the last of one chain wants a value that another row keeps."""
    place.run(f"{TABLE}; CREATE UNIQUE INDEX ON item (code); ALTER TABLE item ADD CHECK (n < 10)")
    place.run("INSERT INTO item SELECT n, 'c' || n, 1 FROM generate_series(1, 9) AS n")
    codes = {1: "c2", 2: "c1", 3: "c4", 4: "c5", 5: "c9", 6: "c7", 7: "new"}
    lines = [upsert(id=n, code=code, n=2) for n, code in codes.items()] + [upsert(id=8, code="c8", n=11)]
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file(schema(COLUMNS), lines), after=[])
    assert isinstance(outcome, Loaded)
    assert [rejection.key for rejection in outcome.rejections] == ["[8]", "[3]", "[4]", "[5]"]
    assert place.rows("SELECT id, code FROM item WHERE n = 2 ORDER BY id") == [
        (1, "c2"), (2, "c1"), (6, "c7"), (7, "new"),
    ]  # fmt: skip


async def test_rows_without_a_key_are_found_among_those_that_are_there(place: Place) -> None:
    native = {
        "postgresql": {
            "schema": "public", "table": "item", "columns": [{"name": "n", "type": "bigint"}],
            "row_key": {"row": "$row", "dup": "$dup", "digest": "md5(n::text)"},
        }
    }  # fmt: skip
    place.run("CREATE TABLE item (n bigint CHECK (n > 0))", "INSERT INTO item VALUES (1), (2)")
    stream = schema({"$row": "text", "$dup": "integer", "n": "integer"}, "$row", "$dup", native=native)
    digests = {row[0]: row[1] for row in place.rows("SELECT n, md5(n::text) FROM generate_series(-3, 5) AS n")}
    lines = [upsert(**{"$row": digests[n], "$dup": 0, "n": n}) for n in (1, -1, 3, -2, 2, 4, -3)]
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file(stream, lines), after=[])
    assert isinstance(outcome, Loaded)
    assert [rejection.line for rejection in outcome.rejections] == [3, 5, 8]
    assert place.rows("SELECT n FROM item ORDER BY n") == [(1,), (2,), (3,), (4,)]
