"""Defaults of another technology's columns, as PostgreSQL writes them for the type that a column has here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.connectors.sql.identifiers import literal

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_TEXT = re.compile(r"'(([^']|'')*)'")
_TEXT_IN_DOUBLE_QUOTES = re.compile(r'"(([^"]|"")*)"')
"""SQLite takes it for text in a default, where it cannot name a column."""
_BLOB = re.compile(r"[xX]'(([0-9A-Fa-f]{2})*)'")
_NUMBERS = {"bigint": _INTEGER, "double precision": _NUMBER, "numeric": _NUMBER}
_BOOLEANS = {
    **dict.fromkeys(("1", "TRUE", "'1'", "'T'", "'TRUE'"), "true"),
    **dict.fromkeys(("0", "FALSE", "'0'", "'F'", "'FALSE'"), "false"),
}
_TRUTH = {"TRUE": "1", "FALSE": "0"}
"""SQLite has no booleans: the two words are numbers."""
_NOW = {
    "CURRENT_TIMESTAMP": "YYYY-MM-DD HH24:MI:SS",
    "CURRENT_DATE": "YYYY-MM-DD",
    "CURRENT_TIME": "HH24:MI:SS",
    "DATETIME('NOW')": "YYYY-MM-DD HH24:MI:SS",
    "DATE('NOW')": "YYYY-MM-DD",
    "TIME('NOW')": "HH24:MI:SS",
}
"""How SQLite writes the time in UTC: https://www.sqlite.org/lang_createtable.html, section 3.2."""


def local_default(default: str | None, type_: str) -> str | None:
    """Return an SQLite default as SQL for a column of this type; None if there is none, or it has no counterpart."""
    text = (default or "").strip()
    if type_ == "boolean":
        return _BOOLEANS.get(text.upper())
    text = _TRUTH.get(text.upper(), text)
    if found := _TEXT_IN_DOUBLE_QUOTES.fullmatch(text):
        text = literal(found[1].replace('""', '"'))
    quoted = _TEXT.fullmatch(text)
    if type_ == "bytea":
        blob = _BLOB.fullmatch(text)
        return f"'\\x{blob[1]}'" if blob else None
    if type_ in _NUMBERS:
        number = quoted[1] if quoted else text  # SQLite makes a number of it as well
        return number if _NUMBERS[type_].fullmatch(number) else None
    if type_ == "text":
        if (form := _NOW.get(text.upper())) is not None:
            return f"to_char(now() AT TIME ZONE 'UTC', '{form}')"
        return text if quoted else f"'{int(text)}'" if _INTEGER.fullmatch(text) else None
    return None


def default_here(column: Mapping[str, Any], type_: str) -> str | None:
    """Return the default of a described column for the type that it has here: one of SQLite's may have been widened."""
    if column.get("source_default") is None or type_ == column["type"] or column.get("identity"):
        default: str | None = column.get("default")
        return default
    return local_default(column["source_default"], type_)
