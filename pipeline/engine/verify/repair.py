"""Repair: invalidates the stored state of the keys that differ, so that an ordinary Movement moves just those.

A Movement exports the difference between the source and the Flow's stored state. A repair creates a Movement whose state
is wrong, on purpose, for each key that differs at the destination: it has a hash that no row has, or a row that the
source does not have. The Movement then stores Event Files of exactly those keys (and of what has changed in these streams
at the source since), and stores the right state again.

History, marks and derived Flows see one more ordinary Movement. After a crash the next `pipeline move` resumes it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from glob import escape
from itertools import islice
from shlex import quote
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, Protocol, Self

import orjson

from pipeline.codec.state import encode_range, encode_state_head, encode_stored
from pipeline.codec.values import key_from_json, key_to_json
from pipeline.domain import object_keys
from pipeline.domain.comparison.diff import HASH_BYTES, StateRange, count_up_to, restrict, split_hashes
from pipeline.domain.comparison.report import Difference, Finding, StreamReport
from pipeline.domain.errors import ConfigurationError, TransientError
from pipeline.domain.ids import ObjectKey, StreamName
from pipeline.domain.keys import Key, order
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.schema import StreamSchema
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import cancel_compaction, ensure_not_pruned, next_movement
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectStore, PutCondition
from pipeline.temporary_database import no_room

SPOOL_BYTES = 4 * 1024 * 1024
"""Keys of each stream that are kept in memory; more go to a temporary file."""
RANGE_ROWS = 4096
_NO_ROW = bytes(HASH_BYTES)
"""The hash of a row that is not in the source."""


@dataclass(frozen=True, slots=True)
class Invalidation:
    """A key whose stored hash is invalidated. `extra`: only the destination has the row."""

    key: Key
    extra: bool


class Invalidations:
    """The invalidated keys of one stream, in key order, in bounded memory.

    `absent`: the destination has no such stream, or its table lacks a definition; `gone`: the source no longer has it.
    """

    def __init__(self) -> None:
        self._spool: IO[bytes] = SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - closed by `close`
        self.absent = False
        self.gone = False

    def add(self, difference: Difference) -> None:
        """Add the key of the next difference."""
        extra = difference.finding is Finding.EXTRA
        line = orjson.dumps([extra, *key_to_json(difference.key)], option=orjson.OPT_APPEND_NEWLINE)
        try:
            self._spool.write(line)
        except OSError as error:
            raise no_room(error.strerror or str(error)) from error

    def read(self) -> Iterator[Invalidation]:
        """Give all keys, from the first on."""
        self._spool.seek(0)
        for line in self._spool:
            extra, *key = orjson.loads(line)
            yield Invalidation(key_from_json(key), extra)

    def close(self) -> None:
        """Close the temporary file."""
        self._spool.close()


class InvalidatedStreams:
    """The invalidated keys by stream, collected from a comparison: `note` is what `Verifier.run` calls."""

    def __init__(self) -> None:
        self.streams: dict[StreamName, Invalidations] = {}

    def note(self, stream: StreamName, difference: Difference) -> None:
        """Add a difference, unless its record waits for another one: it would wait again."""
        if difference.finding is not Finding.WAITING:
            self.of(stream).add(difference)

    def note_streams(self, differing: Sequence[StreamReport]) -> None:
        """Add the reports of the streams that differ."""
        for report in differing:
            if not report.repairable:
                continue
            keys = self.of(report.stream)
            keys.absent, keys.gone = report.absent or bool(report.definitions), report.gone

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns of `--only` for these streams; none if the source has none of the streams."""
        if all(keys.gone for keys in self.streams.values()):
            return ()
        return tuple(escape(stream) for stream in self.streams)

    def of(self, stream: StreamName) -> Invalidations:
        """Return the invalidated keys of a stream."""
        if stream not in self.streams:
            self.streams[stream] = Invalidations()
        return self.streams[stream]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for keys in self.streams.values():
            keys.close()


async def begin_repair(
    store: ObjectStore, flows: FlowStore, clock: Clock, flow: Flow, invalidated: InvalidatedStreams
) -> Movement:
    """Create the Movement that repairs these streams; return it for a Mover to run.

    TransientError when the latest Movement has not settled; ConflictError when another process creates one meanwhile.
    """
    ensure_not_pruned(flow)
    latest = await cancel_compaction(flows, flow)
    if latest is None or not latest.settled:
        raise TransientError(
            f"Movement {latest.number if latest else 1} of Flow {flow.name!r} has not settled. "
            f"Run `pipeline move --flow {quote(flow.name)}` until it has, then verify again."
        )
    moment = clock.now()
    states = dict(latest.states)
    for stream, keys in invalidated.streams.items():
        if stream in states:  # a stream without state is moved as a whole
            state = SnapshotState(store, flow.name, stream, states[stream])
            attempt = round(moment.timestamp() * 1000)  # different from any exporter's and from other repairs'
            key = object_keys.state_key(flow.name, stream, latest.number + 1, attempt)
            states[stream] = await store_invalidated(store, state, keys, key)
    movement = replace(
        next_movement(flows, flow, latest),
        only=invalidated.patterns,
        exclude=latest.exclude,
        states=states,
    )
    await flows.create(movement, latest)
    return movement


class StoredState(Protocol):
    """The state of a stream: its schema, and its rows in key order."""

    @property
    def stream(self) -> StreamName: ...

    async def schema(self) -> StreamSchema | None: ...

    def ranges(self) -> AsyncGenerator[StateRange, None]: ...


async def store_invalidated(store: ObjectStore, state: StoredState, keys: Invalidations, key: ObjectKey) -> ObjectKey:
    """Store the state of a stream as one object under `key`, with some of its `keys` invalidated."""
    schema = await state.schema()
    if schema is None:
        raise ConfigurationError(f"Stream {state.stream!r} has no stored schema; move it before it is repaired.")

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield encode_state_head(_outdated(schema) if keys.absent else schema)
        rewriter = _StateRewriter(keys.read())
        async with aclosing(state.ranges()) as ranges:
            async for part in ranges:
                for frame in rewriter.frames(part):
                    yield frame
        for frame in rewriter.rest():
            yield frame

    await store.put(key, lambda: aclosing(pieces()), PutCondition.ABSENT)
    return key


def _outdated(schema: StreamSchema) -> StreamSchema:
    """Return a schema that no source has, so that the stream is exported, and created, even if it has no rows."""
    return replace(schema, native={**schema.native, "outdated": True})


class _StateRewriter:
    """Merges stored ranges and invalidated keys, both in key order, with at most `RANGE_ROWS` keys in memory."""

    def __init__(self, keys: Iterator[Invalidation]) -> None:
        self._keys = keys
        self._next = next(keys, None)

    def frames(self, part: StateRange) -> Iterator[bytes]:
        """Give the frames that replace a range, up to its end."""
        rest: StateRange | None = part
        while rest is not None:
            batch = list(islice(self._up_to(part.until), RANGE_ROWS))
            if not batch:
                yield encode_stored(rest)
                return
            more = self._next is not None and order(self._next.key) <= order(part.until)
            until = batch[-1].key if more else part.until
            yield from _frames(_invalidated_rows(rest, until, batch), until)
            rest = restrict(rest, until) if more else None

    def rest(self) -> Iterator[bytes]:
        """Give the frames of the extra rows after all stored ranges."""
        extra = ((one.key, _NO_ROW) for one in self._all() if one.extra)
        while rows := list(islice(extra, RANGE_ROWS)):
            yield from _frames(rows, rows[-1][0])

    def _up_to(self, until: Key) -> Iterator[Invalidation]:
        bound = order(until)
        while self._next is not None and order(self._next.key) <= bound:
            yield self._take(self._next)

    def _all(self) -> Iterator[Invalidation]:
        while self._next is not None:
            yield self._take(self._next)

    def _take(self, one: Invalidation) -> Invalidation:
        self._next = next(self._keys, None)
        return one


def _invalidated_rows(part: StateRange, until: Key, batch: Sequence[Invalidation]) -> list[tuple[Key, bytes]]:
    """Return the keys of a range up to `until` with their hashes, those of `batch` with a hash that no row has."""
    keys = part.load_keys()
    count = count_up_to(keys, until)
    rows = dict(zip(keys[:count], split_hashes(part.hashes[: count * HASH_BYTES]), strict=True))
    for one in batch:
        if one.key in rows:
            rows[one.key] = bytes(byte ^ 0xFF for byte in rows[one.key])
        elif one.extra:
            rows[one.key] = _NO_ROW
    return sorted(rows.items(), key=lambda row: order(row[0]))


def _frames(rows: list[tuple[Key, bytes]], until: Key) -> Iterator[bytes]:
    """Give ranges of at most `RANGE_ROWS`; the last ends at `until`."""
    for start in range(0, len(rows), RANGE_ROWS):
        some = rows[start : start + RANGE_ROWS]
        last = start + RANGE_ROWS >= len(rows)
        keys = [key for key, _ in some]
        yield encode_range(until if last else keys[-1], keys, b"".join([row_hash for _, row_hash in some]))
