"""Properties of names and of lines: whatever they hold, nothing is taken for something else."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.connectors.sam.listing import parse_listing
from pipeline.connectors.sam.names import FileName, parse_name
from pipeline.connectors.sam.reading.json_rows import LineError, Number, dumps, parse_row
from pipeline.domain.errors import DamagedError
from pipeline.domain.ids import Phase
from tests.connectors.sam.exports import header, read, source_of

NUMBERS = st.one_of(
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.text() | NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.text(), st.sampled_from(Phase), st.integers(0, 10**18 - 1), st.sampled_from(["", ".gz", ".zst"]))
@example("AO_E5321B_STORY_POINTS_full_0", Phase.INCREMENTAL, 0, "")
def test_every_name_is_read_as_it_was_written(table: str, phase: Phase, chunk: int, ending: str) -> None:
    name = FileName(table, phase, chunk)
    assert parse_name(f"{name}{ending}") == name


@given(st.text())
@example("_full_1.ndjson")
@example("t_full_٣.ndjson")
def test_a_name_of_another_form_is_none(name: str) -> None:
    found = parse_name(name)
    assert found is None or name.startswith(f"{found.table}_{found.phase.value}_")


def _dumped(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


def _text_of(value: Any) -> str:
    """Write JSON with the exact text of each number."""
    match value:
        case Decimal():
            return str(value).replace("E+", "e")
        case dict():
            return "{" + ",".join(f"{json.dumps(name)}:{_text_of(member)}" for name, member in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_text_of, value)) + "]"
        case _:
            return json.dumps(value)


def _exact(value: Any) -> Any:
    """Return a value with each number as a decimal, however it was read."""
    match value:
        case Number():
            return Decimal(value.text)
        case bool() | str() | None:
            return value
        case int() | float():
            return Decimal(repr(value))
        case dict():
            return {name: _exact(member) for name, member in value.items()}
        case list():
            return [_exact(member) for member in value]
        case _:
            return value


@given(st.dictionaries(st.text(), VALUES, max_size=5))
@example({"a": Decimal("12345678901234567890123.10"), "b": 2**64, "c": -(2**63) - 1, "d": 1e-7, "e": [{"x": 10**30}]})
def test_every_row_keeps_the_value_of_each_number(row: dict[str, Any]) -> None:
    line = _text_of(row).encode()
    found, _ = parse_row(line)
    assert _exact(dict(found)) == _exact(row)
    again, _ = parse_row(dumps(found))
    assert _exact(dict(again)) == _exact(row)


@given(st.binary() | st.text().map(str.encode) | VALUES.map(_dumped))
def test_any_line_is_a_row_or_an_error(line: bytes) -> None:
    try:
        row, _ = parse_row(line)
    except LineError:
        return
    assert isinstance(row, dict)


@given(st.binary() | VALUES.map(_dumped))
def test_any_listing_is_read_or_an_error(data: bytes) -> None:
    try:
        found = parse_listing(data, "The listing x")
    except DamagedError as error:
        found, text = [], str(error)
    else:
        text = "The listing x"
    assert text.startswith("The listing x")
    assert all(one.file_id or one.full_name for one in found)


WHOLE = (
    header("t", 3, {"ID": "number", "NAME": "varchar", "AT": "timestamp"})
    + b'\n{"ID":1,"NAME":"a","AT":"2026-08-18T00:16:51Z","DELETED":false,"TXN_SEQUENCE":1}'
    + b'\n{"ID":18446744073709551616,"NAME":{"x":[1.10]},"AT":7}\n{"ID":2.5,"DELETED":true}\n'
)
EDITS = st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 3), st.binary(max_size=8)), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS, st.booleans())
def test_any_file_gives_rows_or_one_message_that_names_it(tmp_path: Path, edits: list[Any], packed: bool) -> None:
    data = gzip.compress(WHOLE, mtime=0) if packed else WHOLE
    for at, removed, added in edits:
        data = data[:at] + added + data[at + removed :]
    (tmp_path / "t_full_0.ndjson").write_bytes(data)
    for found in anyio.run(read, source_of(tmp_path)).values():
        assert not found.error or "t_full_0.ndjson" in found.error or found.error.startswith("two rows have keys")
        assert all(row.keys() == found.types.keys() for row in found.rows)
