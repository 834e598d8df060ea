"""What a person writes for a plug-in: `./file.py:name`, `package.module:name`, `name:setting`, or its URL."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qsl, unquote, urlsplit

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.places.reference import (
    EXPORTERS,
    IMPORTERS,
    MAIN_SETTING,
    SCHEME,
    Kind,
    PluginReference,
    in_file,
    in_module,
    listed_plugins,
)
from pipeline.paths import exists

_INSTALLED = re.compile(r"(?P<name>[A-Za-z][\w.-]*):(?!//)(?P<setting>.*)", re.DOTALL)


def is_known(name: str) -> bool:
    """Whether an Exporter or an Importer of this name is installed, or listed in the settings."""
    from importlib.metadata import entry_points  # most places are no plug-ins

    if any(entry_points(group=group, name=name) for group in (EXPORTERS, IMPORTERS)):
        return True
    if not listed_plugins():
        return False
    from pipeline.kit.places.load import is_listed  # names are in the files

    return is_listed(name)


def names_nothing(text: str) -> bool:
    """Whether a text has the form of an installed plug-in, and is neither one nor a path that begins with what exists."""
    found = _INSTALLED.fullmatch(text)
    return found is not None and not is_known(found["name"]) and not exists(text.partition("/")[0])


def parse_reference(text: str) -> PluginReference | None:
    """Return the plug-in that a person has written; None when it is none.

    ConfigurationError when it is meant as one, and is not complete.
    """
    if text.startswith(f"{SCHEME}://"):
        return _parse_url(text)
    if (reference := in_file(text)) is not None:
        return reference
    if "://" not in text and text.endswith(".py"):
        raise ConfigurationError(f"{text} is a Python file. Name the Exporter or Importer in it: {text}:NAME")
    if found := _INSTALLED.fullmatch(text):
        if is_known(found["name"]):
            setting = found["setting"]
            return PluginReference(Kind.INSTALLED, found["name"], settings={MAIN_SETTING: setting} if setting else {})
        if "://" in text:
            raise ConfigurationError(
                f"There is no installed Exporter or Importer {found['name']!r}. Check the name, and whether its package is "
                "installed here."
            )
    if "." in text and not exists(text):
        return in_module(text)
    return None


def _parse_url(url: str) -> PluginReference:
    wrong = ConfigurationError(
        f"{url[:200]!r} is no plug-in. Write {SCHEME}:///path/file.py:name, {SCHEME}://package.module:name or "
        f"{SCHEME}://installed-name, with settings as ?name=value."
    )
    try:
        parts = urlsplit(url)
        settings = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise wrong from None
    if parts.path:
        reference = in_file(unquote(parts.path))
        if reference is None or parts.netloc:
            raise wrong
        return replace(reference, settings=settings)
    where, _, name = parts.netloc.partition(":")
    if not where or (name and not name.isidentifier()):
        raise wrong
    return PluginReference(Kind.MODULE if name else Kind.INSTALLED, where, name, settings)
