"""An author's settings, read from texts: what a person gives for a Flow, and the environment."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.authors_line import called, line_of, misuse
from pipeline.kit.configuration.names import REQUIRES, SettingNames
from pipeline.kit.configuration.secret import REFERENCES, Secret, text_of
from pipeline.kit.declared import Connection
from pipeline.kit.row_types import attributes
from pipeline.kit.signatures import is_text

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class GivenSettings:
    """The settings of a plug-in. `value` is the author's object; None when the plug-in takes none.

    `public` are the texts of those given that are no secrets; `references` say where the secrets are.
    """

    value: object | None = None
    public: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)


def read_settings(
    connection: Connection, given: Mapping[str, str], names: SettingNames, plugin: str, *, stored: bool = False
) -> GivenSettings:
    """Return the settings: those `given` by name, else those in the environment.

    `stored`: what is given comes from a Flow, so the environment gives secrets alone. ConfigurationError names everything
    that is wrong, a line each.
    """
    kinds, required, type_ = _declared(connection)
    texts = {
        name: text
        for name, kind in kinds.items()
        if (text := os.environ.get(names.prefix + name.upper())) and (kind is Secret or not stored)
    } | dict(given)
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in kinds:
            problems.append(f"{plugin} has no setting {name!r}. It has: {', '.join(kinds) or 'none'}.")
            continue
        try:
            values[name] = _value(text, kinds[name])
        except ValueError as error:
            problems.append(f"The setting {name!r} of {plugin} {error}")
    problems += [names.missing(name, plugin) for name in kinds if name in required and name not in texts]
    if problems:
        raise ConfigurationError("\n".join(problems))
    if type_ is None:
        return GivenSettings()
    try:
        value = type_(**values)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise ConfigurationError(f"The settings of {plugin} are not valid: {text_of(error)}") from error
    secrets = {name for name, kind in kinds.items() if kind is Secret}
    return GivenSettings(
        value,
        {name: text for name, text in texts.items() if name not in secrets},
        {name: text for name, text in texts.items() if name in secrets},
    )


def _declared(connection: Connection) -> tuple[Mapping[str, Any], frozenset[str], Any]:
    """Return the settings with their types, those without a default, and the author's type."""
    function = connection.function
    if function is None or not connection.takes_settings:
        return {}, frozenset(), None
    parameter = next(iter(inspect.signature(function).parameters.values()))
    where = line_of(function)
    remedy = f"Write async def {called(function).__name__}({parameter.name}: Settings), with a dataclass Settings"
    if parameter.annotation is inspect.Parameter.empty:
        raise misuse(where, f"the argument {parameter.name!r} has no annotation", remedy)
    try:
        type_ = parameter.annotation
        if isinstance(type_, str):
            type_ = eval(type_, called(function).__globals__)
        names, defaults = attributes(type_, where, "type of settings", remedy)
        hints = get_type_hints(type_)
    except ConfigurationError:
        raise
    except Exception as error:
        raise misuse(where, f"the annotation of {parameter.name!r} cannot be read: {error}", remedy) from error
    if REQUIRES in names:
        raise misuse(where, f"a setting cannot be named {REQUIRES!r}", "The pipeline has a setting of that name")
    kinds = {name: _plain(hints[name]) for name in names}
    for name, kind in kinds.items():
        if kind is not Secret and _is_secret(kind):
            fault = f"the setting {name!r} has the type {getattr(kind, '__name__', kind)}"
            raise misuse(where, fault, "Give it the type Secret of pipeline.kit, which is never stored")
    return kinds, frozenset(names) - defaults, type_


def _is_secret(kind: Any) -> bool:
    """Whether a type is one of secrets, of another library's as well, or has some inside."""
    return getattr(kind, "__name__", "") in ("Secret", "SecretStr", "SecretBytes") or any(
        map(_is_secret, get_args(kind))
    )


def _plain(hint: Any) -> Any:
    """Return the type in `X | None`."""
    members = [one for one in get_args(hint) if one is not type(None)]
    return members[0] if type(None) in get_args(hint) and len(members) == 1 else hint


def _value(text: str, kind: Any) -> Any:
    """Return a text as a setting of this type, JSON of a list or a mapping.

    ValueError says what it has to be, and never quotes a secret.
    """
    if text and not is_text(text):
        raise ValueError("is no valid text.")
    if _has_password(text):
        raise ValueError("is a URL with a password, which the Flow would store. Give the password as a Secret.")
    if kind is Secret:
        if not text.startswith(REFERENCES):
            raise ValueError("is a secret. Give a reference to it, env:NAME or file:PATH, and never the secret itself.")
        return Secret(text)
    if kind is Path:
        return Path(text).expanduser()
    if kind is bool:
        if text.lower() in (*_TRUE, *_FALSE):
            return text.lower() in _TRUE
        raise ValueError(f"is {text[:80]!r}. It must be true or false.")
    try:
        return msgspec.convert(text, kind, strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        try:
            return msgspec.json.decode(text, type=kind, strict=False)
        except (msgspec.MsgspecError, TypeError):
            raise ValueError(f"is {text[:80]!r}, which is not valid: {error}.") from error


def _has_password(text: str) -> bool:
    try:
        return "://" in text and bool(urlsplit(text).password)
    except ValueError:  # no URL
        return False
