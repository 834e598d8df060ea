"""A walk of two sides finds exactly the differences, wherever their blocks end, and decodes no key needlessly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.comparison.diff import HASH_BYTES
from pipeline.domain.comparison.readings import readings_for
from pipeline.domain.comparison.values import differing_columns, pair_columns, same_value, why_not_comparable
from pipeline.domain.comparison.walk import Rows, Step, walk, walk_rest
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.keys import Key
from pipeline.domain.schema import Column, StreamSchema

Table = dict[int, int]
_tables = st.dictionaries(st.integers(0, 40), st.integers(0, 2))


def rows_of(part: Sequence[tuple[int, int]], asked: list[int] | None = None) -> Rows:
    def load_keys() -> Sequence[Key]:
        if asked is not None:
            asked.append(len(part))
        return [(key,) for key, _ in part]

    hashes = b"".join((key * 8 + value).to_bytes(HASH_BYTES) for key, value in part)
    return Rows(len(part), lambda: hashes, load_keys)


def blocks(table: Table, size: int) -> Iterator[Rows]:
    ordered = sorted(table.items())
    return (rows_of(ordered[start : start + size]) for start in range(0, len(ordered), size))


def compared(source: Table, destination: Table, sizes: tuple[int, int]) -> tuple[list[int], list[int], list[int], int]:
    """Walk to the end of both; return the keys that are missing, extra and in pairs, and the number of rows."""
    sides = blocks(source, sizes[0]), blocks(destination, sizes[1])
    one, other = next(sides[0], None), next(sides[1], None)
    missing: list[int] = []
    extra: list[int] = []
    pairs: list[int] = []
    walked = 0
    while one or other:
        step = walk(one, other) if one and other else walk_rest(one, other)
        walked += step.source_rows + step.destination_rows
        _sort(step, one, other, missing, extra, pairs)
        one = next(sides[0], None) if one and not one.left else one
        other = next(sides[1], None) if other and not other.left else other
    return missing, extra, pairs, walked


def _sort(
    step: Step, one: Rows | None, other: Rows | None, missing: list[int], extra: list[int], pairs: list[int]
) -> None:
    for suspect in step.suspects:
        if suspect.source is None:
            assert other is not None
            assert suspect.destination is not None
            extra.append(int(str(other.key(suspect.destination)[0])))
            continue
        assert one is not None
        (missing if suspect.destination is None else pairs).append(int(str(one.key(suspect.source)[0])))


@given(_tables, _tables, st.integers(1, 9), st.integers(1, 9))
def test_a_walk_finds_the_true_difference(source: Table, destination: Table, one: int, other: int) -> None:
    missing, extra, pairs, walked = compared(source, destination, (one, other))
    assert missing == sorted(source.keys() - destination.keys())
    assert extra == sorted(destination.keys() - source.keys())
    assert pairs == sorted(key for key in source.keys() & destination.keys() if source[key] != destination[key])
    assert walked == len(source) + len(destination)


def test_no_key_is_decoded_while_the_hashes_agree() -> None:
    asked: list[int] = []
    part = [(number, 0) for number in range(1000)]
    step = walk(rows_of(part, asked), rows_of(part[:700], asked))
    assert (step.source_rows, step.destination_rows, step.suspects) == (700, 700, [])
    assert asked == []


def test_numbers_that_are_equal_are_one_key() -> None:
    one = Rows(1, lambda: b"\1" * 8, lambda: [(1,)])
    other = Rows(1, lambda: b"\2" * 8, lambda: [(1.0,)])
    (suspect,) = walk(one, other).suspects
    assert (suspect.source, suspect.destination) == (0, 0)


def schema(technology: str, **types: str) -> StreamSchema:
    columns = tuple(Column(name, kind) for name, kind in types.items())
    return StreamSchema(StreamName("t"), Label("t"), columns, (columns[0].name,), {technology: {}})


def test_within_one_technology_a_value_equals_only_itself() -> None:
    pairing = pair_columns(schema("sqlite", id="integer", value="any"), schema("sqlite", value="any", id="integer"))
    for one, other in ((1, 1.0), (1, True), (0.0, -0.0), ("", None), ("a", {"$bytes": "YQ=="}), ("1", 1)):
        assert differing_columns({"id": 1, "value": one}, {"id": 1, "value": other}, pairing) == ("value",)
    assert differing_columns({"id": 1, "value": 2.5}, {"value": 2.5, "id": 1}, pairing) == ()


def test_text_is_text_everywhere() -> None:
    pairing = pair_columns(
        schema("sqlite", id="integer", value="text"), schema("postgresql", id="integer", value="text")
    )
    assert differing_columns({"id": 1, "value": "1"}, {"id": 1, "value": "1.0"}, pairing) == ("value",)


def test_values_of_different_types_compare_by_meaning() -> None:
    def agree(type_here: str, here: object, type_there: str, there: object) -> bool:
        pairing = pair_columns(schema("sqlite", value=type_here), schema("postgresql", value=type_there))
        return not differing_columns({"value": here}, {"value": there}, pairing)

    assert agree("boolean", True, "any", 1)
    assert agree("decimal", "1.50", "real", 1.5)
    assert agree("text", "2026-01-02T03:04:05+01:00", "timestamp", "2026-01-02 02:04:05+00:00")
    assert agree("text", '{"a": [1, 2]}', "json", {"a": [1, 2]})
    assert agree("text", "é", "bytes", {"$bytes": "w6k="})
    assert agree("any", "2026-01-02 03:04:05.123450", "timestamptz", "2026-01-02 03:04:05.12345+00")
    assert agree("any", "12026-01-02T03:04:05", "timestamptz", "12026-01-02 03:04:05+00")
    assert agree("any", "2026-01-02", "timestamp", "2026-01-02 00:00:00")
    assert agree("any", 20260102, "timestamp", "2026-01-02 00:00:00")
    assert not agree("any", 1700000000, "timestamp", "2023-11-14 22:13:20")
    assert agree("text", "0D4F4C12-1111-4222-8333-444455556666", "uuid", "0d4f4c12-1111-4222-8333-444455556666")
    assert agree("text", "0d4f4c12111142228333444455556666", "uuid", "0d4f4c12-1111-4222-8333-444455556666")
    assert agree("integer", 1, "boolean", True)
    assert agree("text", "yes", "boolean", True)
    assert agree("integer", 1, "decimal", "1.00")
    assert agree("real", {"$float": "inf"}, "text", "Infinity")
    assert agree("real", {"$float": "nan"}, "decimal", "NaN")
    assert agree("any", 1.5, "text", "1.5")
    assert agree("any", {"$bytes": "AP8="}, "text", "\\x00ff")
    assert agree("text", '{"a": 1.0, "b": true}', "json", '{"b":true,"a":1.00}')
    assert not agree("text", '{"a": 1}', "json", '{"a": true}')
    assert not agree("text", "0123", "integer", 123)
    assert not agree("any", "aTb", "text", "a b")
    assert not agree("any", "1.0", "text", "1")
    assert not agree("any", "2026-01-02 03:04:05", "date", "2026-01-02")
    assert not agree("any", "2026-01-02 03:04:05", "timestamptz", "2026-01-02 02:04:05+00")
    assert not agree("integer", 2, "boolean", True)
    assert not agree("boolean", True, "any", 0)
    assert not agree("decimal", "1.50", "real", 1.51)
    assert not agree("text", "2026-01-02T03:04:05+01:00", "timestamp", "2026-01-02 03:04:05+00:00")
    assert not agree("any", None, "integer", 0)
    assert not agree("any", "not a number", "integer", 1)


def test_a_column_may_write_text_in_another_form() -> None:
    def agree(declared: str, here: str, there: str) -> bool:
        one, other = Column("value", "text"), Column("value", "text", native_type=declared)
        return same_value(here, there, readings_for(one, other, one_technology=False))

    assert agree("inet", "10.0.0.1/32", "10.0.0.1")
    assert agree("macaddr", "08-00-2B-01-02-03", "08:00:2b:01:02:03")
    assert agree("character(5)", "ab", "ab   ")
    assert not agree("inet", "10.0.0.1/8", "10.0.0.1")
    assert not agree("text", "ab", "ab   ")
    assert not agree("character varying(5)", "ab", "ab ")


def test_sqlite_keeps_no_negative_zero_of_another_technology() -> None:
    here, there = Column("value", "real"), Column("value", "real", native_type="REAL")
    readings = readings_for(here, there, one_technology=False)
    assert same_value(-0.0, 0.0, readings)
    assert not same_value(0.1, 0.2, readings)
    assert not same_value(-0.0, 0.0, readings_for(here, here, one_technology=False))


def test_a_value_kept_as_json_compares_as_the_value_in_it() -> None:
    pairing = pair_columns(schema("sqlite", value="any"), schema("postgresql", value="json"))
    for value, kept in ((1, "1"), ("1", '"1"'), (1.0, "1.0"), ({"$bytes": "AA=="}, '{"$bytes":"AA=="}')):
        assert differing_columns({"value": value}, {"value": kept}, pairing) == ()
    for value, other in ((1, '"1"'), ("1", "1"), (1, "1.0"), ("", "")):
        assert differing_columns({"value": value}, {"value": other}, pairing) == ("value",)
    assert differing_columns({"value": ""}, {"value": None}, pairing) == ("value",)


def test_keys_that_a_column_may_rewrite_are_not_compared() -> None:
    def comparable(type_here: str, technology: str, type_there: str) -> bool:
        one, other = schema("sqlite", id=type_here), schema(technology, id=type_there)
        return not why_not_comparable(one, other, pair_columns(one, other))

    for kind in ("integer", "text", "bytes", "any"):
        assert comparable(kind, "sqlite", kind)
    assert comparable("timestamp", "postgresql", "text")
    assert comparable("boolean", "postgresql", "integer")
    for one, other in (
        ("integer", "text"),
        ("text", "timestamp"),
        ("text", "decimal"),
        ("any", "text"),
        ("any", "any"),
    ):
        assert not comparable(one, "postgresql", other)
    assert not comparable("integer", "sqlite", "text")


def test_a_missing_column_counts_as_null() -> None:
    pairing = pair_columns(schema("sqlite", id="integer", note="text"), schema("sqlite", id="integer", own="text"))
    assert (pairing.missing, pairing.extra) == (("note",), ("own",))
    assert differing_columns({"id": 1, "note": None}, {"id": 1, "own": "x"}, pairing) == ()
    assert differing_columns({"id": 1, "note": "x"}, {"id": 1, "own": "x"}, pairing) == ("note",)


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()))
def test_every_value_is_the_same_as_itself(value: object) -> None:
    assert same_value(value, value)


def test_a_column_of_the_destination_is_paired_once() -> None:
    pairing = pair_columns(
        schema("sqlite", id="integer", a="text", a_="text"), schema("sqlite", id="integer", a_="text")
    )
    assert pairing.missing == ("a",)
