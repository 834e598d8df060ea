"""The rules of the settings, kept by pydantic, and what is said of what breaks them.

It takes longer to import than all the rest that a small Movement needs: only what somebody has set is brought here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from reprlib import Repr
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from pipeline.domain.errors import ConfigurationError
from pipeline.settings.values import ENVIRONMENT_PREFIX, Settings

MAX_COMPLAINTS = 20
"""How many mistakes are told of at once."""

_types = get_type_hints(Settings)
_members: dict[str, Any] = {
    setting.name: (_types[setting.name], Field(default=setting.default, **setting.metadata))
    for setting in fields(Settings)
}
_Rules: type[BaseModel] = create_model("Settings", __config__=ConfigDict(extra="forbid"), **_members)


def checked(values: Mapping[str, object]) -> dict[str, Any]:
    """Return `values` as their settings take them; ValidationError with all that breaks a rule."""
    return _Rules.model_validate(values).model_dump(exclude_unset=True)


def read(
    written: Mapping[str, object],
    config: Path | None,
    environment: Mapping[str, object],
    flags: Mapping[str, object],
) -> dict[str, Any]:
    """Return what is `written` as its settings take it. ConfigurationError says what is wrong, and where it was written."""
    try:
        return checked(written)
    except ValidationError as error:
        details = error.errors()
    lines = [_complaint(detail, config, environment, flags) for detail in details[:MAX_COMPLAINTS]]
    unknown = [at for at, detail in enumerate(details[:MAX_COMPLAINTS]) if detail["type"] == "extra_forbidden"]
    for at in unknown[:1]:
        lines[at] += f" The settings are: {', '.join(_Rules.model_fields)}."
    if len(details) > MAX_COMPLAINTS:
        lines.append(f"… and {len(details) - MAX_COMPLAINTS:,} more.")
    raise ConfigurationError("\n".join(lines))


class _Brief(Repr):
    """Values for a message: short, however large or deeply nested they are."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200
        self.maxlevel = 2

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() <= 128 else f"an integer of {x.bit_length():,} bits"


def _complaint(
    detail: ErrorDetails, config: Path | None, environment: Mapping[str, object], flags: Mapping[str, object]
) -> str:
    name = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        return f"{name[:80]} in {config}: there is no such setting."
    if name in flags:
        where = "--" + name.replace("_", "-")
    elif name in environment:
        where = ENVIRONMENT_PREFIX + name.upper() + " in the environment"
    else:
        where = f"{name} in {config}"
    if "secret" in name:
        return f"{where}: it cannot be a secret. Give a text."
    value = detail["input"]
    shown = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    rule = detail["msg"].partition(" for <class")[0]
    return f"{where}: {rule[0].lower()}{rule[1:]}, not {_Brief().repr(shown)}."
