"""Starts Movements and reads their state; it retries while a server is down."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from anyio.from_thread import BlockingPortal

from localstack.provision import Access
from pipeline.assembly.commands.lifecycle.starts import start
from pipeline.assembly.connectors import flow_destination
from pipeline.assembly.runtime import Runtime
from pipeline.connectors.registry import parse_location
from pipeline.domain.errors import PipelineError, TransientError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, FlowName, ObjectKey
from pipeline.domain.movement import Movement
from pipeline.domain.object_keys import flow_prefix
from pipeline.ports.destination import Mark, MarksReader
from pipeline.settings import Settings

T = TypeVar("T")

RETRY_SECONDS = 90.0
"""How long a server may be down."""


@dataclass(frozen=True)
class FlowView:
    """One Flow in the store."""

    portal: BlockingPortal
    home: Runtime
    settings: Settings
    name: FlowName

    def connect(self, source: str, destination: str) -> None:
        """Create the Flow."""
        urls = [parse_location(text).url for text in (source, destination)]
        self._retry(lambda: self.home.flows.connect(self.name, *urls))

    def start(self) -> int:
        """Start a Movement, and return its number."""
        movement, _ = self._retry(lambda: start(self.name, allow_deletes=["*"], settings=self.settings))
        return movement.number

    def movement(self, number: int) -> Movement | None:
        """Return a Movement, or None while the store does not answer."""
        try:
            return self.portal.call(self.home.flows.read_movement, self.name, number)
        except TransientError:
            return None

    def listed(self, movement: Movement) -> list[FileEntry]:
        """Return all Event Files that a Movement lists."""
        return [
            entry
            for key in movement.file_lists.values()
            for entry in self._retry(lambda key=key: self.home.flows.read_file_list(key))  # type: ignore[misc]
        ]

    def marks(self) -> Mapping[EventFileId, Mark]:
        """Return the destination's marks."""

        async def ask() -> Mapping[EventFileId, Mark]:
            flow = await self.home.flows.read_flow(self.name)
            destination = flow_destination(flow, self.home.store)
            assert isinstance(destination, MarksReader)
            return await destination.read_marks(flow.marks_namespace, wait_seconds=10)

        return self._retry(ask)

    def objects(self) -> dict[ObjectKey, int]:
        """Return the size of every object of the Flow."""

        async def ask() -> dict[ObjectKey, int]:
            found: dict[ObjectKey, int] = {}
            after: ObjectKey | None = None
            while page := await self.home.store.list_page(flow_prefix(self.name), after=after):
                found |= {info.key: info.size for info in page}
                after = page[-1].key
            return found

        return self._retry(ask)

    def uploads(self, access: Access) -> list[str]:
        """Return the keys of unfinished multi-part uploads."""

        async def ask() -> list[str]:
            async with access.s3() as s3:
                found = await s3.list_multipart_uploads(Bucket=self.settings.store.removeprefix("s3://"))
            return [upload["Key"] for upload in found.get("Uploads", [])]

        return self._retry(ask)

    def _retry(self, ask: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                return self.portal.call(ask)
            except PipelineError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
