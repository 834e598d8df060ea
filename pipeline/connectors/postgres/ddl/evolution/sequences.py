"""Sequences of a table's columns that the source has renamed, or that have another owner."""

from __future__ import annotations

from collections.abc import Set

from pipeline.connectors.postgres.ddl.create_table import Native, name_of, run_single, sequence_statements
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted

_IDENTITY_OWNER = """
SELECT d.objid, n.nspname, c.relname FROM pg_depend AS d
JOIN pg_class AS c ON c.oid = d.refobjid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE d.classid = 'pg_class'::regclass AND d.objid = to_regclass(%s) AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i'
"""


def free_identity_sequences(connection: Connection, native: Native, created: Set[str]) -> bool:
    """Rename the sequences of identity columns that have the names of a new table's; return whether there were any.

    They are those of its former name, which goes with its rows. `created` are the tables, as SQL, that may be changed.
    """
    is_freed = False
    for sequence in native.get("sequences", ()):
        name = qualified(*_name_of(sequence))
        row = connection.execute(_IDENTITY_OWNER, (name,)).fetchone() if sequence["identity"] else None
        if row is not None and qualified(*row[1:]) in created:
            run_single(connection, f"ALTER SEQUENCE {name} RENAME TO {quoted(f'former_{row[0]}')}")
            is_freed = True
    return is_freed


def follow_sequences(connection: Connection, before: Native, now: Native) -> None:
    """Rename, create and give to their owners the sequences that differ between the descriptions `before` and `now`."""
    former = {it["identity_of"]: it for it in before.get("sequences", ()) if it.get("identity_of")}
    for sequence in now.get("sequences", ()):
        was = former.get(sequence.get("identity_of"))
        if was is not None and _name_of(was) != _name_of(sequence):
            _rename(connection, was, sequence)
    for statement in sequence_statements(now):
        run_single(connection, statement)
    owned = {_name_of(it): it["owned"] and it["column"] for it in before.get("sequences", ())}
    for sequence in now.get("sequences", ()):
        owner = sequence["owned"] and sequence["column"]
        if not sequence["identity"] and owner != owned.get(_name_of(sequence)):
            column = f"{qualified(*name_of(now))}.{quoted(owner)}" if owner else "NONE"
            run_single(connection, f"ALTER SEQUENCE {qualified(*_name_of(sequence))} OWNED BY {column}")


def _rename(connection: Connection, was: Native, sequence: Native) -> None:
    present = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL AND to_regclass(%s) IS NULL",
        (qualified(*_name_of(was)), qualified(*_name_of(sequence))),
    ).fetchone()
    if present == (True,) and was["schema"] == sequence["schema"]:
        run_single(connection, f"ALTER SEQUENCE {qualified(*_name_of(was))} RENAME TO {quoted(sequence['name'])}")


def _name_of(sequence: Native) -> tuple[str, str]:
    return sequence["schema"], sequence["name"]
