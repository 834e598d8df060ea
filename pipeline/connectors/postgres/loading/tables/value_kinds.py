"""Values that a column cannot hold although the source has them: SQLite's declared types are hints, and values decide.

A column is created as its declared type suggests. At the first value of another kind the load of the file ends, the column
is widened (`ddl/across/widening.py`), and the file is loaded again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import orjson

from pipeline.connectors.postgres.ddl.across.widening import HELD
from pipeline.connectors.postgres.loading.target import Target
from pipeline.domain.schema import StreamSchema

_BOOLEANS = frozenset({"t", "true", "y", "yes", "on", "1", "f", "false", "n", "no", "off", "0"})
"""https://www.postgresql.org/docs/current/datatype-boolean.html"""


class MisfitError(Exception):
    """Columns of a file have values of other kinds than the table's columns hold: `kinds`, by the name in records."""

    def __init__(self, kinds: Mapping[str, frozenset[str]]) -> None:
        super().__init__(f"columns {', '.join(kinds)} hold values of other kinds")
        self.kinds = kinds


class ValueKinds:
    """Looks for values that the columns of a table cannot hold. Those in `fixed` columns are rejected like any other."""

    def __init__(self, schema: StreamSchema, target: Target, fixed: Collection[str]) -> None:
        """Look at records of the stream `schema` that are loaded into `target`."""
        columns = target.table.columns
        here = {line.name: columns[line.column].type for line in target.lines if line.column in target.columns}
        self._types = {name: type_ for name, type_ in here.items() if type_ in HELD and name not in fixed}
        self._held = {name: HELD[type_] for name, type_ in self._types.items()}
        for column in schema.columns:
            if column.type == "bytes" and self._types.get(column.name) == "text":
                self._held[column.name] = frozenset({"text"})  # without affinity, 5 and '5' are two values

    def check(self, lines: Sequence[bytes]) -> None:
        """Raise MisfitError when a value of these records is of another kind than its column holds."""
        found: dict[str, set[str]] = {}
        misfits = set()
        for line in lines:
            record = orjson.loads(line) if line else {}
            body = record.get("upsert") if isinstance(record, dict) else None
            for name, value in body.items() if isinstance(body, dict) else ():
                kind = _kind(value) if name in self._types else ""
                if kind:
                    found.setdefault(name, set()).add(kind)
                    if not self._holds(name, kind, value):
                        misfits.add(name)
        if misfits:
            raise MisfitError({name: frozenset(found[name]) for name in sorted(misfits)})

    def _holds(self, name: str, kind: str, value: object) -> bool:
        if self._types[name] != "boolean":
            return kind in self._held[name]
        return value in (0, 1) if kind == "integer" else isinstance(value, str) and value.lower() in _BOOLEANS


def _kind(value: object) -> str:
    """Return the kind of a value of an SQLite database; empty for NULL, and for text that PostgreSQL cannot hold."""
    match value:
        case int():
            return "integer"
        case float() | {"$float": _}:
            return "real"
        case str():
            return "" if "\0" in value else "text"
        case {"$bytes": _}:
            return "bytes"
        case _:
            return ""
