"""What is done to those who work, each by its own function that returns how many processes it killed with SIGKILL."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import anyio

from localstack.provision import Access
from tests.torture.crew import Crew, Member
from tests.torture.databases import Database, PostgresEngine
from tests.torture.diary import Diary
from tests.torture.place import Place
from tests.torture.servers import Servers


@dataclass(frozen=True)
class Target:
    """All that blows may fall on: the workers, the servers, and the places that are moved between."""

    crew: Crew
    servers: Servers
    places: tuple[Place, Place]
    visibility_seconds: float
    dice: Random
    diary: Diary

    @property
    def postgres(self) -> list[PostgresEngine]:
        """Those of the places that are in PostgreSQL."""
        engines = [place.engine for place in self.places if isinstance(place, Database)]
        return [engine for engine in engines if isinstance(engine, PostgresEngine)]


_CRASH_SECONDS = 0.2


def kill_exporter(target: Target) -> int:
    """SIGKILL to the exporter."""
    return _kill(target, target.crew.of("export")[:1])


def kill_importer(target: Target) -> int:
    """SIGKILL to an importer that has done something, if one has."""
    return _kill(target, target.crew.of("import")[:1])


def kill_all(target: Target) -> int:
    """SIGKILL to everybody at once."""
    return _kill(target, list(target.crew.members))


def freeze(target: Target) -> int:
    """SIGSTOP to a worker, for longer than its messages wait for it: others take over, and it wakes up as a zombie."""
    awake = [one for one in target.crew.members if not one.frozen_until]
    if awake:
        one = target.dice.choice(awake)
        seconds = target.visibility_seconds + target.dice.uniform(0.3, 1.5)
        target.diary.tell(f"{one.name} is stopped for {seconds:.1f}s")
        target.crew.freeze(one, seconds)
    return 0


def purge_queues(target: Target) -> int:
    """Every message is lost."""
    target.diary.tell("both queues are emptied")
    anyio.run(_purge, target)
    return 0


async def _purge(target: Target) -> None:
    settings = target.crew.fleet.settings
    async with Access(target.servers.sqs.endpoint_url, settings["aws_region"]).sqs() as client:
        for setting in ("exports_queue", "imports_queue"):
            url = (await client.get_queue_url(QueueName=settings[setting].removeprefix("sqs://")))["QueueUrl"]
            await client.purge_queue(QueueUrl=url)


def kill_store(target: Target) -> int:
    """SIGKILL to SeaweedFS, which is started again on the same data after a while."""
    seconds = target.dice.uniform(0.0, 1.5)
    target.diary.tell(f"SeaweedFS is killed, and stays away for {seconds:.1f}s")
    target.servers.store.kill()
    time.sleep(seconds)
    target.servers.restart_store()
    target.diary.tell("SeaweedFS is back")
    return 1


def terminate_backends(target: Target) -> int:
    """PostgreSQL ends all connections, as an administrator would."""
    for engine in target.postgres:
        target.diary.tell(f"PostgreSQL ends {engine.terminate_backends()} connections to {engine.name}")
    return 0


def crash_postgres(target: Target) -> int:
    """SIGKILL to one of PostgreSQL's processes: it ends all others, and recovers from its log."""
    engine = target.dice.choice(target.postgres)
    found = engine.backends()
    if not found:
        return 0
    pid = target.dice.choice(found)
    target.diary.tell(f"PostgreSQL's process {pid} for {engine.name} is killed: the server recovers")
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0  # its client went away just now
    time.sleep(_CRASH_SECONDS)  # else whoever looks now may still be let in, and thrown out
    engine.wait_for_recovery()
    return 1


def _kill(target: Target, victims: list[Member]) -> int:
    states = [f"{one.name}{', who is stopped,' if one.frozen_until else ''}" for one in victims]
    target.diary.tell(f"{' and '.join(states)} killed and replaced")
    return target.crew.replace(victims)


Blow = Callable[[Target], int]

ANYWHERE: dict[Blow, int] = {
    kill_exporter: 6, kill_importer: 8, kill_all: 1, freeze: 3, purge_queues: 2, kill_store: 3,
}  # fmt: skip
"""How often each is dealt, relative to the others."""
ON_POSTGRES: dict[Blow, int] = {terminate_backends: 2, crash_postgres: 3}


def choose(target: Target) -> Blow:
    """The next one."""
    choices = ANYWHERE | (ON_POSTGRES if target.postgres else {})
    return target.dice.choices(list(choices), list(choices.values()))[0]
