"""What the platform calls things: a transfer is a Movement of the app's Flow; a message announces one Event File."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urljoin
from uuid import UUID, uuid5

from fastapi import Depends, Request

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, FlowName
from pipeline.domain.movement import Flow
from pipeline.domain.planning.import_plan import plan
from pipeline.http.access import known
from pipeline.http.apps.reach import Reach
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity, Role, Side
from pipeline.remote.app_import import AppImport

_NUMBER_BYTES = 6


def transfer_id(flow: Flow, number: int) -> UUID:
    """Return the id of a Movement. No other Flow has it: it begins with a digest of the Flow's name and creation."""
    digest = hashlib.sha256(flow.marks_namespace.encode("utf-8", "surrogatepass")).digest()
    return UUID(bytes=digest[: 16 - _NUMBER_BYTES] + number.to_bytes(_NUMBER_BYTES, "big"))


def message_id(transfer: UUID, file: EventFileId) -> str:
    """Return the id of the message that announces an Event File."""
    return str(uuid5(transfer, str(file)))


def file_key(file: EventFileId) -> str:
    """Return an Event File's key, which is one segment of a path."""
    return urlsafe_b64encode(str(file).encode()).rstrip(b"=").decode()


def parse_file_key(key: str) -> EventFileId:
    """Return the Event File with this key. ProblemError when it is no key."""
    try:
        return EventFileId.parse(urlsafe_b64decode(key + "=" * (-len(key) % 4)).decode())
    except ValueError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"{key[:80]!r} is no key of app data.") from error


def own_url(request: Request, path: str) -> str:
    """Return the URL of a path of this server, as apps call it."""
    origin = urljoin(site_of(request).public_url or str(request.base_url), "/")
    return urljoin(origin, path)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A Movement, as the platform's calls name it."""

    id: UUID
    importing: AppImport
    who: Identity | None = None

    def ensure_reached(self, streams: Iterable[str]) -> None:
        """ProblemError names the first of these streams, or kinds of ids, that the token of the app does not reach."""
        if self.who is not None:
            Reach(self.who.scopes, self.importing.movement.scopes).ensure(streams)

    async def ensure_whole(self) -> None:
        """ProblemError when the token of the app does not reach all streams of the transfer."""
        self.ensure_reached(file.stream for file in await self.files())

    def reaches(self, stream: str) -> bool:
        """Whether the token of the app reaches a stream."""
        return self.who is None or Reach(self.who.scopes, self.importing.movement.scopes).has(stream)

    async def reached(self) -> Sequence[FileEntry]:
        """Return the Event Files that the token of the app reaches, in the order in which they are to be imported."""
        return [one for one in (await self.files()).values() if self.reaches(one.id.stream)]

    async def files(self) -> Mapping[EventFileId, FileEntry]:
        """Return its Event Files, in the order in which they are to be imported."""
        return await self.importing.entries()

    async def due(self) -> list[FileEntry]:
        """Return the Event Files that may be imported now: all that come before them are."""
        marks = await self.importing.marks()
        lanes = plan(list((await self.files()).values()), marks).lanes
        steps = [next((step for step in lane.steps if step.pending), None) for lane in lanes]
        return [entry for step in steps if step is not None for entry in step.pending]


async def app_of(request: Request) -> Identity:
    """Return the app that calls. ProblemError when it is not that of a destination."""
    identity = await known(request)
    if identity.role is not Role.APP or identity.side is not Side.DESTINATION or identity.flow is None:
        raise ProblemError(HTTPStatus.FORBIDDEN, "This needs the token of an app that is a destination.")
    return identity


App = Annotated[Identity, Depends(app_of)]


async def app_flow(who: App) -> FlowName:
    """Return the Flow of the app that calls."""
    return FlowName(who.flow or "")


AppFlow = Annotated[FlowName, Depends(app_flow)]


async def open_transfer(request: Request, flow: AppFlow, who: App, transfer: UUID) -> Transfer:
    """Open the transfer that a path names. ProblemError when the app has none of this id."""
    number = int.from_bytes(transfer.bytes[-_NUMBER_BYTES:], "big")
    return replace(await transfer_of(site_of(request), flow, number, transfer), who=who)


async def transfer_of(site: Site, flow: FlowName, number: int | None = None, wanted: UUID | None = None) -> Transfer:
    """Open a Movement as a transfer, by default the latest."""
    found = await site.runtime.flows.read_flow(flow)
    if number is not None and (not 0 < number <= found.movements or transfer_id(found, number) != wanted):
        raise ProblemError(HTTPStatus.NOT_FOUND, f"There is no transfer {wanted} of this app.")
    importing = await AppImport.open(site.runtime.store, site.runtime.flows, flow, number)
    return Transfer(transfer_id(found, importing.movement.number), importing)


OpenTransfer = Annotated[Transfer, Depends(open_transfer)]
