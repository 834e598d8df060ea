"""The floors of the building, and what is public of it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pipeline

ROOT = Path(__file__).parents[1]


def test_imports_only_go_down() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_every_public_name_exists_where_it_is_said_to_live() -> None:
    assert sorted(pipeline.__all__) == dir(pipeline)
    for name in pipeline.__all__:
        thing = getattr(pipeline, name)
        if name != "__version__":
            assert thing.__module__.startswith("pipeline.")
            assert getattr(importlib.import_module(thing.__module__), name) is thing


def test_the_version_is_that_of_the_distribution() -> None:
    assert f'version = "{pipeline.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_files_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "pipeline").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert long == {}
