"""Checks of streams and columns: keys, names that clash, and columns of the destination that do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from unicodedata import normalize

from pipeline.domain.comparison.values import pair_columns
from pipeline.domain.flows.findings import CheckFinding, Severity, finding_of
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import SPECIAL_STREAMS, Column, StreamSchema
from pipeline.engine.verify.scope import counterpart

NUMBERS = frozenset({"integer", "real", "decimal"})
TEXTS = frozenset({"text", "any"})
ANY_TYPE = "sqlite"
"""The technology whose columns take values of every type."""


def keys_finding(schemas: Sequence[StreamSchema]) -> CheckFinding:
    """Streams without a key: rows are identified by their contents, or by a number that the database may change."""
    without = [schema.stream for schema in schemas if schema.is_keyed_by_content or _has_row_numbers(schema)]
    return finding_of(
        "keys",
        without,
        Severity.WARNING,
        fine="Every stream has a key.",
        title="Streams without a key: rows are identified by their contents, or by row numbers.",
        steps="Give these tables a primary key at the source, so that later Movements move less.",
    )


def _has_row_numbers(schema: StreamSchema) -> bool:
    native = schema.native.get(ANY_TYPE)
    return isinstance(native, dict) and native.get("rowid") is not None


def names_finding(schemas: Sequence[StreamSchema], there: Sequence[StreamSchema]) -> CheckFinding:
    """Names of streams, and of the columns of one, that differ in case or normal form only."""
    clashes = [" and ".join(sorted(twins)) for twins in twins_of(schema.stream for schema in schemas)]
    for schema in schemas:
        clashes += [f"{schema.stream}: {' and '.join(sorted(twins))}" for twins in twins_of(schema.column_names)]
    clashes += [
        f"{schema.stream} and {other.stream} of the destination"
        for schema in schemas
        for other in there
        if schema.stream != other.stream and folded(schema.stream) == folded(other.stream)
    ]
    return finding_of(
        "names",
        clashes,
        Severity.WARNING,
        fine="No two names differ in case or normal form only.",
        title="Names that differ in case or normal form only.",
        steps="Rename one of each pair, or look where its rows arrive: a place that does not tell them apart has one name for "
        "both.",
    )


def folded(name: str) -> str:
    """Return what names have in common that differ in case or normal form only."""
    return normalize("NFC", normalize("NFC", name).casefold())


def twins_of(names: Iterable[str]) -> Sequence[Sequence[str]]:
    """Return the names that differ in case or normal form only, together."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(folded(name), []).append(name)
    return [twins for twins in found.values() if len(twins) > 1]


def types_finding(schemas: Sequence[StreamSchema], there: Sequence[StreamSchema]) -> CheckFinding:
    """Columns of existing tables at the destination that cannot take what the source has."""
    problems = [problem for schema in schemas for problem in _column_problems(schema, there)]
    return finding_of(
        "types",
        problems,
        Severity.BLOCKS,
        fine="Every column has a place at the destination.",
        title="Columns of the destination that do not fit.",
        steps="Change these columns at the destination, or leave the streams out with --exclude. If you accept this, rows that "
        "do not fit are rejected records.",
        excludable=True,
    )


def _column_problems(schema: StreamSchema, there: Sequence[StreamSchema]) -> Iterable[str]:
    table = None if schema.stream in SPECIAL_STREAMS else counterpart(schema.stream, there)
    if table is None:
        return
    pairing = pair_columns(schema, table)
    here = {column.name: column for column in schema.columns}
    columns = {column.name: column for column in table.columns}
    for pair in pairing.pairs:
        one, other = here[pair.source], columns.get(pair.destination or "")
        if other is not None and not pair.is_content and ANY_TYPE not in table.native and not _fits(one, other):
            yield f"{schema.stream}.{one.name}: {one.type} at the source, {other.type} at the destination"
    for name in pairing.extra:
        if not columns[name].nullable and columns[name].default is None:
            yield f"{schema.stream}.{name}: only the destination has it, it must not be NULL, and it has no default"


def _fits(here: Column, there: Column) -> bool:
    """Whether a column can take values of another type, as far as the types tell."""
    if here.type == there.type or there.type in TEXTS or here.type in TEXTS:
        return True
    if here.type in NUMBERS and there.type in NUMBERS:
        return not (there.type == "integer" and here.type != "integer")
    return not (here.type in NUMBERS | {"bytes"} and there.type not in NUMBERS | {"boolean"})


def length_limits(
    schemas: Sequence[StreamSchema], there: Sequence[StreamSchema]
) -> Mapping[StreamName, Mapping[str, int]]:
    """Return the columns that have a limit of characters at the destination, by stream."""
    limits: dict[StreamName, dict[str, int]] = {}
    for schema in schemas:
        table = counterpart(schema.stream, there)
        if table is None:
            continue
        sizes = {column.name: column.size for column in table.columns if column.size >= 0 and column.type in TEXTS}
        for pair in pair_columns(schema, table).pairs:
            if pair.destination in sizes:
                limits.setdefault(schema.stream, {})[pair.source] = sizes[pair.destination]
    return limits
