"""`pipeline apps`: the plug-ins that are installed or listed. Each is loaded; one that cannot be loaded hides no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.exporter import Exporter
from pipeline.kit.importer import Importer
from pipeline.kit.places.load import entry_of, installed, listed, load_entry
from pipeline.kit.places.reference import PluginReference, list_plugins
from pipeline.kit.plugin import Plugin
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class App:
    """A plug-in. `streams` maps each stream to how it is read or delivered; `error` says why it is broken.

    `version` is that of its package, empty when it is not installed.
    """

    role: str
    name: str
    version: str
    contracts: Sequence[str] = ()
    streams: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def apps(settings: Settings) -> Sequence[App]:
    """Return the Exporters, then the Importers, each by name; at the end those listed ones that cannot be loaded."""
    list_plugins(settings.plugins)
    here = [_listed(reference, plugin) for reference, plugin in listed()]
    there = [_installed(entry, kind) for kind in (Exporter, Importer) for entry in installed(kind)]
    return sorted([*here, *there], key=lambda app: (app.role or "~", app.name))


def _installed(entry: EntryPoint, kind: type[Plugin]) -> App:
    role, version = kind.__name__, entry.dist.version if entry.dist else ""
    try:
        entry_of(kind, entry.name)
        plugin = load_entry(entry)
    except ConfigurationError as error:
        return App(role, entry.name, version, error=str(error))
    if isinstance(plugin, kind):
        return _app(plugin, entry.name, version)
    return App(role, entry.name, version, error=f"{entry.value} is no {role}, but of the type {type(plugin).__name__}.")


def _listed(reference: PluginReference, plugin: Plugin | ConfigurationError) -> App:
    if isinstance(plugin, ConfigurationError):
        return App("", str(reference), "", error=str(plugin))
    return _app(plugin, plugin.name, "")


def _app(plugin: Plugin, name: str, version: str) -> App:
    role = type(plugin).__name__
    match plugin:
        case Exporter():
            contracts = () if plugin.contract is None else (plugin.contract,)
            return App(role, name, version, contracts, dict(_read(plugin)))
        case Importer():
            delivered = {stream: handler.delivery.value for stream, handler in plugin.handlers.items()}
            return App(role, name, version, plugin.accepts, delivered)
    raise TypeError(f"{role} is neither an Exporter nor an Importer")


def _read(exporter: Exporter) -> Iterator[tuple[str, str]]:
    for name, stream in sorted(exporter.streams.items()):
        has_feed = name in exporter.feeds and stream.reading != "changes"
        yield name, f"{stream.reading.value} and changes" if has_feed else stream.reading.value
