"""What the two ends of a Flow may be, besides places that a built-in connector reads: plug-ins, and apps over HTTP."""

from __future__ import annotations

from enum import Enum
from typing import Protocol, TypeGuard, TypeVar, runtime_checkable

from pipeline.connectors.locations import Location
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow
from pipeline.kit.configuration.names import SettingNames
from pipeline.kit.places.reference import SCHEME
from pipeline.ports.checks import AppChecks
from pipeline.ports.destination import Destination
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.source import Source

REMOTE_SCHEMES = ("app", "https", "http")
"""Those of all apps that are not in Python."""


class Role(Enum):
    """The end of a Flow that a plug-in is at: the option for its settings, and their prefix in the environment."""

    SOURCE = SettingNames("--source-set", "PIPELINE_SOURCE_")
    DESTINATION = SettingNames("--destination-set", "PIPELINE_DESTINATION_")


@runtime_checkable
class KeptInStore(Protocol):
    """A Destination that keeps its marks in the object store, because its app keeps none."""

    def in_store(self, store: ObjectStore) -> Destination:
        """Return the same destination with this store."""
        ...


@runtime_checkable
class UploadsKept(Protocol):
    """A Source that reads what an app has put into the object store for a Movement."""

    def of_movement(self, store: ObjectStore, flow: FlowName, movement: int) -> Source:
        """Return the same source for one Movement."""
        ...


End = TypeVar("End", Source, Destination)


def with_accepted(end: End, flow: Flow | None) -> End:
    """Return the place; what the Flow has accepted does not keep it from being opened."""
    accepted = () if flow is None else flow.accepted_findings
    return end.accepting({one.id for one in accepted}) if accepted and isinstance(end, AppChecks) else end


def with_store(destination: Destination, store: ObjectStore) -> Destination:
    """Return the destination, with the store if it keeps its marks there."""
    return destination.in_store(store) if isinstance(destination, KeptInStore) else destination


def is_plugin(end: object) -> TypeGuard[Location]:
    """Whether this is the place of a plug-in."""
    return isinstance(end, Location) and end.scheme == SCHEME


def is_app(end: object) -> bool:
    """Whether this is the place of an app, in Python or over HTTP: it has no files, and is not read as a database."""
    return isinstance(end, Location) and end.scheme in (SCHEME, *REMOTE_SCHEMES)
