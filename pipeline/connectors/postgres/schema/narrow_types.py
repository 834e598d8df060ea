"""Columns of the destination that hold less than the source's: found by their types, before any value is read.

PostgreSQL rounds a number to the scale of `numeric(10,2)` and a time to that of `timestamp(0)`, takes the date of a time for
a `date`, cuts blanks beyond the length of a `varchar(n)`, takes a number for seconds and the word `now` for the present time,
and drops the zone of a text for a `timestamp`, without a word. Values for such a column are staged in a type that holds
them, and compared with what the column would make of them.
"""

from __future__ import annotations

import re

_PARTS = re.compile(
    r"(?P<name>double precision|character varying|[a-z]+)(?P<fields>(?<=interval) [a-z ]+)?(\((?P<limits>[\d,-]+)\))?"
    r"(?P<zone> with(out)? time zone)?(?P<array>(\[\])*)"
)
_MICROSECONDS = 6
_WIDER: dict[tuple[str, str], str] = {
    ("real", "integer"): "numeric",
    ("real", "decimal"): "numeric",
    ("real", "real"): "double precision",
    ("double precision", "integer"): "numeric",
    ("double precision", "decimal"): "numeric",
    **{(name, wire): "numeric" for name in ("smallint", "integer", "bigint") for wire in ("real", "decimal")},
    **{("date", wire): "timestamp without time zone" for wire in ("timestamp", "timestamptz")},
    **{("date", wire): "text" for wire in ("text", "any", "integer", "real", "decimal")},
    ('"char"', "text"): "text",
    ("time without time zone", "timetz"): "time with time zone",
    **{
        (f"time {zone} time zone", wire): "text"
        for zone in ("with", "without")
        for wire in ("timestamp", "timestamptz")
    },
    ("name", "text"): "text",
    **{(f"timestamp {zone} time zone", wire): "text" for zone in ("with", "without") for wire in ("text", "any")},
    **{
        (f"timestamp {zone} time zone", wire): "character varying"
        for zone in ("with", "without")
        for wire in ("integer", "real", "decimal")
    },
    **{
        (name, wire): "text"
        for name in ("time with time zone", "time without time zone", "interval")
        for wire in ("text", "any", "integer", "real", "decimal")
    },
}
"""By the destination's type and the format's type of the source: the type to stage values in.

`character varying` is `text` for values that are all checked before they go into the table.
"""
TEXTS = frozenset({"text", "character varying"})
"""The types to stage values in by their texts."""
_EXACT = {"real": ("smallint", "real"), "double precision": ("smallint", "integer", "real")}
"""By the destination's type: the source's types whose values it holds, all of them."""


_FINE = "[0-9]:[0-9]{1,2}[.][0-9]{6}[0-9]*[1-9]"
_ANY_NUMBER = "[0-9]+[.]?[0-9]*(e[-+]?[0-9]+)?|[.][0-9]+"
_SHORT_NUMBER = "[0-9]{1,7}([.][0-9]*)?|[.][0-9]+"
"""One of eight digits is a date to a timestamp."""
_PRESENT = "now|today|tomorrow|yesterday"
"""Words that PostgreSQL replaces by a time when it reads them."""
_DAY = "^(?!2000-01-01 )[0-9]+-[0-9]"
"""A day before a time of day, but for the one that Rails writes before each where the database has no type for it."""
_ZONE = "[-+]([1-9]|0[1-9]|1[0-9])(:?[0-9]{2})?[ ]*$"
ALTERED_TIME = re.compile(rf'{_FINE}|"[ ]*(?i:{_PRESENT})|"[ ]*[0-9]{{1,7}}[ ]*"'.encode())
"""A value that a timestamp may alter: a time of day with more digits than microseconds have, such a word, a short number."""
TIME_WITH_ZONE = re.compile(rb'[0-9]:[0-9]{2}(?:[.][0-9]*)? ?(?:[-+](?!00(?::?00)?")[0-9]|[A-Ya-y][A-Za-z]{2})')
"""A time of day, perhaps with another zone than UTC."""


def staged_type(wire: str, source: str, type_: str, plain: str) -> str | None:
    """Return the type to stage values in, if a column of the type `type_` may alter some of them; None if it cannot.

    `wire` is the format's type of the source's column and `source` its native one; `plain` the type of a domain `type_`.
    """
    if plain == "money":  # how it is read depends on lc_monetary
        return "numeric"
    if plain == '"char"':
        return _WIDER.get((plain, wire))
    parts = _PARTS.fullmatch(plain)
    if source == type_ or parts is None:
        return None
    name, limits = parts["name"], parts["limits"]
    if name == "character varying" and limits and not parts["array"]:
        return "text" if wire in ("text", "any") and not _fits(name, name, source, limits) else None
    if name in ("numeric", "timestamp", "time", "interval") and (limits or parts["fields"]):
        bare = _bare(parts)
        return _WIDER.get((bare, wire), None if _fits(name, bare, source, limits) else bare)
    return None if source in _EXACT.get(plain, ()) else _WIDER.get((plain, wire))


def is_time(plain: str) -> bool:
    """Whether a type is a date, a time, a timestamp or an interval."""
    return plain == "date" or plain.startswith(("time", "interval"))


def unlimited_time(plain: str) -> str:
    """Return a time, timestamp or interval without its limits."""
    parts = _PARTS.fullmatch(plain)
    return plain if parts is None else _bare(parts)


def _bare(parts: re.Match[str]) -> str:
    return str(parts["name"]) + (parts["zone"] or "") + parts["array"]


def alters_time(column: str, plain: str) -> str:
    """Return the condition that a value of the type `plain`, a time or interval, is not what the text in `column` says.

    It has microseconds, takes a number without a unit for seconds or hours, and a word for the present time; a time drops
    the date before it and perhaps the zone behind it, a date the time. With limits, it has fewer digits or fields.
    """
    bare = "timestamp without time zone" if plain == "date" else unlimited_time(plain)
    found = [
        _FINE,
        "[.][0-9]{6}[0-9]*[1-9] *s",
        f"^[ ]*[-+]?({_ANY_NUMBER if bare == 'interval' else _SHORT_NUMBER})[ ]*$",
        _PRESENT,
    ]
    if bare.startswith("time "):
        found.append(_DAY)
    if bare == "time without time zone":
        found.append(_ZONE)
    limited = "" if bare == plain else f" OR {column}::{bare} IS DISTINCT FROM {column}::{plain}::{bare}"
    return f"{column} ~* '{'|'.join(found)}'{limited}"


def _fits(name: str, bare: str, source: str, limits: str | None) -> bool:
    """Whether the source's column has the same type with limits that are no wider."""
    if limits is None:
        return False
    fraction = int(limits.split(",")[-1]) if name != "numeric" or "," in limits else 0
    if name in ("timestamp", "time", "interval") and fraction >= _MICROSECONDS:
        return True
    parts = _PARTS.fullmatch(source)
    if parts is None or parts["limits"] is None or parts["fields"]:
        return False
    if parts["name"] + (parts["zone"] or "") + parts["array"] != bare:
        return False
    its = int(parts["limits"].split(",")[-1]) if name != "numeric" or "," in parts["limits"] else 0
    return its <= fraction
