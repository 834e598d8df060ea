"""Makes virtual environments for servers, apart from the project's own: what a server needs decides nothing for us.

An environment is made on first use, from exact pins, and again when the pins change. Runs of several processes at once
are safe: one makes it, the others wait for it.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BUILD_SECONDS = 600.0


class EnvironmentNotMadeError(Exception):
    """The environment cannot be made here; the message says why, and what to do."""


def environment(name: str, requirements: Path, *, python: str | None = None) -> Path:
    """The `bin` directory of `.venv-{name}`, which then holds exactly what `requirements` pins.

    `python` is the version it must have, such as "3.11"; any will do by default. Takes up to a minute the first time.
    Raises EnvironmentNotMadeError.
    """
    place = ROOT / f".venv-{name}"
    interpreter = _interpreter(python, name)
    wanted = sha256(f"{interpreter}\n{requirements.read_text()}".encode()).hexdigest()
    ready = place / ".ready"
    if not _says(ready, wanted):
        place.mkdir(exist_ok=True)
        with _locked(place / ".lock"):
            if not _says(ready, wanted):
                _make(place, interpreter, requirements)
                ready.write_text(wanted)
    return place / "bin"


def _make(place: Path, interpreter: str, requirements: Path) -> None:
    print(f"making the environment {place.name} from {requirements.name} (takes a minute, once)", file=sys.stderr)
    _run([interpreter, "-m", "venv", str(place)], place)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--requirement", str(requirements)], place)


def _run(command: list[str], place: Path) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentNotMadeError(f"{place.name} cannot be made: {error}") from error
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise EnvironmentNotMadeError(f"{place.name} cannot be made; {command[0]} says:\n{last}")


def _interpreter(python: str | None, name: str) -> str:
    if python is None or python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = shutil.which(f"python{python}")
    if found is None:
        raise EnvironmentNotMadeError(f"{name} needs Python {python}: install it, so that python{python} is in PATH")
    return found


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the system lifts the lock of one that dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
