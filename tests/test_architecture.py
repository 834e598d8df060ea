"""The floors of the building, and what is public of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import pipeline
import pipeline.domain.errors

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


def test_every_public_name_is_there_and_no_other() -> None:
    assert sorted(pipeline.__all__) == dir(pipeline)
    for name in pipeline.__all__:
        assert getattr(pipeline, name) is not None
        assert not list((ROOT / "pipeline").glob(f"{name}*"))  # a module of that name would hide it
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pipeline.no_such_name  # type: ignore[attr-defined]


def test_every_error_and_event_is_public() -> None:
    errors = {name for name, thing in vars(pipeline.domain.errors).items() if isinstance(thing, type)}
    events = {event.__name__ for event in get_args(pipeline.Event)}
    assert errors | events <= set(pipeline.__all__)


def test_importing_the_package_loads_nothing_else() -> None:
    program = "import sys; before = set(sys.modules); import pipeline; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if name.startswith("pipeline")} == {"pipeline"}


def test_the_version_is_that_of_the_distribution() -> None:
    assert f'version = "{pipeline.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_files_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "pipeline").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert long == {}
