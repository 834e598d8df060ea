"""The SQL that makes an upsert line of a row, so that the server does the work and Python hands bytes on.

One call of `concat` makes a line. It is as quick as `row_to_json` (docs/decisions/0008), which writes timestamps, floats
and what has parts in ways of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import orjson

from pipeline.connectors.postgres.connection import literal, quoted
from pipeline.connectors.postgres.tables import TableColumn
from pipeline.connectors.postgres.types import Form

_MOST_ARGUMENTS = 90
"""PostgreSQL takes at most 100 arguments of a function (FUNC_MAX_ARGS)."""

_EXPONENT_FROM = {"real": "1e6", "double precision": "1e15"}
"""From where on the text of a float has an exponent, if it is a whole number (src/common/d2s.c, f2s.c)."""

_OLDEST_WITH_SCALAR = 170000
"""The first release that has JSON_SCALAR: it looks its argument's type up once a statement, to_json for every value."""


def upsert_line(columns: Sequence[TableColumn], server_version: int, leading: str = "") -> str:
    """Return SQL for a row's upsert line with its line feed. `leading` is SQL of members to stand first."""
    as_json = "JSON_SCALAR" if server_version >= _OLDEST_WITH_SCALAR else "to_json"
    pieces = ["'{\"upsert\":{'", *([leading] if leading else [])]
    for place, column in enumerate(columns):
        name = ("," if place or leading else "") + orjson.dumps(column.name).decode() + ":"
        pieces += [literal(name), *_value(column, as_json)]
    return _concat(list(_merged([*pieces, "E'}}\\n'"])))


def _value(column: TableColumn, as_json: str) -> list[str]:
    """Return SQL whose texts, one after the other, are the JSON of the column's value; none of them is NULL."""
    name = quoted(column.name)
    match column.wire.form:
        case Form.NUMBER:
            return [name if column.not_null else f"coalesce({name}::text, 'null')"]
        case Form.BOOLEAN:
            return [f"CASE WHEN {name} THEN 'true' WHEN {name} IS NULL THEN 'null' ELSE 'false' END"]
        case Form.FLOAT:
            return [_float(name, _EXPONENT_FROM["real" if column.wire.single else "double precision"])]
        case Form.BYTES:
            encoded = f"translate(encode({name}, 'base64'), E'\\n', '')"
            return _unless_null(column, '\'{"$bytes":"\'', encoded, "'\"}'")
        case Form.TEXT:
            return [f"{as_json}({name})" if column.not_null else f"coalesce({as_json}({name}), 'null')"]
        case Form.PLAIN:
            return _unless_null(column, "'\"'", name, "'\"'")
        case Form.MONEY:
            return _unless_null(column, "'\"'", f"{name}::numeric", "'\"'")
        case Form.ESCAPED:
            return [f"CASE WHEN {name} IS NOT DISTINCT FROM NULL THEN 'null' ELSE {as_json}({column.text}) END"]


def _unless_null(column: TableColumn, *pieces: str) -> list[str]:
    if column.not_null:
        return list(pieces)
    return [f"CASE WHEN {quoted(column.name)} IS NULL THEN 'null' ELSE concat({', '.join(pieces)}) END"]


def _float(name: str, exponent_from: str) -> str:
    """A whole number gets `.0`, so that it stays a float. NaN equals itself here, and is larger than all else."""
    return (
        f"CASE WHEN {name} <> trunc({name}) THEN {name}::text WHEN abs({name}) < {exponent_from} THEN {name}::text || '.0' "
        f"WHEN {name} = 'NaN' THEN '{{\"$float\":\"nan\"}}' WHEN {name} = 'Infinity' THEN '{{\"$float\":\"inf\"}}' "
        f"WHEN {name} = '-Infinity' THEN '{{\"$float\":\"-inf\"}}' ELSE coalesce({name}::text, 'null') END"
    )


def _merged(pieces: Sequence[str]) -> Iterator[str]:
    """Yield the pieces with constants that follow each other made one. What begins with a quote is a constant."""
    for is_constant, group in groupby(pieces, lambda piece: piece.startswith("'")):
        found = list(group)
        yield from ["'" + "".join(piece[1:-1] for piece in found) + "'"] if is_constant else found


def _concat(pieces: Sequence[str]) -> str:
    if len(pieces) <= _MOST_ARGUMENTS:
        return f"concat({', '.join(pieces)})"
    starts = range(0, len(pieces), _MOST_ARGUMENTS)
    return _concat([_concat(pieces[start : start + _MOST_ARGUMENTS]) for start in starts])
