"""Finding the staged rows at fault on the server, in one round trip: statements are run for parts of the stage.

A part that fails is undone and divided, until each row at fault is alone. What the other parts have done stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from pipeline.connectors.postgres.loading.rejection.reasons import LOST, RejectReason, reason_of
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import literal

_PROGRAM = """
DO $pipeline$
#variable_conflict use_column
DECLARE
    "$places" tid[] := ARRAY(SELECT ctid FROM {stage} ORDER BY ctid);
    "$part" tid[]; "$ends" integer[]; "$first" integer; "$end" integer; "$done" bigint; "$rows" bigint;
    "$message" text; "$detail" text; "$column" text; "$schema" text; "$table" text; "$constraint" text;
    "$failed" json[] := '{{}}';
BEGIN
    {works}
    PERFORM pg_catalog.set_config('pipeline.failed', pg_catalog.array_to_json("$failed")::text, true);
END $pipeline$;
SELECT pg_catalog.current_setting('pipeline.failed')
"""
"""`$ends` are the ends of the parts to do, the next one last; `$first` is where that one begins. Variables have names that
no column has. A transaction pooler may give the session to the app afterwards, so nothing is created in it."""

_WORK = """
    "$first" := 1;
    "$ends" := ARRAY[cardinality("$places")];
    WHILE cardinality("$ends") > 0 LOOP
        "$end" := "$ends"[cardinality("$ends")];
        IF "$first" > "$end" THEN
            "$ends" := "$ends"[:cardinality("$ends") - 1];
            CONTINUE;
        END IF;
        BEGIN
            "$part" := "$places"["$first":"$end"];
            "$done" := 0;
            {statements}
            IF {is_counted} AND "$done" <> cardinality("$part") THEN
                RAISE EXCEPTION USING MESSAGE = {lost};
            END IF;
            "$first" := "$end" + 1;
        EXCEPTION WHEN data_exception OR integrity_constraint_violation OR with_check_option_violation
                OR feature_not_supported OR cardinality_violation OR program_limit_exceeded OR raise_exception THEN
            IF "$first" < "$end" THEN
                "$ends" := array_append("$ends", ("$first" + "$end") / 2);
            ELSE
                GET STACKED DIAGNOSTICS "$message" = MESSAGE_TEXT, "$detail" = PG_EXCEPTION_DETAIL,
                    "$column" = COLUMN_NAME, "$schema" = SCHEMA_NAME, "$table" = TABLE_NAME,
                    "$constraint" = CONSTRAINT_NAME;
                "$failed" := array_append("$failed", json_build_array("$end" - 1, SQLSTATE, "$message", "$detail",
                    coalesce(nullif("$column", ''), {column}), "$schema", "$table", "$constraint"));
                "$first" := "$end" + 1;
            END IF;
        END;
    END LOOP;
"""
_STATEMENT = '{statement}; GET DIAGNOSTICS "$rows" = ROW_COUNT; "$done" := "$done" + "$rows";'


@dataclass(frozen=True, slots=True)
class PartWork:
    """Statements in PL/pgSQL for a part of a stage; they have it as `part_of(stage)`.

    `is_counted`: together they write as many rows as the part has, or some are kept out. `column`: the one that they
    concern, where the server does not name it.
    """

    statements: Sequence[str]
    is_counted: bool = False
    column: str = ""


def part_of(stage: str) -> str:
    """Return the rows of a part of a stage, as the item of a FROM clause."""
    return f'(SELECT * FROM {stage} WHERE ctid = ANY ("$part"))'


def rows_at_fault(
    connection: Connection, stage: str, works: Sequence[PartWork], *, is_input: bool = False
) -> Mapping[int, RejectReason]:
    """Do each of the works for as many rows of the stage as possible; return the others, from 0, with the first reason.

    `is_input`: they read values, and nothing else.
    """
    program = _PROGRAM.format(stage=stage, works="".join(map(_loop, works)))
    cursor = connection.execute(program.encode())
    while cursor.nextset():
        pass
    (text,) = cursor.fetchone() or ("[]",)
    found: dict[int, RejectReason] = {}
    for row, state, message, detail, column, *constraint in orjson.loads(text):
        reason = "; ".join(filter(None, (message, detail)))
        found.setdefault(row, reason_of(state, reason, column, tuple(constraint), is_input=is_input))
    return dict(sorted(found.items()))


def _loop(work: PartWork) -> str:
    return _WORK.format(
        statements=" ".join(_STATEMENT.format(statement=it) for it in work.statements),
        is_counted="true" if work.is_counted else "false",
        lost=literal(LOST.reason),
        column=literal(work.column),
    )
