"""Where the temporary files of a run of the tests are: in memory where there is room, removed after it or by the next.

A whole run keeps some 8 GB there, most of it the databases of its PostgreSQL servers.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM_BYTES = 14_000_000_000
"""What must be free in memory, so that files of a whole run leave enough to the processes."""

_PREFIX = "pipeline-"
_LOCK = "in-use"


def has_room(directory: Path, *, room_bytes: int = ROOM_BYTES) -> bool:
    """Whether so much is free in `directory` and in the memory of this machine, and programs may be run from it."""
    try:
        found = os.statvfs(directory)
        memory = Path("/proc/meminfo").read_text()
    except OSError:
        return False
    available = next((int(line.split()[1]) * 1024 for line in memory.splitlines() if "MemAvailable" in line), 0)
    return min(found.f_bavail * found.f_frsize, available) >= room_bytes and not found.f_flag & os.ST_NOEXEC


def directory_of_run(parent: Path) -> Path:
    """Return a new directory in `parent`, in use while this process lives; remove those of runs that were killed."""
    remove_abandoned(parent)
    root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    root.chmod(0o1777)  # like the one of the system: servers and tests run as other users, too
    new = root / "new"
    _hold(os.open(new, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC))
    new.rename(root / _LOCK)  # it is locked when others see it
    return root


def remove_abandoned(parent: Path) -> None:
    """Remove directories of runs that are over: the system gives up the lock of a process that has ended."""
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), lock.open() as opened:  # another run is at work, or removes it just now
            _hold(opened.fileno())
            shutil.rmtree(lock.parent, ignore_errors=True)


def _hold(lock: int) -> None:
    """Take the lock of this open file. OSError when another process has it."""
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
