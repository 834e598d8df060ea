"""Repair: the Flow's memory is made to doubt the keys that differ, so that an ordinary Movement moves just those.

A Movement exports what differs between the source and what the Flow remembers to have stored. So a new Movement is
created whose snapshot state says, of every key that differs at the destination, what cannot be: a hash that no longer
agrees, or a row that the source does not have. Carried on like any Movement that stopped half-way, it stores Event Files
of exactly those keys (and of what the source has changed in these streams meanwhile), and remembers the truth again.

So nothing is special about it: history, marks and later destinations see one more Movement. Killed at any moment, the
next `pipeline move` carries it on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from glob import escape
from itertools import islice
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, Self

import orjson

from pipeline.codec.state import encode_range, encode_state_head, encode_stored
from pipeline.codec.values import key_from_json, key_to_json
from pipeline.domain import object_keys
from pipeline.domain.comparison.diff import HASH_BYTES, StateRange, count_up_to, restrict, split_hashes
from pipeline.domain.comparison.report import Difference, Finding, StreamReport
from pipeline.domain.errors import ConfigurationError, TransientError
from pipeline.domain.ids import ObjectKey, StreamName
from pipeline.domain.keys import Key, order
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.domain.schema import StreamSchema
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import cancel_compaction, ensure_not_pruned, next_movement
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectStore, PutCondition

SPOOL_BYTES = 4 * 1024 * 1024
"""Keys of differences that are kept in memory for each stream; what is more goes to a temporary file."""
RANGE_ROWS = 4096
_NOWHERE = bytes(HASH_BYTES)


@dataclass(frozen=True, slots=True)
class Invalidation:
    """A key whose stored hash must not count. `extra`: the destination has the row, and the source does not."""

    key: Key
    extra: bool


class Invalidations:
    """The keys of one stream that differ, in key order, however many there are.

    `absent`: the destination has no such stream at all; `gone`: the source has it no more.
    """

    def __init__(self) -> None:
        self._spool: IO[bytes] = SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - closed by `close`
        self.absent = False
        self.gone = False

    def add(self, difference: Difference) -> None:
        """Take the next one."""
        extra = difference.finding is Finding.EXTRA
        self._spool.write(orjson.dumps([extra, *key_to_json(difference.key)], option=orjson.OPT_APPEND_NEWLINE))

    def read(self) -> Iterator[Invalidation]:
        """Give them all, from the first on."""
        self._spool.seek(0)
        for line in self._spool:
            extra, *key = orjson.loads(line)
            yield Invalidation(key_from_json(key), extra)

    def close(self) -> None:
        """Give up the file."""
        self._spool.close()


class InvalidatedStreams:
    """The doubts about each stream of a comparison: what `Verifier.run` notes differences in."""

    def __init__(self) -> None:
        self.streams: dict[StreamName, Invalidations] = {}

    def note(self, stream: StreamName, difference: Difference) -> None:
        """Take a difference."""
        self._of(stream).add(difference)

    def note_streams(self, differing: Sequence[StreamReport]) -> None:
        """Take what was found of the streams that differ."""
        for report in differing:
            if report.incomparable:
                continue  # nobody knows what differs
            doubts = self._of(report.stream)
            doubts.absent, doubts.gone = report.absent, report.gone

    @property
    def patterns(self) -> tuple[str, ...]:
        """What `--only` would be for these streams; nothing where the source has none of them, and so none to name."""
        if all(doubts.gone for doubts in self.streams.values()):
            return ()
        return tuple(escape(stream) for stream in self.streams)

    def _of(self, stream: StreamName) -> Invalidations:
        if stream not in self.streams:
            self.streams[stream] = Invalidations()
        return self.streams[stream]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for doubts in self.streams.values():
            doubts.close()


async def begin_repair(
    store: ObjectStore, flows: FlowStore, clock: Clock, flow: Flow, doubted: InvalidatedStreams
) -> Movement:
    """Create the Movement that repairs these streams, for a Mover to carry on; return it.

    TransientError when the latest Movement has not settled; ConflictError when another process begins one meanwhile.
    """
    ensure_not_pruned(flow)
    latest = await cancel_compaction(flows, flow)
    if latest is None or not latest.settled:
        raise TransientError(
            f"Movement {latest.number if latest else 1} of Flow {flow.name!r} has not settled. "
            "Run `pipeline move` until it has, then verify again."
        )
    moment = clock.now()
    states = dict(latest.states)
    for stream, doubts in doubted.streams.items():
        if stream in states:  # of any other stream the Flow has stored nothing: all of it is new to a Movement
            state = SnapshotState(store, flow.name, stream, states[stream])
            attempt = round(moment.timestamp() * 1000)  # no exporter's number, and another one for each repair
            key = object_keys.state_key(flow.name, stream, latest.number + 1, attempt)
            states[stream] = await _store_doubted(store, state, doubts, key)
    movement = replace(
        next_movement(flows, flow, latest),
        status=Status.READY,
        only=doubted.patterns,
        exclude=latest.exclude,
        states=states,
    )
    await flows.create(movement)
    return movement


async def _store_doubted(store: ObjectStore, state: SnapshotState, doubts: Invalidations, key: ObjectKey) -> ObjectKey:
    """Store the state of a stream as one object, with doubts about some of its keys."""
    schema = await state.schema()
    if schema is None:
        raise ConfigurationError(f"Stream {state.stream!r} has no stored schema; move it before it is repaired.")

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield encode_state_head(_outdated(schema) if doubts.absent else schema)
        doubting = _Doubting(doubts.read())
        async with aclosing(state.ranges()) as ranges:
            async for part in ranges:
                for frame in doubting.frames(part):
                    yield frame
        for frame in doubting.rest():
            yield frame

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        async with aclosing(pieces()) as body:
            yield body

    await store.put(key, opened, PutCondition.ABSENT)
    return key


def _outdated(schema: StreamSchema) -> StreamSchema:
    """Return a schema that no source has: so a stream is told of again even if it has no rows, and is made there."""
    return replace(schema, native={**schema.native, "outdated": True})


class _Doubting:
    """Goes through stored ranges and doubts, both in key order, with at most `RANGE_ROWS` doubts in memory."""

    def __init__(self, doubts: Iterator[Invalidation]) -> None:
        self._doubts = doubts
        self._next = next(doubts, None)

    def frames(self, part: StateRange) -> Iterator[bytes]:
        """Give the frames that take the place of a range. Doubts that do not fit wait for the next one."""
        rest: StateRange | None = part
        while rest is not None:
            doubts = list(islice(self._up_to(part.until), RANGE_ROWS))
            if not doubts:
                yield encode_stored(rest)
                return
            more = self._next is not None and order(self._next.key) <= order(part.until)
            until = doubts[-1].key if more else part.until
            yield from _frames(_doubted(rest, until, doubts), until)
            rest = restrict(rest, until) if more else None

    def rest(self) -> Iterator[bytes]:
        """Give frames of what the destination has behind all stored ranges."""
        while extra := [(doubt.key, _NOWHERE) for doubt in islice(self._all(), RANGE_ROWS) if doubt.extra]:
            yield from _frames(extra, extra[-1][0])

    def _up_to(self, until: Key) -> Iterator[Invalidation]:
        bound = order(until)
        while self._next is not None and order(self._next.key) <= bound:
            yield self._take(self._next)

    def _all(self) -> Iterator[Invalidation]:
        while self._next is not None:
            yield self._take(self._next)

    def _take(self, doubt: Invalidation) -> Invalidation:
        self._next = next(self._doubts, None)
        return doubt


def _doubted(part: StateRange, until: Key, doubts: Sequence[Invalidation]) -> list[tuple[Key, bytes]]:
    """Return the keys of a range up to `until` with their hashes, those in doubt with one that cannot be."""
    keys = part.load_keys()
    count = count_up_to(keys, until)
    rows = dict(zip(keys[:count], split_hashes(part.hashes[: count * HASH_BYTES]), strict=True))
    for doubt in doubts:
        if doubt.key in rows:
            rows[doubt.key] = bytes(byte ^ 0xFF for byte in rows[doubt.key])
        elif doubt.extra:
            rows[doubt.key] = _NOWHERE
    return sorted(rows.items(), key=lambda row: order(row[0]))


def _frames(rows: list[tuple[Key, bytes]], until: Key) -> Iterator[bytes]:
    """Give ranges of at most `RANGE_ROWS`; the last ends at `until`."""
    for start in range(0, len(rows), RANGE_ROWS):
        some = rows[start : start + RANGE_ROWS]
        last = start + RANGE_ROWS >= len(rows)
        keys = [key for key, _ in some]
        yield encode_range(until if last else keys[-1], keys, b"".join([row_hash for _, row_hash in some]))
