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
_READY = ".ready"
_OUR_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


class EnvironmentNotMadeError(Exception):
    """The environment cannot be made here; the message says why, and what to do."""


def environment(name: str, requirements: Path, *, python: str | None = None) -> Path:
    """The `bin` directory of `.venv-{name}`, which then holds exactly what `requirements` pins.

    `python` is the version it must have, such as "3.11"; by default it has ours. Takes up to a minute the first time.
    Raises EnvironmentNotMadeError.
    """
    place = ROOT / f".venv-{name}"
    version = python or _OUR_VERSION
    wanted = sha256(f"{version}\n{requirements.read_text()}".encode()).hexdigest()
    if not _holds(place, wanted):
        with _locked(requirements):
            if not _holds(place, wanted):
                _make(place, _interpreter(version, name), requirements)
                (place / _READY).write_text(wanted)
    return place / "bin"


def _holds(place: Path, wanted: str) -> bool:
    """Whether it was made to the end, from these pins, and its interpreter has not been uninstalled since."""
    ready = place / _READY
    return ready.exists() and ready.read_text() == wanted and (place / "bin" / "python").exists()


def _make(place: Path, interpreter: str, requirements: Path) -> None:
    print(f"making the environment {place.name} from {requirements.name} (takes a minute, once)", file=sys.stderr)
    _run([interpreter, "-m", "venv", "--clear", str(place)], place)
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


def _interpreter(version: str, name: str) -> str:
    if version == _OUR_VERSION:
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None:
        raise EnvironmentNotMadeError(f"{name} needs Python {version}: install it, so that python{version} is in PATH")
    return found


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the system lifts the lock of one that dies. The file itself stays as it is."""
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
