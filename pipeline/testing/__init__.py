"""Tests for authors of Exporters and Importers: suites for pytest, an app in memory, and faults. docs/reference/testing.md.

A name is loaded when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.testing.fake_app.app import FakeApp
    from pipeline.testing.fake_app.response import Response
    from pipeline.testing.simulated.clock import ManualClock
    from pipeline.testing.simulated.event_queue import MemoryEventQueue
    from pipeline.testing.simulated.object_store import MemoryObjectStore
    from pipeline.testing.simulated.virtual_time import run_virtually
    from pipeline.testing.suites.exporters import exporter_suite
    from pipeline.testing.suites.importers import importer_suite

_MODULES = {
    "FakeApp": "fake_app.app",
    "ManualClock": "simulated.clock",
    "MemoryEventQueue": "simulated.event_queue",
    "MemoryObjectStore": "simulated.object_store",
    "Response": "fake_app.response",
    "exporter_suite": "suites.exporters",
    "importer_suite": "suites.importers",
    "run_virtually": "simulated.virtual_time",
}
__all__ = [
    "FakeApp",
    "ManualClock",
    "MemoryEventQueue",
    "MemoryObjectStore",
    "Response",
    "exporter_suite",
    "importer_suite",
    "run_virtually",
]


def __getattr__(name: str) -> object:
    """Load a public name."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
