"""A whole run: servers, workers, and one world after another until the planned number of processes is killed."""

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
from tests.torture.checks import BrokenError
from tests.torture.databases import Database, PostgresEngine, SqliteEngine
from tests.torture.disruptions import Target
from tests.torture.flows import FlowView
from tests.torture.place import Place
from tests.torture.run_log import RunLog
from tests.torture.servers import Servers, open_servers
from tests.torture.trees import Tree
from tests.torture.workers import Workers
from tests.torture.world import World

VISIBILITY_SECONDS = 2
KINDS = ("sqlite-to-sqlite", "sqlite-to-postgresql", "postgresql-to-postgresql", "files")
SETTINGS = {
    "queue_visibility_seconds": str(VISIBILITY_SECONDS), "progress_seconds": "0.3", "sweep_seconds": "0.5",
    "shard_files": "2", "log_level": "debug",
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """The size of a run. `size` is about the number of rows in each table of an app."""

    seed: int
    kills: int
    kills_a_world: int = 10
    kills_a_movement: int = 5
    size: int = 1200
    event_file_rows: int = 60
    importers: int = 3
    minutes: float = 60.0
    directory: Path | None = None
    """For databases and logs; without it they are removed after the run."""

    @classmethod
    def small(cls, seed: int, kills: int = 20, directory: Path | None = None) -> Plan:
        """Return a plan that takes less than a minute on an idle machine."""
        return cls(seed, kills, 10, 10, size=160, event_file_rows=20, importers=2, minutes=4, directory=directory)


def torture(plan: Plan, run_log: RunLog) -> int:
    """Run the plan; return how many processes were killed. BrokenError if a check fails or the time is up."""
    random, killed, worlds = Random(plan.seed), 0, 0
    deadline = time.monotonic() + 60 * plan.minutes
    with _open(plan, random, run_log) as stage:
        kinds: list[str] = []
        while killed < plan.kills:
            kinds = kinds or random.sample(KINDS, len(KINDS))
            name = FlowName(f"{kinds.pop()}-{worlds}")
            run_log.write(f"{killed} of {plan.kills} killed")
            killed += _run_world(plan, name, stage, plan.kills - killed)
            worlds += 1
            if killed < plan.kills and time.monotonic() > deadline:
                raise BrokenError(f"only {killed} of {plan.kills} were killed in {plan.minutes:.0f} minutes")
    run_log.write(f"{killed} killed in {worlds} worlds, and all checks passed")
    return killed


@dataclass(frozen=True)
class Stage:
    """What all worlds of a run share, and all places so far."""

    portal: BlockingPortal
    servers: Servers
    workers: Workers
    random: Random
    run_log: RunLog
    places: list[Place] = field(default_factory=list)


@contextmanager
def _open(plan: Plan, random: Random, run_log: RunLog) -> Iterator[Stage]:
    """Start the servers and the workers; at the end, check that all workers stop correctly."""
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        servers = stack.enter_context(open_servers(portal, random))
        assert servers.store.server is not None
        directory = plan.directory or stack.enter_context(temporary_directory("workers"))
        urls = {"aws_endpoint_url": servers.to_store.url, "sqs_endpoint_url": servers.to_sqs.url}
        settings = {**SETTINGS, **urls, "event_file_rows": str(plan.event_file_rows)}
        fleet = stack.enter_context(open_fleet(directory, servers.store.server, servers.sqs, **settings))
        workers = Workers(fleet, run_log)
        run_log.write(f"seed {plan.seed}: starting an exporter and {plan.importers} importers")
        for role in ("export", *["import"] * plan.importers):
            workers.start(role)
        stage = Stage(portal, servers, workers, random, run_log)
        yield stage
        wrong = [*workers.drain(), *workers.problems]
        run_log.write("all workers have stopped")
        wrong += [f"left over: {what}" for place in stage.places for what in place.leftovers()]
        if wrong:
            raise BrokenError("; ".join(wrong[:5]))


def _run_world(plan: Plan, name: FlowName, stage: Stage, kills: int) -> int:
    random, workers = stage.random, stage.workers
    directory = workers.fleet.directory / name
    directory.mkdir()
    places = make_places(name, directory, stage.servers)
    stage.places.extend(places)
    target = Target(workers, stage.servers, places, VISIBILITY_SECONDS, random, stage.run_log)
    settings = load_settings(flags=workers.fleet.as_settings())
    chance = random.choice([0.0, 0.004, 0.01])
    stage.servers.to_store.chance = stage.servers.to_sqs.chance = chance
    stage.run_log.write(f"world {name}: each kind of fault hits {chance:.1%} of requests")
    with stage.portal.wrap_async_context_manager(open_runtime(settings)) as home:
        flow = FlowView(stage.portal, home, settings, name)
        world = World(target, flow, plan.size, Random(random.random()), not name.startswith("files"))
        world.begin()
        quota = min(plan.kills_a_world, kills)
        while world.kills < quota:
            world.move(min(plan.kills_a_movement, quota - world.kills))
            world.change()
        stage.servers.to_store.chance = stage.servers.to_sqs.chance = 0.0
        stage.run_log.write("no more disruptions")
        world.move(0)
        uploads = flow.uploads(stage.servers.store.access())
        if uploads:
            raise BrokenError(f"unfinished uploads: {uploads}")
    requests = stage.servers.to_store.requests() + stage.servers.to_sqs.requests()
    stage.run_log.write(f"{name} passed: {world.kills} killed, {requests:,} requests")
    return world.kills


def make_places(name: str, directory: Path, servers: Servers) -> tuple[Place, Place]:
    """Return the source and destination of a world."""
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
