"""The command line in a directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.app import CommandLine


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `pipeline` in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)
