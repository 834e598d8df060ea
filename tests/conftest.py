"""For all tests: no settings from the environment, no deadline for properties, files in memory, slow tests first."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from pipeline.log_events import log, write_with_structlog
from pipeline.masking import forget_secrets
from tests import temporary_files

settings.register_profile("pipeline", deadline=None)
settings.register_profile("quick", settings.get_profile("pipeline"), max_examples=20)
settings.load_profile("pipeline")

pytest_plugins = ["tests.servers.fixtures", "pipeline.testing.pytest_plugin"]

TEMPORARY = None
"""The directory of this run in memory; None in a worker of it, which is told by TMPDIR, and where there is no room."""

if "TMPDIR" not in os.environ and temporary_files.has_room(temporary_files.MEMORY):
    TEMPORARY = temporary_files.directory_of_run(temporary_files.MEMORY)  # on a disk, most of the time passes in fsync
    os.environ["TMPDIR"] = tempfile.tempdir = str(TEMPORARY)

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # half of a short command's time is compiling its modules

SLOW = ("torture", "crash", "simulation", "fleet", "servers", "fuzz")
"""Directories whose files take long, of which all tests but those of the simulation are slow."""
LONG = (*SLOW, "testing", "examples")
"""Directories whose files take longest, in the order in which they are begun."""
SERVERS = frozenset({"localstack", "ministack", "moto", "postgresql", "seaweedfs"})
"""The fixtures that start a server."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow or needs a server, and put the long files first: no worker is left with one at the end.

    `make test` keeps this order (`--no-loadscope-reorder`).
    """
    for item in items:
        directory = item.path.parent.name
        if directory in SLOW and directory != "simulation":
            item.add_marker(pytest.mark.slow)
        if SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)
    items.sort(key=lambda item: LONG.index(item.path.parent.name) if item.path.parent.name in LONG else len(LONG))


def pytest_collection_finish() -> None:
    """Keep modules and tests out of the garbage collector's way, which would look at all of them again and again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(exitstatus: int) -> None:
    """Remove the temporary files of a run that has passed; the next run removes those of one that failed."""
    if TEMPORARY is not None and exitstatus == pytest.ExitCode.OK:
        atexit.register(shutil.rmtree, TEMPORARY, ignore_errors=True)


@pytest.fixture(autouse=True)
def _log_events_as_they_come() -> Iterator[None]:
    """Undo what a command of the test has configured."""
    yield
    log.configure(write_with_structlog)


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests() -> Iterator[None]:
    """Show what a test before this one has called a secret."""
    yield
    forget_secrets()


@pytest.fixture(autouse=True)
def _environment_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("PIPELINE_")]:
        monkeypatch.delenv(name)
