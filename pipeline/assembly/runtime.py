"""The store that holds everything: the embedded one in the home directory, or a bucket."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.engine.movements.context import Limits
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.ports.clock import Clock
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore
from pipeline.queues.sqlite.event_queue import SqliteEventQueue
from pipeline.settings import Settings
from pipeline.stores.directory.object_store import DirectoryObjectStore

if TYPE_CHECKING:
    from types import ModuleType


class SystemClock:
    """The computer's own time of day."""

    def now(self) -> datetime:
        """The present moment."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The store, and the Flows in it. `path` is the home directory, which a bucket takes the place of for all but locks."""

    path: Path
    store: ObjectStore
    flows: FlowStore
    clock: Clock


@asynccontextmanager
async def open_runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """Open the store that the settings name. The embedded one is made when something is first written to it."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store: ObjectStore
        if settings.store:
            store = await stack.enter_async_context(_open_bucket(settings))
        else:
            store = DirectoryObjectStore(settings.home / "store")
        yield Runtime(settings.home, store, FlowStore(store, clock), clock)


@asynccontextmanager
async def _open_bucket(settings: Settings) -> AsyncIterator[ObjectStore]:
    parts = urlsplit(settings.store)
    opening = _needs_aws("pipeline.stores.s3.object_store").open_s3_store(
        parts.netloc,
        prefix=parts.path.strip("/"),
        aws=aws_options(settings),
        path_style=settings.s3_path_style,
        server_side_encryption=settings.s3_server_side_encryption or None,
        kms_key_id=settings.s3_kms_key_id or None,
    )
    async with opening as store:
        yield store


@asynccontextmanager
async def open_queue(settings: Settings, place: str) -> AsyncIterator[EventQueue]:
    """Open a queue: `sqs://name`, or the name of an embedded one."""
    parts = urlsplit(place)
    if parts.scheme == "sqs":
        opening = _needs_aws("pipeline.queues.sqs.event_queue").open_sqs_queue(
            parts.netloc,
            visibility_seconds=settings.queue_visibility_seconds,
            aws=aws_options(settings, settings.sqs_endpoint_url),
        )
        async with opening as queue:
            yield queue
        return
    embedded = SqliteEventQueue(
        settings.home / "queue.db",
        name=place,
        visibility_seconds=settings.queue_visibility_seconds,
        max_receives=settings.queue_max_receives,
    )
    async with embedded:
        yield embedded


def aws_options(settings: Settings, endpoint_url: str = "") -> object:
    """What every client of AWS, or of what speaks like it, is made with; `endpoint_url` is for one service alone."""
    return _needs_aws("pipeline.aws.options").AwsOptions(
        endpoint_url=endpoint_url or settings.aws_endpoint_url or None,
        region=settings.aws_region or None,
        access_key_id=settings.aws_access_key_id or None,
        secret_access_key=settings.aws_secret_access_key or None,
        max_connections=settings.aws_max_connections,
    )


def _needs_aws(module: str) -> ModuleType:
    """Import an adapter when it is needed: its driver is an extra, and takes its time."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"s3:// and sqs:// need {error.name}. Install it with: pip install 'app-data-pipeline[s3]'"
        ) from error


def create_home(home: Path) -> None:
    """Make the home directory if it is missing."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigurationError(f"{home} is a file; --home needs a directory.") from None
    except OSError as error:
        raise RefusedError(f"{home} cannot be made: {error.strerror}. Choose another place with --home.") from error


def limits(settings: Settings) -> Limits:
    """The engine's limits, as the settings have them."""
    return Limits(
        event_file_bytes=settings.event_file_bytes,
        event_file_rows=settings.event_file_rows,
        zstd_level=settings.zstd_level,
        importers=settings.importers,
        shard_files=settings.shard_files,
        visibility_seconds=settings.queue_visibility_seconds,
        sweep_seconds=settings.sweep_seconds,
        idle_timeout_seconds=settings.idle_timeout_seconds,
        lifetime_seconds=settings.lifetime_seconds,
        progress_seconds=settings.progress_seconds,
    )
