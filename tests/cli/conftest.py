"""The command line in a directory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.app import CommandLine
from tests.connectors.files.conftest import mounted_at


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Another file system, mounted in the directory `tree` as `inner`."""
    with mounted_at(tmp_path / "tree" / "inner"):
        yield tmp_path / "tree" / "inner"
