"""Loading what is tortured: by the names that `pipeline move` takes, or an object that a test has."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import TypeVar

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.exporter import Exporter
from pipeline.kit.importer import Importer
from pipeline.kit.places.load import load
from pipeline.kit.places.parsing import parse_reference
from pipeline.kit.places.reference import EXPORTERS, IMPORTERS, Kind, PluginReference
from pipeline.kit.plugin import Plugin
from pipeline.testing.torture.ends import Subject
from pipeline.testing.torture.interception.instrument import reloaded

Keys = Mapping[str, tuple[str, ...]]
P = TypeVar("P", bound=Plugin)


def load_subject(names: Sequence[str], keys: Keys) -> Subject:
    """Return what the names of an Exporter, of an Importer, or of both say, with hooks at every `await`.

    ConfigurationError when one cannot be loaded, when two do not fit, or when torture needs more of it.
    """
    exporter: Exporter | None = None
    importer: Importer | None = None
    for name in names:
        plugin = _load(name)
        if isinstance(plugin, Exporter) and exporter is None:
            exporter = plugin
        elif isinstance(plugin, Importer) and importer is None:
            importer = plugin
        else:
            raise ConfigurationError(
                f"{name} is a second one of its kind. Name one Exporter, one Importer, or one of each."
            )
    subject = Subject(exporter, importer, keys)
    subject.check()
    return subject


def _load(name: str) -> Plugin:
    reference = parse_reference(name)
    if reference is None:
        raise ConfigurationError(f"{name} is no Exporter or Importer. Write ./file.py:NAME or package.module:NAME.")
    plugin = load(reference, Plugin)
    file, module, attribute = _where(reference)
    found: Plugin = reloaded(file, module, attribute)
    assert type(found) is type(plugin)  # it is the same code
    return found


def _where(reference: PluginReference) -> tuple[str, str, str]:
    """Return the file, the name of the module in its package, and the name of the object in it."""
    if reference.kind is Kind.FILE:
        return reference.where, "", reference.name
    module, attribute = reference.where, reference.name
    if reference.kind is Kind.INSTALLED:
        groups = (EXPORTERS, IMPORTERS)
        entry = next(entry for group in groups for entry in entry_points(group=group, name=reference.where))
        module, attribute = entry.module, entry.attr
    return str(sys.modules[module].__file__), module, attribute


def hooked(plugin: P) -> P:
    """Return an Exporter or Importer that a test has, with hooks if it is an object of a module; else as it is."""
    place = _place_of(plugin)
    if place is None:
        return plugin
    found: P = reloaded(*place)
    return found


def name_of(plugin: Plugin) -> str:
    """Return the name by which `pipeline torture` finds an Exporter or Importer that a test has."""
    place = _place_of(plugin)
    return f"FILE:{plugin.name}" if place is None else f"{place[0]}:{place[2]}"


def _place_of(plugin: Plugin) -> tuple[str, str, str] | None:
    """Return the file, the name of the module and the name of the object; the module that declares it comes first."""
    declared = plugin.line.rpartition(", line ")[0]
    found = [
        (str(file), name, attribute)
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) and name == getattr(module, "__name__", "")
        for attribute, value in list(vars(module).items())
        if value is plugin
    ]
    return min(found, key=lambda place: place[0] != declared, default=None)
