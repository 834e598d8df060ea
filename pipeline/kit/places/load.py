"""Loading a plug-in: importing its file or module, or finding it among those that are listed or installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.authors_line import raising_line
from pipeline.kit.configuration.secret import text_of
from pipeline.kit.exporter import Exporter, check_feeds
from pipeline.kit.importer import Importer
from pipeline.kit.places.reference import EXPORTERS, IMPORTERS, Kind, PluginReference, listed_plugins
from pipeline.kit.places.siblings import import_file
from pipeline.kit.plugin import Plugin
from pipeline.paths import is_file

GROUPS: Mapping[type[Plugin], str] = {Exporter: EXPORTERS, Importer: IMPORTERS}
P = TypeVar("P", bound=Plugin)


def installed(kind: type[Plugin]) -> Sequence[EntryPoint]:
    """Return the installed plug-ins of one kind, by name. None of them is loaded."""
    return sorted(entry_points(group=GROUPS[kind]), key=lambda entry: entry.name)


def listed() -> Iterator[tuple[PluginReference, Plugin | ConfigurationError]]:
    """Load the plug-ins that the settings list. One that is broken comes with its error, and hides no other."""
    for reference in listed_plugins():
        try:
            yield reference, load(reference, Plugin)
        except ConfigurationError as error:
            yield reference, error


def is_listed(name: str) -> bool:
    """Whether the settings list a plug-in of this name. ConfigurationError when one that is broken may have it."""
    plugin, broken = _listed_as(name, Plugin)
    if plugin is None and broken:
        raise ConfigurationError(f"{broken}\nIt is in the setting plugins, and may be {name!r}.")
    return plugin is not None


def _listed_as(name: str, kind: type[Plugin]) -> tuple[Plugin | None, str]:
    """Return the plug-in of this name that the settings list, and what is wrong with those that are broken."""
    broken, found = list[str](), dict[int, Plugin]()
    for _, plugin in listed():
        if isinstance(plugin, ConfigurationError):
            broken.append(str(plugin))
        elif plugin.name == name and isinstance(plugin, kind):
            found[id(plugin)] = plugin
    if len({type(plugin) for plugin in found.values()}) < len(found):
        lines = " and ".join(plugin.line for plugin in found.values())
        raise ConfigurationError(f"The setting plugins lists several of the name {name!r}: {lines}. Leave one in it.")
    return next(iter(found.values()), None), "\n".join(broken)


def load(reference: PluginReference, kind: type[P]) -> P:
    """Return the Exporter or Importer that a reference names.

    ConfigurationError with the author's file and line when it cannot be imported, is not there, or is something else.
    """
    found = _object(reference, kind)
    if isinstance(found, Exporter):
        check_feeds(found)
    if isinstance(found, kind):
        return found
    if isinstance(found, Plugin):
        here, there = ("source", "destination") if kind is Exporter else ("destination", "source")
        raise ConfigurationError(
            f"{reference} is an {type(found).__name__} ({found.line}), so it cannot be the {here}. Use it as the {there}."
        )
    raise ConfigurationError(
        f"{reference} is not an {kind.__name__}, but of the type {type(found).__name__}. Name an object that "
        f"{kind.__name__}(…) returns."
    )


def _object(reference: PluginReference, kind: type[P]) -> object:
    match reference.kind:
        case Kind.INSTALLED:
            plugin, broken = _listed_as(reference.where, kind)
            if plugin is not None:
                return plugin
            entries = (entry_of(one, reference.where) for one in GROUPS if issubclass(one, kind))
            entry = next(filter(None, entries), None)
            if entry is None:
                raise ConfigurationError(_unknown(kind, reference.where) + (f"\n{broken}" if broken else ""))
            return load_entry(entry)
        case Kind.FILE:
            module = _import_file(Path(reference.where), str(reference))
        case Kind.MODULE:
            module = _import_module(reference.where, str(reference))
    try:
        return getattr(module, reference.name)
    except AttributeError:
        names = ", ".join(name for name, value in vars(module).items() if isinstance(value, Plugin)) or "none"
        raise ConfigurationError(
            f"{reference.where} has no {reference.name!r}. It has these Exporters and Importers: {names}."
        ) from None


def _unknown(kind: type[Plugin], name: str) -> str:
    names = sorted({entry.name for one in GROUPS for entry in installed(one)} | set(_names_listed()))
    return (
        f"There is no installed {kind.__name__} {name!r}. There are: {', '.join(names) or 'none'}. Install it, or list it "
        "in the setting plugins."
    )


def _names_listed() -> Iterator[str]:
    return (plugin.name for _, plugin in listed() if isinstance(plugin, Plugin))


def entry_of(kind: type[Plugin], name: str) -> EntryPoint | None:
    """Return the installed plug-in of one kind and name. ConfigurationError when several packages have one."""
    found = list(entry_points(group=GROUPS[kind], name=name))
    if len(found) > 1:
        packages = " and ".join(f"{entry.dist.name} {entry.dist.version}" for entry in found if entry.dist)
        raise ConfigurationError(
            f"Several installed packages have an {kind.__name__} {name!r}: {packages}. Uninstall all but one, or name the "
            "plug-in as package.module:name."
        )
    return found[0] if found else None


def load_entry(entry: EntryPoint) -> object:
    """Return the object of an entry point. ConfigurationError when it cannot be imported."""
    try:
        return entry.load()
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        raise _not_imported(f"The installed plug-in {entry.name!r} ({entry.value})", error) from error


def _import_file(path: Path, what: str) -> ModuleType:
    if not is_file(path):
        raise ConfigurationError(f"There is no file {path}. Check the path.")
    try:
        return import_file(path)
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        raise _not_imported(what, error) from error


def _import_module(name: str, what: str) -> ModuleType:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        raise _not_imported(what, error) from error


def _not_imported(what: str, error: BaseException) -> ConfigurationError:
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}, line {error.lineno}"
    else:
        where = raising_line(error, "")
    place = f" ({where})" if where else ""
    return ConfigurationError(
        f"{what} cannot be imported: {type(error).__name__}: {text_of(error)}{place}. Correct it."
    )
