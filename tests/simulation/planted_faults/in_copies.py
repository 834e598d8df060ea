"""Faults planted in what `verify` reads as the destination: differences that it does not see, and some that are none."""

from __future__ import annotations

from dataclasses import replace

from tests.fakes.rows import Tables, copied
from tests.fakes.source import MemorySource
from tests.simulation.scenarios.planting import in_copies


def _showing(copy: MemorySource, tables: Tables) -> MemorySource:
    return replace(copy, tables=tables)


@in_copies(range(20, 200))
def verify_overlooks_a_changed_row(copy: MemorySource) -> MemorySource:
    tables = {
        name: {number: text.replace("changed by hand", "text 0") for number, text in table.items()}
        for name, table in copy.tables.items()
    }
    return _showing(copy, tables)


@in_copies(range(50))
def verify_overlooks_rows_behind_the_last_of_the_source(copy: MemorySource) -> MemorySource:
    tables = {
        name: {number: text for number, text in table.items() if number < 14} for name, table in copy.tables.items()
    }
    return _showing(copy, tables)


@in_copies(range(50))
def verify_finds_a_difference_where_there_is_none(copy: MemorySource) -> MemorySource:
    tables = copied(copy.tables)
    first = next((name for name in sorted(tables) if tables[name]), None)
    if first is not None:
        tables[first].pop(min(tables[first]))
    return _showing(copy, tables)
