"""Disruptions of workers and servers: one function each, which returns how many processes it killed with SIGKILL."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import anyio

from localstack.provision import Access
from tests.torture.databases import Database, PostgresEngine
from tests.torture.place import Place
from tests.torture.run_log import RunLog
from tests.torture.servers import Servers
from tests.torture.workers import Worker, Workers


@dataclass(frozen=True)
class Target:
    """What can be disrupted: the workers, the servers, and the source and destination."""

    workers: Workers
    servers: Servers
    places: tuple[Place, Place]
    visibility_seconds: float
    random: Random
    run_log: RunLog

    @property
    def postgres(self) -> list[PostgresEngine]:
        """The PostgreSQL databases among the places."""
        engines = [place.engine for place in self.places if isinstance(place, Database)]
        return [engine for engine in engines if isinstance(engine, PostgresEngine)]


_CRASH_SECONDS = 0.2


def kill_exporter(target: Target) -> int:
    """Kill the exporter."""
    return _kill(target, target.workers.of("export")[:1])


def kill_importer(target: Target) -> int:
    """Kill an importer, preferably one that has worked."""
    return _kill(target, target.workers.of("import")[:1])


def kill_all(target: Target) -> int:
    """Kill all workers at once."""
    return _kill(target, list(target.workers.members))


def freeze(target: Target) -> int:
    """Stop a worker for longer than its visibility time-out: others take over, and it resumes as a zombie."""
    awake = [one for one in target.workers.members if not one.frozen_until]
    if awake:
        one = target.random.choice(awake)
        seconds = target.visibility_seconds + target.random.uniform(0.3, 1.5)
        target.run_log.write(f"{one.name} stopped for {seconds:.1f} s")
        target.workers.freeze(one, seconds)
    return 0


def purge_queues(target: Target) -> int:
    """Lose all messages."""
    target.run_log.write("both queues purged")
    anyio.run(_purge, target)
    return 0


async def _purge(target: Target) -> None:
    settings = target.workers.fleet.settings
    async with Access(target.servers.sqs.endpoint_url, settings["aws_region"]).sqs() as client:
        for setting in ("exports_queue", "imports_queue"):
            url = (await client.get_queue_url(QueueName=settings[setting].removeprefix("sqs://")))["QueueUrl"]
            await client.purge_queue(QueueUrl=url)


def kill_store(target: Target) -> int:
    """Kill SeaweedFS, and start it again on the same data after a while."""
    seconds = target.random.uniform(0.0, 1.5)
    target.run_log.write(f"SeaweedFS killed, for {seconds:.1f} s")
    target.servers.store.kill()
    time.sleep(seconds)
    target.servers.restart_store()
    target.run_log.write("SeaweedFS restarted")
    return 1


def terminate_backends(target: Target) -> int:
    """Terminate all PostgreSQL connections, as an administrator would."""
    for engine in target.postgres:
        target.run_log.write(f"{engine.terminate_backends()} connections to {engine.name} terminated")
    return 0


def crash_postgres(target: Target) -> int:
    """Kill one of PostgreSQL's processes: the server ends all others, and recovers from its log."""
    engine = target.random.choice(target.postgres)
    found = engine.backends()
    if not found:
        return 0
    pid = target.random.choice(found)
    target.run_log.write(f"PostgreSQL's process {pid} for {engine.name} killed; the server recovers")
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0  # its client has just disconnected
    time.sleep(_CRASH_SECONDS)  # before that, the server may still accept a connection and then close it
    engine.wait_for_recovery()
    return 1


def _kill(target: Target, victims: list[Worker]) -> int:
    states = [f"{one.name}{' (stopped)' if one.frozen_until else ''}" for one in victims]
    target.run_log.write(f"{' and '.join(states)} killed and replaced")
    return target.workers.replace(victims)


Disruption = Callable[[Target], int]

ANYWHERE: dict[Disruption, int] = {
    kill_exporter: 6, kill_importer: 8, kill_all: 1, freeze: 3, purge_queues: 2, kill_store: 3,
}  # fmt: skip
"""Relative frequencies."""
ON_POSTGRES: dict[Disruption, int] = {terminate_backends: 2, crash_postgres: 3}


def choose(target: Target) -> Disruption:
    """Choose the next disruption."""
    choices = ANYWHERE | (ON_POSTGRES if target.postgres else {})
    return target.random.choices(list(choices), list(choices.values()))[0]
