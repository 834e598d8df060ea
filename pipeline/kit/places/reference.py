"""References to plug-ins: `./file.py:name`, `package.module:name`, `name:setting`, and their URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pipeline.domain.errors import ConfigurationError

SCHEME = "python"
EXPORTERS, IMPORTERS = "app_data_pipeline.exporters", "app_data_pipeline.importers"
"""The groups of entry points of installed plug-ins."""
MAIN_SETTING = "url"
"""The setting that the text after the colon of an installed plug-in's name gives."""

_NAME = r"[^\W\d]\w*"
_FILE = re.compile(rf"(?P<path>.+\.py):(?P<name>{_NAME})", re.DOTALL)
_MODULE = re.compile(rf"(?P<module>{_NAME}(\.{_NAME})+):(?P<name>{_NAME})")
_INSTALLED = re.compile(r"(?P<name>[A-Za-z][\w.-]*):(?!//)(?P<setting>.*)", re.DOTALL)


class Kind(StrEnum):
    """Where a plug-in is: in a file, in a module, or installed under a name."""

    FILE = "file"
    MODULE = "module"
    INSTALLED = "installed"


@dataclass(frozen=True, slots=True)
class PluginReference:
    """A plug-in: the file, module or installed name `where`, the object `name` in it, and settings as texts."""

    kind: Kind
    where: str
    name: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.where}:{self.name}" if self.name else self.where

    def url(self, settings: Mapping[str, str]) -> str:
        """Return the one name of this plug-in with these settings, as a URL."""
        where = quote(self.where, safe="/") if self.kind is Kind.FILE else self.where
        name = f":{self.name}" if self.name else ""
        query = urlencode(sorted(settings.items()), quote_via=quote)
        return f"{SCHEME}://{where}{name}{f'?{query}' if query else ''}"


def is_installed(name: str) -> bool:
    """Whether an Exporter or an Importer of this name is installed."""
    from importlib.metadata import entry_points  # most places are no plug-ins

    return any(entry_points(group=group, name=name) for group in (EXPORTERS, IMPORTERS))


def parse_reference(text: str) -> PluginReference | None:
    """Return the plug-in that a person has written; None when it is none.

    ConfigurationError when it is meant as one, and is not complete.
    """
    if text.startswith(f"{SCHEME}://"):
        return _parse_url(text)
    if found := _FILE.fullmatch(text):
        return PluginReference(Kind.FILE, str(Path(found["path"]).absolute()), found["name"])
    if "://" not in text and text.endswith(".py"):
        raise ConfigurationError(f"{text} is a Python file. Name the Exporter or Importer in it: {text}:NAME")
    if found := _INSTALLED.fullmatch(text):
        if is_installed(found["name"]):
            setting = found["setting"]
            return PluginReference(Kind.INSTALLED, found["name"], settings={MAIN_SETTING: setting} if setting else {})
        if "://" in text:
            raise ConfigurationError(
                f"There is no installed Exporter or Importer {found['name']!r}. Check the name, and whether its package is "
                "installed here."
            )
    if (found := _MODULE.fullmatch(text)) and not Path(text).exists():
        return PluginReference(Kind.MODULE, found["module"], found["name"])
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
        found = _FILE.fullmatch(unquote(parts.path))
        if found is None or parts.netloc:
            raise wrong
        return PluginReference(Kind.FILE, found["path"], found["name"], settings)
    where, _, name = parts.netloc.partition(":")
    if not where or (name and not name.isidentifier()):
        raise wrong
    return PluginReference(Kind.MODULE if name else Kind.INSTALLED, where, name, settings)
