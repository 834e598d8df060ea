"""A whole run: servers, workers, and one world after another until as many are killed as were to be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from anyio.from_thread import BlockingPortal, start_blocking_portal

from pipeline.assembly.runtime import open_runtime
from pipeline.domain.ids import FlowName
from pipeline.settings import load_settings
from tests.fleet.fleet import open_fleet
from tests.servers.process import temporary_directory
from tests.torture.blows import Target
from tests.torture.checks import BrokenError
from tests.torture.crew import Crew
from tests.torture.databases import Database, PostgresEngine, SqliteEngine
from tests.torture.diary import Diary
from tests.torture.flows import FlowView
from tests.torture.place import Place
from tests.torture.servers import Servers, open_servers
from tests.torture.trees import Tree
from tests.torture.world import World

VISIBILITY_SECONDS = 2
KINDS = ("sqlite-to-sqlite", "sqlite-to-postgresql", "postgresql-to-postgresql", "files")
SETTINGS = {
    "queue_visibility_seconds": str(VISIBILITY_SECONDS), "progress_seconds": "0.3", "sweep_seconds": "0.5",
    "shard_files": "2", "log_level": "debug",
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How much is to be done. `size` is about the number of rows in each table of an app."""

    seed: int
    kills: int
    kills_a_world: int = 10
    kills_a_movement: int = 5
    size: int = 1200
    event_file_rows: int = 60
    importers: int = 3
    minutes: float = 60.0
    directory: Path | None = None
    """Where the places and logs are to be; without one they go with the run."""

    @classmethod
    def small(cls, seed: int, kills: int = 20, directory: Path | None = None) -> Plan:
        """What takes less than a minute."""
        return cls(seed, kills, 10, 10, size=160, event_file_rows=20, importers=2, minutes=4, directory=directory)


def torture(plan: Plan, diary: Diary) -> int:
    """Run it; return how many were killed. BrokenError when a promise does not hold, or time is up."""
    dice, killed, worlds = Random(plan.seed), 0, 0
    deadline = time.monotonic() + 60 * plan.minutes
    with _open(plan, dice, diary) as stage:
        kinds: list[str] = []
        while killed < plan.kills:
            kinds = kinds or dice.sample(KINDS, len(KINDS))
            name = FlowName(f"{kinds.pop()}-{worlds}")
            diary.tell(f"{killed} of {plan.kills} killed")
            killed += _run_world(plan, name, stage, plan.kills - killed)
            worlds += 1
            if killed < plan.kills and time.monotonic() > deadline:
                raise BrokenError(f"{killed} of {plan.kills} were killed when {plan.minutes:.0f} minutes were over")
    diary.tell(f"{killed} killed in {worlds} worlds, and all holds")
    return killed


@dataclass(frozen=True)
class Stage:
    """What all worlds of a run share, and the places that there have been."""

    portal: BlockingPortal
    servers: Servers
    crew: Crew
    dice: Random
    diary: Diary
    places: list[Place] = field(default_factory=list)


@contextmanager
def _open(plan: Plan, dice: Random, diary: Diary) -> Iterator[Stage]:
    """Open the servers and hire the workers; at the end, see to it that all leave as they should."""
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        servers = stack.enter_context(open_servers(portal, dice))
        assert servers.store.server is not None
        directory = plan.directory or stack.enter_context(temporary_directory("crew"))
        urls = {"aws_endpoint_url": servers.to_store.url, "sqs_endpoint_url": servers.to_sqs.url}
        settings = {**SETTINGS, **urls, "event_file_rows": str(plan.event_file_rows)}
        fleet = stack.enter_context(open_fleet(directory, servers.store.server, servers.sqs, **settings))
        crew = Crew(fleet, diary)
        diary.tell(f"seed {plan.seed}: an exporter and {plan.importers} importers begin")
        for role in ("export", *["import"] * plan.importers):
            crew.hire(role)
        stage = Stage(portal, servers, crew, dice, diary)
        yield stage
        wrong = [*crew.dismiss(), *crew.complaints]
        diary.tell("all were told to stop, and have")
        wrong += [f"left over: {what}" for place in stage.places for what in place.leftovers()]
        if wrong:
            raise BrokenError("; ".join(wrong[:5]))


def _run_world(plan: Plan, name: FlowName, stage: Stage, kills: int) -> int:
    dice, crew = stage.dice, stage.crew
    directory = crew.fleet.directory / name
    directory.mkdir()
    places = make_places(name, directory, stage.servers)
    stage.places.extend(places)
    target = Target(crew, stage.servers, places, VISIBILITY_SECONDS, dice, stage.diary)
    settings = load_settings(flags=crew.fleet.as_settings())
    chance = dice.choice([0.0, 0.004, 0.01])
    stage.servers.to_store.chance = stage.servers.to_sqs.chance = chance
    stage.diary.tell(f"a world: {name}, where {chance:.1%} of requests meet each kind of fault")
    with stage.portal.wrap_async_context_manager(open_runtime(settings)) as home:
        flow = FlowView(stage.portal, home, settings, name)
        world = World(target, flow, plan.size, Random(dice.random()), not name.startswith("files"))
        world.begin()
        quota = min(plan.kills_a_world, kills)
        while world.kills < quota:
            world.move(min(plan.kills_a_movement, quota - world.kills))
            world.change()
        stage.servers.to_store.chance = stage.servers.to_sqs.chance = 0.0
        stage.diary.tell("nothing goes wrong any more")
        world.move(0)
        uploads = flow.uploads(stage.servers.store.access())
        if uploads:
            raise BrokenError(f"uploads that nobody ended: {uploads}")
    requests = stage.servers.to_store.requests() + stage.servers.to_sqs.requests()
    stage.diary.tell(f"{name} holds: {world.kills} killed, {requests:,} requests")
    return world.kills


def make_places(name: str, directory: Path, servers: Servers) -> tuple[Place, Place]:
    """Source and destination of a world."""
    if name.startswith("files"):
        return Tree(directory / "tree"), Tree(directory / "copy")
    kinds = name.rpartition("-")[0].split("-to-")
    source, destination = (
        _database(kind, directory, name, part, servers) for kind, part in zip(kinds, ("app", "copy"), strict=True)
    )
    return source, destination


def _database(kind: str, directory: Path, name: str, part: str, servers: Servers) -> Database:
    if kind == "sqlite":
        path = directory / f"{part}.db"
        return Database(SqliteEngine(path), str(path))
    engine = PostgresEngine(servers.postgres, f"{name}_{part}".replace("-", "_"))
    engine.create()
    return Database(engine, servers.postgres.uri(engine.name))
