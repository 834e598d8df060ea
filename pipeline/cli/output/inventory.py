"""The inventory of a Movement: what was moved beside rows, and what was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from pipeline.cli.output.text import printable
from pipeline.domain.inventory import Fate, Inventory, InventoryItem, plural

NAMES_SHOWN = 3


def inventory_lines(inventory: Inventory, accepted: Collection[str] = ()) -> Iterator[str]:
    """Yield a line for what was moved, and a line for each kind and reason of what was not."""
    if inventory.moved:
        yield "  moved: " + ", ".join(_counted(kind, count) for kind, count in inventory.moved.items())
    yield from _groups("moved in another form", inventory.with_fate(Fate.OTHER_FORM), ())
    yield from _groups("not moved", inventory.with_fate(Fate.NOT_MOVED), accepted)
    if inventory.unnamed:
        yield "  and without a name here: " + ", ".join(_counted(kind, n) for kind, n in inventory.unnamed.items())


def _groups(what: str, items: Sequence[InventoryItem], accepted: Collection[str]) -> Iterator[str]:
    groups = Counter((item.kind, item.reason) for item in items)
    for (kind, reason), count in groups.items():
        names = [item.name for item in items if (item.kind, item.reason) == (kind, reason)]
        shown = ", ".join(map(printable, names[:NAMES_SHOWN])) + (", …" if count > NAMES_SHOWN else "")
        note = " (accepted)" if kind in accepted else ""
        yield f"  {what}{note}: {_counted(kind, count)} ({shown}): {printable(reason)}"


def _counted(kind: str, count: int) -> str:
    return f"{count:,} {kind if count == 1 else plural(kind)}"
