"""For all tests: an empty environment, and properties that do not mind a slow machine."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("pipeline", deadline=None)
settings.load_profile("pipeline")

pytest_plugins = ["tests.servers.fixtures"]


@pytest.fixture(autouse=True)
def _environment_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests reaches them."""
    for name in [name for name in os.environ if name.startswith("PIPELINE_")]:
        monkeypatch.delenv(name)
