"""For all tests: no settings from the environment, no deadline for properties, and the slow tests first."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("pipeline", deadline=None)
settings.load_profile("pipeline")

pytest_plugins = ["tests.servers.fixtures"]

SLOW = ("torture", "fleet", "simulation", "crash", "servers")
"""Directories whose files take longest. Started first, they leave no worker waiting for another at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; `make test` keeps this order (`--no-loadscope-reorder`)."""
    items.sort(key=lambda item: SLOW.index(item.path.parent.name) if item.path.parent.name in SLOW else len(SLOW))


@pytest.fixture(autouse=True)
def _environment_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("PIPELINE_")]:
        monkeypatch.delenv(name)
