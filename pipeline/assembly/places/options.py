"""Options of the places of a Flow: settings of plug-ins, and how a built-in source is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard
from urllib.parse import parse_qsl, quote, urlencode

from pipeline.assembly.apps.ends import Role, is_plugin
from pipeline.assembly.apps.python_connector import plugins
from pipeline.connectors.locations import Location
from pipeline.connectors.registry import connector_with_settings, find_connector
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.flows.declaration import Declaration
from pipeline.kit.configuration.names import REQUIRES
from pipeline.kit.places.parsing import parse_reference
from pipeline.kit.places.reference import SCHEME
from pipeline.settings import Settings, rules

BUILT_IN = ("grants", "one_file_system")
"""The options of a built-in source, which are settings as well."""
TREE_LEVELS = ("keyed", "found", "at-least-once")
"""The delivery levels that a directory tree reaches: it has no transactions."""


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """Options of the two ends, as texts by name: settings of plug-ins, above all."""

    source: Mapping[str, str] = field(default_factory=dict)
    destination: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, declared: Declaration) -> PluginSettings:
        """Return what a Flow declares."""
        required = {} if declared.requires is None else {REQUIRES: declared.requires}
        return cls(declared.source_options, {**declared.destination_options, **required})

    def declaration(self) -> Declaration:
        """Return what a new Flow declares that is made with these options. Of a secret it keeps the reference."""
        options = {name: text for name, text in self.destination.items() if name != REQUIRES}
        return Declaration(self.source, options, requires=self.destination.get(REQUIRES))


def with_source_options(end: object, given: Mapping[str, str], settings: Settings) -> Settings:
    """Return the settings with the options of a built-in source. ConfigurationError when it has no such option."""
    if not given or not _is_built_in(end):
        return settings
    _ensure_known(end, given, BUILT_IN, Role.SOURCE)
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, text in given.items():
        try:
            values[name] = rules()[name].read(text)
        except ValueError as error:
            problems.append(f"The option {name!r} of {end.url}: {error}")
    if problems:
        raise ConfigurationError("\n".join(problems))
    return replace(settings, **values)


def check_destination_options(end: object, given: Mapping[str, str]) -> None:
    """ConfigurationError when a built-in destination has no such option, or the delivery level is unknown or not reached."""
    if not given or not _is_built_in(end):
        return
    _ensure_known(end, given, (REQUIRES,), Role.DESTINATION)
    from pipeline.kit.loading.levels import read_level  # few Flows require one

    level = read_level(given[REQUIRES])  # the one option that there is
    if not find_connector(end.scheme).is_database and level not in TREE_LEVELS:
        raise ConfigurationError(
            f"{end.url} is a directory tree, which has no transactions, and the Flow needs {level.value!r}. "
            "Let it require 'keyed'."
        )


def _is_built_in(end: object) -> TypeGuard[Location]:
    """Whether the place is of a connector that reads no settings of its own."""
    return isinstance(end, Location) and not is_plugin(end) and find_connector(end.scheme).with_settings is None


def _ensure_known(end: Location, given: Mapping[str, str], known: tuple[str, ...], role: Role) -> None:
    if unknown := [name for name in given if name not in known]:
        raise ConfigurationError(
            f"{end.url} has no setting {', '.join(map(repr, unknown))}. It has: {', '.join(known)}. Others are for plug-ins "
            f"({role.value.flag})."
        )


def stored_place(url: str, location: Location, role: Role, given: Mapping[str, str]) -> Location:
    """Return the place that a Flow stores as `url`, with the secrets that `given` refers to."""
    if not given or not url.startswith(f"{SCHEME}://"):
        return location
    place: Location = plugins().place_of(parse_reference(url), role, given, stored=True)
    return place


def bare_url(url: str, options: Mapping[str, str]) -> str:
    """Return the URL of a place without the options that the Flow declares elsewhere."""
    if url.startswith(f"{SCHEME}://") and (reference := parse_reference(url)) is not None:
        return reference.url({name: text for name, text in reference.settings.items() if name not in options})
    if not options or connector_with_settings(url) is None:
        return url
    where, _, query = url.partition("?")
    rest = [(name, text) for name, text in parse_qsl(query, keep_blank_values=True) if name not in options]
    return f"{where}?{urlencode(rest, quote_via=quote)}" if rest else where
