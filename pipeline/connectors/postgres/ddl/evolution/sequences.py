"""Sequences of a table's columns that the source has renamed, or that have another owner."""

from __future__ import annotations

from pipeline.connectors.postgres.ddl.create_table import Native, name_of, run_single, sequence_statements
from pipeline.connectors.postgres.ddl.evolution.names import take_name
from pipeline.connectors.postgres.ddl.sequences import sequence_of
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted

_OWNER = """
SELECT a.attname::text FROM pg_depend AS d JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.objid = to_regclass(%(sequence)s) AND d.deptype = 'a'
  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(%(table)s)
"""


def follow_sequences(connection: Connection, before: Native, now: Native) -> None:
    """Rename, create and give to their owners the sequences that differ between the descriptions `before` and `now`."""
    former = {it["identity_of"]: it for it in before.get("sequences", ()) if it.get("identity_of")}
    for sequence in now.get("sequences", ()):
        was = former.get(sequence.get("identity_of"))
        if was is not None and _name_of(was) != _name_of(sequence):
            _rename(connection, was, sequence)
    table = qualified(*name_of(now))
    for sequence in now.get("sequences", ()):
        if not sequence["identity"]:  # an identity column may have become one with a default
            take_name(connection, _name_of(sequence), lambda: {table}, shares_sequence=True)
    for statement in sequence_statements(now, connection.info.server_version):
        run_single(connection, statement)
    _restart(connection, before, now)
    owned = {_name_of(it): it["owned"] and it["column"] for it in before.get("sequences", ()) if not it["identity"]}
    for sequence in now.get("sequences", ()):
        owner = sequence["owned"] and sequence["column"]
        if not sequence["identity"] and owner != owned.get(_name_of(sequence)):
            column = f"{table}.{quoted(owner)}" if owner else "NONE"
            run_single(connection, f"ALTER SEQUENCE {qualified(*_name_of(sequence))} OWNED BY {column}")


def own_sequences(connection: Connection, now: Native) -> None:
    """Give sequences that renamed columns of the table own to the columns that have their names now."""
    table = qualified(*name_of(now))
    for sequence in now.get("sequences", ()):
        name = qualified(*_name_of(sequence))
        owner = connection.execute(_OWNER, {"sequence": name, "table": table}).fetchone()
        if sequence["owned"] and not sequence["identity"] and owner not in (None, (sequence["column"],)):
            run_single(connection, f"ALTER SEQUENCE {name} OWNED BY {table}.{quoted(sequence['column'])}")


def _restart(connection: Connection, before: Native, now: Native) -> None:
    """Let the identity columns that have another sequence at the source begin again: their numbers are not the former ones."""
    former = {it["column"]: it.get("identity_of") for it in before.get("sequences", ()) if it["identity"]}
    for sequence in now.get("sequences", ()):
        was = former.get(sequence["column"]) if sequence["identity"] else None
        name = sequence_of(connection, qualified(*name_of(now)), sequence["column"]) if was else None
        if name is not None and was != sequence.get("identity_of"):
            run_single(connection, f"ALTER SEQUENCE {name} RESTART")


def _rename(connection: Connection, was: Native, sequence: Native) -> None:
    present = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL AND to_regclass(%s) IS NULL",
        (qualified(*_name_of(was)), qualified(*_name_of(sequence))),
    ).fetchone()
    if present == (True,) and was["schema"] == sequence["schema"]:
        run_single(connection, f"ALTER SEQUENCE {qualified(*_name_of(was))} RENAME TO {quoted(sequence['name'])}")


def _name_of(sequence: Native) -> tuple[str, str]:
    return sequence["schema"], sequence["name"]
