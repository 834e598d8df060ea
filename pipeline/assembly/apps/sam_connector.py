"""The connector of the SAM dialect, whose URLs have the scheme `sam`. It is imported when it is used.

An export may be in a bucket. The settings of S3 come from the environment then: a place has none of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from pipeline.assembly.backends import open_bucket
from pipeline.connectors.locations import Location
from pipeline.connectors.registry import Connector
from pipeline.settings import load_settings

if TYPE_CHECKING:
    from pipeline.connectors.sam.options import SamPlace
    from pipeline.connectors.sam.storage.port import ExportStorage


def _module(name: str) -> Any:
    return importlib.import_module(f"pipeline.connectors.sam.{name}")


@asynccontextmanager
async def _open_storage(place: SamPlace, *, write: bool = False) -> AsyncIterator[object]:
    """Open the directory or the bucket of a place."""
    if not place.bucket:
        async with _module("storage.directory").open_directory(place) as storage:
            yield storage
        return
    async with open_bucket(place.bucket, place.prefix, load_settings(), probe=write) as store:
        yield _module("storage.bucket").BucketStorage(store)


@asynccontextmanager
async def open_export(location: str) -> AsyncIterator[ExportStorage]:
    """Open the place of an export, as a Flow names it, to write to it."""
    async with _open_storage(_place(_read(location)), write=True) as storage:
        yield cast("ExportStorage", storage)


def _place(location: Location) -> Any:
    return _module("options").read_place(location)


def _read(url: str) -> Location:
    location: Location = _module("options").read_location(url)
    _place(location)  # names wrong options before anything is opened
    return location


SAM = Connector(
    name="export in the SAM dialect",
    schemes=("sam",),
    is_database=True,
    read=_read,
    source=lambda location, options: _module("reading.source").SamSource(_place(location), _open_storage),
    destination=lambda location: _module("writing.destination").SamDestination(_place(location), _open_storage),
    with_settings=lambda url, settings: str(_module("options").with_settings(url, settings)),
)
