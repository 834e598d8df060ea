"""What the platform's Connect apps call: progress, feedback, errors and webhooks beside the app data."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field

from pipeline.http.platform import data
from pipeline.http.platform.transfers import App, AppFlow, OpenTransfer, Transfer, file_key
from pipeline.http.platform.webhooks import Webhooks
from pipeline.http.problems import ProblemError
from pipeline.http.site import site_of

LARGEST_MAPPING_PAGE, MOST_ENDPOINTS = 5000, 10
ENDED = 100.0

router = APIRouter(prefix="/rest/atlassian-connect/1/migration", tags=["platform"])


class Progress(data.Loose):
    """How far the app is, or how it has ended."""

    status: Literal["IN_PROGRESS", "SUCCESS", "FAILED", "INCOMPLETE"]
    percent: int = Field(default=0, ge=0, le=100)
    message: str = ""


class FeedbackDetails(data.Loose):
    """What the app tells the people of the source."""

    details: dict[str, Any]


class Endpoints(data.Loose):
    """Where the app gets events."""

    endpoints: list[Annotated[str, Field(max_length=2000)]] = Field(max_length=MOST_ENDPOINTS)


@router.get("/data/{transfer}/all")
async def all_data(transfer: OpenTransfer) -> list[dict[str, str]]:
    """List all app data."""
    return [{"label": one.label, "s3Key": file_key(one.id)} for one in await transfer.reached()]


router.get("/data/{key}")(data.data_url)
router.post("/mapping/{transfer}/find")(data.find_mappings)
router.get("/container/{transfer}/page")(data.page_of_containers)


@router.get("/mapping/{transfer}/page")
async def page_of_mappings(
    request: Request,
    transfer: OpenTransfer,
    namespace: data.Namespace,
    last: data.LastEntity = "",
    size: Annotated[int, Query(alias="pageSize", ge=1, le=LARGEST_MAPPING_PAGE)] = LARGEST_MAPPING_PAGE,
) -> dict[str, object]:
    """List ids at the source with those at the destination, in larger pages than Forge apps get."""
    return await data.page_of_mappings(request, transfer, namespace, last, size)


@router.post("/progress/{transfer}")
async def put_progress(transfer: OpenTransfer, wanted: Progress) -> dict[str, object]:
    """Take the progress of the app. A percent that is lower than before counts for nothing; missing, it stays.

    SUCCESS says that all is imported; INCOMPLETE and FAILED leave out what is not.
    """
    _ensure_open(transfer)
    importing, message = transfer.importing, wanted.message[: data.LONGEST_MESSAGE]
    before = await importing.percent()
    if wanted.status == "IN_PROGRESS" and 0 < wanted.percent < before:
        return {"status": wanted.status, "percent": before}
    if wanted.status != "IN_PROGRESS":
        await transfer.ensure_whole()
    if wanted.status == "SUCCESS":
        importing.ensure_exported()
        while due := await transfer.due():
            await data.report(transfer, [entry.id for entry in due], failed=False)
    percent = ENDED if wanted.status == "SUCCESS" else min(max(wanted.percent, before), ENDED - 1)
    if wanted.status != "IN_PROGRESS":
        await importing.settle(wanted.status, message)
    return {"status": wanted.status, "percent": await importing.put_progress(percent, message)}


@router.post("/feedback/{transfer}", status_code=HTTPStatus.NO_CONTENT)
async def put_feedback(request: Request, transfer: OpenTransfer, feedback: FeedbackDetails) -> None:
    """Keep feedback in place of an earlier one; `pipeline status` shows it. It is about the whole transfer."""
    _ensure_open(transfer)
    await transfer.ensure_whole()
    people_log = data.people_log_of(site_of(request), transfer)
    people_log.feedback(feedback.details)
    await people_log.store()


@router.get("/error/{transfer}")
async def read_error(request: Request, transfer: OpenTransfer) -> dict[str, str]:
    """Return the first error of the export or import, among those of data that the token reaches."""
    movement, is_limited = transfer.importing.movement, bool(transfer.who and transfer.who.scopes)
    failures = await site_of(request).runtime.flows.read_failures(
        movement.flow, movement.number, None if is_limited else 1
    )
    for first in failures:
        if transfer.reaches(first.file.stream):
            return {"exceptionType": first.exception, "safeStackTrace": "\n".join([*first.trace, first.reason])}
    if movement.problems:
        await transfer.ensure_whole()  # they may have values of any stream
        return {"exceptionType": "", "safeStackTrace": movement.problems[0]}
    raise ProblemError(HTTPStatus.NOT_FOUND, "This transfer has no error.")


@router.get("/webhook")
async def read_webhook(request: Request, who: App, flow: AppFlow) -> dict[str, list[str]]:
    """Return where the app gets events."""
    return {"endpoints": list(await Webhooks(site_of(request)).endpoints(flow, who))}


@router.put("/webhook")
async def put_webhook(request: Request, who: App, flow: AppFlow, wanted: Endpoints) -> dict[str, list[str]]:
    """Say where the app gets events: those of data that the token reaches."""
    await Webhooks(site_of(request)).put(flow, who, wanted.endpoints)
    return {"endpoints": wanted.endpoints}


@router.delete("/webhook", status_code=HTTPStatus.NO_CONTENT)
async def delete_webhook(request: Request, who: App, flow: AppFlow) -> None:
    """Send events nowhere."""
    await Webhooks(site_of(request)).put(flow, who, [])


def _ensure_open(transfer: Transfer) -> None:
    if transfer.importing.movement.settled:
        raise data.settled_problem(HTTPStatus.FORBIDDEN)
