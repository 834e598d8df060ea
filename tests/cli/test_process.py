"""How the process of a command handles memory."""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Iterator

import pytest

from pipeline.processes.beginning import begin_process, prepare_process

VARIABLES = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threshold = gc.get_threshold()
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")  # so that it is as before afterwards
        monkeypatch.delenv(variable)
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_what_the_environment_says_of_arenas_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "3")
    prepare_process()
    assert os.environ["MALLOC_ARENA_MAX"] == "3"
    assert VARIABLES[1] not in os.environ


def test_processes_that_are_started_allocate_as_this_one() -> None:
    prepare_process()
    by_glibc = platform.libc_ver()[0] == "glibc"
    expected = ["1", "4194304", "4194304"] if by_glibc else [None] * 3
    assert [os.environ.get(variable) for variable in VARIABLES] == expected


def test_cycles_are_looked_for_less_often_and_still_found() -> None:
    begin_process()
    assert gc.isenabled()
    assert 1_000 < gc.get_threshold()[0] < 1_000_000
