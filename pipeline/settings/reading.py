"""Reads settings from where they were written, without importing what checks them when there is nothing to check."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipeline.domain.errors import ConfigurationError
from pipeline.settings.values import ENVIRONMENT_PREFIX, FREE, Settings

MAX_FILE_BYTES = 1024 * 1024
"""The largest settings file that is read."""


def load_settings(
    config: Path | None = None,
    flags: Mapping[str, object] | None = None,
    *,
    defaults: Mapping[str, object] | None = None,
) -> Settings:
    """Return the settings from the file `config`, the environment and `flags` (by name of the setting).

    `defaults` stand in for those of the settings themselves. ConfigurationError names everything that is wrong, one line
    each, under the name that the user wrote.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    environment = _read_environment()
    from_file = {} if config is None else _read_toml(config)
    written = {**from_file, **environment, **given}
    found: dict[str, Any] = {
        name: Path(value) for name, value in written.items() if name in FREE and isinstance(value, str | Path)
    }
    if len(found) < len(written):
        from pipeline.settings.rules import read

        found = read(written, config, environment, given)
    return Settings(**{**(defaults or {}), **found})


def _read_environment() -> dict[str, str]:
    """What the environment says, in capitals or not. An empty variable says nothing, nor one that is no setting."""
    variables = {name.upper(): value for name, value in os.environ.items() if value}
    names = {item.name: ENVIRONMENT_PREFIX + item.name.upper() for item in fields(Settings)}
    return {name: variables[variable] for name, variable in names.items() if variable in variables}


def _read_toml(path: Path) -> dict[str, object]:
    import tomllib

    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) <= MAX_FILE_BYTES:
            return tomllib.loads(data.decode())
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"There is no settings file {path}. Name another with --config, or leave it out."
        ) from error
    except RecursionError as error:
        raise ConfigurationError(f"The settings file {path} cannot be read: it is nested too deep.") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The settings file {path} cannot be read: {str(error)[:300]}") from error
    raise ConfigurationError(f"The settings file {path} cannot be read: it is larger than {MAX_FILE_BYTES:,} bytes.")
