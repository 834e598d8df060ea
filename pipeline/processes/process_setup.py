"""How a process of ours begins, and how it handles memory: as one whose objects are blocks of a megabyte and rows by the thousand.

*structlog without rich.* structlog imports rich to print tracebacks, which takes as long as to import all of the engine; no log
event of ours has a traceback. The live display imports rich for itself.

*One arena.* glibc has a place of its own to allocate from ("arena") for every thread, up to eight a processor, and blocks of a
megabyte go through a dozen threads here. Of 500,000 rows from PostgreSQL to PostgreSQL the peak was 171 to 201 MiB, and with
one arena 125 to 129 MiB, in the same time: whoever allocates much holds the interpreter's lock anyway.

*Blocks of megabytes come from the heap, but what they leave is given back.* glibc has its thresholds grow with what is freed,
and keeps it: 500,000 rows from SQLite to SQLite took the two processes of a Movement 208 to 222 MiB together. With blocks of
a megabyte mapped it is 156 MiB, in a tenth more time, half a second of it for the system's work on pages; so it is 172.

*SQLite has room of its own for the values of a statement.* One of 200 rows binds 2,400 values, and each text among them is copied,
and given back at its end. SQLite's "lookaside" (https://www.sqlite.org/malloc.html#lookaside) has no lock and need not search:
500,000 rows of 12 columns are decoded and inserted in 1.65 s of processor, instead of 2.05. A connection takes 1.25 MB for it.

*Cycles are looked for less often.* Rows come as tuples and lists, thousands at a time, that refer to no other; the collector goes
through all of them every 700 allocations, which was a seventh of the time of a Movement. Modules are no garbage either.
"""

from __future__ import annotations

import gc
import os
import sys

_VARIABLE = "MALLOC_ARENA_MAX"
_M_ARENA_MAX = -8
_M_MMAP_THRESHOLD = -3
_M_TRIM_THRESHOLD = -1
"""Their numbers for `mallopt`: https://man7.org/linux/man-pages/man3/mallopt.3.html"""
_LARGE_BYTES = 4 * 1024 * 1024
_COLLECTED_ALLOCATIONS = 100_000
_LOOKASIDE_SLOT_BYTES, _LOOKASIDE_SLOTS = 512, 2500


def configure_before_imports() -> None:
    """Have cycles looked for less often, and structlog imported without rich. To be called before the engine is imported."""
    gc.set_threshold(_COLLECTED_ALLOCATIONS, *gc.get_threshold()[1:])
    if sys.modules.keys().isdisjoint(("rich", "structlog")):
        # Not to be found: https://docs.python.org/3/reference/import.html#the-module-cache
        sys.modules["rich"] = None  # type: ignore[assignment]
        try:
            import structlog  # noqa: F401
        finally:
            del sys.modules["rich"]


def configure_runtime() -> None:
    """Set this process up, and those it starts. The environment decides where it says how many arenas there should be."""
    gc.freeze()
    _widen_lookaside()
    if sys.platform.startswith("linux") and _VARIABLE not in os.environ:
        _use_one_arena()


def _widen_lookaside() -> None:
    """Set up the SQLite of apsw; not once it is in use, since it takes settings before that alone."""
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
