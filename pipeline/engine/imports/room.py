"""Room for Event Files that are loaded at the same time: of one Flow, and of all Flows that a process serves."""

from __future__ import annotations

import anyio


class Room:
    """Room for `places` Event Files of one Movement, as long as there is room in `shared` as well."""

    def __init__(self, places: int, shared: anyio.Semaphore | None = None) -> None:
        own = anyio.Semaphore(places)
        self._rooms = (own,) if shared is None else (own, shared)

    async def acquire(self) -> None:
        """Wait for room, and take it. When cancelled, nothing is taken."""
        taken: list[anyio.Semaphore] = []
        try:
            for room in self._rooms:
                await room.acquire()
                taken.append(room)
        except BaseException:
            for room in taken:
                room.release()
            raise

    def release(self) -> None:
        """Give it back."""
        for room in self._rooms:
            room.release()
