"""Starts Movements and looks at them, as a person does; whatever is down at the moment, it asks again."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from anyio.from_thread import BlockingPortal

from localstack.provision import Access
from pipeline.assembly.commands.workers import start
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

PATIENCE_SECONDS = 90.0
"""How long something may be down."""


@dataclass(frozen=True)
class FlowView:
    """One Flow in the store."""

    portal: BlockingPortal
    home: Runtime
    settings: Settings
    name: FlowName

    def connect(self, source: str, destination: str) -> None:
        """Make the Flow."""
        urls = [parse_location(text).url for text in (source, destination)]
        self._insist(lambda: self.home.flows.connect(self.name, *urls))

    def start(self) -> int:
        """Start a Movement, and return its number."""
        movement, _ = self._insist(lambda: start(self.name, settings=self.settings))
        return movement.number

    def movement(self, number: int) -> Movement | None:
        """A Movement; None while the store does not answer."""
        try:
            return self.portal.call(self.home.flows.read_movement, self.name, number)
        except TransientError:
            return None

    def listed(self, movement: Movement) -> list[FileEntry]:
        """All Event Files that a Movement lists."""
        return [
            entry
            for key in movement.file_lists.values()
            for entry in self._insist(lambda key=key: self.home.flows.read_file_list(key))  # type: ignore[misc]
        ]

    def marks(self) -> Mapping[EventFileId, Mark]:
        """What the destination has imported."""

        async def ask() -> Mapping[EventFileId, Mark]:
            flow = await self.home.flows.read_flow(self.name)
            destination = flow_destination(flow)
            assert isinstance(destination, MarksReader)
            return await destination.read_marks(flow.marks_namespace, wait_seconds=10)

        return self._insist(ask)

    def objects(self) -> dict[ObjectKey, int]:
        """The size of every object of the Flow."""

        async def ask() -> dict[ObjectKey, int]:
            found: dict[ObjectKey, int] = {}
            after: ObjectKey | None = None
            while page := await self.home.store.list_page(flow_prefix(self.name), after=after):
                found |= {info.key: info.size for info in page}
                after = page[-1].key
            return found

        return self._insist(ask)

    def uploads(self, access: Access) -> list[str]:
        """The keys of uploads in parts that nobody has ended."""

        async def ask() -> list[str]:
            async with access.s3() as s3:
                found = await s3.list_multipart_uploads(Bucket=self.settings.store.removeprefix("s3://"))
            return [upload["Key"] for upload in found.get("Uploads", [])]

        return self._insist(ask)

    def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.portal.call(ask)
            except PipelineError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
