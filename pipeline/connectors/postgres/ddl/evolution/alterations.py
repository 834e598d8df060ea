"""Schema objects on which others may depend, so that they are altered in place."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sql.schema_objects import SchemaObject


def former_defaults(present: SchemaObject, wanted: SchemaObject) -> Iterator[str]:
    """Give what drops the defaults of a view's columns, which CREATE OR REPLACE VIEW keeps."""
    for statement in present.create if wanted.kind == "view" else ():
        column, is_default, _ = statement.partition(" SET DEFAULT ")
        if column.startswith("ALTER VIEW ") and is_default and statement not in wanted.create:
            yield f"{column} DROP DEFAULT"


def changes_in_place(present: SchemaObject, wanted: SchemaObject) -> list[str]:
    """Return what changes an object on which columns and indexes may depend, so that it cannot be dropped; none if nothing does."""
    (was, *former), (now, *mappings) = present.create, wanted.create
    match wanted.kind:
        case "extension":
            return [f"ALTER EXTENSION {quoted(wanted.name)} SET SCHEMA {now.rpartition(' SCHEMA ')[2]}"]
        case "text search configuration" if was == now:
            gone = [it.partition(" WITH ")[0].replace(" ADD MAPPING ", " DROP MAPPING ", 1) for it in former]
            return [*gone, *mappings]
        case "text search dictionary":
            (former_template, had), (template, options) = _template_and_options(was), _template_and_options(now)
            if former_template == template:
                gone = sorted({*_OPTION.findall(had)} - {*_OPTION.findall(options)})
                changes = ", ".join(filter(None, [options, *gone]))
                return [f"ALTER TEXT SEARCH DICTIONARY {wanted.name} ({changes})"]
    return []


_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_DICTIONARY = re.compile(rf"CREATE TEXT SEARCH DICTIONARY .+? \(TEMPLATE = ({_NAME}\.{_NAME})(?:, (.*))?\)", re.DOTALL)
_OPTION = re.compile(rf"({_NAME}) = (?:E?'(?:[^']|'')*'|[^', ]+)")
"""An option of a dictionary: PostgreSQL writes numbers without quotes."""


def _template_and_options(create: str) -> tuple[str, str]:
    """Return the template of a text search dictionary and its options, from the statement that creates it."""
    found = _DICTIONARY.fullmatch(create)
    return (found[1], found[2] or "") if found else (create, "")
