"""When two values are equal: exactly, within one technology; by meaning, where the destination has another column type.

Values are those of a record's JSON (docs/reference/event-files.md), tagged values included.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from pipeline.domain.comparison.readings import UNREADABLE, Reading, Readings, exact, readings_for
from pipeline.domain.keys import KeyValue
from pipeline.domain.schema import Column, StreamSchema

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ColumnPair:
    """A column of the source and its counterpart at the destination, or None.

    `readings` are for columns in which one value can have two forms. `is_content`: the source has the id of a Binary File,
    and the destination its bytes.
    """

    source: str
    destination: str | None
    readings: Readings = ()
    is_content: bool = False


@dataclass(frozen=True, slots=True)
class Pairing:
    """The columns to compare. Only the source has the `missing` ones, only the destination the `extra` ones.

    `case_twins` are those extra ones whose name differs from a compared one in case only.
    """

    pairs: tuple[ColumnPair, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def case_twins(self) -> tuple[str, ...]:
        compared = {pair.destination.casefold() for pair in self.pairs if pair.destination is not None}
        return tuple(name for name in self.extra if name.casefold() in compared)


def without_columns(pairing: Pairing, names: Collection[str]) -> Pairing:
    """Return the pairing without these columns of the source."""
    return Pairing(
        tuple(pair for pair in pairing.pairs if pair.source not in names),
        missing=tuple(name for name in pairing.missing if name not in names),
        extra=pairing.extra,
    )


def pair_columns(source: StreamSchema, destination: StreamSchema) -> Pairing:
    """Pair each column of the source with the one of the same name, or of a name that differs only in case.

    Third choice is the name with an underscore behind it, for a technology that keeps the name for itself.
    """
    exact = {column.name: column for column in destination.columns}
    folded = {column.name.casefold(): column for column in destination.columns}
    one_technology = set(source.native) == set(destination.native)
    found: list[ColumnPair] = []
    for column in source.columns:
        spare = f"{column.name}_"
        other = exact.get(column.name) or folded.get(column.name.casefold())
        if other is None and spare not in source.column_names:
            other = exact.get(spare)
        found.append(_pair(column, other, one_technology=one_technology))
    taken = {pair.destination for pair in found}
    return Pairing(
        tuple(found),
        missing=tuple(pair.source for pair in found if pair.destination is None),
        extra=tuple(column.name for column in destination.columns if column.name not in taken),
    )


def _pair(column: Column, other: Column | None, *, one_technology: bool) -> ColumnPair:
    if other is None:
        return ColumnPair(column.name, None)
    if (column.type, other.type) == ("binary", "bytes"):
        return ColumnPair(column.name, other.name, is_content=True)
    return ColumnPair(column.name, other.name, readings_for(column, other, one_technology=one_technology))


_ORDERS = {"integer": "numbers", "real": "numbers", "boolean": "numbers", "bytes": "bytes", "any": "any"}
"""The kind of keys by column type; keys of all other types are text, and sort as text."""


def why_not_comparable(
    source: StreamSchema, destination: StreamSchema, pairing: Pairing, known: Collection[str] = ()
) -> str:
    """Return why rows cannot be compared in key order; empty when they can. The order of the key columns `known` is known."""
    one_technology = set(source.native) == set(destination.native)
    here = {column.name: column.type for column in source.columns}
    there = {column.name: column.type for column in destination.columns}
    names = {pair.source: pair.destination for pair in pairing.pairs}
    as_any = keys_of_any_kind(source, destination, pairing)
    for key in source.primary_keys:
        name = names.get(key)
        if name is None:
            return f"the destination has no column {key!r}, which is part of the key"
        if (
            key not in known
            and name not in as_any
            and not _keeps_keys(here[key], there[name], one_technology=one_technology)
        ):
            types = f"{here[key]} at the source and {there[name]} at the destination"
            return f"the key column {key!r} is {types}, which may change keys"
    return ""


def uuid_keys(source: StreamSchema, destination: StreamSchema, pairing: Pairing) -> Mapping[str, int]:
    """Return the key columns that are text at the source and UUIDs at the destination, with their places in the key."""
    here, there = ({column.name: column.type for column in schema.columns} for schema in (source, destination))
    names = {pair.source: pair.destination for pair in pairing.pairs}
    return {
        key: place
        for place, key in enumerate(source.primary_keys)
        if here[key] in ("text", "any") and there.get(names.get(key) or "") == "uuid"
    }


def as_uuid(value: KeyValue) -> KeyValue:
    """Return a UUID, however it is written, as PostgreSQL writes it; any other value as it is."""
    try:
        return str(UUID(value)) if isinstance(value, str) else value
    except ValueError:
        return value


def keys_of_any_kind(source: StreamSchema, destination: StreamSchema, pairing: Pairing) -> frozenset[str]:
    """Return the key columns of a PostgreSQL copy whose values stand for those of SQLite, of whatever kind each is.

    JSON says the kind. In text it is clear where SQLite makes a number of each text that looks like one, by affinity.
    """
    if not ("sqlite" in source.native and "postgresql" in destination.native):
        return frozenset()
    there = {column.name: column.type for column in destination.columns}
    names = {pair.source: pair.destination for pair in pairing.pairs}
    found = []
    for column in source.columns:
        name = names.get(column.name)
        if name is None or column.name not in source.primary_keys:
            continue
        is_typed = column.type in ("any", "integer", "real") and column.declares_type
        if there[name] == "json" or (is_typed and there[name] in ("text", "decimal")):
            found.append(name)
    return frozenset(found)


def _keeps_keys(here: str, there: str, *, one_technology: bool) -> bool:
    """Whether keys are the same, and in the same order, after they are stored in a column of type `there`.

    Do not guess: a rewritten key looks like one missing and one extra key, and a repair would delete the row.
    """
    if here == there:
        return one_technology or here != "any"
    order_here, order_there = _ORDERS.get(here, "text"), _ORDERS.get(there, "text")
    if order_there == "any" and order_here == "numbers":
        return True  # SQLite keeps numbers as they are
    return order_here == order_there and (order_there != "text" or there == "text")


def differing_columns(source: Values, destination: Values, pairing: Pairing) -> tuple[str, ...]:
    """Return the names of the source's columns whose values differ. A missing column counts as NULL."""
    return tuple(
        pair.source
        for pair in pairing.pairs
        if not same_value(
            source.get(pair.source),
            None if pair.destination is None else destination.get(pair.destination),
            pair.readings,
        )
    )


def same_value(one: object, other: object, readings: Readings = ()) -> bool:
    """Whether two values of a record are equal: exactly, or under one of the readings."""
    if not readings:
        return exact(one) == exact(other)
    if one is None or other is None:
        return one is other
    return any(_same_as(*pair, one, other) for pair in readings)


def _same_as(reading: Reading, other_reading: Reading, one: object, other: object) -> bool:
    try:
        return reading(one) == other_reading(other)
    except UNREADABLE:
        return False
