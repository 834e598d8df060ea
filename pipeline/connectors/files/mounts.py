"""File systems that should be mounted in a tree, and are not: their empty mount points look like emptied directories."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.domain.errors import RefusedError

FSTAB = Path("/etc/fstab")
"""The file systems that this machine mounts when it starts: fstab(5)."""


def ensure_mounted(root: Path, *, one_file_system: bool = False) -> None:
    """RefusedError when a file system of `FSTAB` is not mounted, and the directory of the tree that it fills is empty.

    A root that does not exist would be created in the empty mount point. With `one_file_system` file systems below the
    root do not count.
    """
    top = root.resolve()
    for mount in _mount_points():
        if top.is_relative_to(mount):
            directory = top if top.is_dir() else mount
        elif mount.is_relative_to(top) and not one_file_system:
            directory = mount
        else:
            continue
        if not os.path.ismount(mount) and _is_empty(directory):
            raise RefusedError(
                f"{str(directory)!r} is empty, and the file system of {str(mount)!r} is not mounted, although {FSTAB} "
                f"names it: mount it, or remove it from {FSTAB}, then run the command again"
            )


def _is_empty(directory: Path) -> bool:
    """Whether this is an empty directory. One that may not be read is rejected later, and nothing of it is deleted."""
    try:
        return directory.is_dir() and not any(directory.iterdir())
    except OSError:
        return False


def _mount_points() -> Iterator[Path]:
    """Yield the mount points of the file systems that are mounted at start. `\\040` stands for a space."""
    try:
        lines = FSTAB.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return  # this machine has no such file, or keeps it to itself
    for line in lines:
        _, where, _, options, *_ = [*line.partition("#")[0].split(), "", "", "", ""]
        if where.startswith("/") and where != "/" and "noauto" not in options.split(","):
            yield Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), where))
