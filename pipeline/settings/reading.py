"""Reads settings from a file, the environment and flags, and reports all mistakes at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.domain.errors import ConfigurationError
from pipeline.settings.values import ENVIRONMENT_PREFIX, Settings, rules

MAX_FILE_BYTES = 1024 * 1024
"""The largest settings file that is read."""
MAX_PROBLEMS = 20
"""How many mistakes are reported at once."""

RENAMED = {"share_files": "shard_files", "import_apart": "import_in_subprocess"}
"""Former names of settings, which are still read."""


class _Given(NamedTuple):
    """A value, and the place and name under which a person has written it."""

    value: object
    where: str
    directory: Path | None = None
    """That of the settings file, where it begins a path to a plug-in."""


def load_settings(
    config: Path | None = None,
    flags: Mapping[str, object] | None = None,
    *,
    defaults: Mapping[str, object] | None = None,
) -> Settings:
    """Return the settings from the file `config`, the environment and `flags` (by name of the setting).

    `defaults` replace those of the settings themselves. ConfigurationError names everything that is wrong, a line each,
    under the name that the user has written.
    """
    problems: list[str] = []
    given: dict[str, _Given] = {}
    for layer in (_read_file(config), _read_environment(), _read_flags(flags or {})):
        given |= _with_new_names(layer, problems)
    unknown = [one.where for name, one in given.items() if name not in rules()]
    problems += [f"{where}: there is no such setting." for where in unknown]
    if unknown:
        problems[-1] += f" The settings are: {', '.join(rules())}."
    values: dict[str, Any] = {}
    for name, rule in rules().items():
        if name in given:
            try:
                values[name] = _beside(given[name], rule.read(given[name].value))
            except ValueError as error:
                problems.append(f"{given[name].where}: {error}")
    if problems:
        more = [f"… and {len(problems) - MAX_PROBLEMS:,} more."] if len(problems) > MAX_PROBLEMS else []
        raise ConfigurationError("\n".join([*problems[:MAX_PROBLEMS], *more]))
    return Settings(**{**(defaults or {}), **values})


def _with_new_names(layer: Mapping[str, _Given], problems: list[str]) -> dict[str, _Given]:
    """Replace former names. It is a problem if a setting is given under both names in one place."""
    found = dict(layer)
    for old, new in RENAMED.items():
        if old in found and new in found:
            problems.append(f"{found[old].where}: this is the former name of {new}, which is set as well. Remove one.")
        elif old in found:
            found[new] = found[old]
        found.pop(old, None)
    return found


def _read_environment() -> dict[str, _Given]:
    """Return the variables that name settings, in capitals or not. An empty variable counts as not set."""
    variables = {name.upper(): value for name, value in os.environ.items() if value}
    names = {name: ENVIRONMENT_PREFIX + name.upper() for name in (*rules(), *RENAMED)}
    return {
        name: _Given(variables[variable], f"{variable} in the environment")
        for name, variable in names.items()
        if variable in variables
    }


def _read_flags(flags: Mapping[str, object]) -> dict[str, _Given]:
    return {name: _Given(value, "--" + name.replace("_", "-")) for name, value in flags.items() if value is not None}


def _read_file(path: Path | None) -> dict[str, _Given]:
    if path is None:
        return {}
    directory = path.expanduser().absolute().parent
    return {name: _Given(value, f"{name[:80]} in {path}", directory) for name, value in read_toml(path).items()}


def _beside(given: _Given, value: object) -> object:
    """Return a setting; paths in a list of plug-ins are made absolute."""
    if given.directory is None or not isinstance(value, tuple):
        return value
    return tuple(str(given.directory / Path(text).expanduser()) if ".py:" in text else text for text in value)


def read_toml(path: Path, what: str = "settings file") -> dict[str, object]:
    """Read a TOML file. ConfigurationError, which calls it `what`, when that is not possible."""
    import tomllib  # few commands have a settings file

    try:
        with path.expanduser().open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) <= MAX_FILE_BYTES:
            return tomllib.loads(data.decode("utf-8-sig"))  # editors on Windows put a byte order mark first
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"There is no {what} {path}. Name another one{', or leave out --config' if what == 'settings file' else ''}."
        ) from error
    except RecursionError as error:
        raise ConfigurationError(f"The {what} {path} cannot be read: it is nested too deeply.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"The {what} {path} cannot be read: it is not UTF-8 text, from byte {error.start:,} on. Save it as UTF-8."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"The {what} {path} cannot be read: {reason[:300]}") from error
    raise ConfigurationError(f"The {what} {path} cannot be read: it is larger than {MAX_FILE_BYTES:,} bytes.")
