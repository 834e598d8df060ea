"""References to plug-ins, and their URLs; and those that the settings list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlencode

SCHEME = "python"
EXPORTERS, IMPORTERS = "app_data_pipeline.exporters", "app_data_pipeline.importers"
"""The groups of entry points of installed plug-ins."""
MAIN_SETTING = "url"
"""The setting that the text after the colon of an installed plug-in's name gives."""

_NAME = r"[^\W\d]\w*"
_FILE = re.compile(rf"(?P<path>.+\.py):(?P<name>{_NAME})", re.DOTALL)
_MODULE = re.compile(rf"(?P<module>{_NAME}(\.{_NAME})*):(?P<name>{_NAME})")


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


def in_file(text: str) -> PluginReference | None:
    """Return the plug-in that `path/file.py:name` names; None for any other text."""
    found = _FILE.fullmatch(text)
    return found and PluginReference(Kind.FILE, str(Path(found["path"]).absolute()), found["name"])


def in_module(text: str) -> PluginReference | None:
    """Return the plug-in that `package.module:name` names; None for any other text."""
    found = _MODULE.fullmatch(text)
    return found and PluginReference(Kind.MODULE, found["module"], found["name"])


_listed: tuple[PluginReference, ...] = ()


def list_plugins(texts: Sequence[str]) -> None:
    """Take over the plug-ins that the settings list, from here on. They are found by their names like installed ones."""
    global _listed
    _listed = tuple(reference for text in texts if (reference := in_file(text) or in_module(text)))


def listed_plugins() -> Sequence[PluginReference]:
    """Return the plug-ins that the settings list."""
    return _listed
