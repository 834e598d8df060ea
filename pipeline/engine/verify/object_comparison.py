"""The comparison of the schema objects of two databases of one technology."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
from blake3 import blake3

from pipeline.domain.comparison.objects import ObjectRow, compare_objects
from pipeline.domain.comparison.report import Finding, Side, StreamReport
from pipeline.domain.errors import DefectError
from pipeline.domain.inventory import Fate, Inventory, InventoryItem
from pipeline.domain.schema import StreamSchema
from pipeline.engine.verify.stream_comparison import DifferenceSink, digest_only
from pipeline.ports.source import Snapshot, UnreadRows, UpsertSink


@dataclass(frozen=True, slots=True)
class ObjectsReport:
    """The report, the objects that are accepted as missing, and those that only the destination has."""

    report: StreamReport
    accepted: Sequence[InventoryItem]
    extra: Sequence[str]


async def compare_schema_objects(
    report: StreamReport,
    sides: tuple[tuple[Snapshot, StreamSchema | None], tuple[Snapshot, StreamSchema | None]],
    known: Inventory,
    accepted_kinds: Sequence[str],
    sink: DifferenceSink,
) -> ObjectsReport:
    """Compare the objects of both sides, of which one may have no stream of them.

    `known` is what the latest Movement says about objects. Those that it names as missing, and that are accepted or
    do not prevent SUCCESS, are no difference.
    """
    (source, source_lines), (copies, copy_lines) = [await _read(*side) for side in sides]
    found = compare_objects(source, copies)
    named = {(item.kind, item.name): item for item in known.items if item.fate is not Fate.MOVED}
    accepted, differences = [], []
    for difference in found.differences:
        item = named.get((str(difference.key[0]), str(difference.key[1])))
        if item is not None and (not item.is_gap or item.kind in accepted_kinds):
            accepted.append(item)
        else:
            differences.append(replace(difference, rejected=item.reason if item else None))
    for difference in differences:
        sink.note(difference)
    report = replace(
        report,
        source=Side(len(source), _digest(source_lines)),
        destination=Side(len(copies), _digest(copy_lines if differences else source_lines)),
        ranges=1,
        ranges_differing=int(bool(differences)),
        missing=sum(difference.finding is Finding.MISSING for difference in differences),
        different=sum(difference.finding is Finding.DIFFERENT for difference in differences),
        rejected=sum(difference.rejected is not None for difference in differences),
        examples=tuple(differences[: sink.keep]),
    )
    return ObjectsReport(report, accepted, [f"{row.kind} {row.name}" for row in found.extra])


async def _read(snapshot: Snapshot, schema: StreamSchema | None) -> tuple[list[ObjectRow], list[bytes]]:
    lines: list[bytes] = []
    if schema is not None:
        async with snapshot.open_rows(schema) as blocks:
            async for block in blocks:
                if isinstance(block, UnreadRows):
                    raise DefectError("the schema objects of a database were not read")
                lines += (await block.upserts(range(len(block)), UpsertSink(digest_only))).splitlines()
    return [_row(orjson.loads(line)["upsert"]) for line in lines], lines


def _row(row: Mapping[str, str]) -> ObjectRow:
    return ObjectRow(row["kind"], row["name"], orjson.loads(row["definition"]))


def _digest(lines: Sequence[bytes]) -> str:
    return blake3(b"\n".join(lines)).hexdigest()
