"""What reading and writing an export need of the place where it is."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pipeline.connectors.sam.options import SamPlace
from pipeline.ports.object_store import OpenBody, PutCondition, StoredObject, Version


class ExportStorage(Protocol):
    """Objects under names, relative to the root of the export. Methods raise the errors of an ObjectStore."""

    async def objects(self) -> Mapping[str, str]:
        """Return all objects by name, in order, each with a text that changes with its content: its size and its time.

        ConfigurationError when the place does not exist.
        """
        ...

    async def get(self, name: str) -> StoredObject:
        """Return a small object and its version. AbsentError when there is none."""
        ...

    def open_stream(self, name: str) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        """Open the bytes of an object. AbsentError when there is none."""
        ...

    async def put(self, name: str, body: bytes | OpenBody, condition: PutCondition | Version) -> None:
        """Store an object, as a whole and durably. ConflictError when the condition does not hold."""
        ...

    async def delete(self, name: str) -> None:
        """Delete an object, if there is one."""
        ...

    async def create(self) -> None:
        """Create the place, if its parent exists. ConfigurationError or RefusedError when that is not possible."""
        ...

    def writing(self) -> AbstractAsyncContextManager[bool]:
        """Hold the place for writing; yield whether no other process can write meanwhile."""
        ...


class OpenStorage(Protocol):
    """Opens the storage of a place. Unless it is opened to `write`, nothing is written to it, not even to try it."""

    def __call__(self, place: SamPlace, *, write: bool = False) -> AbstractAsyncContextManager[ExportStorage]:
        """Return the storage, opened."""
        ...
