"""What both kinds of the platform's apps call: app data, mappings, and the log."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from pipeline.assembly.commands.observation.id_map import open_id_map
from pipeline.domain import object_keys
from pipeline.domain.ids import EventFileId, FlowName, Phase, StreamName
from pipeline.http.apps.downloads import plain
from pipeline.http.links import Links
from pipeline.http.platform.transfers import (
    App,
    AppFlow,
    OpenTransfer,
    Transfer,
    file_key,
    message_id,
    own_url,
    parse_file_key,
    transfer_of,
)
from pipeline.http.problems import ProblemError
from pipeline.http.site import Site, site_of
from pipeline.http.tokens import Identity
from pipeline.kit.ledger.people_log import PeopleLog
from pipeline.remote.app_import import FileStatus, ReportedStatus, Taken

LARGEST_PAGE, LARGEST_MAPPING_PAGE, LARGEST_CONTAINER_PAGE, LONGEST_MESSAGE = 1000, 1200, 250, 65_536
CONTAINER_KINDS = {"JiraProject": "jira/classic:project", "ConfluenceSpace": "confluence:space"}
"""The kind of ids that each type of container has."""

forge = APIRouter(prefix="/app/migration/forge/v1", tags=["platform"])


Namespace = Annotated[str, Query(max_length=1000)]
LastEntity = Annotated[str, Query(alias="lastEntity", max_length=2000)]


class Loose(BaseModel):
    """A body in which the platform may add members."""

    model_config = ConfigDict(extra="ignore")


class Acknowledgement(Loose):
    """What became of messages."""

    status: Literal["SUCCESS", "FAILED"]
    messageIds: list[str] = Field(max_length=LARGEST_MAPPING_PAGE)  # noqa: N815  # the platform's name


class LogMessage(Loose):
    """A line for the customer."""

    message: str = Field(max_length=LONGEST_MESSAGE)


@forge.get("/data/{transfer}/all")
async def all_data(transfer: OpenTransfer) -> list[dict[str, object]]:
    """List all app data."""
    return [{"key": file_key(one.id), "label": one.label} for one in await transfer.reached()]


@forge.get("/data/{transfer}/page")
async def page_of_data(
    transfer: OpenTransfer,
    last: Annotated[str, Query(alias="lastEvaluatedKey", max_length=2000)] = "",
    size: Annotated[int, Query(alias="pageSize", ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE,
) -> dict[str, object]:
    """List app data by page."""
    entries = await transfer.reached()
    keys = [file_key(one.id) for one in entries]
    if last and last not in keys:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"lastEvaluatedKey {last[:80]!r} is no key of this transfer.")
    start = keys.index(last) + 1 if last else 0
    shown = entries[start : start + size]
    items = [{"key": file_key(one.id), "label": one.label, "fileSize": one.size} for one in shown]
    more = start + size < len(entries)
    return {"items": items, "lastEvaluatedKey": items[-1]["key"] if more and items else None}


@forge.get("/data/{key}")
async def data_url(request: Request, who: App, flow: AppFlow, key: str) -> dict[str, str]:
    """Return a signed URL of app data, which is valid for an hour."""
    site = site_of(request)
    owner, file = await _data(site, who, flow, key)
    url, _ = (await Links.of(site)).make(owner, "events", str(file))
    return {"url": f"{own_url(request, url)}&encoding=plain"}


@forge.get("/data/{key}/payload")
async def payload(request: Request, who: App, flow: AppFlow, key: str) -> Response:
    """Return app data: an Event File as JSON lines."""
    site = site_of(request)
    owner, file = await _data(site, who, flow, key)
    return StreamingResponse(
        plain(site, object_keys.event_file_key(owner, file)), media_type="application/octet-stream"
    )


async def _data(site: Site, who: Identity, flow: FlowName, key: str) -> tuple[FlowName, EventFileId]:
    """Return an Event File of the latest transfer, and the Flow that it is stored in."""
    file = parse_file_key(key)
    transfer = replace(await transfer_of(site, flow), who=who)
    if transfer.importing.movement.settled:
        raise settled_problem(HTTPStatus.FORBIDDEN)
    if file not in await transfer.files():
        raise ProblemError(HTTPStatus.NOT_FOUND, "There is no app data with this key.")
    transfer.ensure_reached([file.stream])
    return transfer.importing.movement.stored_in, file


@forge.post("/mapping/{transfer}/find")
async def find_mappings(
    request: Request,
    transfer: OpenTransfer,
    namespace: Namespace,
    sources: Annotated[list[str], Body(max_length=LARGEST_MAPPING_PAGE)],
) -> dict[str, str]:
    """Return the ids at the destination of ids at the source."""
    transfer.ensure_reached([namespace])
    async with open_id_map(site_of(request).runtime, transfer.importing.flow.name) as ids:
        found = {source: ids.entry(namespace, source) for source in sources}
    return {source: entry.target for source, entry in found.items() if entry is not None and entry.target is not None}


@forge.get("/mapping/{transfer}/page")
async def page_of_mappings(
    request: Request,
    transfer: OpenTransfer,
    namespace: Namespace,
    last: LastEntity = "",
    size: Annotated[int, Query(alias="pageSize", ge=1, le=LARGEST_MAPPING_PAGE)] = LARGEST_MAPPING_PAGE,
) -> dict[str, object]:
    """List ids at the source with those at the destination."""
    transfer.ensure_reached([namespace])
    async with open_id_map(site_of(request).runtime, transfer.importing.flow.name) as ids:
        found = ids.page(namespace, after=last, limit=size + 1)
    shown, more = found[:size], len(found) > size
    meta = {"pageSize": size, "hasNext": more, "lastEntity": shown[-1][0] if more else None}
    return {"meta": meta, "items": {source: entry.target for source, entry in shown if entry.target is not None}}


@forge.get("/container/{transfer}/page")
async def page_of_containers(
    request: Request,
    transfer: OpenTransfer,
    kind: Annotated[Literal["JiraProject", "ConfluenceSpace", "Site"], Query(alias="containerType")],
    last: LastEntity = "",
    size: Annotated[int, Query(alias="pageSize", ge=1, le=LARGEST_CONTAINER_PAGE)] = LARGEST_CONTAINER_PAGE,
) -> dict[str, object]:
    """List what the data belongs to: projects and spaces whose ids are in the id map, or the one site."""
    if kind == "Site":
        meta: dict[str, object] = {"pageSize": size, "hasNext": False, "lastEntity": None}
        return {"meta": meta, "containers": [{"type": kind, "selectedUsers": "ALL_USERS"}]}
    found = await page_of_mappings(request, transfer, CONTAINER_KINDS[kind], last, size)
    items = cast("dict[str, str]", found["items"])
    return {
        "meta": found["meta"],
        "containers": [{"type": kind, "key": key, "sourceId": source} for source, key in items.items()],
    }


@forge.post("/message/{transfer}/status", status_code=HTTPStatus.NO_CONTENT)
async def acknowledge(transfer: OpenTransfer, wanted: Acknowledgement) -> None:
    """Say what became of messages: the Event Files that they announce are imported, or have failed for good."""
    files = {message_id(transfer.id, file): file for file in await transfer.files()}
    if unknown := [one for one in wanted.messageIds if one not in files]:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"There is no message {unknown[0][:80]!r} in this transfer.")
    if transfer.importing.movement.settled:
        raise settled_problem(HTTPStatus.CONFLICT)
    transfer.ensure_reached(files[one].stream for one in wanted.messageIds)
    await report(transfer, [files[one] for one in wanted.messageIds], failed=wanted.status == "FAILED")


async def report(transfer: Transfer, files: list[EventFileId], *, failed: bool) -> None:
    """Report Event Files. ProblemError names one that comes too early; none is taken then."""
    status = ReportedStatus.FAILED if failed else ReportedStatus.IMPORTED
    taken = await transfer.importing.report(
        [FileStatus(file, status, failed, "the app reports FAILED") for file in files], together=True
    )
    early = [file for file, outcome in zip(files, taken, strict=True) if outcome in (Taken.EARLIER, Taken.STOPPED)]
    if early:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            f"The data {file_key(early[0])} cannot be acknowledged yet: other data comes before it.",
        )


@forge.post("/log/{transfer}", status_code=HTTPStatus.NO_CONTENT)
async def put_log(request: Request, transfer: OpenTransfer, line: LogMessage) -> None:
    """Write a line that `pipeline log` shows."""
    people_log = people_log_of(site_of(request), transfer)
    people_log.tell(
        str(EventFileId(transfer.importing.movement.number, StreamName("@app"), Phase.FULL, 0)), 0, line.message
    )
    await people_log.store()


def people_log_of(site: Site, transfer: Transfer) -> PeopleLog:
    """Return what keeps the words of the app for people."""
    return PeopleLog(site.runtime.store, transfer.importing.flow.name, "app", transfer.importing.movement.number)


def settled_problem(status: HTTPStatus) -> ProblemError:
    """Return the problem of a call that comes too late."""
    return ProblemError(status, "The transfer is already in a settled state.")
