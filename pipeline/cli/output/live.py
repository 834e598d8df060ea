"""The live display: a table with a line for each group, and a bar for the whole, redrawn by a thread of rich."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.assembly.progress_counts import Tally, progress_words
from pipeline.cli.output.text import duration, printable, size
from pipeline.engine.estimates.group_tally import GroupTally

REDRAWS_PER_SECOND = 5
ROWS_SHOWN = 12
"""How many groups are shown, so that the table fits a small terminal: active ones first, then the latest done."""


@contextmanager
def show_live(tally: Tally, console: Console | None = None) -> Iterator[None]:
    """Show `tally` on a terminal while the context is open, and leave the last picture there."""
    console = console or Console(stderr=True)
    with Live(
        get_renderable=lambda: picture(tally),
        console=console,
        refresh_per_second=REDRAWS_PER_SECOND,
        redirect_stdout=False,
        vertical_overflow="crop",
    ):
        yield


def picture(tally: Tally) -> RenderableType:
    """Return the display for the present counts."""
    groups = list(tally.groups.values())
    chosen = _chosen(groups)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("group", no_wrap=True, overflow="ellipsis")
    for title in ("exported", "imported", "rows/s", "bytes"):
        table.add_column(title, justify="right", no_wrap=True)
    for group in chosen:
        table.add_row(*_cells(group))
    if len(groups) > len(chosen):
        table.add_row(Text(f"… and {len(groups) - len(chosen)} more", style="dim"))
    return Group(table, _bar(tally))


def _chosen(groups: list[GroupTally]) -> list[GroupTally]:
    """Return the groups to show, in their own order: active ones before done ones before those that have not begun."""
    ranked = sorted(groups, key=lambda group: (group.began is None, group.done, -(group.latest or 0.0)))
    shown = {group.label for group in ranked[:ROWS_SHOWN]}
    return [group for group in groups if group.label in shown]


def _cells(group: GroupTally) -> list[Text]:
    has_begun = group.began is not None
    has_problems = bool(group.files_failed or group.rejected)
    style = "red" if has_problems else "green" if group.done else "" if has_begun else "dim"
    exported = f"{group.rows_read:,}" + (" ✓" if group.complete else " …" if has_begun else "")
    imported = f"{group.records_imported:,}" + (
        " ✓" if group.done else f" {group.files_imported}/{group.pending} files"
    )
    if not group.planned:
        imported = "–"
    rate = f"{group.rows_per_second:,.0f}" if group.rows_per_second else "–"
    cells = (printable(group.label), exported, imported, rate, size(group.bytes_stored))
    return [Text(cell, style=style) for cell in cells]


def _bar(tally: Tally) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    words = f"{tally.percent} %  {duration(tally.seconds)}"
    if tally.status:
        words += f"  {tally.status}"
    elif how := progress_words(tally.shown):
        words += f"  {printable(how)}"
    if tally.rejected:
        words += f"  {tally.rejected:,} rejected"
    grid.add_row(ProgressBar(100, tally.percent, width=30, complete_style="cyan", finished_style="green"), Text(words))
    return grid
