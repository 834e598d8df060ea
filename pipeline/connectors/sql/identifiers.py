"""Names in SQL statements."""

from __future__ import annotations

from collections.abc import Iterable


def quoted(name: str) -> str:
    """Return `name` as an SQL identifier, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def quoted_list(names: Iterable[str]) -> str:
    """Return names as a list of SQL identifiers."""
    return ", ".join(map(quoted, names))
