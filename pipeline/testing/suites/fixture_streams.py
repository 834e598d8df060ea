"""Fixture streams: rows of an author's own types that apps lose or alter, and what happens to them from Movement to Movement.

Each is a function that returns the rows of a stream before each of some Movements, or None where a stream has no field for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from pipeline.kit.row_types import Field
from pipeline.testing.torture.apps.generated_app import GeneratedStream, Values
from pipeline.testing.torture.apps.row_values import key_value, some_value

States = Sequence[Sequence[Values]]
"""The rows of a stream before each Movement."""
FixtureStream = Callable[[GeneratedStream], States | None]
FIXTURES: dict[str, FixtureStream] = {}
LARGE: set[str] = set()
"""Those that take long: they run with the option `--large`."""


def _fixture(make: FixtureStream) -> FixtureStream:
    FIXTURES[make.__name__.strip("_")] = make
    return make


def _large(make: FixtureStream) -> FixtureStream:
    LARGE.add(make.__name__.strip("_"))
    return _fixture(make)


def row(stream: GeneratedStream, number: int, **given: Any) -> Values:
    """Return the row with this number; `given` are values of its fields."""
    random = Random(f"{stream.name} {number}")
    return {
        field.column.name: given.get(field.column.name, _value(stream, field, number, random))
        for field in stream.row.fields
    }


def _value(stream: GeneratedStream, field: Field, number: int, random: Random) -> Any:
    if field.column.name in stream.key:
        return key_value(field, number, stream.line)
    if field.column.name in stream.references:
        return key_value(field, 1, stream.line)  # the row 1 of that stream is there
    return some_value(field, random)


def _free(stream: GeneratedStream, *kinds: Any) -> list[Field]:
    """Return the fields of these types that are neither key nor reference."""
    bound = {*stream.key, *stream.references}
    return [one for one in stream.row.fields if one.python in kinds and one.column.name not in bound]


def _with_values(stream: GeneratedStream, kind: Any, values: Sequence[Any]) -> States | None:
    """Return a row for each value, in all fields of this type."""
    names = [field.column.name for field in _free(stream, kind)]
    if not names:
        return None
    return [[row(stream, at, **dict.fromkeys(names, value)) for at, value in enumerate(values, 1)]]


def _with_keys(stream: GeneratedStream, kind: Any, values: Sequence[Any]) -> States | None:
    """Return a row for each key."""
    if [field.python for field in _keys(stream)] != [kind]:
        return None
    return [[row(stream, at, **{stream.key[0]: value}) for at, value in enumerate(values, 1)]]


def _keys(stream: GeneratedStream) -> list[Field]:
    return [field for field in stream.row.fields if field.column.name in stream.key]


@_fixture
def no_rows(stream: GeneratedStream) -> States | None:
    return [[]]


@_fixture
def one_row(stream: GeneratedStream) -> States | None:
    return [[row(stream, 1)]]


@_fixture
def many_rows(stream: GeneratedStream) -> States | None:
    count = 300 if stream.is_single else 1_001  # more than a batch is by default
    return None if _keys(stream)[0].python not in (int, str) else [[row(stream, at) for at in range(1, count + 1)]]


@_large
def a_hundred_thousand_rows(stream: GeneratedStream) -> States | None:
    return None if _keys(stream)[0].python not in (int, str) else [[row(stream, at) for at in range(1, 100_001)]]


@_fixture
def integers_of_64_bits(stream: GeneratedStream) -> States | None:
    return _with_values(stream, int, (2**63 - 1, -(2**63), 2**53 + 1, -(2**53) - 1, -1))


@_fixture
def integers_wider_than_64_bits(stream: GeneratedStream) -> States | None:
    return _with_values(stream, Decimal, (Decimal(2**64), Decimal(-(2**63) - 1), Decimal(10**30)))


@_fixture
def decimals_with_many_digits(stream: GeneratedStream) -> States | None:
    return _with_values(stream, Decimal, (Decimal("0.1"), Decimal("1.23456789012345678901234567890"), Decimal("-0.00")))


@_fixture
def floats_at_their_limits(stream: GeneratedStream) -> States | None:
    return _with_values(stream, float, (-0.0, 0.1, 5e-324, 1.7976931348623157e308, 2.0**53))


@_fixture
def floats_that_are_no_numbers(stream: GeneratedStream) -> States | None:
    return _with_values(stream, float, (math.inf, -math.inf, math.nan))


@_fixture
def text_with_nul(stream: GeneratedStream) -> States | None:
    return _with_values(stream, str, ("\0", "a\0b"))


@_fixture
def odd_text(stream: GeneratedStream) -> States | None:
    texts = (
        " a ",
        "a\nb\r\tc",
        'it\'s "quoted" \\',
        "NULL",
        "ä a\u0308",
        "😀 \u202eabc",
        "\ufffe\uffff",
        "{}",
        "0",
        "%2F",
    )
    return _with_values(stream, str, texts)


@_fixture
def empty_text_beside_null(stream: GeneratedStream) -> States | None:
    return None if not any(field.column.nullable for field in _free(stream, str)) else _nulls(stream, str, "")


@_fixture
def nothing_but_null(stream: GeneratedStream) -> States | None:
    names = [one.column.name for one in stream.row.fields if one.column.nullable and one.column.name not in stream.key]
    return [[row(stream, 1, **dict.fromkeys(names))]] if names else None


def _nulls(stream: GeneratedStream, kind: Any, value: Any) -> States:
    names = [field.column.name for field in _free(stream, kind)]
    nullable = [field.column.name for field in _free(stream, kind) if field.column.nullable]
    return [[row(stream, 1, **dict.fromkeys(names, value)), row(stream, 2, **dict.fromkeys(nullable))]]


@_fixture
def long_text(stream: GeneratedStream) -> States | None:
    return _with_values(stream, str, ("a" * 1_000_000,))


@_large
def a_record_of_50_megabytes(stream: GeneratedStream) -> States | None:
    names = [field.column.name for field in _free(stream, str)][:1]
    return [[row(stream, 1, **dict.fromkeys(names, "a" * 50_000_000))]] if names else None


@_fixture
def all_bytes(stream: GeneratedStream) -> States | None:
    return _with_values(stream, bytes, (b"", bytes(range(256)), b"\0", b"\xff\xfe"))


@_fixture
def both_truth_values(stream: GeneratedStream) -> States | None:
    return _with_values(stream, bool, (False, True))


@_fixture
def moments_at_their_limits(stream: GeneratedStream) -> States | None:
    moments = (
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 10, 25, 2, 30, tzinfo=timezone(timedelta(hours=2))),
    )
    naive = any(field.column.type == "timestamp" for field in _free(stream, datetime))
    return None if naive else _with_values(stream, datetime, moments)


@_fixture
def days_at_their_limits(stream: GeneratedStream) -> States | None:
    return _with_values(stream, date, (date(1, 1, 1), date(9999, 12, 31), date(2024, 2, 29)))


@_fixture
def times_of_day(stream: GeneratedStream) -> States | None:
    return _with_values(stream, time, (time(0), time(23, 59, 59, 999999)))


@_fixture
def durations(stream: GeneratedStream) -> States | None:
    return _with_values(stream, timedelta, (timedelta(0), timedelta(days=-1, microseconds=1), timedelta(days=40_000)))


@_fixture
def uuids_at_their_limits(stream: GeneratedStream) -> States | None:
    return _with_values(stream, UUID, (UUID(int=0), UUID(int=2**128 - 1)))


@_fixture
def nested_values(stream: GeneratedStream) -> States | None:
    values: tuple[Any, ...] = ([], {}, {"": None}, {"a": [{"b": [1.5, True, "ä"]}]}, "text", 0, False)
    names = [field.column.name for field in stream.row.fields if field.python is Any and field.column.type == "json"]
    return [[row(stream, at, **dict.fromkeys(names, value)) for at, value in enumerate(values, 1)]] if names else None


@_fixture
def negative_and_large_keys(stream: GeneratedStream) -> States | None:
    return _with_keys(stream, int, (0, -1, 2**63 - 1, -(2**63)))


@_fixture
def odd_text_keys(stream: GeneratedStream) -> States | None:
    return _with_keys(stream, str, ("a/b", "a%2Fb", " ", "ä", "a\u0308", "😀", "a\nb", "a" * 300))


@_fixture
def keys_that_differ_by_case(stream: GeneratedStream) -> States | None:
    return _with_keys(stream, str, ("Name", "name", "NAME", "name "))


@_fixture
def rows_that_are_alike(stream: GeneratedStream) -> States | None:
    first = row(stream, 1)
    return [[{**first, **_key_of(stream, at)} for at in range(1, 5)]]


@_fixture
def a_row_that_changes(stream: GeneratedStream) -> States | None:
    return _changing(stream, lambda old, new: [[old], [new], [old], [new]])


@_fixture
def a_row_that_goes(stream: GeneratedStream) -> States | None:
    return [[row(stream, 1), row(stream, 2)], [row(stream, 2)]]


@_fixture
def a_row_that_comes_back(stream: GeneratedStream) -> States | None:
    return _changing(stream, lambda old, new: [[old], [], [new], [], [old]])


@_fixture
def all_rows_that_go(stream: GeneratedStream) -> States | None:
    return [[row(stream, at) for at in range(1, 7)], []]


@_fixture
def a_key_that_moves_to_another_row(stream: GeneratedStream) -> States | None:
    one, two = row(stream, 1), row(stream, 2)
    return [[one, two], [{**two, **_key_of(stream, 1)}, {**one, **_key_of(stream, 2)}]]


@_fixture
def nothing_that_changes(stream: GeneratedStream) -> States | None:
    rows = [row(stream, at) for at in range(1, 4)]
    return [rows, rows, rows]


def _key_of(stream: GeneratedStream, number: int) -> Values:
    return {name: value for name, value in row(stream, number).items() if name in stream.key}


def _changing(stream: GeneratedStream, states: Callable[[Values, Values], States]) -> States | None:
    """Return states with one row in two versions; None when it has nothing but a key and references."""
    if all(field.column.name in {*stream.key, *stream.references} for field in stream.row.fields):
        return None
    return states(*versions(stream))


def versions(stream: GeneratedStream) -> tuple[Values, Values]:
    """Return two versions of the row 1, which differ if there is a field in which they can."""
    old, new = row(stream, 1), {}
    for number in range(2, 50):
        new = {**row(stream, number), **_key_of(stream, 1)}
        if new != old:
            break
    return old, new


def _self_reference(stream: GeneratedStream) -> str | None:
    """Return the field of a stream that most probably refers to another row of it."""
    single = stream.name.removesuffix("s")
    names = [field.column.name for field in stream.row.fields if field.column.name not in stream.key]
    return next(
        (name for name in ("parent_id", "parent", f"parent_{single}_id", f"{single}_id") if name in names), None
    )


@_fixture
def children_before_their_parents(stream: GeneratedStream) -> States | None:
    name = _self_reference(stream)
    if name is None:
        return None
    keys = [key_value(_keys(stream)[0], at, stream.line) for at in range(1, 5)]
    return [[row(stream, at, **{name: keys[at] if at < 4 else None}) for at in range(1, 5)]]


@_fixture
def a_row_that_refers_to_itself(stream: GeneratedStream) -> States | None:
    name = _self_reference(stream)
    return None if name is None else [[row(stream, 1, **{name: key_value(_keys(stream)[0], 1, stream.line)})]]


@_fixture
def rows_that_refer_to_each_other(stream: GeneratedStream) -> States | None:
    name = _self_reference(stream)
    if name is None:
        return None
    one, two = (key_value(_keys(stream)[0], at, stream.line) for at in (1, 2))
    return [[row(stream, 1, **{name: two}), row(stream, 2, **{name: one})]]


@_fixture
def a_reference_to_nothing(stream: GeneratedStream) -> States | None:
    fields = {field.column.name: field for field in stream.row.fields}
    given = {name: key_value(fields[name], 7, stream.line) for name in stream.references}
    return [[row(stream, 1, **given)]] if given else None


def parents(stream: GeneratedStream, streams: Mapping[str, GeneratedStream]) -> Iterator[str]:
    """Yield the streams of which the row 1 must be there for the rows of a stream, and for theirs."""
    for name in stream.references.values():
        if name != stream.name and name in streams:
            yield name
            yield from parents(streams[name], streams)
