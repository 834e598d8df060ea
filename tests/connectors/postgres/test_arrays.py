"""Upserts that are arrays of values load as the same upserts with names do, whatever the values are."""

from __future__ import annotations

import random
from collections.abc import Sequence

import orjson
import pytest

from pipeline.connectors.postgres import PostgresDestination
from pipeline.connectors.postgres.loading.csv_lines import Lines
from pipeline.connectors.postgres.loading.csv_values import Holds, LineColumn, array_values
from pipeline.domain.errors import DamagedError
from pipeline.ports.destination import Loaded
from tests.connectors.postgres.loading import FLOW, as_arrays, delete, file, schema, upsert
from tests.connectors.postgres.places import Place, place_factory
from tests.servers.postgresql import PostgresqlServer

COLUMNS = {"id": "integer", "t": "text", "n": "real", "d": "bytes", "u": "text"}
TEXTS = [
    *(
        "",
        "null",
        "[1]",
        ",[",
        "{}",
        ',{"',
        '"upsert"',
        ']}\n{"upsert":[',
        "\\",
        "\\.",
        '"',
        "a\r\n\tb",
        " ",
        ", ",
        "日\u2028",
    ),
    *("\x01\x1f", "\x7f", "a,b", '{"$float":"nan"}', "\b\f/"),
]
OTHERS: list[tuple[object, object]] = [(None, None), (1.5, {"$bytes": "AAEC"}), ({"$float": "-inf"}, {"$bytes": ""})]


@pytest.fixture(scope="module")
def place(postgresql: PostgresqlServer) -> Place:
    return place_factory(postgresql)()


def rows_of(place: Place, table: str) -> list[tuple[object, ...]]:
    return place.rows(f'SELECT * FROM "{table}" ORDER BY id')


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("others", [OTHERS[:1], OTHERS])
async def test_arrays_load_what_names_load(place: Place, full: bool, others: Sequence[tuple[object, object]]) -> None:
    loaded = []
    for form in ("names", "arrays"):
        stream = schema(COLUMNS, stream=f"{form}_{full}_{len(others)}")
        choice = random.Random(1).choice
        values = [(*choice(others), text, choice([*TEXTS, None])) for text in TEXTS for _ in range(3)]
        lines = [upsert(id=at, t=t, n=n, d=d, u=u) for at, (n, d, t, u) in enumerate(values)]
        lines += [] if full else [delete(id=3), upsert(id=4, t="later", n=None, d=None, u=None)]
        stored = lines if form == "names" else as_arrays(stream, lines)
        async with PostgresDestination(place.uri).open(FLOW) as session:
            outcome = await session.load(file(stream, stored, full=full), after=[])
        assert isinstance(outcome, Loaded)
        assert outcome.rejections == ()
        loaded.append(rows_of(place, stream.stream))
    assert loaded[0] == loaded[1]
    assert len(loaded[0]) == 3 * len(TEXTS) - (not full)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"upsert":[2,"x"]}', "an array of 2 values for 5 columns"),
        (b'{"upsert":[]}', "an array of 0 values for 5 columns"),
        (b'{"upsert":[2,"x",1.5,null,"u",6]}', "an array of 6 values for 5 columns"),
        (b'{"upsert":[2,[1,2],1.5,null,"u"]}', "extra data"),
        (b'{"upsert":[2,{"a":1,"b":2},1.5,null,"u"]}', "extra data"),
        (b'{"upsert":[2,"x",1.5,null,{"$text":"/w=="}]}', "column u: text that is not valid in its encoding"),
        (b'{"upsert":[null,"x",1.5,null,"u"]}', 'null value in column "id"'),
        (b'{"upsert":[2,"x","y",null,"u"]}', "double precision"),
        (b'{"upsert":[2,"x",1.5,null,"u"],"delete":{"id":2}}', "neither an upsert nor a delete"),
        (b'{"upsert":["x"],"z":[1]}', "neither an upsert nor a delete"),
    ],
)
@pytest.mark.parametrize("full", [True, False])
async def test_an_array_that_is_no_row_is_rejected_alone(place: Place, line: bytes, reason: str, full: bool) -> None:
    stream = schema(COLUMNS, stream=f"bad_{abs(hash((line, full)))}")
    around = [b'{"upsert":[%d,"t",1.5,null,"u"]}\n' % at for at in range(10, 20)]
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file(stream, [*around[:5], line + b"\n", *around[5:]], full=full), after=[])
    assert isinstance(outcome, Loaded)
    (rejection,) = outcome.rejections
    assert (rejection.line, reason in rejection.reason) == (7, True), rejection
    assert [row[0] for row in rows_of(place, stream.stream)] == list(range(10, 20))


@pytest.mark.parametrize(
    "line", [b'{"upsert":[1,"a"],"b"]}', b'{"upsert":[1},2]}', b'{"upsert":[1,2]}]}', b'{"upsert":[1,a]}']
)
async def test_an_array_that_is_not_json_is_refused_with_its_file(place: Place, line: bytes) -> None:
    stream = schema({"id": "integer", "t": "text"}, stream="damaged")
    async with PostgresDestination(place.uri).open(FLOW) as session:
        with pytest.raises(DamagedError, match="line 3 is not JSON"):
            await session.load(file(stream, [b'{"upsert":[7,"x"]}\n', line + b"\n"], full=True), after=[])


def test_plain_arrays_are_copied_as_they_stand_and_others_are_not() -> None:
    plain = b'{"upsert":[1,"a]b[","\\u00e4",null]}\n'
    assert array_values(plain * 2) == (2, b'1,"a]b[","\\u00e4",null\n' * 2)
    for other in (b'{"upsert":[1,[2]]}\n', b'{"upsert":[{"a":1}]}\n', b'{"upsert":{"a":[1]}}\n', b"[1]\n", b"\n"):
        assert array_values(plain + other) is None
        assert array_values(other) is None
    assert array_values(b'{"upsert":[1],"upsert":[2]}\n') is None
    assert array_values(b'{"upsert":[1,\n2]}\n') is None, (
        "JSON may have line feeds between values, and rows of a COPY none"
    )
    assert array_values(plain + b"\n" + plain) is None
    columns = [LineColumn(name, Holds.TEXT) for name in "abcd"]
    lines = Lines(columns, columns[:1])
    (run,) = lines.decode(plain * 3, 2, "x", ignores_keys=True).steps
    assert getattr(run, "copied", None) == '1,"a]b[","ä",null\n'.encode() * 3
    (run,) = lines.decode(plain * 3, 2, "x").steps
    assert getattr(run, "copied", None) is None


def test_a_row_of_one_value_is_never_an_empty_line() -> None:
    column = LineColumn("a", Holds.TEXT)
    lines = Lines([column], [column])
    steps = lines.decode(orjson.dumps({"upsert": []}) + b"\n", 2, "x", ignores_keys=True).steps
    assert "an array of 0 values for 1 columns" in str(getattr(steps[0], "error", None))
