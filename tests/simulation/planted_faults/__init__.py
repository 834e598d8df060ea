"""All planted faults."""

from __future__ import annotations

from tests.simulation.planted_faults import (
    in_copies,
    in_documents,
    in_queues,
    in_sessions,
    in_stores,
    in_tallies,
    in_wishes,
    in_writers,
)
from tests.simulation.run import simulate
from tests.simulation.scenarios.planting import PLANTED

__all__ = [
    "PLANTED",
    "find",
    "in_copies",
    "in_documents",
    "in_queues",
    "in_sessions",
    "in_stores",
    "in_tallies",
    "in_wishes",
    "in_writers",
]


def find(name: str) -> tuple[int, str] | None:
    """Return the first seed in which this planted fault is found, and how; None when it is not found."""
    (planted,) = [planted for planted in PLANTED if planted.name == name]
    for seed in planted.seeds:
        run = simulate(seed, planted=planted)
        if run.broken:
            return seed, run.broken[0]
    return None
