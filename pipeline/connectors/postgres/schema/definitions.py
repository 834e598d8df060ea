"""What belongs to a table beside its rows, in words and SQL, so that two tables can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.connectors.sql.identifiers import quoted


def definitions_of(native: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the definitions of a table's constraints, indexes, defaults and generated columns, by kind and name.

    `native` is the table's description (native.py). A destination has a definition if it has one of that name or text.
    """
    return dict(_definitions(native))


def _definitions(native: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for column in native["columns"]:
        if column["generated"] is not None:
            name = f"generated column {column['name']}: {column['generated']['expression']}"
            yield name, name
        elif (column["default"] or "nextval(").find("nextval(") < 0:  # the sequence is compared by itself
            name = f"default of {column['name']}"
            yield name, name  # the text may be another one in an app's own table
    for it in (native, *native["partitions"]):
        place = "" if it is native else f" of {it['schema']}.{it['table']}"
        for constraint in (*it["constraints"], *it["foreign_keys"]):
            is_key = constraint.get("kind") == "primary"
            name = f"primary key{place}" if is_key else f"constraint {constraint['name']}{place}"
            yield name, constraint["definition"]
        for index in it["indexes"]:
            yield f"index {index['name']}{place}", nameless(index["name"], index["definition"])


def nameless(name: str, definition: str) -> str:
    """Return the definition of an index without its name. ON ONLY, of a partitioned table's index, counts as ON."""
    plain = definition.replace(f"INDEX {quoted(name)} ON ", "INDEX ON ", 1).replace(f"INDEX {name} ON ", "INDEX ON ", 1)
    return plain.replace("INDEX ON ONLY ", "INDEX ON ", 1)
