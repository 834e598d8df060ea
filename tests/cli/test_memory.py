"""How memory is handed out in the process of a command."""

from __future__ import annotations

import os

import pytest

from pipeline.cli.memory import use_one_arena


def test_what_the_environment_says_of_arenas_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "3")
    use_one_arena()
    assert os.environ["MALLOC_ARENA_MAX"] == "3"


def test_processes_that_are_started_have_one_arena_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "")  # so that it is as before afterwards
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    monkeypatch.setattr("sys.platform", "linux")
    use_one_arena()
    assert os.environ.get("MALLOC_ARENA_MAX") in ("1", None)
