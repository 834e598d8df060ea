"""Runs one seed, and finds the shortest story of a run that fails."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import anyio

from pipeline.log_events import log, write_with_structlog
from pipeline.testing.simulated.faults import Dealer, Fault, ScriptedDealer
from pipeline.testing.simulated.process import current
from pipeline.testing.simulated.shrink import shrunk
from pipeline.testing.simulated.story import Line
from pipeline.testing.simulated.virtual_time import run_virtually
from pipeline.testing.torture.ends import Subject
from pipeline.testing.torture.oracle import CREATING, keys_of
from pipeline.testing.torture.plan import Plan, dealer_of, plan_of
from pipeline.testing.torture.world import World


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a seed: what is broken, the faults that were dealt, the story, and what the delivery level allows."""

    plan: Plan
    broken: tuple[str, ...]
    faults: tuple[Fault, ...]
    story: tuple[Line, ...]
    duplicates: int
    races: int
    references: Mapping[str, Mapping[str, str]]
    keys: Mapping[str, tuple[str, ...]]


def run_seed(subject: Subject, seed: int) -> Run:
    """Run the world of a seed, with the faults that it deals."""
    return _run(subject, plan_of(seed), dealer_of(seed, reads=subject.exporter is not None))


def run_script(subject: Subject, plan: Plan, faults: Sequence[Fault]) -> Run:
    """Run a world with these faults."""
    return _run(subject, plan, ScriptedDealer(faults))


def _run(subject: Subject, plan: Plan, dealer: Dealer) -> Run:
    world = World(subject, plan, dealer)
    random.seed(plan.seed)
    try:
        with _process_sleeps(), _silent_log():
            run_virtually(world.run)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  # whatever it is, the run has failed
        world.verdict.broken.append(_text(error))
    found = world.verdict
    faults = tuple(dealer.dealt)
    return Run(
        plan,
        tuple(found.broken),
        faults,
        tuple(world.story.lines),
        found.duplicates,
        found.races,
        world.journal.references(),
        keys_of(world.dumped),
    )


def _text(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def shortest(subject: Subject, run: Run) -> Run:
    """Return the simplest run found that fails as this one does: without faults, Movements and rows that it does not need."""
    run = shrunk(run, lambda faults: run_script(subject, run.plan, faults))
    at = iter(run.plan.smaller())
    while (plan := next(at, None)) is not None:
        fewer = run_script(subject, plan, run.faults)
        if fewer.broken:
            run, at = fewer, fewer.plan.smaller()
    return shrunk(run, lambda faults: run_script(subject, run.plan, faults))


def learned(subject: Subject) -> Subject:
    """Return the subject with what a run without faults shows: which fields are keys, and which refer to other streams.

    It is always the same run, so that a seed has the same rows wherever it is run.
    """
    if subject.importer is None or subject.exporter is not None:
        return subject
    handlers = subject.importer.handlers
    run = run_script(subject, plan_of(0), ())
    keys = {name: key for name, key in run.keys.items() if name in handlers and handlers[name].delivery not in CREATING}
    return replace(subject, references=run.references, keys={**keys, **subject.keys})


@contextmanager
def _process_sleeps() -> Iterator[None]:
    """A process that was stopped or has died while it slept goes on when it may, or not at all."""
    before = anyio.sleep

    async def sleep(delay: float) -> None:
        await before(delay)
        process = current.get(None)
        if process is not None:
            await process.gate()

    anyio.sleep = sleep
    try:
        yield
    finally:
        anyio.sleep = before


@contextmanager
def _silent_log() -> Iterator[None]:
    log.configure(lambda level, event, values: None)
    try:
        yield
    finally:
        log.configure(write_with_structlog)
