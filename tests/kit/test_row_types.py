"""Row types become columns, and values survive the way into a record and back."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NotRequired, TypedDict
from uuid import UUID

import msgspec
import orjson
import pytest
import typing_extensions
from structlog.testing import capture_logs

from pipeline.codec.values import to_json
from pipeline.domain.errors import ConfigurationError, DamagedError, UnreadableError
from pipeline.domain.ids import EventFileId, Label, Phase, StreamName
from pipeline.kit import Delete, Json, NaiveDatetime, Upsert
from pipeline.kit.declared import DeclaredStream, Delivery, Handler, Reading
from pipeline.kit.loading.records import Invalid, RecordReader, Value
from pipeline.kit.reading.encoding import RowEncoder
from pipeline.kit.row_types import RowType, row_type


class Mood(enum.Enum):
    GOOD = "good"


@dataclass
class Part:
    size: int


@dataclass
class Everything:
    id: int
    text: str
    real: float
    data: bytes
    yes: bool
    price: Decimal
    moment: datetime
    local: NaiveDatetime
    day: date
    clock: time
    length: timedelta
    uuid: UUID
    mood: Mood
    state: Literal["open", "closed"]
    free: Json
    parts: list[Part]
    note: str | None = None


ROW = Everything(
    2**63 - 1,
    "one\ntwo \0 ☃ {",
    -0.0,
    b"\0\xff",
    True,
    Decimal("1.50"),
    datetime(2024, 2, 29, 23, 59, 59, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(1, 1, 1),
    date(2024, 2, 29),
    time(1, 2, 3, 400000),
    timedelta(days=-3, seconds=7, microseconds=5),
    UUID(int=7),
    Mood.GOOD,
    "open",
    {"a": [1, None, 2.5, "x"]},
    [Part(1), Part(2)],
)
TYPES = "integer text real bytes boolean decimal timestamptz timestamp date time interval uuid text text json json text"
LENGTHS = [
    timedelta(0),
    timedelta(days=1),
    timedelta(seconds=-1),
    timedelta(days=-2, hours=3),
    timedelta(days=-2),
]


def encoder(row: RowType, *key: str) -> RowEncoder:
    async def rows(client: object) -> Any: ...

    return RowEncoder(
        DeclaredStream(StreamName("a"), Label("a"), Reading.ROWS, rows, row, key or ("id",), "app.py, line 1")
    )


def reader(row: RowType, written_as: RowType) -> RecordReader:
    async def apply(target: object, batch: object, ctx: object) -> None: ...

    declared = encoder(written_as)._declared
    return RecordReader(Handler("a", apply, row, Delivery.KEYED, "app.py, line 9"), declared.schema)


def read_line(records: RecordReader, line: bytes) -> Value:
    """Return the one record on a line, whichever way it is read."""
    file = EventFileId(1, StreamName("a"), Phase.FULL, 0)
    (alone,) = records.read_lines([(file, 2, line)]).values
    ((value,),) = (part.values for part in records.read(line + b"\n", 2, file))
    assert value == alone
    return value


def test_columns_come_from_the_annotations() -> None:
    columns = row_type(Everything, None, "here").columns
    assert " ".join(column.type for column in columns) == TYPES
    assert [column.name for column in columns if column.nullable] == ["note"]


def test_values_survive_the_way_through_a_record() -> None:
    type_ = row_type(Everything, None, "here")
    (encoded,) = encoder(type_).encode(encoder(type_).values([ROW]))
    value = read_line(reader(type_, type_), encoded.line)
    assert isinstance(value, Upsert)
    assert value.row == ROW
    assert math.copysign(1, value.row.real) == -1
    assert value.key == ROW.id


def test_a_long_number_in_a_text_or_a_decimal_is_no_integer() -> None:
    type_ = row_type(Everything, None, "here")
    rows = [replace(ROW, id=at, text="1" * 40, price=Decimal("9" * 30 + ".5")) for at in range(3)]
    block = b"".join(row.line + b"\n" for row in encoder(type_).encode(encoder(type_).values(rows)))
    (part,) = reader(type_, type_).read(block, 2, EventFileId(1, StreamName("a"), Phase.FULL, 0))
    assert [value.row for value in part.values if isinstance(value, Upsert)] == rows


@dataclass
class Free:
    id: int
    always: Json
    perhaps: Json | None


def test_none_is_a_json_value_and_is_null_where_it_is_declared() -> None:
    type_ = row_type(Free, None, "here")
    (encoded,) = encoder(type_).encode(encoder(type_).values([Free(1, None, None)]))
    assert encoded.line == b'{"upsert":{"id":1,"always":"null","perhaps":null}}'
    value = read_line(reader(type_, type_), encoded.line)
    assert isinstance(value, Upsert)
    assert value.row == Free(1, None, None)


def test_nested_values_are_read_from_the_text_of_a_database_without_json() -> None:
    nested = row_type(dict, {"id": int, "parts": list[Part]}, "here")
    text = row_type(dict, {"id": int, "parts": str}, "here")
    value = read_line(reader(nested, text), b'{"upsert":{"id":1,"parts":"[{\\"size\\":2}]"}}')
    assert isinstance(value, Upsert)
    assert value.row == {"id": 1, "parts": [Part(2)]}
    wrong = read_line(reader(nested, text), b'{"upsert":{"id":1,"parts":"{}"}}')
    assert isinstance(wrong, Invalid)
    assert wrong.reason.startswith("the column 'parts' holds what the type list does not: Expected `array`")


@pytest.mark.parametrize("length", LENGTHS)
def test_a_time_difference_survives(length: timedelta) -> None:
    type_ = row_type(dict, {"id": int, "length": timedelta}, "here")
    (encoded,) = encoder(type_).encode(encoder(type_).values([{"id": 1, "length": length}]))
    value = read_line(reader(type_, type_), encoded.line)
    assert isinstance(value, Upsert)
    assert value.row["length"] == length


class Structure(msgspec.Struct):
    id: int
    name: str | None = None


class Typed(TypedDict):
    id: int
    name: NotRequired[str]


class Backported(typing_extensions.TypedDict):
    id: int
    name: typing_extensions.NotRequired[str]


@pytest.mark.parametrize(
    ("row", "value"),
    [
        (Structure, Structure(1, "x")),
        (Backported, {"id": 1, "name": "x"}),
        (Backported, {"id": 1}),
        (Typed, {"id": 1, "name": "x"}),
        (Typed, {"id": 1}),
    ],
)
def test_other_row_types_are_the_same(row: Any, value: Any) -> None:
    type_ = row_type(row, None, "here")
    (encoded,) = encoder(type_).encode(encoder(type_).values([value]))
    expected = {"id": 1, "name": None if value == {"id": 1} else "x"}
    assert orjson.loads(encoded.line)["upsert"] == expected
    assert [(column.name, column.type, column.nullable) for column in type_.columns] == [
        ("id", "integer", False),
        ("name", "text", True),
    ]


BAD = [
    ({"id": None}, r"row with key \[\"None\"\] of the stream 'a' has no key in the column 'id'"),
    ({"id": 2**63}, "integer of more than 64 bits. Declare it as Decimal"),
    ({"id": "1"}, "in the column 'id' a value of the type str, not int"),
    ({"id": True}, None),
    ({"id": 1, "text": 5}, "in the column 'text' a value of the type int, not str"),
    ({"id": 1, "moment": datetime(2024, 1, 1)}, "a time without a zone.*NaiveDatetime"),
    ({"id": 1, "local": datetime(2024, 1, 1, tzinfo=UTC)}, "a time with a zone"),
    ({"id": 1, "price": 1.5}, "a value of the type float, not Decimal"),
    ({"id": 1, "free": math.nan}, "column 'free' a value that JSON cannot hold"),
    ({"id": 1, "free": {1: object()}}, "column 'free' a value that JSON cannot hold"),
    ({"id": 1, "weight": 2**53}, None),
    ({"id": 1, "weight": 2**60}, None),
    ({"id": 1, "weight": 2**53 + 1}, "in the column 'weight' an integer that no float is equal to. Declare it as int"),
    ({"id": 1, "text": "\ud800"}, "cannot be written"),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_a_value_of_another_type_is_named_with_its_key_and_column(row: dict[str, Any], message: str | None) -> None:
    columns = {
        "id": int, "text": str | None, "moment": datetime | None, "local": NaiveDatetime | None, "price": Decimal | None,
        "free": Json | None, "weight": float | None,
    }  # fmt: skip
    encoding = encoder(row_type(dict, columns, "here"))
    if message is None:
        assert encoding.encode(encoding.values([row]))
        return
    with pytest.raises(UnreadableError, match=message) as caught:
        encoding.encode(encoding.values([row]))
    assert str(caught.value).startswith("app.py, line 1: the row with key ")


@pytest.mark.parametrize(("row", "columns"), [(dict, {"id": int, "name": str | None}), (Typed, None)])
def test_members_without_a_column_are_named_once(row: Any, columns: dict[str, Any] | None) -> None:
    encoding = encoder(row_type(row, columns, "here"))
    with capture_logs() as logged:
        for given in ([{"id": 1}], [{"id": 2, "name": "x"}, {"id": 3, "owner": 5, "age": 1}], [{"id": 4, "more": 1}]):
            encoding.values(given)
    warned = [(event["event"], event["stream"], event["members"], event["at"]) for event in logged]
    assert warned == [("members_undeclared", "a", ["age", "owner"], "app.py, line 1")]


def test_a_row_of_another_type_is_named() -> None:
    with pytest.raises(UnreadableError, match=r"app.py, line 1: .*gave a row of the type dict, not Part"):
        encoder(row_type(Part, None, "here"), "size").values([{"size": 1}])


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


UNFIT: list[tuple[Any, Any, str]] = [
    (int, "x", "'x', which is no integer"),
    (int, 1.5, "1.5, which is no integer"),
    (int, "1e999999999", "'1e999999999', which is no integer"),
    (float, "x", "'x', which is no number"),
    (float, None, "NULL"),
    (Decimal, "abc", "'abc', which is no number"),
    (bool, "true", "'true', which is neither true nor false"),
    (datetime, "yesterday", "'yesterday', which is no date and time in the form of ISO 8601"),
    (date, 5, "5, which is no date in the form of ISO 8601"),
    (time, "noon", "'noon', which is no time in the form of ISO 8601"),
    (timedelta, "long", "'long', which is no time difference"),
    (UUID, "y" * 500, "y…, which is no UUID"),
    (UUID, 5, "5, which is no UUID"),
    (float, b"1.5", "b'1.5', which is no number"),
    (timedelta, 5, "5, which is no time difference"),
    (Colour, "green", "'green', which is none of 'red', 'blue'"),
    (Literal["a", "b"], "c", "'c', which is none of 'a', 'b'"),
    (Json, "{", "'{', which is no JSON"),
    (Json, "[" * 100_000, "[…, which is no JSON"),
]


@pytest.mark.parametrize(("python", "value", "reason"), UNFIT)
def test_a_value_that_a_field_cannot_hold_is_shown_in_words(python: Any, value: Any, reason: str) -> None:
    kind = {int: int, float: float, str: str, bytes: bytes, type(None): str | None}[type(value)]
    column = Json if python is Json else kind
    written = row_type(dict, {"id": int, "given": column}, "here")
    wanted = reader(row_type(dict, {"id": int, "given": python}, "here"), written)
    found = read_line(wanted, orjson.dumps({"upsert": {"id": 1, "given": to_json(value)}}))
    assert isinstance(found, Invalid)
    assert found.reason.startswith("the column 'given' ")
    assert reason in found.reason
    assert not re.search(r"<class|isoformat|hexadecimal|could not convert|valid Colour", found.reason)
    assert len(found.reason) < 250


def test_a_record_that_is_no_row_says_why() -> None:
    written = row_type(dict, {"id": int, "name": str | None}, "here")
    wanted = reader(row_type(dict, {"id": int, "name": int}, "here"), written)
    for body, reason in [({"id": 1, "name": None}, "'name' is NULL"), ({"id": 1, "name": "x"}, "'name' holds")]:
        value = read_line(wanted, orjson.dumps({"upsert": body}))
        assert isinstance(value, Invalid)
        assert reason in value.reason
        assert (value.column, value.line) == ("name", 2)


def test_a_handler_that_needs_another_column_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"app.py, line 9: the stream 'a' has no column 'text'.*default"):
        reader(row_type(dict, {"id": int, "text": str}, "here"), row_type(dict, {"id": int}, "here"))


@dataclass
class Plain:
    id: int
    name: str | None
    size: float = 0.0


@pytest.mark.parametrize("type_", [Plain, dict])
def test_plain_rows_are_the_same_read_at_once_or_one_by_one(type_: Any) -> None:
    columns = {"id": int, "name": str | None, "size": float}
    written = row_type(dict, columns, "here")
    wanted = reader(row_type(type_, None, "here", open_=True), written)
    assert wanted._plain is not None
    for name in ("x", None, 'a"\n☃', '{"$bytes":"AA=="}'):
        value = read_line(wanted, orjson.dumps({"upsert": {"id": 1, "name": name, "size": 1.5}}))
        assert isinstance(value, Upsert)
        assert value.row == (Plain(1, name, 1.5) if type_ is Plain else {"id": 1, "name": name, "size": 1.5})
    value = read_line(wanted, b'{"upsert":{"id":1,"name":{"$text":"/w=="},"size":1.5}}')
    assert isinstance(value, Invalid)
    assert isinstance(read_line(wanted, b'{"delete":{"id":1}}'), Delete)
    with pytest.raises(DamagedError, match="line 2 is not a record"):
        read_line(wanted, b'{"upsert":{"name":"x"}}')


def test_a_decimal_key_goes_in_one_form_before_it_comes_in_another() -> None:
    type_ = row_type(dict, {"id": Decimal, "name": str}, "here")
    lines = b'{"upsert":{"id":"1","name":"x"}}\n{"upsert":{"id":"2.50","name":"x"}}\n{"delete":{"id":"2.5"}}\n'
    file = EventFileId(1, StreamName("a"), Phase.FULL, 0)
    (records,) = reader(type_, type_).read(lines, 3, file)
    assert [(type(value), value.line) for value in records.values] == [(Delete, 5), (Upsert, 3), (Upsert, 4)]
    assert [records.key(at) for at in range(3)] == ['["2.5"]', '["1"]', '["2.50"]']


def test_records_of_one_decimal_key_keep_their_order() -> None:
    type_ = row_type(dict, {"id": Decimal, "name": str}, "here")
    lines = b'{"upsert":{"id":"2.5","name":"x"}}\n{"delete":{"id":"2.5"}}\n'
    (records,) = reader(type_, type_).read(lines, 3, EventFileId(1, StreamName("a"), Phase.FULL, 0))
    assert [type(value) for value in records.values] == [Upsert, Delete]


Amount = typing_extensions.TypeAliasType("Amount", int | None)


class Qualified(typing_extensions.TypedDict):
    id: typing_extensions.ReadOnly[int]
    amount: Amount
    note: typing_extensions.ReadOnly[NotRequired[str]]


@dataclass
class Unchanging:
    id: typing_extensions.Final[int]


class Word(str): ...


def test_names_of_types_and_qualifiers_are_looked_through() -> None:
    qualified = row_type(Qualified, None, "here")
    assert [(one.name, one.type, one.nullable) for one in qualified.columns] == [
        ("id", "integer", False),
        ("amount", "integer", True),
        ("note", "text", True),
    ]
    assert [one.type for one in row_type(Unchanging, None, "here").columns] == ["integer"]


def test_a_kind_of_text_of_the_authors_is_no_nested_value() -> None:
    with pytest.raises(ConfigurationError, match="the field 'id' has the type Word, which no column holds"):
        row_type(dict, {"id": Word}, "here")


def test_bytes_of_other_classes_are_bytes() -> None:
    coder = encoder(row_type(dict, {"id": bytes}, "here"))
    given = [{"id": kind(b"a")} for kind in (bytes, bytearray, memoryview)]
    rows = coder.encode(coder.values(given))
    assert [(row.key, row.line) for row in rows] == [((b"a",), b'{"upsert":{"id":{"$bytes":"YQ=="}}}')] * 3
