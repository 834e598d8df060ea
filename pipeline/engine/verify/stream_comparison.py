"""The comparison of one stream: walks the source's and the destination's rows side by side in key order.

A destination that can read along known ranges ends its blocks where the source's blocks end. Then digests show that
blocks are equal, and rows are compared one by one only in blocks that differ. At most two blocks of each side and the
first few differences are in memory; all differences are passed on as they are found.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import orjson
from blake3 import blake3

from pipeline.codec.values import key_text
from pipeline.domain.comparison.diff import HASH_BYTES
from pipeline.domain.comparison.report import Difference, Finding, KnownRejection, RangeReport, Side, StreamReport
from pipeline.domain.comparison.values import Pairing, Values, as_uuid, differing_columns
from pipeline.domain.comparison.walk import Rows, Step, Suspect, walk, walk_equal, walk_rest
from pipeline.domain.errors import DefectError, UnreadableError
from pipeline.domain.ids import BinaryId
from pipeline.domain.keys import Key, OrderedKey, order
from pipeline.engine.verify.contents import with_ids
from pipeline.ports.object_store import OpenBody
from pipeline.ports.ranged_source import Known, KnownRange, UnchangedRows
from pipeline.ports.source import HashedBlock, RowBlock, UnreadRows, UpsertSink

Block = HashedBlock | UnchangedRows | UnreadRows
OpenedRows = AbstractAsyncContextManager[AsyncIterable[Block]]
OpenRows = Callable[[Known], OpenedRows]
IsIdOf = Callable[[object, object], Awaitable[bool]]
FindRejection = Callable[[str], KnownRejection | None]
FetchRows = Callable[[Sequence[Key]], Awaitable[Mapping[Key, bytes]]]
PAIRS_AT_ONCE = 500
"""Rows of each side that are converted to JSON at a time: a few megabytes at most."""
RANGES_KEPT = 100
"""Differing ranges that are reported one by one; all are counted."""


class SideRows:
    """The rows of one side, block by block. `rows` is the current block; None before the first and after the last.

    The values at the places `uuids` of a key are UUIDs, however they are written, and sort as such.
    """

    def __init__(self, blocks: AsyncIterable[Block] | None, uuids: Collection[int] = ()) -> None:
        """Read `blocks`; None where the side has no such stream."""
        self._uuids = uuids
        self._last: OrderedKey = ()
        self._blocks: AsyncIterator[Block] | None = None if blocks is None else aiter(blocks)
        self.block: HashedBlock | None = None
        self.rows: Rows | None = None
        self.unread: list[UnreadRows] = []

    def lacks(self, key: Key) -> bool:
        """Whether the row with this key may exist on this side, and cannot be read."""
        return any(order(it.first) <= order(key) < order(it.end) for it in self.unread)

    async def fill(self) -> Rows | None:
        """Return a block that has rows left, read if necessary; None after the last."""
        while self.rows is None or not self.rows.left:
            self.block = await self._read()
            if self.block is None:
                self.rows = None
                return None
            if self._uuids:
                self.rows = Rows(len(self.block), self.block.row_hashes, partial(self._keys, self.block), self._ordered)
            else:
                self.rows = Rows(len(self.block), self.block.row_hashes, self.block.keys)
        return self.rows

    def _ordered(self, key: Key) -> OrderedKey:
        return order(tuple(as_uuid(value) if place in self._uuids else value for place, value in enumerate(key)))

    def _keys(self, block: HashedBlock) -> Sequence[Key]:
        """Return the keys of a block. UnreadableError if their order as UUIDs is not the order in which they are read."""
        keys = block.keys()
        for key in keys:
            last, self._last = self._last, self._ordered(key)
            if self._last <= last:
                raise UnreadableError(
                    f"the key {key_text(key)} and the one before it are UUIDs that are written in different ways, so their "
                    "order at the destination is another one; write them in one way, such as in lower case with dashes",
                    "table",
                )
        return keys

    async def _read(self) -> HashedBlock | None:
        block = None if self._blocks is None else await anext(self._blocks, None)
        if isinstance(block, UnreadRows):
            self.unread.append(block)
            return await self._read()
        if isinstance(block, UnchangedRows):
            raise DefectError("a source reports rows as unchanged whose digest it does not know")
        return block

    def fresh_digest(self) -> bytes | None:
        """Return the digest of the current block, if none of its rows has been walked past."""
        return self.block.digest() if self.block is not None and self.rows is not None and self.rows.at == 0 else None

    def known(self, ahead: int) -> KnownRange | None:
        """Return the range of the current block, if it has rows left. Later ranges are not known."""
        if ahead or self._uuids or self.block is None or self.rows is None or not self.rows.left:
            return None
        return KnownRange(self.block.last_key())

    @property
    def has_values(self) -> bool:
        """Whether the current block has values, and not only hashes."""
        return isinstance(self.block, RowBlock)

    async def values(self, positions: Sequence[int]) -> list[Mapping[str, object] | None]:
        """Return the rows at these positions of the current block, as in their upserts; None for one that is rejected.

        `has_values` must hold.
        """
        if not isinstance(self.block, RowBlock):
            raise DefectError("a block without values was asked for some")
        sink = UpsertSink(digest_only)
        lines = iter((await self.block.upserts(positions, sink)).splitlines())
        return [None if at in sink.rejected else orjson.loads(next(lines))["upsert"] for at in positions]


async def digest_only(open_body: OpenBody) -> BinaryId:
    """Return the id of a content without storing it."""
    hasher = blake3()
    async with open_body() as pieces:
        async for piece in pieces:
            hasher.update(piece)
    return BinaryId(hasher.hexdigest())


@dataclass(frozen=True, slots=True)
class DifferenceSink:
    """Where differences go: every one, in key order, to `note`, and the first `keep` into the report as examples.

    `rejection` returns why the record with a key, which is JSON text, was rejected; None if it was not.
    """

    keep: int
    note: Callable[[Difference], None]
    rejection: FindRejection | None = None


class StreamComparison:
    """Compares one stream. Where one side has no values, or there is no `pairing` of columns, hashes alone decide."""

    def __init__(
        self,
        report: StreamReport,
        pairing: Pairing | None,
        sink: DifferenceSink,
        is_id_of: IsIdOf | None = None,
        fetch: FetchRows | None = None,
        uuids: Collection[int] = (),
    ) -> None:
        """`is_id_of` says whether a value of the destination is its id of what the source's value refers to.

        `fetch` is asked for rows that only the destination seems to have: a list in pages may have missed them.

        The source's values at the places `uuids` of the key are UUIDs as text.
        """
        self._uuids = uuids
        self._report = report
        self._pairing = pairing
        self._is_id_of, self._fetch = is_id_of, fetch
        self._sink = sink
        self._digests = blake3(), blake3()
        self._digested: HashedBlock | None = None
        self._end_of_last: Callable[[], Key] | None = None

    async def run(self, source: OpenedRows | None, destination: OpenRows | None) -> StreamReport:
        """Walk both sides to their ends and return the report. A side is None where the stream does not exist."""
        async with source or nullcontext() as source_blocks:
            one = SideRows(source_blocks, self._uuids)
            async with destination(one.known) if destination else nullcontext() as destination_blocks:
                other = SideRows(destination_blocks)
                while True:
                    rows, copies = await one.fill(), await other.fill()
                    if rows is None and copies is None:
                        break
                    self._digest(one.block)
                    starts = (rows.at if rows else 0, copies.at if copies else 0)
                    await self._take(_walk(one, other), starts, one, other)
        return replace(
            self._report,
            incomparable=next((unread.reason for side in (one, other) for unread in side.unread), ""),
            source=replace(self._report.source, digest=self._digests[0].hexdigest()),
            destination=replace(self._report.destination, digest=self._digests[1].hexdigest()),
        )

    def _digest(self, block: HashedBlock | None) -> None:
        """Add a block of the source to both digests. The destination's digest also covers its own differing rows."""
        if block is not None and block is not self._digested:
            self._digested = block
            for digest in self._digests:
                digest.update(block.digest())

    async def _take(self, step: Step, starts: tuple[int, int], one: SideRows, other: SideRows) -> None:
        found, same = await self._judge(step.suspects, one, other)
        for difference in found:
            self._sink.note(difference)
        end = _end(one.rows, other.rows, starts)
        self._count(step, found)
        if found:
            sides = _sides(step, starts, same, one.rows, other.rows)
            self._digests[1].update(sides[1].digest.encode())
            if len(self._report.differing) < RANGES_KEPT:
                after = self._end_of_last() if self._end_of_last else None
                self._report = replace(
                    self._report, differing=(*self._report.differing, RangeReport(after, end(), *sides))
                )
        self._end_of_last = end

    def _count(self, step: Step, found: Sequence[Difference]) -> None:
        report, findings = self._report, [difference.finding for difference in found]
        room = max(0, self._sink.keep - len(report.examples))
        self._report = replace(
            report,
            source=replace(report.source, rows=report.source.rows + step.source_rows),
            destination=replace(report.destination, rows=report.destination.rows + step.destination_rows),
            ranges=report.ranges + 1,
            ranges_differing=report.ranges_differing + bool(found),
            missing=report.missing + findings.count(Finding.MISSING),
            extra=report.extra + findings.count(Finding.EXTRA),
            different=report.different + findings.count(Finding.DIFFERENT),
            waiting=report.waiting + findings.count(Finding.WAITING),
            rejected=report.rejected + sum(difference.rejected is not None for difference in found),
            examples=(*report.examples, *found[:room]),
        )

    async def _judge(
        self, suspects: Sequence[Suspect], one: SideRows, other: SideRows
    ) -> tuple[list[Difference], list[Suspect]]:
        """Return the differences, in key order, and the pairs whose values are equal after all."""
        found: list[Difference] = []
        same: list[Suspect] = []
        for start in range(0, len(suspects), PAIRS_AT_ONCE):
            batch = suspects[start : start + PAIRS_AT_ONCE]
            columns = await self._pair_columns(batch, one, other)
            looked_at = await self._look_again(batch, other)
            for suspect in batch:
                if suspect in looked_at:
                    found += looked_at[suspect]
                    continue
                difference = self._difference(suspect, columns, one.rows, other.rows)
                if difference is None:
                    same.append(suspect)
                elif not (one.lacks(difference.key) or other.lacks(difference.key)):
                    found.append(difference)
        return found, same

    async def _pair_columns(
        self, suspects: Sequence[Suspect], one: SideRows, other: SideRows
    ) -> Mapping[Suspect, tuple[str, ...]]:
        """Return the columns that differ for each pair whose values can be compared."""
        pairing = self._pairing
        pairs = [suspect for suspect in suspects if suspect.source is not None and suspect.destination is not None]
        if pairing is None or not pairs or not (one.has_values and other.has_values):
            return {}
        rows = await one.values([pair.source for pair in pairs if pair.source is not None])
        copies = await other.values([pair.destination for pair in pairs if pair.destination is not None])
        return {
            pair: await self._differing(row, copy, pairing)
            for pair, row, copy in zip(pairs, *with_ids(pairing, rows, copies), strict=True)
            if row is not None and copy is not None
        }

    async def _look_again(self, suspects: Sequence[Suspect], other: SideRows) -> Mapping[Suspect, Sequence[Difference]]:
        """Return what differs of the rows that the source has after all, though it has not listed them."""
        extra = [suspect for suspect in suspects if suspect.source is None and suspect.destination is not None]
        if self._fetch is None or self._pairing is None or not extra or not other.has_values:
            return {}
        fetched = await self._fetch([_key(other.rows, suspect.destination) for suspect in extra])
        found = {one: line for one in extra if (line := fetched.get(_key(other.rows, one.destination))) is not None}
        copies = await other.values([one.destination for one in found if one.destination is not None])
        self._report = replace(
            self._report, source=replace(self._report.source, rows=self._report.source.rows + len(found))
        )
        differences: dict[Suspect, Sequence[Difference]] = {}
        for (suspect, line), copy in zip(found.items(), copies, strict=True):
            columns = await self._differing(orjson.loads(line)["upsert"], copy or {}, self._pairing)
            key = _key(other.rows, suspect.destination)
            differences[suspect] = [self._named(key, Finding.DIFFERENT, columns)] if columns else []
        return differences

    async def _differing(self, row: Values, copy: Values, pairing: Pairing) -> tuple[str, ...]:
        names = differing_columns(row, copy, pairing)
        if self._is_id_of is None or not names:
            return names
        there = {pair.source: pair.destination for pair in pairing.pairs}
        return tuple([name for name in names if not await self._is_id_of(row.get(name), copy.get(there[name] or ""))])

    def _difference(
        self,
        suspect: Suspect,
        columns: Mapping[Suspect, tuple[str, ...]],
        rows: Rows | None,
        copies: Rows | None,
    ) -> Difference | None:
        """Return the difference of a suspect; None for a pair with equal values."""
        if suspect.source is None:
            key, finding = _key(copies, suspect.destination), Finding.EXTRA
        else:
            key = _key(rows, suspect.source)
            finding = Finding.MISSING if suspect.destination is None else Finding.DIFFERENT
        if finding is Finding.DIFFERENT and columns.get(suspect) == ():
            return None
        return self._named(key, finding, columns.get(suspect, ()))

    def _named(self, key: Key, finding: Finding, columns: tuple[str, ...]) -> Difference:
        """Return the difference of a key, with what is known of its record: that it was rejected, or waits."""
        known = self._sink.rejection(key_text(key)) if self._sink.rejection is not None else None
        if known is None:
            return Difference(key, finding, columns)
        return Difference(key, Finding.WAITING if known.waits else finding, columns, known.reason)


def _walk(one: SideRows, other: SideRows) -> Step:
    rows, copies = one.rows, other.rows
    if rows is None or copies is None:
        return walk_rest(rows, copies)
    digest = one.fresh_digest() if len(rows) == len(copies) else None
    return walk_equal(rows, copies) if digest is not None and digest == other.fresh_digest() else walk(rows, copies)


def _sides(
    step: Step, starts: tuple[int, int], same: Sequence[Suspect], rows: Rows | None, copies: Rows | None
) -> tuple[Side, Side]:
    """Return both sides of a range. A row with equal values has the source's hash on both sides."""
    hashes = _hashes(rows, starts[0], step.source_rows)
    copied = bytearray(_hashes(copies, starts[1], step.destination_rows))
    for suspect in same:
        at = ((suspect.destination or 0) - starts[1]) * HASH_BYTES
        row = ((suspect.source or 0) - starts[0]) * HASH_BYTES
        copied[at : at + HASH_BYTES] = hashes[row : row + HASH_BYTES]
    return (
        Side(step.source_rows, blake3(hashes).hexdigest()),
        Side(step.destination_rows, blake3(bytes(copied)).hexdigest()),
    )


def _hashes(rows: Rows | None, start: int, count: int) -> bytes:
    return b"" if rows is None else rows.hashes[start * HASH_BYTES : (start + count) * HASH_BYTES]


def _key(rows: Rows | None, position: int | None) -> Key:
    return () if rows is None or position is None else rows.key(position)


def _end(rows: Rows | None, copies: Rows | None, starts: tuple[int, int]) -> Callable[[], Key]:
    """Return a function that finds the last key that was walked past."""
    sides = [
        (side, side.at - 1) for side, start in zip((rows, copies), starts, strict=True) if side and side.at > start
    ]
    return lambda: max((side.key(position) for side, position in sides), key=order)
