"""Names and constants in SQL statements."""

from __future__ import annotations

from collections.abc import Iterable


def quoted(name: str) -> str:
    """Return `name` as an SQL identifier, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """Return a name with its schema, as SQL."""
    return f"{quoted(schema)}.{quoted(name)}"


def literal(text: str) -> str:
    """Return `text` as a standard SQL constant, without escapes of backslashes."""
    return "'" + text.replace("'", "''") + "'"


def quoted_list(names: Iterable[str]) -> str:
    """Return names as a list of SQL identifiers."""
    return ", ".join(map(quoted, names))
