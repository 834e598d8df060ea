"""How each process of the pipeline handles memory: its objects are blocks of a megabyte, and rows by the thousand.

*One arena.* glibc gives each thread an arena to allocate from, up to eight a processor, and blocks of a megabyte pass
through a dozen threads here. The peak of 500,000 rows from PostgreSQL to PostgreSQL was 171 to 201 MiB, and is 125 to
129 MiB with one arena, in the same time: threads that allocate much hold the interpreter's lock anyway.

*Blocks of megabytes come from the heap, and freed memory is given back.* By default glibc raises its thresholds with
each freed block, and keeps the memory: the two processes of a Movement of 500,000 rows from SQLite to SQLite took 208 to
222 MiB together. With mapped blocks it is 156 MiB in a tenth more time; with the thresholds set here, 172 MiB.

*SQLite gets a larger lookaside* (https://www.sqlite.org/malloc.html#lookaside) for the values of a statement: a statement
of 200 rows binds 2,400 of them, and copies each text. It needs no lock and no search: 500,000 rows of 12 columns are
decoded and inserted in 1.65 s of processor instead of 2.05. A connection takes 1.25 MB for it.

*The collector runs less often.* Rows are tuples and lists without cycles, thousands at a time. To go through all of them
every 700 allocations was a seventh of the time of a Movement, and a twentieth of the time of a short command.
"""

from __future__ import annotations

import gc
import os
import sys

_VARIABLE = "MALLOC_ARENA_MAX"
_M_ARENA_MAX = -8
_M_MMAP_THRESHOLD = -3
_M_TRIM_THRESHOLD = -1
"""Parameters of `mallopt`: https://man7.org/linux/man-pages/man3/mallopt.3.html"""
_LARGE_BYTES = 4 * 1024 * 1024
_COLLECTED_ALLOCATIONS = 100_000
_LOOKASIDE_SLOT_BYTES, _LOOKASIDE_SLOTS = 512, 2500


def configure_before_imports() -> None:
    """Let the collector run less often. Call it before the engine is imported: modules are not garbage."""
    gc.set_threshold(_COLLECTED_ALLOCATIONS, *gc.get_threshold()[1:])


def configure_runtime() -> None:
    """Set up this process and those that it starts. `MALLOC_ARENA_MAX` in the environment takes precedence."""
    gc.freeze()
    _widen_lookaside()
    if sys.platform.startswith("linux") and _VARIABLE not in os.environ:
        _use_one_arena()


def _widen_lookaside() -> None:
    """Set up SQLite, which takes settings only before it is first used."""
    import apsw

    if not apsw.connections():
        apsw.shutdown()
        apsw.config(apsw.SQLITE_CONFIG_LOOKASIDE, _LOOKASIDE_SLOT_BYTES, _LOOKASIDE_SLOTS)
        apsw.initialize()


def _use_one_arena() -> None:
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none, nor arenas
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)
        os.environ |= {
            _VARIABLE: "1",
            "MALLOC_MMAP_THRESHOLD_": f"{_LARGE_BYTES}",
            "MALLOC_TRIM_THRESHOLD_": f"{_LARGE_BYTES}",
        }
