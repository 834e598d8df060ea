"""What it means when PostgreSQL, or what stands before it, refuses one record; and where in a COPY it stood."""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg

_REFUSED_CLASSES = ("22", "23", "44")
"""Data exceptions, integrity violations, views' check options: https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_REFUSED_STATES = frozenset(
    {
        "0A000",  # a jsonb text with \u0000 on some releases
        "21000",  # two rows of one statement have equal keys that are written differently
        "54000",  # an index row that is too large
        "P0001",  # RAISE EXCEPTION of a trigger
    }
)
_BLOCKED_BY_ROW = frozenset({"23503", "23505", "23P01"})
_IN_COPY = re.compile(r"^COPY [^\n]*?, line (\d+)(?:, column ([^\n]+?))?(?:: .*)?$", re.MULTILINE)
_NUL = "0x00"


class InvalidRecordError(Exception):
    """A record that cannot become a row of a COPY; the text says why. `column` is the column at fault, if it is one."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.column = column


@dataclass(frozen=True, slots=True)
class RejectReason:
    """Why records were refused. `row` is the 0-based row of the COPY at fault, where the server names it.

    `blocked`: it was another row, or a missing one, so the record may go in when that has changed. `is_duplicate`:
    a unique index has the value already. `foreign_key`: the foreign key that is broken, as schema, table and name.
    """

    reason: str
    column: str | None = None
    row: int | None = None
    blocked: bool = False
    is_duplicate: bool = False
    foreign_key: tuple[str, str, str] | None = None


def reject_reason_of(error: psycopg.Error) -> RejectReason | None:
    """Return what the server has against records; None when the error is about more than them."""
    state = error.sqlstate or ""
    if state[:2] not in _REFUSED_CLASSES and state not in _REFUSED_STATES:
        return None
    diagnosis = error.diag
    found = _IN_COPY.search(diagnosis.context or "")
    row, column = (int(found[1]) - 1, found[2]) if found else (None, None)
    return RejectReason(
        _reason(diagnosis),
        diagnosis.column_name or column,
        row,
        state in _BLOCKED_BY_ROW,
        is_duplicate=state == "23505",
        foreign_key=_foreign_key(diagnosis) if state == "23503" else None,
    )


def _foreign_key(diagnosis: psycopg.errors.Diagnostic) -> tuple[str, str, str] | None:
    schema, table, name = diagnosis.schema_name, diagnosis.table_name, diagnosis.constraint_name
    return None if schema is None or table is None or name is None else (schema, table, name)


def unfit(error: InvalidRecordError) -> RejectReason:
    """Return the same as a refusal."""
    return RejectReason(str(error), error.column)


def _reason(diagnosis: psycopg.errors.Diagnostic) -> str:
    words = "; ".join(part for part in (diagnosis.message_primary, diagnosis.message_detail) if part)
    if diagnosis.sqlstate == "22021" and _NUL in words:
        return "text with the character U+0000, which PostgreSQL cannot hold in text"
    return words
