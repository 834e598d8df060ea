"""Creates virtual environments for servers, separate from the project's own and its dependencies.

An environment is created on first use, from exact pins, and again when the pins change. Several processes may ask at
once: one creates it, the others wait.
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
    """The environment cannot be created; the message says why, and what to do."""


def environment(name: str, requirements: Path, *, python: str | None = None) -> Path:
    """Return the `bin` directory of `.venv-{name}`, with exactly the packages that `requirements` pins.

    `python` is the version it must have, such as "3.11"; the default is this interpreter's. The first time takes up to a
    minute. Raises EnvironmentNotMadeError.
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
    """Whether it is complete, has these pins, and its interpreter is still installed."""
    ready = place / _READY
    return ready.exists() and ready.read_text() == wanted and (place / "bin" / "python").exists()


def _make(place: Path, interpreter: str, requirements: Path) -> None:
    print(f"creating the environment {place.name} from {requirements.name} (takes a minute, once)", file=sys.stderr)
    _run([interpreter, "-m", "venv", "--clear", "--without-pip", str(place)], place)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python")]  # saves installing pip there
    _run(
        [*pip, "install", "--quiet", "--no-compile", "--disable-pip-version-check", "--requirement", str(requirements)],
        place,
    )


def _run(command: list[str], place: Path) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentNotMadeError(f"{place.name} cannot be created: {error}") from error
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise EnvironmentNotMadeError(f"{place.name} cannot be created; {command[0]} says:\n{last}")


def _interpreter(version: str, name: str) -> str:
    if version == _OUR_VERSION:
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None:
        raise EnvironmentNotMadeError(f"{name} needs Python {version}: install it, so that python{version} is in PATH")
    return found


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock on the file; the kernel releases it if this process dies. The file is not changed."""
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
