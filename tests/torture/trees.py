"""A tree of files that changes as an app's would."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from random import Random

from tests.torture.place import State

OWN = ".pipeline-import"
"""The directory of the destination's marks (docs/reference/bucket.md)."""
DIRECTORIES = 12


@dataclass(frozen=True)
class Tree:
    """Files of up to 70 kB below `root`, in directories that are created and removed."""

    root: Path

    @property
    def location(self) -> str:
        """The argument for `pipeline`."""
        return f"{self.root}/"

    def build(self, random: Random, size: int) -> None:
        """Create half as many files as a table would have rows."""
        self.root.mkdir()
        for _ in range(size // 2):
            self._write(random)

    def change(self, random: Random, size: int) -> None:
        """Write and delete files, and remove a whole directory."""
        for _ in range(size // 2):
            path = self._write(random)
            if random.random() < 0.3:
                path.unlink()
        shutil.rmtree(self.root / f"directory {random.randrange(DIRECTORIES)}", ignore_errors=True)

    def _write(self, random: Random) -> Path:
        path = self.root / f"directory {random.randrange(DIRECTORIES)}" / f"file {random.randrange(1000)}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(random.randbytes(random.choice([0, 10, 500, 3_000, 70_000])))
        path.chmod(random.choice([0o600, 0o644, 0o755]))
        return path

    def state(self) -> State:
        """Return every file with its digest, permissions and time, and every directory with its permissions."""
        entries = [path for path in self.root.rglob("*") if OWN not in path.relative_to(self.root).parts]
        return {
            "files": sorted(_file(self.root, path) for path in entries if path.is_file()),
            "directories": sorted((str(path.relative_to(self.root)), path.stat().st_mode) for path in entries if path.is_dir()),
        }  # fmt: skip

    def leftovers(self) -> Sequence[str]:
        """Return what an unfinished import left."""
        return [str(path) for name in ("incoming", "locks") for path in (self.root / OWN / name).glob("*")]


def _file(root: Path, path: Path) -> tuple[object, ...]:
    status = path.stat()
    digest = blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return str(path.relative_to(root)), digest, status.st_mode, status.st_mtime_ns
