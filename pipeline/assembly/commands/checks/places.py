"""Checks of the two places: connections, rights, space, clocks, and the checks of an app's author."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from anyio.to_thread import run_sync

from pipeline.assembly.connectors import Pair
from pipeline.connectors.locations import Location
from pipeline.connectors.registry import find_connector
from pipeline.domain.errors import PipelineError
from pipeline.domain.flows.findings import CheckFinding, Severity, finding_of
from pipeline.paths import exists
from pipeline.ports.checks import AppChecks, PlaceFacts
from pipeline.settings import Settings

LEAST_FREE_BYTES = 1_000_000
"""Below this, even a small Movement may fill the disk."""
MOST_SKEW_SECONDS = 60.0


@dataclass(slots=True)
class Asked:
    """What the places have answered: facts of each destination by its URL, errors, and findings of an app's checks."""

    facts: dict[str, PlaceFacts] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    app: list[CheckFinding] = field(default_factory=list)

    @property
    def free_bytes(self) -> Mapping[str, int]:
        """How much is free at each destination that tells."""
        return {url: facts.free_bytes for url, facts in self.facts.items() if facts.free_bytes is not None}


async def ask_places(pair: Pair) -> Asked:
    """Ask the destinations, and run the checks of apps."""
    asked = Asked()
    for there in pair.destinations:
        probe = find_connector(there.scheme).probe if isinstance(there, Location) else None
        if probe is not None and isinstance(there, Location):
            try:
                asked.facts[there.url] = await probe(there)
            except PipelineError as error:
                asked.errors.append(f"destination: {error}")
    for name, end in (("source", pair.source), ("destination", pair.destination)):
        if isinstance(end, AppChecks):
            try:
                asked.app += await end.app_findings()
            except PipelineError as error:
                asked.errors.append(f"{name}: {error}")
    return asked


def connection_finding(errors: Sequence[str]) -> CheckFinding:
    """Places that cannot be opened."""
    return finding_of(
        "connection",
        errors,
        Severity.BLOCKS,
        fine="Source and destination answer.",
        title="A place does not answer.",
        steps="Do what the message says; check names, passwords and whether the server runs.",
    )


def rights_finding(asked: Asked) -> CheckFinding:
    """Destinations that cannot be written to."""
    return finding_of(
        "rights",
        [facts.refusal for facts in asked.facts.values() if facts.refusal],
        Severity.BLOCKS,
        fine="The destination can be written to.",
        title="Nothing can be created at the destination.",
        steps="Give the user of the destination the right to create tables, or files, there. If all tables are there already, "
        "with those of the pipeline, accept this.",
        excludable=True,
    )


def space_finding(free: Mapping[str, int], settings: Settings, needed_bytes: int = 0) -> CheckFinding:
    """Disks of destination and store with less free space than `needed_bytes`. `free` are bytes by place."""
    free = dict(free) if settings.store else {**free, "the store": free_bytes(settings.home)}
    least = max(needed_bytes, LEAST_FREE_BYTES)
    short = [f"{place}: {bytes_ / 1e6:,.0f} MB free" for place, bytes_ in free.items() if bytes_ < least]
    return finding_of(
        "space",
        short,
        Severity.BLOCKS,
        fine="There is enough free space, as far as the places tell.",
        title=f"Less free space than the {least / 1e6:,.0f} MB that may be needed.",
        steps="Free some space, or choose another disk. If the data is already there, or compresses well, accept this.",
        excludable=True,
    )


def free_bytes(path: Path) -> int:
    """Return how much is free on the disk of a path, which may not exist yet."""
    directory = path.absolute()
    while not exists(directory):
        directory = directory.parent
    return shutil.disk_usage(directory).free


def clocks_finding(asked: Asked) -> CheckFinding:
    """Destinations whose clocks differ from that of this computer."""
    now = datetime.now(UTC)
    skews = {url: (facts.now - now).total_seconds() for url, facts in asked.facts.items() if facts.now is not None}
    return finding_of(
        "clocks",
        [f"{url}: {skew:+,.0f} s" for url, skew in skews.items() if abs(skew) > MOST_SKEW_SECONDS],
        Severity.WARNING,
        fine="The clocks agree, as far as the places tell.",
        title="A clock differs from that of this computer.",
        steps="Set the clocks, for instance with NTP: times in logs and reports differ by this much.",
    )


async def tree_bytes(pair: Pair) -> int:
    """Return the size of all files of the trees that are moved."""
    trees = [
        end.path
        for end in pair.sources
        if isinstance(end, Location) and end.path is not None and not find_connector(end.scheme).is_database
    ]
    return await run_sync(lambda: sum(map(_size, trees)))


def _size(tree: Path) -> int:
    size = 0
    for directory, _, names in os.walk(tree):
        for name in names:
            try:
                size += os.lstat(os.path.join(directory, name)).st_size  # noqa: PTH118 - ten times as fast
            except OSError:
                continue  # the scan names what cannot be read
    return size
