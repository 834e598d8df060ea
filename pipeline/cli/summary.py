"""What `move` says at the end: the counts, group by group, everything that did not go in, and the status."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.cli.tally import GroupTally, Tally
from pipeline.cli.text import columns, count, duration, printable, size
from pipeline.domain.movement import Movement, Status

_MEANING = {
    Status.SUCCESS: "everything that is listed has been imported",
    Status.INCOMPLETE: "some of it could not be imported; correct the cause and run the same command again",
    Status.FAILED: "nothing could be imported; correct the cause and run the same command again",
    Status.TIMED_OUT: "nothing happened for too long; run the same command again",
    Status.CANCELLED: "it was cancelled",
}


def summary_lines(movement: Movement, tally: Tally) -> list[str]:
    """Return the summary of a settled Movement, line by line."""
    again = " (carried on)" if tally.resumed else ""
    lines = [f"Flow {printable(movement.flow)}, Movement {movement.number}{again}", ""]
    lines += _group_table(list(tally.groups.values()))
    lines += ["", *_totals(movement), *_trouble(movement, tally), ""]
    meaning = _MEANING.get(movement.status, "")
    lines.append(f"{movement.status.value}: {meaning}." if meaning else movement.status.value)
    return lines


def _group_table(groups: list[GroupTally]) -> list[str]:
    if not groups:
        return ["  There was nothing to move."]
    rows = [("group", "rows read", "new files", "imported", "skipped", "upserts", "deletes", "set aside", "failed")]
    rows += [
        (
            printable(group.label),
            f"{group.rows_read:,}",
            f"{group.files_stored:,}",
            f"{group.files_imported:,}",
            f"{group.skipped:,}",
            f"{group.upserts_imported:,}",
            f"{group.deletes_imported:,}",
            f"{group.rejected:,}",
            f"{group.files_failed:,}",
        )
        for group in groups
    ]
    return columns(rows)


def _totals(movement: Movement) -> Iterator[str]:
    totals = movement.totals
    yield (
        f"  {count(totals.files_exported, 'Event File')} exported, {totals.files_imported:,} imported, "
        f"{totals.files_skipped:,} skipped because they had been imported before, {totals.files_failed:,} failed"
    )
    yield (
        f"  {count(totals.upserts, 'upsert')} and {count(totals.deletes, 'delete')}, {totals.quarantined:,} set aside"
    )
    if totals.binaries_stored or totals.binaries_reused or totals.binaries_imported or totals.binaries_failed:
        yield (
            f"  {count(totals.binaries_stored, 'Binary File')} stored, {totals.binaries_reused:,} known already, "
            f"{totals.binaries_imported:,} imported, {totals.binaries_failed:,} failed"
        )
    yield (f"  {size(totals.bytes_read)} read, {size(totals.bytes_stored)} stored, in {duration(totals.seconds)}")


def _trouble(movement: Movement, tally: Tally) -> Iterator[str]:
    """Yield what did not go in: first the whole files, then the records, then what does not hold."""
    if tally.failures:
        yield from ("", "Event Files that failed (nothing of them was applied; later files of their stream wait):")
        yield from (f"  {failure.id}: {printable(failure.reason)}" for failure in tally.failures)
    if tally.rejections:
        yield from ("", f"Records set aside ({tally.rejected:,} in this run):")
        for rejection in tally.rejections:
            yield f"  {rejection.file} line {rejection.line}, key {printable(rejection.key)}: " + printable(
                rejection.reason
            )
    if tally.violations:
        yield from ("", f"What does not hold at the destination ({tally.violated:,}):")
        yield from (f"  {printable(one.stream)}: {printable(one.message)}" for one in tally.violations)
    known = {one.message for one in tally.violations} | {one.reason for one in tally.failures}
    others = [problem for problem in movement.problems if not any(text in problem for text in known)]
    if others:
        yield from ("", "Problems:")
        yield from (f"  {printable(problem)}" for problem in others)
    if tally.failures or tally.rejections or tally.violations:
        yield f"  All of it: pipeline status --flow {_quoted(movement.flow)}"


def _quoted(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else "'" + name.replace("'", "'\\''") + "'"
