"""Checks of what a source gives, against the rules of its port. Otherwise a diff would delete or lose rows silently."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pipeline.codec.values import count_lines, key_text
from pipeline.domain.comparison.diff import HASH_BYTES
from pipeline.domain.errors import ConfigurationError, UnreadableError
from pipeline.domain.flows.groups import grouped, undeclared_problems
from pipeline.domain.ids import StreamName
from pipeline.domain.keys import Key, OrderedKey, first_out_of_order, order
from pipeline.domain.movement import Choices, Flow
from pipeline.domain.planning.selection import ensure_selected
from pipeline.domain.schema import StreamSchema
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.ports.source import RowBlock, Snapshot


async def read_streams(
    snapshot: Snapshot, location: str, choices: Choices, flow: Flow, flows: FlowStore
) -> Sequence[StreamSchema]:
    """Return the streams of the source at `location`, with the labels that `flow` declares.

    ConfigurationError when a stream or a column occurs twice, a primary key is not among the columns, none of the
    streams is selected, or the Flow declares what is not there.
    """
    schemas = await snapshot.streams()
    for schema in schemas:
        if fault := _fault(schema):
            raise ConfigurationError(f"{location}: {fault}. Correct the source.")
    names = [schema.stream for schema in schemas]
    if twice := _repeated(names):
        raise ConfigurationError(f"{location} has the stream {twice!r} twice. Correct the source.")
    ensure_selected(schemas, choices.only, choices.exclude, location)
    schemas = grouped(schemas, flow.declared)
    if problems := undeclared_problems(schemas, flow.declared, await stored_streams(flows, flow)):
        raise ConfigurationError(
            "\n".join(f"{flow.declared.where(flow.name, table)}: {why}." for table, why in problems)
        )
    return schemas


async def stored_streams(flows: FlowStore, flow: Flow) -> Collection[StreamName]:
    """Return the streams that a Flow has moved, if it leaves any out."""
    latest = await flows.latest(flow) if flow.declared.excluded else None
    return latest.states if latest is not None else ()


def _fault(schema: StreamSchema) -> str | None:
    keys, columns = schema.primary_keys, schema.column_names
    if not keys:
        return f"stream {schema.stream!r} has no primary key"
    if _repeated(columns):
        return f"stream {schema.stream!r} has a column twice: {_repeated(columns)}"
    if _repeated(keys):
        return f"the primary key of stream {schema.stream!r} names a column twice: {_repeated(keys)}"
    if unknown := [name for name in keys if name not in columns]:
        return f"the primary key of stream {schema.stream!r} names columns that it does not have: {', '.join(unknown)}"
    return None


def _repeated(names: Sequence[str]) -> str | None:
    return next((name for at, name in enumerate(names) if name in names[:at]), None)


def check_label(known: StreamSchema, schema: StreamSchema) -> None:
    """ConfigurationError when a stream has moved to another group: nothing would order its files across two File Lists."""
    if known.label != schema.label:
        raise ConfigurationError(
            f"The source's stream {schema.stream!r} has the label {schema.label!r}, and {known.label!r} in earlier Movements. "
            "Give it that label again, at the source or in what the Flow declares, or another stream name."
        )


class BlockChecks:
    """Checks the blocks of one stream, in their order. Each error is an UnreadableError."""

    def __init__(self) -> None:
        self._last: tuple[Key, OrderedKey] | None = None

    def check_unchanged(self, last_key: Key) -> None:
        """Check a block whose digest shows that its rows are as they were: its last key must be a new one."""
        self._check_after(last_key)
        self._last = last_key, order(last_key)

    def read(self, block: RowBlock) -> tuple[Sequence[Key], bytes]:
        """Return the keys and row hashes of a block; all keys must ascend strictly, and follow those before."""
        keys, hashes = block.keys(), block.row_hashes()
        if not keys:
            raise self._error("gave a block without rows")
        if len(block) != len(keys) or len(hashes) != HASH_BYTES * len(keys):
            hashed = len(hashes) / HASH_BYTES
            raise self._error(f"gave a block of {len(block)} rows, {len(keys)} keys and {hashed:g} hashes")
        self._check_after(keys[0])
        at = first_out_of_order(keys)
        if at is not None:
            raise self._out_of_order(keys[at - 1], keys[at])
        if block.last_key() != keys[-1]:
            last, last_row = key_text(block.last_key()), key_text(keys[-1])
            raise self._error(f"says that a block's last key is {last}, and its last row has key {last_row}")
        self._last = keys[-1], order(keys[-1])
        return keys, hashes

    def check_lines(self, lines: bytes, rows: int) -> None:
        """Check that there is a line for each of `rows` rows."""
        if count_lines(lines) != rows:
            raise self._error(f"is inconsistent: {rows} rows came with {count_lines(lines)} lines")

    def _check_after(self, key: Key) -> None:
        if self._last is not None and order(key) <= self._last[1]:
            raise self._out_of_order(self._last[0], key)

    def _out_of_order(self, before: Key, key: Key) -> UnreadableError:
        came = "came twice" if order(before) == order(key) else f"came after key {key_text(before)}"
        return self._error(
            f"is out of order: key {key_text(key)} {came}. Keys must be unique and in ascending order (numbers, then text "
            "by its UTF-8 bytes, then bytes)"
        )

    @staticmethod
    def _error(fault: str) -> UnreadableError:
        return UnreadableError(
            f"it {fault}. Correct the source and run again; if the source is a database, check it for damaged indexes"
        )
