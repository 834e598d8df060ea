"""JSON on standard output: one object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from typing import TextIO

import orjson

from pipeline.domain.inventory import Fate, Inventory, InventoryItem
from pipeline.domain.lifecycle.table import State, state_of
from pipeline.domain.lifecycle.wish import Wish
from pipeline.domain.movement import Flow, HeldDeletes, Movement
from pipeline.domain.planning.next_steps import NextSteps
from pipeline.domain.progress.scores import Shown

_outputs: list[TextIO] = []
"""Where JSON goes, while standard output is kept for it."""


@contextmanager
def json_alone() -> Iterator[None]:
    """Keep standard output for JSON. What plug-ins and their libraries print goes to standard error."""
    _outputs.append(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _outputs.pop()


def print_json(text: str) -> None:
    """Print text that is JSON already, with the ends of its lines."""
    output = _outputs[-1] if _outputs else sys.stdout
    output.write(text)
    output.flush()


def print_object(document: Mapping[str, object]) -> None:
    """Print one object on one line. Lone surrogates, which orjson rejects, are escaped."""
    try:
        line = orjson.dumps(document)
    except TypeError:
        line = json.dumps(document).encode()
    print_json(line.decode() + "\n")


def inventory_object(inventory: Inventory) -> dict[str, object]:
    """Return what became of all that the source has; `unnamed` counts items beyond those that are named."""
    found: dict[str, object] = {"moved": dict(inventory.moved)}
    for name, fate in (("other_form", Fate.OTHER_FORM), ("not_moved", Fate.NOT_MOVED)):
        found[name] = list(map(item_object, inventory.with_fate(fate)))
    return found | ({"unnamed": dict(inventory.unnamed)} if inventory.unnamed else {})


def item_object(item: InventoryItem) -> dict[str, str]:
    """Return an item whose fate is known."""
    return {"kind": item.kind, "name": item.name, "reason": item.reason}


def wish_object(wish: Wish) -> dict[str, object]:
    """Return what people want: `run`, `pause` or `stop`, and who wants it, since when, why and until when."""
    times = {"when": wish.when, "until": wish.until}
    shown = {name: None if time is None else time.isoformat() for name, time in times.items()}
    return {"want": wish.want.value, "who": wish.who or None, "why": wish.why or None, **shown}


def movement_object(movement: Movement, state: State | None = None, flow: Flow | None = None) -> dict[str, object]:
    """Return the last object that `move --json` prints.

    `state` is its state now; None: as it was when it settled, in the Flow as it is, if that is known.
    """
    totals = movement.totals
    state = state or state_of(NextSteps(movement, movement.updated, flow).facts, movement.updated)
    return {
        "flow": movement.flow,
        "movement": movement.number,
        "original_movement": movement.original or None,
        "status": state.status.value,
        "reason": state.reason.value,
        "sentence": state.sentence,
        "wish": wish_object(movement.wish),
        "group_wishes": {label: wish_object(wish) for label, wish in movement.group_wishes.items()},
        "event_files": {
            "exported": totals.files_exported,
            "imported": totals.files_imported,
            "skipped": totals.files_skipped,
            "failed": totals.files_failed,
        },
        "records": {"upserts": totals.upserts, "deletes": totals.deletes, "quarantined": totals.rejected},
        "waiting": totals.waiting,
        "binary_files": {
            "stored": totals.binaries_stored,
            "reused": totals.binaries_reused,
            "imported": totals.binaries_imported,
            "failed": totals.binaries_failed,
        },
        "bytes": {"read": totals.bytes_read, "stored": totals.bytes_stored},
        "seconds": round(totals.seconds, 3),
        "time_left_shown": [_shown_object(shown) for shown in movement.shown if shown.came is not None],
        "problems": list(movement.problems),
        "reasons": dict(movement.reasons),
        "first_error": None if movement.first_error is None else asdict(movement.first_error),
        "rejected_at_source": [asdict(rejection) for rejection in movement.rejections.named],
        "held_deletes": {stream: held_object(held) for stream, held in movement.held_deletes.items()},
        "inventory": inventory_object(movement.inventory),
    }


def _shown_object(shown: Shown) -> dict[str, object]:
    return {"percent": shown.percent, "low": shown.low, "high": shown.high, "came": shown.came}


def held_object(held: HeldDeletes) -> dict[str, object]:
    """Return deletes that were held, for a program."""
    return {"deletes": held.deletes, "rows": held.rows}
