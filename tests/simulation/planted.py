"""All planted faults."""

from __future__ import annotations

from tests.simulation import planted_in_exports, planted_in_growing, planted_in_imports, planted_in_movements
from tests.simulation.mutations import MUTATIONS, first_failing

__all__ = [
    "MUTATIONS",
    "find",
    "planted_in_exports",
    "planted_in_growing",
    "planted_in_imports",
    "planted_in_movements",
]


def find(name: str) -> tuple[int, str] | None:
    """Return the first seed in which this planted fault is found, and how; None when it is not found."""
    (mutation,) = [mutation for mutation in MUTATIONS if mutation.name == name]
    run = first_failing(mutation)
    return None if run is None else (run.seed, run.broken[0])
