"""How the process of a command handles memory."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipeline.processes.process_setup import configure_before_imports, configure_runtime

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
    configure_runtime()
    assert os.environ["MALLOC_ARENA_MAX"] == "3"
    assert VARIABLES[1] not in os.environ


def test_processes_that_are_started_allocate_as_this_one() -> None:
    configure_runtime()
    by_glibc = platform.libc_ver()[0] == "glibc"
    expected = ["1", "4194304", "4194304"] if by_glibc else [None] * 3
    assert [os.environ.get(variable) for variable in VARIABLES] == expected


def test_cycles_are_looked_for_less_often_and_still_found() -> None:
    configure_before_imports()
    assert gc.isenabled()
    assert 1_000 < gc.get_threshold()[0] < 1_000_000


BOUND = """
import apsw
from pipeline.processes.process_setup import configure_runtime
if "open" in {arguments!r}:
    held = apsw.Connection(":memory:")
if "prepared" in {arguments!r}:
    configure_runtime()
connection = apsw.Connection(":memory:")
connection.execute("CREATE TABLE t (a, b)")
connection.execute("INSERT INTO t VALUES " + ",".join(["(?, ?)"] * 1000), ["a text of some length"] * 2000)
print(connection.status(apsw.SQLITE_DBSTATUS_LOOKASIDE_MISS_FULL, False)[1])
print(connection.execute("SELECT count(*) FROM t").fetchone()[0])
"""


def bound(*arguments: str) -> tuple[int, int]:
    """Have a process bind 2,000 texts; return how many of them found no room of SQLite's own, and how many rows went in."""
    program = BOUND.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    missed, rows = map(int, done.stdout.split())
    return missed, rows


def test_sqlite_has_room_of_its_own_for_the_values_of_a_statement() -> None:
    assert bound("prepared") == (0, 1000)
    assert bound()[0] > 1000


def test_sqlite_is_left_as_it_is_once_it_is_in_use() -> None:
    missed, rows = bound("open", "prepared")
    assert missed > 1000
    assert rows == 1000
