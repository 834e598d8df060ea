"""Types that have changed at the source: labels of an enum, attributes of a composite type, constraints of a domain.

What ALTER TYPE cannot do is done with a new type of the same name, to which all columns are changed by the text of their
values. The export sends the values whose text has changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import psycopg

from pipeline.connectors.postgres.ddl.create_table import Native, label_statements, run_single
from pipeline.connectors.postgres.ddl.evolution.dependents import without_dependents
from pipeline.connectors.postgres.ddl.evolution.users import Used, without_users
from pipeline.connectors.postgres.schema.catalog_types import described_type
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import literal, qualified, quoted
from pipeline.connectors.sql.schema_objects import ObjectId

_FORMER = "_pipeline_former"
OLDEST_WITH_INPUT_IS_VALID = 160000
_FIRST_WITH_NAMES_OF_NOT_NULL = 170000
"""https://www.postgresql.org/docs/17/release-17.html: domains keep NOT NULL as a constraint, which ALTER DOMAIN can add by name."""
_COLUMNS = """
SELECT c.oid, n.nspname, c.relname, quote_ident(a.attname), a.atttypid <> t.oid, pg_get_expr(d.adbin, d.adrelid)
FROM pg_type AS t JOIN pg_attribute AS a ON a.atttypid IN (t.oid, t.typarray) AND NOT a.attisdropped AND a.attinhcount = 0
JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
WHERE t.oid = to_regtype(%s)
"""

_MULTIRANGE = re.compile(r"multirange_type_name = (.+)\)$")
_RANGE_OF = """
SELECT n.nspname, t.typname
FROM pg_range AS r JOIN pg_type AS t ON t.oid = r.rngtypid JOIN pg_namespace AS n ON n.oid = t.typnamespace
WHERE r.rngmultitypid = to_regtype(%s)
"""
_TYPED = """
SELECT t.name, t.name || ': type'
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace, format('%%I.%%I', n.nspname, c.relname) AS t(name)
WHERE c.reloftype <> 0 AND (c.reloftype = to_regtype(%(name)s) OR c.oid = to_regclass(%(name)s))
"""


@dataclass(frozen=True, slots=True)
class TypeEvolution:
    """Changes types, in the connection's transaction. `ours` are the schema objects that the Flow has created.

    `is_final`: all rows are loaded. Before that, what the rows still contradict is left as it is. `tables()` returns as SQL
    the tables whose rows are all the Flow's: a value there that a new type does not have comes again from the source.
    """

    connection: Connection
    ours: Collection[ObjectId] = ()
    is_final: bool = False
    tables: Callable[[], Collection[str]] = tuple

    def follow(self, wanted: Native) -> None:
        """Make a type that exists as the description `wanted` says; psycopg.Error when that is impossible."""
        name = qualified(wanted["schema"], wanted["name"])
        present = described_type(self.connection, name)
        if present is None or present.get("kind") != wanted["kind"] or present.get("create") == wanted["create"]:
            return None
        statements: Iterable[str] | None = None
        match wanted["kind"]:
            case "enum":
                statements = _label_changes(name, present["labels"], wanted["labels"])
            case "composite" if "attributes" in wanted:
                untype(self.connection, name, self.ours)
                statements = _attribute_changes(name, present["attributes"], wanted["attributes"])
            case "domain" if "domain" in wanted:
                return self._follow_domain(name, present, wanted)
        if statements is None:
            return self._replace(name, present, wanted)
        for statement in statements:
            run_single(self.connection, statement)
        return None

    def _follow_domain(self, name: str, present: Native, wanted: Native) -> None:
        here, there = present["domain"], wanted["domain"]
        if here["type"] != there["type"]:
            return self._replace(name, present, wanted)
        alter, checks = f"ALTER DOMAIN {name}", dict(here["checks"])
        for check, definition in here["checks"].items():
            new = next((it for it, text in there["checks"].items() if text == definition and it not in checks), None)
            if check not in there["checks"] and new is not None:
                run_single(self.connection, f"{alter} RENAME CONSTRAINT {quoted(check)} TO {quoted(new)}")
                checks[new] = checks.pop(check)
            elif there["checks"].get(check) != definition:
                run_single(self.connection, f"{alter} DROP CONSTRAINT {quoted(check)}")
        default = "DROP DEFAULT" if there["default"] is None else f"SET DEFAULT {there['default']}"
        run_single(self.connection, f"{alter} {default}")
        added = [
            f"ADD CONSTRAINT {quoted(check)} {definition}"
            for check, definition in there["checks"].items()
            if checks.get(check) != definition
        ]
        added += not_null_changes(here, there, wanted["name"], self.connection.info.server_version)
        for change in added:
            with suppress(*(() if self.is_final else (psycopg.IntegrityError,))), self.connection.transaction():
                run_single(self.connection, f"{alter} {change}")
        return None

    def _replace(self, name: str, present: Native, wanted: Native) -> None:
        """Put a new type in place of the present one. Before all rows are loaded, it keeps labels that they still have."""
        try:
            with self.connection.transaction():
                self._change_columns(name, wanted, wanted["create"])
        except (psycopg.DataError, psycopg.IntegrityError):
            if self.is_final:
                raise
            if wanted["kind"] != "enum":
                if self.connection.info.server_version < OLDEST_WITH_INPUT_IS_VALID:
                    raise
                return self._change_columns(name, wanted, wanted["create"], again=self.tables())
            labels = [*wanted["labels"], *(label for label in present["labels"] if label not in wanted["labels"])]
            self._change_columns(name, wanted, f"CREATE TYPE {name} AS ENUM ({', '.join(map(literal, labels))})")
        return None

    def _change_columns(self, name: str, wanted: Native, create: str, *, again: Collection[str] = ()) -> None:
        """Change the columns to a new type. In the tables `again`, a value that it lacks is NULL until the source's comes."""
        what = "DOMAIN" if wanted["kind"] == "domain" else "TYPE"
        columns: list[tuple[Any, ...]] = self.connection.execute(_COLUMNS, (name,)).fetchall()
        with (
            without_dependents(self.connection, [oid for oid, *_ in columns], self.ours),
            without_users(self.connection, Used.TYPE, name, self.ours),
        ):
            run_single(self.connection, f"ALTER {what} {name} RENAME TO {_FORMER}")
            run_single(self.connection, create)
            for _, schema, relation, column, is_array, default in columns:
                table, type_ = qualified(schema, relation), name + ("[]" if is_array else "")
                alter = f"ALTER TABLE {table} ALTER COLUMN {column}"
                run_single(self.connection, f"{alter} DROP DEFAULT")
                value = f"{column}::text::{type_}"
                if table in again:
                    value = f"CASE WHEN pg_input_is_valid({column}::text, {literal(type_)}) THEN {value} END"
                    run_single(self.connection, f"{alter} DROP NOT NULL")
                run_single(self.connection, f"{alter} TYPE {type_} USING {value}")
                if default is not None:
                    with suppress(psycopg.DataError), self.connection.transaction():  # the source has another one now
                        run_single(self.connection, f"{alter} SET DEFAULT {default}")
            run_single(self.connection, f"DROP {what} {qualified(wanted['schema'], _FORMER)}")


def rename_range(connection: Connection, wanted: Native, ours: Collection[ObjectId]) -> bool:
    """Give a range type of ours the name of the one that is wanted, if it has the multirange type of that."""
    multirange = _MULTIRANGE.search(wanted["create"] or "") if wanted["kind"] == "range" else None
    found = connection.execute(_RANGE_OF, (multirange[1],)).fetchone() if multirange else None
    if found is None or found[0] != wanted["schema"] or ("type", qualified(*found)) not in ours:
        return False
    run_single(connection, f"ALTER TYPE {qualified(*found)} RENAME TO {quoted(wanted['name'])}")
    return True


def untype(connection: Connection, name: str, ours: Collection[ObjectId]) -> None:
    """Let the tables OF a type, or the table of this name, be plain ones, so that they can change.

    Concerns those that are typed because the source's are, by the schema objects `ours`, and the end of the Movement makes
    them so again.
    """
    for table, option in connection.execute(_TYPED, {"name": name}).fetchall():
        if ("table option", option) in ours:
            run_single(connection, f"ALTER TABLE {table} NOT OF")


def not_null_changes(here: Native, there: Native, domain: str, server_version: int) -> Iterator[str]:
    """Give the changes that let a domain take NULL or not, as the source's, and under its name where the release has names."""
    name = there.get("not_null_name") if server_version >= _FIRST_WITH_NAMES_OF_NOT_NULL else None
    if here["not_null"] and not there["not_null"]:
        yield "DROP NOT NULL"
    elif there["not_null"] and not here["not_null"]:
        yield f"ADD CONSTRAINT {quoted(name)} NOT NULL" if name else "SET NOT NULL"
    elif name and name != (former := here.get("not_null_name") or f"{domain}_not_null"):
        yield f"RENAME CONSTRAINT {quoted(former)} TO {quoted(name)}"


def _label_changes(name: str, present: Sequence[str], wanted: Sequence[str]) -> Iterator[str] | None:
    """Return the statements that rename and add labels; None if they do not suffice.

    Which of several new labels an old one has become is not known, and need not be: what has it is sent again.
    """
    kept = set(present) & set(wanted)
    here, there = _runs(present, kept), _runs(wanted, kept)
    if list(here) != list(there) or any(len(old) > len(there[label]) for label, old in here.items()):
        return None
    renamed = [pair for label, old in here.items() for pair in zip(old, there[label], strict=False)]
    renames = (f"ALTER TYPE {name} RENAME VALUE {literal(old)} TO {literal(new)}" for old, new in renamed)
    names = dict(renamed)
    return chain(renames, label_statements(wanted, [names.get(label, label) for label in present], name))


def _runs(labels: Sequence[str], kept: Set[str]) -> Mapping[str | None, list[str]]:
    """Return the labels that are not kept, by the kept one that they follow, in order; None stands for the beginning."""
    last: str | None = None
    runs: dict[str | None, list[str]] = {last: []}
    for label in labels:
        if label in kept:
            last = label
            runs[last] = []
        else:
            runs[last].append(label)
    return runs


def commit_labels(connection: Connection, types: Iterable[Native]) -> None:
    """Add labels to enums, and rename them, each in a transaction of its own: PostgreSQL lets no other use a new label.

    Statements that are impossible are left to the transaction that needs them.
    """
    for wanted in types:
        name = qualified(wanted["schema"], wanted["name"])
        present = described_type(connection, name) if wanted["kind"] == "enum" else None
        if present is not None and present["kind"] == "enum":
            for statement in _label_changes(name, present["labels"], wanted["labels"]) or ():
                with suppress(psycopg.ProgrammingError), connection.transaction():
                    run_single(connection, statement)


def _attribute_changes(
    name: str, present: Sequence[Mapping[str, str]], wanted: Sequence[Mapping[str, str]]
) -> list[str] | None:
    """Return the statements that rename, drop and add attributes; None if they do not suffice.

    The text of a value has the attributes by position, so one that is renamed is found by its place.
    """
    statements, kept = [], 0
    names = {attribute["name"] for attribute in wanted}
    for attribute in present:
        new = wanted[kept] if kept < len(wanted) else None
        is_same = new is not None and attribute["type"] == new["type"]
        if new is not None and is_same and attribute["name"] == new["name"]:
            kept += 1
        elif new is not None and is_same and attribute["name"] not in names:
            statements.append(f"RENAME ATTRIBUTE {quoted(attribute['name'])} TO {quoted(new['name'])}")
            kept += 1
        elif attribute["name"] not in names:
            statements.append(f"DROP ATTRIBUTE {quoted(attribute['name'])}")
        else:
            return None
    statements += [f"ADD ATTRIBUTE {quoted(it['name'])} {it['type']}" for it in wanted[kept:]]
    return [f"ALTER TYPE {name} {statement}" for statement in statements]
