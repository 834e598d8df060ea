"""Compares source and destination of the demo with plain SQL and plain reads, independently of the pipeline."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pipeline.cli.demo.app import quote_name, table_names

METADATA_NAME = ".pipeline-import"
"""The directory of the files connector in a destination tree. It is no part of the tree."""


def differences(source: Path, destination: Path) -> Iterator[str]:
    """Yield the differences between two databases: rows as multisets, columns, indexes and foreign keys."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(destination)) as other:
        theirs = set(table_names(other))
        for table in table_names(one):
            if table not in theirs:
                yield f"table {table} is missing"
                continue
            yield from _table_differences(one, other, table)
        for name in _indexes(one) - _indexes(other):
            yield f"index {name} is missing"
        for violation in other.execute("PRAGMA foreign_key_check").fetchall():
            yield f"foreign key violated: {violation}"


def _table_differences(one: sqlite3.Connection, other: sqlite3.Connection, table: str) -> Iterator[str]:
    for pragma in ("table_xinfo", "foreign_key_list"):
        query = f"PRAGMA {pragma}({quote_name(table)})"
        if one.execute(query).fetchall() != other.execute(query).fetchall():
            yield f"table {table} has a different {pragma}"
    missing, surplus = _rows(one, table) - _rows(other, table), _rows(other, table) - _rows(one, table)
    if missing or surplus:
        yield f"table {table}: {missing.total()} rows are missing or different, {surplus.total()} are extra"


def _rows(connection: sqlite3.Connection, table: str) -> Counter[tuple[object, ...]]:
    """Return the rows of a table with the type of each value. Text is compared as bytes, and reals in full."""
    query = f"PRAGMA table_xinfo({quote_name(table)})"
    names = [quote_name(str(column[1])) for column in connection.execute(query)]
    values = [f"typeof({name}), iif(typeof({name}) = 'text', CAST({name} AS BLOB), {name})" for name in names]
    rows = connection.execute(f"SELECT {', '.join(values)} FROM {quote_name(table)}")
    return Counter(tuple(value.hex() if isinstance(value, float) else value for value in row) for row in rows)


def _indexes(connection: sqlite3.Connection) -> set[str]:
    return {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}


def tree_differences(source: Path, destination: Path) -> Iterator[str]:
    """Yield the differences between two directory trees: names, kinds, modes, contents, targets of links."""
    one, other = _tree(source), _tree(destination)
    for name in sorted(one.keys() | other.keys()):
        if name not in other:
            yield f"{name!r} is missing"
        elif name not in one:
            yield f"{name!r} is extra"
        elif one[name] != other[name]:
            yield f"{name!r} is different"


def _tree(root: Path) -> dict[str, tuple[object, ...]]:
    entries: dict[str, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(root):
        if Path(directory) == root and METADATA_NAME in directories:
            directories.remove(METADATA_NAME)
        for name in directories + files:
            path = Path(directory, name)
            entries[str(path.relative_to(root))] = _entry(path)
    return entries


def _entry(path: Path) -> tuple[object, ...]:
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return ("link", path.readlink())
    if stat.S_ISDIR(info.st_mode):
        return ("directory", stat.S_IMODE(info.st_mode))
    return ("file", stat.S_IMODE(info.st_mode), info.st_mtime_ns, path.read_bytes())
