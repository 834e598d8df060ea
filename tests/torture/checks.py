"""What must hold when a Movement has settled, whatever was done to those who made it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.domain.movement import Movement, Status
from tests.torture.crew import Crew
from tests.torture.flows import FlowView
from tests.torture.place import Place, State, difference

KNOWN_KEYS = re.compile(
    r"flows/[^/]+/("
    r"flow\.json"
    r"|movements/\d+/(movement\.json|groups/[^/]+/files\.\d+(\.\d+)?\.jsonl|(progress|failures)/[^/]+\.json)"
    r"|events/\d+/[^/]+/(full|incremental)/\d+\.jsonl\.zst"
    r"|binaries/([0-9a-f]{2}|packs)/[0-9a-f]{64}"
    r"|snapshots/[^/]+/(parts/[0-9a-f]+|\d+\.\d+))"
)
"""docs/reference/bucket.md."""


class BrokenError(AssertionError):
    """A promise does not hold; the message says which."""


def all_equal(states: list[State], destination: Place) -> None:
    """The destination is one of the states that the source was in since the Movement began."""
    found = destination.state()
    differences = [difference(state, found) for state in states]
    if all(differences):
        raise BrokenError(
            f"the destination is none of {len(states)} states of the source; of the last: {differences[-1]}"
        )


def movement_adds_up(flow: FlowView, movement: Movement, crew: Crew) -> None:
    """Marks are what is listed, each file went in once and whole, and the store holds what is listed and nothing odd."""
    wrong = [*_marks(flow, movement), *_twice(flow, crew), *_stored(flow, movement), *crew.complaints]
    if movement.status is Status.SUCCESS and movement.problems:
        wrong.append(f"SUCCESS, and yet {movement.problems[0]}")
    if wrong:
        raise BrokenError(f"Movement {movement.number} of {flow.name}: " + "; ".join(wrong[:5]))


def _marks(flow: FlowView, movement: Movement) -> Iterator[str]:
    entries = {entry.id: entry for entry in flow.listed(movement)}
    marks = flow.marks()
    for file in entries.keys() ^ marks.keys():
        yield f"{file} is {'listed, and not marked' if file in entries else 'marked, and not listed'}"
    for file in entries.keys() & marks.keys():
        entry, mark = entries[file], marks[file]
        if (mark.upserts, mark.deletes, mark.rejected) != (entry.upserts, entry.deletes, 0):
            yield f"{file} is listed as {entry}, and marked as {mark}"
    here = [mark for file, mark in marks.items() if mark.movement == movement.number]
    totals = movement.totals
    counted = (totals.files_imported, totals.upserts, totals.deletes)
    marked = (len(here), sum(mark.upserts for mark in here), sum(mark.deletes for mark in here))
    if counted != marked:
        yield f"files, upserts, deletes are told as {counted}, and marked as {marked}"


def _twice(flow: FlowView, crew: Crew) -> Iterator[str]:
    for (name, file), count in crew.imports.items():
        if name == flow.name and count > 1:
            yield f"{file} was imported {count} times"


def _stored(flow: FlowView, movement: Movement) -> Iterator[str]:
    objects = flow.objects()
    for key in objects:
        if not KNOWN_KEYS.fullmatch(key):
            yield f"{key} is stored, which is no key of ours"
    for entry in flow.listed(movement):
        if objects.get(entry.key) != entry.size:
            yield f"{entry.key} has {objects.get(entry.key)} bytes and not {entry.size}"
