"""Checks of a settled Movement after any disruptions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId
from pipeline.domain.movement import Movement, Status
from pipeline.domain.planning.compaction import applicable
from pipeline.ports.destination import Mark
from tests.torture.flows import FlowView
from tests.torture.place import Place, State, difference
from tests.torture.workers import Workers

KNOWN_KEYS = re.compile(
    r"flows/[^/]+/("
    r"(flow|maintenance)\.json|clock"
    r"|history/\d{10}\.jsonl\.zst|outbox/(\d{10}|day-[\d-]{10})/[a-z.]+\.[0-9a-f]+\.json"
    r"|movements/\d+/(movement\.json|groups/[^/]+/files\.\d+(\.\d+)?\.jsonl|(progress|failures|errors)/[^/]+\.json)"
    r"|movements/\d+/parts/[^/]+/[0-9a-f]+"
    r"|events/\d+/[^/]+/(full|incremental)/\d+\.jsonl\.zst"
    r"|binaries/([0-9a-f]{2}|packs)/[0-9a-f]{64}"
    r"|snapshots/[^/]+/(parts/[0-9a-f]+|\d+\.\d+))"
)
"""docs/reference/bucket.md."""


class BrokenError(AssertionError):
    """A check failed; the message says which."""


def all_equal(states: list[State], destination: Place) -> None:
    """Check that the destination equals one of the states of the source since the Movement began."""
    found = destination.state()
    differences = [difference(state, found) for state in states]
    if all(differences):
        raise BrokenError(
            f"the destination equals none of {len(states)} states of the source; differences to the last: {differences[-1]}"
        )


def movement_adds_up(flow: FlowView, movement: Movement, workers: Workers) -> None:
    """Check that marks match the File Lists, each file was imported once and whole, and the store holds exactly what it should."""
    wrong = [*_marks(flow, movement), *_twice(flow, workers), *_stored(flow, movement), *workers.problems]
    if movement.status is Status.SUCCESS and movement.problems:
        wrong.append(f"SUCCESS, but with a problem: {movement.problems[0]}")
    if wrong:
        raise BrokenError(f"Movement {movement.number} of {flow.name}: " + "; ".join(wrong[:5]))


def _marks(flow: FlowView, movement: Movement) -> Iterator[str]:
    listed, marks = flow.listed(movement), flow.marks()
    yield from unlike(listed, marks)
    here = [mark for file, mark in marks.items() if mark.movement == movement.number]
    totals = movement.totals
    counted = (totals.files_imported, totals.upserts, totals.deletes)
    marked = (len(here), sum(mark.upserts for mark in here), sum(mark.deletes for mark in here))
    if counted != marked:
        yield f"files, upserts and deletes are reported as {counted} but marked as {marked}"


def unlike(listed: Sequence[FileEntry], marks: Mapping[EventFileId, Mark]) -> Iterator[str]:
    """Return how marks differ from a File List. The marks of files that a compaction has replaced stay."""
    entries = {entry.id: entry for entry in applicable(listed, marks)}
    compacted = {entry.id.stream: entry.id.movement for entry in listed if entry.replaces}
    for file in entries.keys() - marks.keys():
        yield f"{file} is listed but not marked"
    for file in marks.keys() - entries.keys():
        if file.movement >= compacted.get(file.stream, 0):
            yield f"{file} is marked but not listed"
    for file in marks.keys() & {entry.id for entry in listed}:
        entry, mark = entries[file], marks[file]
        if (mark.upserts, mark.deletes, mark.rejected) != (entry.upserts, entry.deletes, 0):
            yield f"{file} is listed as {entry} but marked as {mark}"


def _twice(flow: FlowView, workers: Workers) -> Iterator[str]:
    for (name, file), count in workers.imports.items():
        if name == flow.name and count > 1:
            yield f"{file} was imported {count} times"


def _stored(flow: FlowView, movement: Movement) -> Iterator[str]:
    objects = flow.objects()
    for key in objects:
        if not KNOWN_KEYS.fullmatch(key):
            yield f"{key} is stored, but its key is not documented"
    for entry in flow.listed(movement):
        if objects.get(entry.key) != entry.size:
            yield f"{entry.key} has {objects.get(entry.key)} bytes instead of {entry.size}"
