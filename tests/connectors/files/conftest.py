"""Fixtures of the files connector's tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of a user whom permissions bind; the test runs as that user."""
    if os.geteuid() != 0:
        yield from _scratch()
        return
    for path in _scratch():
        os.chown(path, NOBODY, NOBODY)
        with _as_unprivileged():
            yield path


def _scratch() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def _as_unprivileged() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def mounted_at(path: Path) -> Iterator[None]:
    """Have an empty file system at `path`, if this user may mount one."""
    path.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "none", path], check=False, capture_output=True).returncode:
        pytest.skip("it may not mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)
