"""The inventory counts all items, and names some of each kind."""

from __future__ import annotations

from pipeline.domain.inventory import NAMED_ITEMS, Fate, Inventory, InventoryItem, missing_lines


def items(kind: str, count: int) -> list[InventoryItem]:
    return [InventoryItem(kind, f"{kind} {number}", Fate.NOT_MOVED, "why") for number in range(count)]


def test_a_kind_is_named_however_many_items_another_one_has() -> None:
    inventory = Inventory.of([*items("fifo", NAMED_ITEMS + 3), *items("socket", 2)])
    assert inventory.unnamed == {"fifo": 3}
    assert [item.kind for item in inventory.gaps(["fifo"])] == ["socket", "socket"]


def test_a_line_counts_also_what_has_no_name() -> None:
    inventory = Inventory.of([*items("fifo", NAMED_ITEMS + 3), *items("socket", 1)])
    lines = missing_lines(inventory.gaps([]), inventory.unnamed)
    assert [line.split(" (")[0] for line in lines] == ["not moved: 1,003 fifos", "not moved: 1 socket"]
