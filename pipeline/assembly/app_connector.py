"""The connector of apps over HTTP, which have URLs with the scheme `app`."""

from __future__ import annotations

import importlib
import re
from typing import Any, Protocol, runtime_checkable

from pipeline.connectors.locations import Location
from pipeline.connectors.registry import Connector
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.source import Source

SCHEME = "app"


@runtime_checkable
class UploadsKept(Protocol):
    """A Source that reads what an app has put into the object store for a Movement."""

    def of_movement(self, store: ObjectStore, flow: FlowName, movement: int) -> Source:
        """Return the same source for one Movement."""
        ...


_NAME = re.compile(r"app://([A-Za-z0-9][A-Za-z0-9._-]{0,99})/?")


def _read(url: str) -> Location:
    match = _NAME.fullmatch(url)
    if match is None:
        raise ConfigurationError(
            f"{url[:200]!r} names no app. Write app://NAME, with letters, digits, dots, hyphens and underscores."
        )
    return Location(SCHEME, f"{SCHEME}://{match[1]}", short_name=match[1])


def _remote(module: str) -> Any:
    return importlib.import_module(f"pipeline.remote.{module}")


APP = Connector(
    name="app over HTTP",
    schemes=(SCHEME,),
    is_database=True,
    read=_read,
    source=lambda location, options: _remote("uploaded").UploadedSource(location.url),
    destination=lambda location: _remote("pulled").PulledDestination(location.url),
)
