"""The wheel has everything that an author needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    """Run Python with `path` in place of this source tree; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment | ({"PYTHONPATH": str(path)} if path else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_an_author_needs_the_wheel_alone(tmp_path: Path) -> None:
    run("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir", "-w", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    run("-m", "pip", "install", "--no-deps", "--no-index", "--target", installed, wheel, cwd=tmp_path)
    where = run("-c", "import pipeline.kit, pipeline.testing; print(pipeline.__file__)", cwd=tmp_path, path=installed)
    assert where.startswith(str(installed))
    run("-m", "pipeline", "new", "app", "tracker", cwd=tmp_path, path=installed)
    tested = run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path / "tracker", path=installed)
    assert " passed" in tested
