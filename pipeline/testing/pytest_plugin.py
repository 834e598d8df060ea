"""The pytest plug-in: options of the suites, and a FakeApp as a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipeline.testing.fake_app.app import FakeApp


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the suites."""
    group = parser.getgroup("app-data-pipeline", "suites for Exporters and Importers")
    group.addoption("--torture-seeds", type=int, default=100, help="how many seeds of faults to run (100)")
    group.addoption("--torture-first", type=int, default=0, help="the first of them (0)")
    group.addoption("--large", action="store_true", help="run also the fixture streams that take long")


@pytest.fixture
def fake_app() -> FakeApp:
    """Return a REST service in memory."""
    from pipeline.testing.fake_app.app import FakeApp  # few tests need it

    return FakeApp()


@pytest.fixture
def fake_app_url(fake_app: FakeApp) -> Iterator[str]:
    """Serve `fake_app` over HTTP on this computer, and return its URL."""
    with fake_app.serve() as url:
        yield url
