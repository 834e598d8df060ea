"""A new project of an author: the names that it may have, and its files, made from the templates beside this module."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from string import Template

from pipeline.domain.errors import ConfigurationError, RefusedError

KINDS: Mapping[str, Sequence[str]] = {
    "exporter": ("exporter", "exporter alone"),
    "importer": ("importer", "importer alone"),
    "app": ("exporter", "importer"),
}
"""What a project has, by its kind: the sections of the templates that are in it."""

TEMPLATES = Path(__file__).parent / "templates"
_PATHS = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "AGENTS.md": "AGENTS.md",
    "flow.toml": "flow.toml",
    "$package/app.py": "app.py",
    "tests/test_app.py": "test_app.py",
}
"""The files of a project, and their templates."""
LONGEST_NAME = 64
LINE_LENGTH = 88
"""Of the code of a project, as ruff and black have it by default."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([-_][A-Za-z0-9]+)*")
_SECTION = re.compile(r"\[(exporter|importer|exporter alone|importer alone|end)\]")


def make_project(kind: str, name: str, parent: Path) -> Sequence[Path]:
    """Make the directory `name` in `parent` with a project; return its files.

    ConfigurationError when the name is not possible, or when there is something of that name: nothing is overwritten.
    """
    package = _package(name)
    directory = parent / name
    try:
        directory.mkdir()
    except FileExistsError:
        raise ConfigurationError(
            f"There is a file or directory {name} here already. Choose another name, or another directory."
        ) from None
    except OSError as error:
        raise RefusedError(f"The directory {directory} cannot be created: {error.strerror}.") from error
    try:
        return list(_write(directory, _texts(kind, name, package)))
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise RefusedError(f"The project cannot be written to {directory}: {error.strerror}.") from error


def _package(name: str) -> str:
    """Return the name of the package. ConfigurationError when a distribution or a package cannot have it."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ConfigurationError(
            f"{name[:80]!r} cannot be the name of a project. It needs a letter at the beginning, then letters, digits, - "
            f"and _ between them, at most {LONGEST_NAME} in all: such as my-tracker."
        )
    package = name.replace("-", "_").lower()
    taken = sys.stdlib_module_names | {"pipeline", "tests", "test"} | packages_distributions().keys()
    if keyword.iskeyword(package) or package in taken:
        raise ConfigurationError(
            f"{name!r} cannot be the name of a project: {package} is a word or a package of Python here. Choose another "
            f"name, such as my-{name}."
        )
    return package


def _texts(kind: str, name: str, package: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each file in the project, and what it holds."""
    what, kit, move = {
        "exporter": ("Exporter", "Exporter, Page, Secret, Stop", f"{name}:old copy.db"),
        "importer": ("Importer", "Gone, Import, Importer, Key, Secret, Stop", f"app.db {name}:new"),
        "app": (
            "Exporter and Importer",
            "Exporter, Gone, Import, Importer, Key, Page, Secret, Stop",
            f"{name}:old {name}:new",
        ),
    }[kind]
    suites = ", ".join(f"{side}_suite" for side in ("exporter", "importer") if kind in (side, "app"))
    tested = {"exporter": "exporter", "importer": "Client, importer", "app": "Client, exporter, importer"}[kind]
    given = {
        "suites": suites,
        "from_app": _import(f"{package}.app", tested),
        "name": name,
        "package": package,
        "what": what,
        "kit": kit,
        "move": move,
    }
    yield f"{package}/__init__.py", f'"""{what} of {name}."""\n'
    for path, template in _PATHS.items():
        text = "".join(_sections(kind, (TEMPLATES / f"{template}.txt").read_text()))
        yield Template(path).substitute(given), Template(text).substitute(given)


def _import(module: str, names: str) -> str:
    """Return the statement that imports these names: on one line if it is not too long, else a name a line."""
    line = f"from {module} import {names}"
    if len(line) <= LINE_LENGTH:
        return line
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in names.split(", ")), ")"])


def _sections(kind: str, text: str) -> Iterator[str]:
    """Yield the lines of a template that belong to a kind. A line such as `[exporter]` begins a section."""
    wanted = True
    for line in text.splitlines(keepends=True):
        if section := _SECTION.fullmatch(line.rstrip()):
            wanted = section[1] in ("end", *KINDS[kind])
        elif wanted:
            yield line


def _write(directory: Path, texts: Iterable[tuple[str, str]]) -> Iterator[Path]:
    for name, text in texts:
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        yield path
