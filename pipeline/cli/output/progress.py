"""How far a Movement is, while it is on its way: a live display, plain lines, or JSON lines.

None of them works when something is reported; that only counts. A thread of its own looks at the counts now and then.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from pipeline.assembly.progress_counts import GroupTally, Tally
from pipeline.cli.output.text import count, duration, printable, size
from pipeline.ports.reporter import Event, Reporter


class Fanout:
    """Tells several reporters the same."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = reporters

    def report(self, event: Event) -> None:
        """Pass `event` on."""
        for reporter in self._reporters:
            reporter.report(event)


def show_progress(tally: Tally, *, as_json: bool, seconds: float) -> AbstractContextManager[None]:
    """Show `tally` while the context is open: every `seconds`, or live where standard error is a terminal."""
    if as_json:
        return repeat(lambda: print_json(tally), seconds)
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
            except (BrokenPipeError, ValueError):  # nobody reads any more: the work goes on, the telling ends
                return

    thread = threading.Thread(target=work, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def plain_line(tally: Tally) -> str:
    """Return one line that says how far all is, and which groups are at work."""
    groups = list(tally.groups.values())
    read = sum(group.rows_read for group in groups)
    imported = sum(group.records_imported for group in groups)
    stored = tally.bytes_of_binaries + sum(group.bytes_stored for group in groups)
    parts = [
        f"{tally.percent:3d} %",
        f"{count(read, 'row')} read",
        f"{count(imported, 'record')} imported",
        f"{size(stored)} stored",
        f"{sum(map(group_done, groups))} of {count(len(groups), 'group')} done",
    ]
    if tally.rejected:
        parts.append(f"{count(tally.rejected, 'record')} set aside")
    if (left := tally.seconds_left) is not None:
        parts.append(f"about {duration(left)} left")
    active = [printable(group.label) for group in groups if group.began is not None and not group_done(group)]
    if active:
        parts.append("at " + ", ".join(active[:3]) + (" …" if len(active) > 3 else ""))
    return " · ".join(parts)


def group_done(group: GroupTally) -> bool:
    """Whether nothing more is to come in a group."""
    return group.complete and group.planned and group.files_imported + group.files_failed >= group.pending


def print_json(tally: Tally) -> None:
    """Print one JSON object that says how far all is."""
    from pipeline.cli.output.json_output import print_object

    print_object(
        {
            "progress": True,
            "flow": tally.flow,
            "movement": tally.movement,
            "percent": tally.percent,
            "seconds": round(tally.seconds, 3),
            "groups": [
                {
                    "label": group.label,
                    "rows_read": group.rows_read,
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
                for group in list(tally.groups.values())
            ],
        }
    )
