"""Shows the progress of a Movement: a live display, plain lines or JSON lines.

Reporting an event only counts it. A thread of its own shows the counts from time to time.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from pipeline.assembly.progress_counts import Tally, progress_words
from pipeline.cli.output.json_output import print_object
from pipeline.cli.output.text import count, printable, size
from pipeline.domain.progress.model import TimeLeft
from pipeline.domain.progress.shown import ShownProgress
from pipeline.engine.estimates.group_tally import GroupTally


def show_progress(tally: Tally, *, as_json: bool, seconds: float) -> AbstractContextManager[None]:
    """Show `tally` while the context is open: every `seconds`, or live where standard error is a terminal."""
    if as_json:
        return repeat(lambda: _print_progress(tally), seconds)
    if sys.stderr.isatty():
        from pipeline.cli.output.live import show_live

        return show_live(tally)
    return repeat(lambda: print(plain_line(tally), file=sys.stderr, flush=True), seconds)


@contextmanager
def repeat(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `action` every `seconds` on a thread of its own while the context is open."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(seconds):
            try:
                action()
            except (BrokenPipeError, ValueError):  # the reader of the output has gone; the Movement goes on
                return

    thread = threading.Thread(target=work, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def plain_line(tally: Tally) -> str:
    """Return one line with the overall progress and the active groups."""
    groups = list(tally.groups.values())
    read = sum(max(group.rows_read, group.rows_fetched) for group in groups)
    expected = sum(sum(group.rows_expected.values()) for group in groups)
    imported = sum(group.records_imported for group in groups)
    stored = tally.bytes_of_binaries + sum(group.bytes_stored for group in groups)
    parts = [
        f"{tally.percent:3d} %",
        f"{count(read, 'row')} read" + (f" of about {expected:,}" if expected > read else ""),
        f"{count(imported, 'record')} imported",
        f"{size(stored)} stored",
        f"{sum(group.done for group in groups)} of {count(len(groups), 'group')} done",
    ]
    if tally.rejected:
        parts.append(f"{count(tally.rejected, 'record')} rejected")
    if not tally.status and (words := progress_words(tally.shown)):
        parts.append(printable(words))
    active = [printable(group.label) for group in groups if group.began is not None and not group.done]
    if active:
        parts.append("at " + ", ".join(active[:3]) + (" …" if len(active) > 3 else ""))
    return " · ".join(parts)


def _print_progress(tally: Tally) -> None:
    """Print a line for a program, once the Movement has begun: how far it is was not known before."""
    if tally.movement:
        print_object(progress_object(tally))


def progress_object(tally: Tally) -> dict[str, object]:
    """Return the overall progress and that of each group, for a program."""
    return {
        "progress": True,
        "flow": tally.flow,
        "movement": tally.movement,
        "seconds": round(tally.seconds, 3),
        **shown_object(replace(tally.shown, percent=tally.percent)),
        "groups": [_group_object(group) for group in list(tally.groups.values())],
    }


def shown_object(shown: ShownProgress) -> dict[str, object]:
    """Return how far a Movement is, for a program."""
    return {
        "percent": shown.percent,
        "seconds_left": _left_object(shown.left),
        "stalled_seconds": shown.stalled_seconds,
        "paused": shown.paused,
        "paused_groups": list(shown.paused_groups),
    }


def _left_object(left: TimeLeft | None) -> dict[str, float] | None:
    """Return a range of seconds, for a program."""
    return None if left is None else {"low": round(left.low, 1), "high": round(left.high, 1)}


def _group_object(group: GroupTally) -> dict[str, object]:
    return {
        "label": group.label,
        "rows_read": group.rows_read,
        "rows_fetched": group.rows_fetched,
        "rows_expected": sum(group.rows_expected.values()) if group.rows_expected else None,
        "event_files": {
            "exported": group.files_stored,
            "listed": group.listed,
            "imported": group.files_imported,
            "skipped": group.skipped,
            "failed": group.files_failed,
        },
        "records": {"imported": group.records_imported, "quarantined": group.rejected},
        "complete": group.complete,
    }
