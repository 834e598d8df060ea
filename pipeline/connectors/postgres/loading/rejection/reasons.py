"""Why a record is rejected, by PostgreSQL or before it is sent, and which row of a COPY it was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import psycopg

from pipeline.connectors.postgres.session.errors import server_message

_ABOUT_RECORDS = (
    *("22", "23", "44"),  # data exceptions, integrity violations, check options of views
    "0A000",  # a jsonb text with \u0000 on some releases
    "21000",  # two rows of one statement have equal keys that are written differently
    "54000",  # an index row that is too large
    "P0001",  # RAISE EXCEPTION of a trigger
)
"""SQLSTATEs or their classes: https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_BLOCKED = ("23503", "23505", "23P01")
_DUPLICATE = ("23505", "23P01")
_TIME_ERRORS = ("22007", "22008")
_A_NUMBER = re.compile(r'"-?\d+([.]\d+)?"$')
_NO_UNIT = (
    "; a number does not say whether it counts seconds or milliseconds, so write it as a date and time at the source"
)
_IN_COPY = re.compile(r"^COPY [^\n]*?, line (\d+)(?:, column ([^\n]+?))?(?:: .*)?$", re.MULTILINE)


class InvalidRecordError(Exception):
    """A record that cannot become a row of a COPY; the text says why. `column` is the column at fault, if there is one."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.column = column


@dataclass(frozen=True, slots=True)
class RejectReason:
    """Why records were rejected. `row` is the 0-based row of the COPY at fault, where the server names it.

    `blocked`: another row, or a missing one, was the reason, so the record may be accepted once that has changed.
    `is_duplicate`: a unique index has the value already, or an exclusion constraint a conflicting one. `is_value`: a value
    is at fault by itself. `constraint`: that index, or the broken foreign key, as schema, table and name. `rows` are all
    rows known to be at fault, with a reason each.

    `cause`: `value`, or `check` or `null` with schema, table, and name of the constraint or column; empty strings where the
    server names none. None where something else may be the reason.
    """

    reason: str
    column: str | None = None
    row: int | None = None
    blocked: bool = False
    is_duplicate: bool = False
    is_value: bool = False
    constraint: tuple[str, str, str] | None = None
    cause: tuple[str, str, str, str] | None = None
    rows: Mapping[int, RejectReason] = field(default_factory=dict)

    def without_values(self) -> RejectReason:
        """Return the reason without the server's detail, which has the values of one row."""
        return replace(self, reason=self.reason.split("; Key (")[0])


LOST = RejectReason(
    "the destination's table keeps the row out: a trigger does, a rule, or a row whose key is equal there, such as `c` and `C`"
)

VALUE = ("value", "", "", "")
ZERO = RejectReason("text with the character U+0000, which PostgreSQL cannot hold in text", is_value=True, cause=VALUE)


class RejectedError(Exception):
    """Records that are rejected though the server accepts them."""

    def __init__(self, reason: RejectReason) -> None:
        super().__init__(reason.reason)
        self.reason = reason


def check_rows(rows: Mapping[int, RejectReason]) -> None:
    """RejectedError if any rows are at fault."""
    if rows:
        first = next(iter(rows.values()))
        raise RejectedError(replace(first, rows=rows))


def reject_reason_of(error: psycopg.Error) -> RejectReason | None:
    """Return why the server rejects records; None when the error is about something else."""
    state, diagnosis = error.sqlstate or "", error.diag
    if not state.startswith(_ABOUT_RECORDS):
        return None
    found = _IN_COPY.search(diagnosis.context or "")
    row, column = (int(found[1]) - 1, found[2]) if found else (None, None)
    names = (diagnosis.schema_name, diagnosis.table_name, diagnosis.constraint_name)
    reason = reason_of(state, server_message(error), diagnosis.column_name or column, names, is_input=row is not None)
    return replace(reason, row=row)


def reason_of(
    state: str,
    message: str,
    column: str | None,
    constraint: tuple[str | None, str | None, str | None],
    *,
    is_input: bool,
) -> RejectReason:
    """Return the reason of an error with this SQLSTATE. `constraint`: the schema, table and name that it gives, if any.

    `is_input`: it came while a value was read. At other times, an expression of the table may be its reason.
    """
    if state == "22021" and "0x00" in message:
        return ZERO
    if state in _TIME_ERRORS and _A_NUMBER.search(message):
        message += _NO_UNIT
    schema, table, name = constraint
    is_blocked, place = state in _BLOCKED, (schema or "", table or "")
    causes = {"23514": ("check", *place, name or ""), "23502": ("null", *place, column or "")}
    named = (schema, table, name) if is_blocked and schema and table and name else None
    return RejectReason(
        message,
        column or None,
        blocked=is_blocked,
        is_duplicate=state in _DUPLICATE,
        is_value=state.startswith("22"),
        constraint=named,
        cause=VALUE if is_input and state.startswith("22") else causes.get(state),
    )
