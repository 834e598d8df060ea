"""The summary of a settled Movement: the counts of each group, the problems, and the status."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pipeline.assembly.progress_counts import Tally
from pipeline.cli.output.inventory import inventory_lines
from pipeline.cli.output.text import columns, count, duration, printable, size
from pipeline.domain.movement import Movement, Status
from pipeline.engine.estimates.group_tally import GroupTally

PROBLEMS_SHOWN = 20

_MEANING = {
    Status.SUCCESS: "everything that is listed has been imported",
    Status.INCOMPLETE: "some of it could not be imported; correct the cause and run the same command again",
    Status.FAILED: "nothing could be imported; correct the cause and run the same command again",
    Status.TIMED_OUT: "it made no progress for too long, or is too old; run the same command again",
    Status.CANCELLED: "it was stopped; what is imported stays",
}


def summary_lines(movement: Movement, tally: Tally) -> list[str]:
    """Return the summary of a settled Movement, line by line."""
    again = " (carried on)" if tally.resumed and movement.attempts > 1 else ""
    lines = [f"Flow {printable(movement.flow)}, Movement {movement.number}{again}", ""]
    lines += _group_table(list(tally.groups.values()))
    lines += ["", *_totals(movement), *_gone(tally), *inventory_lines(movement.inventory), *_problems(movement), ""]
    meaning = _MEANING.get(movement.status, "")
    lines.append(f"{movement.status.value}: {meaning}." if meaning else movement.status.value)
    return lines


def _group_table(groups: list[GroupTally]) -> list[str]:
    if not groups:
        return ["  There was nothing to move."]
    waiting = ("waiting",) if any(group.waiting for group in groups) else ()
    titles = (
        "group",
        "rows read",
        "new files",
        "imported",
        "skipped",
        "upserts",
        "deletes",
        "rejected",
        *waiting,
        "failed",
    )
    rows = [
        (
            printable(group.label),
            f"{group.rows_read:,}",
            f"{group.files_stored:,}",
            f"{group.files_imported:,}",
            f"{group.skipped:,}",
            f"{group.upserts_imported:,}",
            f"{group.deletes_imported:,}",
            f"{group.rejected:,}",
            *(f"{group.waiting:,}" for _ in waiting),
            f"{group.files_failed:,}",
        )
        for group in groups
    ]
    return columns([titles, *rows])


def _totals(movement: Movement) -> Iterator[str]:
    totals = movement.totals
    yield (
        f"  {count(totals.files_exported, 'Event File')} exported, {totals.files_imported:,} imported, "
        f"{totals.files_skipped:,} skipped as imported before, {totals.files_failed:,} failed"
    )
    waits = "waits" if totals.waiting == 1 else "wait"
    waiting = f", of which {totals.waiting:,} {waits} for the id of another record" if totals.waiting else ""
    records = f"{count(totals.upserts, 'upsert')} and {count(totals.deletes, 'delete')}"
    yield f"  {records}, {totals.rejected:,} rejected{waiting}"
    if totals.binaries_stored or totals.binaries_reused or totals.binaries_imported or totals.binaries_failed:
        yield (
            f"  {count(totals.binaries_stored, 'Binary File')} stored, {totals.binaries_reused:,} reused, "
            f"{totals.binaries_imported:,} imported, {totals.binaries_failed:,} failed"
        )
    yield f"  {size(totals.bytes_read)} read, {size(totals.bytes_stored)} stored, in {duration(totals.seconds)}"


def _gone(tally: Tally) -> Iterator[str]:
    """Name the streams that the source no longer has, and whose records are deleted."""
    if tally.gone:
        named = [f"{printable(stream)} ({count(deletes, 'record')} deleted)" for stream, deletes in tally.gone.items()]
        yield f"  no longer at the source: {', '.join(named)}"


def _problems(movement: Movement) -> Iterator[str]:
    """Yield the problems, each with file, line, key and reason, up to a screenful."""
    problems = movement.problems
    if not problems:
        return
    yield ""
    yield f"{count(len(problems), 'problem')}:"
    yield from (f"  {printable(problem)}" for problem in problems[:PROBLEMS_SHOWN])
    if len(problems) > PROBLEMS_SHOWN:
        yield f"  … and {len(problems) - PROBLEMS_SHOWN:,} more"
    yield f"  All problems: pipeline status {shlex.quote(movement.flow)}"
