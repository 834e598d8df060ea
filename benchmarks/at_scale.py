"""What large Flows cost, on paper: the parts are measured here, and multiplied.

Measured are, for a Movement, a table, an Event File and a thousand small files, the requests to the store and the bytes
in it; and the processor's time for a row, on the export and on the import side (`--dry-run` exports alone). The prices
are AWS list prices in us-east-1: 5 $ a million PUT and LIST, 0.40 $ a million GET.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import anyio

from benchmarks import data, measuring
from pipeline.assembly.commands.flows import pair_to_move
from pipeline.assembly.places.options import PluginSettings
from pipeline.assembly.runtime import SystemClock
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Status
from pipeline.engine.movements.context import EngineContext, Limits
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movers.mover import Mover
from pipeline.ports.reporter import SilentReporter
from pipeline.settings import Settings
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine.long_flow import CountingStore

ROWS = 200_000
LATENCY_SECONDS = 0.02
AT_ONCE = 32
"""Requests of one process that are under way at the same time."""
_PRICES = {"put": 5e-6, "list": 5e-6, "get": 0.4e-6, "head": 0.4e-6, "delete": 0.0}
_NAME = FlowName("paper")


@dataclass(frozen=True, slots=True)
class Cost:
    """Requests by method, and bytes in the store."""

    requests: Counter[str]
    stored: int

    def beside(self, smaller: Cost, more: int) -> Cost:
        """Return what each of `more` things costs, which this has more than the other."""
        requests = Counter({name: round((self.requests[name] - smaller.requests[name]) / more, 2) for name in _PRICES})
        return Cost(requests, (self.stored - smaller.stored) // more)

    def __str__(self) -> str:
        words = ", ".join(f"{count:g} {name}" for name, count in self.requests.items() if count)
        return f"{words or 'no request'}; {self.stored:,} bytes"

    @property
    def dollars(self) -> float:
        """What the requests cost."""
        return sum(count * _PRICES[name] for name, count in self.requests.items())

    @property
    def seconds(self) -> float:
        """How long one process waits for the requests."""
        return sum(self.requests.values()) * LATENCY_SECONDS / AT_ONCE


def run(directory: Path) -> None:
    """Measure the parts, and print what follows from them."""
    print("Requests to the store for a first Movement, and for one that finds nothing changed")
    small = _moved(directory / "one", partial(_tables, count=1, rows=100), file_rows=100)
    files = _moved(directory / "files", partial(_tables, count=1, rows=20_000), file_rows=100)
    tables = _moved(directory / "tables", partial(_tables, count=101, rows=100), file_rows=100)
    few = _moved(directory / "few", partial(_tree, files=100), file_rows=250_000)
    many = _moved(directory / "many", partial(_tree, files=10_100), file_rows=250_000)
    event_file, table = _difference(files, small, 199), _difference(tables, small, 100)
    binaries = _difference(many, few, 10)
    for name, (first, again) in {
        "a Movement of one table": small,
        "an Event File more": event_file,
        "a table more": table,
        "1,000 files of 5 kB more": binaries,
    }.items():
        print(f"  {name:26} {first!s:60} | {again}")
    _print_multiplied("1,000,000 Event Files", event_file[0], 1_000_000)
    _print_multiplied("10,000,000 Binary Files", binaries[0], 10_000)
    _print_multiplied("10,000 Flows, one Movement each", small[0], 10_000)
    _print_multiplied("10,000 Flows, nothing changed", small[1], 10_000)
    _rows(directory)


def _difference(larger: tuple[Cost, Cost], smaller: tuple[Cost, Cost], more: int) -> tuple[Cost, Cost]:
    return larger[0].beside(smaller[0], more), larger[1].beside(smaller[1], more)


def _print_multiplied(words: str, cost: Cost, count: int) -> None:
    hours, gigabytes = count * cost.seconds / 3600, count * cost.stored / 1e9
    print(f"  {words:34} {count * cost.dollars:8.2f} $ of requests, {hours:5.2f} h of waiting, {gigabytes:6.1f} GB")


def _moved(directory: Path, prepare: Callable[[Path], None], *, file_rows: int) -> tuple[Cost, Cost]:
    """Return what a first Movement of what `prepare` makes costs, and the next one."""
    directory.mkdir()
    prepare(directory)
    return anyio.run(partial(_move_twice, directory, Limits(event_file_rows=file_rows)))


def _tables(directory: Path, *, count: int, rows: int) -> None:
    with sqlite3.connect(directory / "app") as db:
        for table in range(count):
            db.execute(f"CREATE TABLE t{table} (id INTEGER PRIMARY KEY, name TEXT)")
            db.executemany(f"INSERT INTO t{table} VALUES (?, ?)", ((row, f"name {row}") for row in range(rows)))
    db.close()


def _tree(directory: Path, *, files: int) -> None:
    for number in range(files):
        path = directory / "app" / f"{number % 100}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sha256(f"{number}".encode()).digest() * 156)


async def _move_twice(directory: Path, limits: Limits) -> tuple[Cost, Cost]:
    memory, clock = MemoryObjectStore(), SystemClock()
    given = PluginSettings({}, {})
    costs = []
    for _ in range(2):
        store = CountingStore(memory)
        settings = Settings(home=directory / "home")
        pair = await pair_to_move(directory / "app", directory / "copy", None, _NAME, settings, given)
        context = EngineContext(store, MemoryEventQueue(), clock, SilentReporter(), FlowStore(store, clock), limits)
        movement = await Mover(context, pair.name, pair.source, pair.destination, "paper").run()
        assert movement.status is Status.SUCCESS
        costs.append(Cost(store.requests, sum(len(content) for _, content in memory.contents())))
    return costs[0], costs[1]


def _rows(directory: Path) -> None:
    place = directory / "rows"
    place.mkdir()
    data.build(place / "app.db", ROWS)
    dry = measuring.move("app.db", "copy.db", "--dry-run", directory=place)
    first = measuring.move("app.db", "copy.db", directory=place)
    again = measuring.move("app.db", "copy.db", directory=place)
    export, load = dry.processor_seconds / ROWS, (first.processor_seconds - dry.processor_seconds) / ROWS
    print(f"  a row of 380 bytes: {export * 1e6:.1f} µs to export, {load * 1e6:.1f} to import, ", end="")
    print(f"{again.processor_seconds / ROWS * 1e6:.1f} when nothing has changed; peak {first.peak_bytes >> 20} MiB")
    hours = 1e8 * export / 3600
    print(
        f"  100,000,000 rows: exported in {hours:.2f} h by one process; imported in {1e8 * load / 3600:.2f} h of processor"
    )
    for cores in (8, 32):
        print(f"    with {cores} cores for importers: {max(hours, 1e8 * load / 3600 / cores):.2f} h, both side by side")
