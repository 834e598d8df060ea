"""The tutorial for authors works as it is written: its commands run, and its files pass their tests and types."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.app import process_environment

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "first-importer.md"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def script(page: str) -> str:
    """Return a page as a script: its commands, and its files, each named by the words `Save … as` before it."""
    lines, end = ["set -eu"], 0
    for block in BLOCK.finditer(page):
        if block[1] == "sh":
            lines.append(block[2])
        else:
            path = re.findall(r"Save (?:it|this) as `([^`]+)`", page[end : block.start()])[-1]
            lines.append(f"cat > {path} <<'END_OF_FILE'\n{block[2]}END_OF_FILE")
        end = block.end()
    return "\n".join(lines)


@pytest.mark.slow
def test_the_tutorial_works_as_it_is_written(tmp_path: Path) -> None:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script(PAGE.read_text().replace("8000", free_port()))],
        cwd=tmp_path,
        env=process_environment() | {"PATH": programs},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for shown in (
        '"title": "Sleep"',
        '"title": "Sleep well"',
        '"external": 3, "title": "Sleep well"',
        "EQUAL",
        "1 passed",
    ):
        assert shown in done.stdout, done.stdout
    assert done.stdout.count("SUCCESS") >= 3
    assert "a-secret" not in done.stdout
