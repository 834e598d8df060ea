"""`pipeline apps`: the installed plug-ins. Each is loaded, and one that cannot be loaded hides no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.exporter import Exporter
from pipeline.kit.importer import Importer
from pipeline.kit.places.load import installed, load_entry


@dataclass(frozen=True, slots=True)
class App:
    """An installed plug-in. `streams` maps each stream to how it is read or delivered; `error` says why it is broken."""

    role: str
    name: str
    version: str
    contracts: Sequence[str] = ()
    streams: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def apps() -> Sequence[App]:
    """Return the installed Exporters, then the Importers, each by name."""
    return [_app(entry, kind) for kind in (Exporter, Importer) for entry in installed(kind)]


def _app(entry: EntryPoint, kind: type[Exporter] | type[Importer]) -> App:
    role, version = kind.__name__, entry.dist.version if entry.dist else ""
    try:
        plugin = load_entry(entry)
    except ConfigurationError as error:
        return App(role, entry.name, version, error=str(error))
    match plugin:
        case Exporter() if kind is Exporter:
            contracts = () if plugin.contract is None else (plugin.contract,)
            return App(role, entry.name, version, contracts, dict(_read(plugin)))
        case Importer() if kind is Importer:
            delivered = {name: handler.delivery.value for name, handler in plugin.handlers.items()}
            return App(role, entry.name, version, plugin.accepts, delivered)
    return App(role, entry.name, version, error=f"{entry.value} is no {role}, but of the type {type(plugin).__name__}.")


def _read(exporter: Exporter) -> Iterator[tuple[str, str]]:
    for name, stream in sorted(exporter.streams.items()):
        has_feed = name in exporter.feeds and stream.reading != "changes"
        yield name, f"{stream.reading.value} and changes" if has_feed else stream.reading.value
