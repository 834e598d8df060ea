"""What a seed makes of the world before anything goes wrong: tables, their changes, limits, clocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from pipeline.codec.documents.message import GroupCompleted, MovementExported, encode_message
from pipeline.domain.ids import FlowName, Label, ObjectKey
from pipeline.engine.movements.context import Limits
from tests.fakes.place import Place
from tests.fakes.rows import Tables
from tests.fakes.source import MemorySource

FLOW = FlowName("crm")
MAX_CLOCK_OFFSET_SECONDS = 1800.0
"""Two clocks disagree by up to an hour."""
VISIBILITY_SECONDS = 0.5
FILES, FILES_IN_PACKS = 0.15, 0.6
"""The chances that a row holds a file."""
CHORES = ("compact", "prune", "maintain", "add", "bring")
POISON = (
    b"hello",
    b"{}",
    encode_message(MovementExported(FlowName("another"), 1)),
    encode_message(GroupCompleted(FlowName("another"), 1, Label("a"), ObjectKey("nowhere"))),
)
REJECTED_PREFIXES = ("bad", "dropped", "altered")
"""The beginnings of texts that no destination holds: a check rejects the first, a trigger drops or alters the others."""
FILE_PREFIX = "file:"
FILE_TEXTS = tuple(f"{FILE_PREFIX}{number} content" for number in range(6))
"""The contents of all Binary Files there are."""


def reject_bad(number: int, text: str) -> str | None:
    """Reject some texts, as a check of a table does."""
    return "CHECK constraint failed" if text.startswith("bad") else None


def trigger(text: str) -> str | None:
    """Drop some texts and alter others, as a trigger of the destination's app does."""
    return None if text.startswith("dropped") else text.upper() if text.startswith("altered") else text


def is_file(text: str) -> bool:
    """Return whether a text is the content of a Binary File."""
    return text.startswith(FILE_PREFIX)


def of_seed(seed: int, *what: object) -> Random:
    """Return a generator for one decision: decisions do not depend on how many were made before."""
    return Random(f"{seed} {what}")


@dataclass(frozen=True, slots=True)
class Plan:
    """The world of one seed.

    `movements` is the number of Movements of `tables`. `refusals`: the destination rejects some texts.
    `has_transactions`: the destination has them. `poison` are messages of another program in the queues. `chores` are
    other commands of the operators, each with the number of calls of ports before it; `further` is the number of
    further destinations. `has_packs`: two small Binary Files make a pack. `has_releases`: tables get new columns.
    `wishes` are what operators want, `pause` or `stop`, each with the number of calls before it; `group_wishes` are those
    that are about one group. `queued_starts` are the numbers of calls before each start that is queued; `full_disks` are
    those before the disk of the destination is full, each with for how many seconds.
    `has_help`: a Mover has a helper when there is enough to import.
    """

    seed: int
    tables: Tables
    labels: dict[str, str]
    movements: int
    limits: Limits
    block_rows: int
    has_transactions: bool
    refusals: bool
    poison: tuple[bytes, ...] = ()
    exporters: int = 0
    importers: int = 0
    chores: tuple[tuple[int, str], ...] = ()
    further: int = 0
    has_packs: bool = False
    latency_seconds: float = 0.0
    has_help: bool = False
    has_releases: bool = False
    wishes: tuple[tuple[int, str], ...] = ()
    group_wishes: tuple[tuple[int, str], ...] = ()
    queued_starts: tuple[int, ...] = ()
    full_disks: tuple[tuple[int, float], ...] = ()

    @property
    def freeze_seconds(self) -> Sequence[float]:
        """For how long processes are stopped. Never for weeks where workers wait: they poll each second."""
        waiting = self.importers or self.has_help
        return (0.4, 2.0, 8.0, 40.0) if waiting else (0.4, 2.0, 6.0, 12.0, 30.0, 120.0, 3600.0, 20 * 86400.0)

    def allow_deletes(self, moment: str) -> tuple[str, ...]:
        """The streams of which the operator allows all deletes in a Movement that starts at this moment."""
        return of_seed(self.seed, "allow deletes", moment).choice(((), (), ("*",), ("a",)))

    def restart_seconds(self, moment: str) -> float:
        """The time until a process that has ended is started again."""
        return of_seed(self.seed, "restart", moment).choice((0.01, 0.3, 1.0, 10.0))

    def edit(self, app: MemorySource, moment: str) -> None:
        """Change the tables as the app's users do at this moment; now and then a new release adds a column."""
        random = of_seed(self.seed, "edit", moment)
        for _ in range(random.choice((0, 1, 1, 3, 6, 12))):
            self._change(app.tables, random)
        random = of_seed(self.seed, "release", moment)
        if self.has_releases and random.random() < 0.3:
            name = random.choice(sorted(self.labels))
            app.extra[name] = app.extra.get(name, 0) + 1

    def live(self, place: Place, moment: str) -> dict[int, tuple[str, int]]:
        """Return the rows that the app at a destination has of its own after this moment: some come, some go."""
        random = of_seed(self.seed, "live", place.location, moment)
        own = {number: referred for number, referred in place.own.items() if random.random() < 0.9}
        rows = sorted((name, number) for name, table in place.tables.items() for number in table)
        for _ in range(random.choice((0, 1, 3)) if rows else 0):
            own[random.randrange(100)] = random.choice(rows)
        return own

    def _change(self, tables: Tables, random: Random) -> None:
        name = random.choice(sorted({*tables, *self.labels}))
        chance = random.random()
        if chance < 0.05:
            tables.pop(name, None)
        elif chance < 0.35 and tables.get(name):
            del tables[name][random.choice(sorted(tables[name]))]
        else:
            row = text(random, refusals=self.refusals, files=FILES_IN_PACKS if self.has_packs else FILES)
            tables.setdefault(name, {})[random.randrange(14)] = row

    def pause_seconds(self, moment: str) -> float:
        """How long the operator waits before starting the command again."""
        return of_seed(self.seed, "pause", moment).choice((0.0, 0.0, 0.05, 0.6, 3.0, 10.0, 60.0, 86400.0, 15 * 86400.0))

    def latency(self, process: str) -> Callable[[], float]:
        """Return how long each call of a process takes: nothing in most worlds, so that faults alone take time."""
        random = of_seed(self.seed, "latency", process)
        return lambda: random.uniform(0.0, self.latency_seconds) if self.latency_seconds else 0.0

    def clock_offset_seconds(self, process: str) -> float:
        """How far the clock of a process is from the truth."""
        return of_seed(self.seed, "clock", process).uniform(-1, 1) * MAX_CLOCK_OFFSET_SECONDS


def text(random: Random, *, refusals: bool, files: float) -> str:
    """Return the text of a row. It is a file's content with the probability `files`. Few texts exist, so old ones come back."""
    if refusals and random.random() < 0.15:
        return f"{random.choice(REJECTED_PREFIXES)} {random.randrange(3)}"
    if random.random() < files:
        return random.choice(FILE_TEXTS)
    return f"text {random.randrange(4)}"


def _chores(random: Random) -> tuple[tuple[int, str], ...]:
    """Return the chores of the operators of a seed, with pauses. Half of the seeds have none."""
    if random.random() < 0.5:
        return ()
    favoured = random.choice((("compact",), ("prune",), ("maintain",), ("compact", "prune"), CHORES))
    return tuple(
        (random.choice((3, 30, 100, 250)), random.choice(favoured)) for _ in range(random.choice((1, 2, 4, 6)))
    )


def _wishes(random: Random) -> tuple[tuple[int, str], ...]:
    """Return what operators wish, with pauses. Two thirds of the seeds have none."""
    if random.random() < 0.66:
        return ()
    return tuple(
        (random.choice((3, 20, 60, 150)), random.choice(("pause", "pause", "stop")))
        for _ in range(random.choice((1, 2, 3)))
    )


def _queued_starts(random: Random) -> tuple[int, ...]:
    """Return when starts are queued. Three of four seeds have none."""
    return tuple(random.choice((20, 60, 150)) for _ in range(random.choice((0, 0, 0, 0, 0, 0, 1, 3))))


def _full_disks(random: Random) -> tuple[tuple[int, float], ...]:
    """Return when the destination is full, and for how long. Three of four seeds have room."""
    return tuple(
        (random.choice((20, 60, 150)), random.choice((0.5, 5.0, 40.0)))
        for _ in range(random.choice((0, 0, 0, 0, 0, 0, 1, 2)))
    )


def plan_of(seed: int) -> Plan:
    """Return the plan of a seed."""
    random = of_seed(seed, "plan")
    names = ["a", "b", "c"][: random.choice((1, 2, 2, 3))]
    refusals = random.random() < 0.2
    has_packs = random.random() < 0.3
    files = FILES_IN_PACKS if has_packs else FILES
    tables = {
        name: {
            number: text(random, refusals=refusals, files=files)
            for number in random.sample(range(14), random.randrange(9))
        }
        for name in names
    }
    has_workers = seed % 2 == 1
    limits = Limits(
        event_file_rows=random.choice((1, 2, 3, 5)),
        delete_guard_rows=of_seed(seed, "delete guard").choice((100, 100, 1, 2, 3)),
        range_rows=random.choice((2, 3, 5)),
        importers=random.choice((1, 2, 4)),
        visibility_seconds=VISIBILITY_SECONDS,
        sweep_seconds=1.0 if has_workers else 0.4,
        idle_timeout_seconds=60.0 if has_workers else 3.0,
        progress_seconds=0.25,
        shard_files=random.choice((1, 2, 16)) if has_workers else 0,  # `pipeline move` takes no part in a fleet
    )
    return Plan(
        seed=seed,
        tables=tables,
        labels={name: random.choice((name, "together")) for name in names},
        movements=random.choice((1, 2, 2, 3)),
        limits=limits,
        block_rows=random.choice((2, 3)),
        has_transactions=random.random() < 0.75,
        refusals=refusals,
        poison=POISON if random.random() < 0.1 else (),
        exporters=random.choice((1, 1, 2)) if has_workers else 0,
        importers=random.choice((1, 2, 3)) if has_workers else 0,
        chores=_chores(random),
        further=random.choice((0, 0, 0, 1, 2)),
        has_packs=has_packs,
        latency_seconds=random.choice((0.0, 0.0, 0.0, 0.0, 0.0, 0.03, 0.1)),
        has_help=random.random() < 0.4,
        has_releases=of_seed(seed, "releases").random() < 0.3,
        wishes=_wishes(of_seed(seed, "wishes")),
        group_wishes=_wishes(of_seed(seed, "group wishes")),
        queued_starts=_queued_starts(of_seed(seed, "queued starts")) if has_workers else (),
        full_disks=_full_disks(of_seed(seed, "full disks")),
    )
