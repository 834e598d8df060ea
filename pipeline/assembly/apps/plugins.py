"""Exporters and Importers of authors as the ends of a Flow. Only a Flow that has one loads the kit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.assembly.apps.ends import Role, is_plugin
from pipeline.connectors.locations import Location
from pipeline.connectors.registry import ReadOptions
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.movement import Flow
from pipeline.kit.configuration.settings import read_settings
from pipeline.kit.dump.copy import ImporterCopy, ReadSchemas
from pipeline.kit.exporter import Exporter
from pipeline.kit.importer import Importer
from pipeline.kit.ledger.kept import Kept
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.loading.levels import check_levels, split_requires
from pipeline.kit.loading.streams import ensure_some_handled
from pipeline.kit.places.load import load
from pipeline.kit.places.parsing import parse_reference
from pipeline.kit.places.reference import SCHEME, PluginReference
from pipeline.kit.reading.source import ExporterSource
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.source import Source


def place_of(reference: PluginReference, role: Role, given: Mapping[str, str], *, stored: bool) -> Location:
    """Return the place of a plug-in, with its settings: those in the reference, and those `given` as texts.

    `stored`: the reference comes from a Flow. ConfigurationError names all settings that are wrong.
    """
    settings, reserved = split_requires({**reference.settings, **given})
    plugin = load(reference, Exporter) if role is Role.SOURCE else load(reference, Importer)
    read = read_settings(plugin.connection, settings, role.value, str(reference), stored=stored)
    public = {**read.public, **reserved}
    written = reference.url({**public, **read.references})
    return Location(SCHEME, reference.url(public), written=written, short_name=reference.name or reference.where)


def _reference(location: Location) -> PluginReference:
    reference = parse_reference(location.written)
    assert reference is not None  # it begins with the scheme
    return reference


def make_source(location: Location, options: ReadOptions) -> Source:
    """Return the app that an Exporter reads."""
    reference = _reference(location)
    exporter = load(reference, Exporter)
    settings = read_settings(exporter.connection, reference.settings, Role.SOURCE.value, str(reference), stored=True)
    return ExporterSource(location.url, exporter, settings.value)


def make_copy(location: Location, store: ObjectStore, flow: Flow, schemas: ReadSchemas) -> Source:
    """Return what an Importer's app holds, to be compared. `schemas` are the streams that the Flow has stored."""
    destination = make_destination(location)
    kept = Kept(store, flow.marks_namespace)
    return ImporterCopy(location.url, destination.importer, destination.settings, kept, schemas)


def make_destination(location: Location) -> ImporterDestination:
    """Return the app that an Importer loads."""
    reference = _reference(location)
    importer = load(reference, Importer)
    given, _ = split_requires(reference.settings)
    settings = read_settings(importer.connection, given, Role.DESTINATION.value, str(reference), stored=True)
    return ImporterDestination(location.url, importer, settings.value, requires=reference.settings)


def untaken(location: Location, streams: Sequence[StreamName]) -> frozenset[StreamName]:
    """Return the streams for which an Importer has no handler."""
    importer = load(_reference(location), Importer)
    return frozenset(stream for stream in streams if importer.handler_of(stream) is None)


def check_contract(source: object, destination: Location) -> None:
    """ConfigurationError when the two do not fit: another contract, a delivery level that is too weak, no common stream."""
    there = _reference(destination)
    importer = load(there, Importer)
    check_levels(importer, there.settings)
    if not is_plugin(source):
        return
    here = _reference(source)
    exporter = load(here, Exporter)
    ensure_some_handled(importer, list(exporter.streams))
    if importer.accepts and exporter.contract not in importer.accepts:
        states = f"states the contract {exporter.contract!r}" if exporter.contract else "states no contract"
        accepted = " or ".join(repr(one) for one in importer.accepts)
        raise ConfigurationError(
            f"{here} {states} ({exporter.line}), and {there} accepts {accepted} ({importer.line}). Connect two that fit."
        )
