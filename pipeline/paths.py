"""Whether there is something at a path that a person has written, which the system may not even be able to ask for."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def exists(path: str | Path) -> bool:
    """Whether the path leads to something. False also for one that is too long, or that may not be looked at."""
    return _mode(path) is not None


def is_directory(path: str | Path) -> bool:
    """Whether the path leads to a directory, as `exists` has it."""
    return stat.S_ISDIR(_mode(path) or 0)


def is_file(path: str | Path) -> bool:
    """Whether the path leads to a regular file, as `exists` has it."""
    return stat.S_ISREG(_mode(path) or 0)


def _mode(path: str | Path) -> int | None:
    try:
        return os.stat(path).st_mode  # noqa: PTH116  # a Path raises nothing else, and gives no more
    except (OSError, ValueError):
        return None
