"""Fixtures of the SQLite connector's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def readable_by_all() -> Iterator[Path]:
    """A directory that every user may read. Those of pytest are made for one user, again and again."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)
