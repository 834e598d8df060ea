"""The connector of authors' plug-ins, which have URLs with the scheme `python`. It loads the kit when one is used."""

from __future__ import annotations

import importlib
from typing import Any

from pipeline.connectors.locations import Location
from pipeline.connectors.registry import Connector
from pipeline.kit.places.parsing import parse_reference
from pipeline.kit.places.reference import SCHEME


def plugins() -> Any:
    """Return the module that knows the kit."""
    return importlib.import_module("pipeline.assembly.apps.plugins")


def _read(url: str) -> Location:
    reference = parse_reference(url)
    assert reference is not None  # the URL has the scheme
    return Location(SCHEME, url, written=url, short_name=reference.name or reference.where)


PYTHON = Connector(
    name="Exporter or Importer in Python",
    schemes=(SCHEME,),
    is_database=True,
    read=_read,
    source=lambda location, options: plugins().make_source(location, options),
    destination=lambda location: plugins().make_destination(location),
)
