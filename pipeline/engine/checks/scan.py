"""Reads all rows of a source once: how many there are, which cannot be given, and which are too long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import anyio
import orjson
from blake3 import blake3

from pipeline.codec.values import key_text
from pipeline.domain.errors import UnreadableError
from pipeline.domain.flows.findings import SAMPLE, CheckFinding, Severity, finding_of
from pipeline.domain.ids import BinaryId, StreamName
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.engine.checks.schemas import folded
from pipeline.ports.object_store import OpenBody
from pipeline.ports.source import RowBlock, Snapshot, UnreadRows, UpsertSink

_ANY_CONTENT = BinaryId("0" * 64)
MAX_NAMES = 500_000
"""Names of files are compared with this many others at most, by 8 bytes of a digest each: some 45 MB."""


@dataclass(slots=True)
class Noted:
    """How often something was found, and the first times."""

    count: int = 0
    sample: list[str] = field(default_factory=list)

    def add(self, what: str, count: int = 1) -> None:
        """Note one more."""
        self.count += count
        if len(self.sample) < SAMPLE:
            self.sample.append(what)


@dataclass(slots=True)
class Scan:
    """What a scan of all rows found. `bytes` are those of the records of Event Files, without Binary Files."""

    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    rejected: Noted = field(default_factory=Noted)
    too_long: Noted = field(default_factory=Noted)
    twins: Noted = field(default_factory=Noted)


async def scan(
    snapshot: Snapshot,
    schemas: Sequence[StreamSchema],
    limits: Mapping[StreamName, Mapping[str, int]],
    tree: StreamName,
) -> Scan:
    """Read all rows of these streams. `limits` are the most characters of columns; `tree` is the stream of files."""
    found, begun = Scan(), anyio.current_time()
    for schema in schemas:
        try:
            async with snapshot.open_rows(schema) as blocks:
                reading = _StreamScan(found, schema, limits.get(schema.stream, {}), is_tree=schema.stream == tree)
                async for block in blocks:
                    if isinstance(block, UnreadRows):
                        found.rejected.add(f"{schema.stream}: {block.reason}")
                    else:
                        await reading.read(block)
        except UnreadableError as error:
            found.rejected.add(f"{schema.stream}: {error}")
    found.seconds = anyio.current_time() - begun
    return found


class _StreamScan:
    def __init__(self, found: Scan, schema: StreamSchema, limits: Mapping[str, int], *, is_tree: bool) -> None:
        self._found, self._schema, self._limits, self._is_tree = found, schema, limits, is_tree
        self._names: set[int] = set()

    async def read(self, block: RowBlock) -> None:
        sink = UpsertSink(_open_content)
        lines = await block.upserts(range(len(block)), sink)
        is_table = self._schema.stream not in SPECIAL_STREAMS
        self._found.rows += len(block) if is_table else 0
        self._found.bytes += len(lines)
        keys = block.keys() if sink.rejected or self._is_tree else ()
        for position, why in sink.rejected.items():
            self._found.rejected.add(f"{self._schema.stream}, key {key_text(keys[position])}: {why.reason}")
        if self._is_tree:
            self._compare_names([str(key[0]) for key in keys])
        if self._limits:
            self._look_at(lines)

    def _look_at(self, lines: bytes) -> None:
        for line in lines.splitlines():
            values = orjson.loads(line)["upsert"]
            for name, most in self._limits.items():
                value = values.get(name)
                if isinstance(value, str) and len(value) > most:
                    key = key_text(tuple(values.get(one) for one in self._schema.primary_keys))
                    self._found.too_long.add(
                        f"{self._schema.stream}.{name}, key {key}: {len(value):,} characters, at most {most:,}"
                    )

    def _compare_names(self, names: Sequence[str]) -> None:
        for name in names:
            plain = int.from_bytes(blake3(folded(name).encode("utf-8", "surrogatepass")).digest(8))
            if plain in self._names:
                self._found.twins.add(name)
            elif len(self._names) < MAX_NAMES:
                self._names.add(plain)


async def _open_content(open_body: OpenBody) -> BinaryId:
    """Read the beginning of a content: whether it is there and can be read."""
    async with open_body() as body:
        async for _ in body:
            break
    return _ANY_CONTENT


def contents_finding(found: Scan) -> CheckFinding:
    """Rows, files and contents that the source cannot give."""
    return finding_of(
        "contents",
        found.rejected.sample,
        Severity.WARNING,
        fine="Every row and every file can be read.",
        title="Rows or files that cannot be read.",
        steps="Mend them at the source. Otherwise they are rejected records, and the Movement is INCOMPLETE.",
        count=found.rejected.count,
    )


def lengths_finding(found: Scan) -> CheckFinding:
    """Values that are longer than the destination's columns."""
    return finding_of(
        "lengths",
        found.too_long.sample,
        Severity.BLOCKS,
        fine="No value is longer than its column at the destination.",
        title="Values that are longer than the destination's columns.",
        steps="Widen the columns, or shorten the values. If you accept this, these rows are rejected records.",
        count=found.too_long.count,
        excludable=True,
    )


def file_names_finding(found: Scan) -> CheckFinding:
    """Names of files that differ in case or normal form only."""
    return finding_of(
        "file-names",
        found.twins.sample,
        Severity.WARNING,
        fine="No two files differ in case or normal form only.",
        title="Files whose names differ in case or normal form only.",
        steps="Rename them if the destination, or a computer that reads it later, does not tell such names apart.",
        count=found.twins.count,
    )
