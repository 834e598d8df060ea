"""Pages about one Flow in detail: rejected records, the log, mappings, and the comparison of both places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from pipeline.assembly.commands.observation.id_map import open_id_map
from pipeline.assembly.commands.people_log import read_feedback, read_log
from pipeline.assembly.commands.verify import verify
from pipeline.codec.documents.people import LogLine
from pipeline.codec.values import key_text
from pipeline.domain.comparison.report import Against, Difference, Verification
from pipeline.domain.ids import FlowName
from pipeline.http.api.file_pages import Failures
from pipeline.http.api.paths import After, FlowPath
from pipeline.http.pages.rendering import page
from pipeline.http.pages.session import Operator, Viewer, form_of
from pipeline.http.problems import ProblemError
from pipeline.http.site import site_of
from pipeline.http.tokens import Identity

ROWS_SHOWN = 100
EXAMPLES_SHOWN = 20

router = APIRouter(include_in_schema=False)


@router.get("/flows/{flow}/movements/{number}/rejected")
async def rejected_page(
    request: Request,
    who: Viewer,
    flow: FlowPath,
    number: int,
    stream: str = "",
    reason: str = "",
    after: After = None,
) -> Response:
    """Show the records that the destination has rejected, the Event Files that failed, and what the source cannot give."""
    flows = site_of(request).runtime.flows
    found = await flows.read_flow(flow)
    movement = await flows.read_of(found, number)

    def wanted(found_stream: str, found_reason: str) -> bool:
        return stream in ("", found_stream) and reason.lower() in found_reason.lower()

    failures = Failures(flows, found, movement)
    shown = await failures.page(lambda one: wanted(one.file.stream, one.reason), after, ROWS_SHOWN)
    return page(
        "rejected",
        who,
        flow=flow,
        number=number,
        stream=stream,
        reason=reason,
        rows=shown.items,
        next=shown.next,
        at_source=[one for one in movement.rejections.named if wanted(one.stream, one.reason)],
        at_source_count=movement.rejections.count,
    )


@router.get("/flows/{flow}/log")
async def log_page(
    request: Request, who: Viewer, flow: FlowPath, movement: int | None = None, after: int = 0
) -> Response:
    """Show what Importers have told people in a Movement, by default the latest one."""
    runtime = site_of(request).runtime
    its = await runtime.flows.read_flow(flow)
    number = its.movements if movement is None else (await runtime.flows.read_of(its, movement)).number
    feedback, lines = [], list[LogLine]()
    if number:
        found = await read_feedback(runtime, flow, number)
        feedback = [(name, orjson.dumps(one, option=orjson.OPT_INDENT_2).decode()) for name, one in found.items()]
        lines = [told.line async for told in read_log(flow, number, settings=runtime.settings)]
    shown = lines[after : after + ROWS_SHOWN]
    following = after + ROWS_SHOWN if len(lines) > after + ROWS_SHOWN else None
    return page("log", who, flow=flow, number=number, feedback=feedback, lines=shown, next=following)


@router.get("/flows/{flow}/mappings")
async def mappings_page(
    request: Request, who: Viewer, flow: FlowPath, kind: str = "", source: str = "", after: str = ""
) -> Response:
    """Show the id map, by kind."""
    async with open_id_map(site_of(request).runtime, flow) as ids:
        kinds = sorted(ids.kinds())
        kind = kind or (kinds[0] if kinds else "")
        if source:
            entry = ids.entry(kind, source)
            rows = [] if entry is None else [(source, entry)]
        else:
            rows = list(ids.page(kind, after=after, limit=ROWS_SHOWN)) if kinds else []
    following = rows[-1][0] if len(rows) == ROWS_SHOWN else None
    return page("mappings", who, flow=flow, kinds=kinds, kind=kind, source=source, rows=rows, next=following)


@router.get("/flows/{flow}/verify")
async def verify_page(request: Request, who: Viewer, flow: FlowPath) -> Response:
    """Show what a comparison does, and a button that runs it."""
    await site_of(request).runtime.flows.read_flow(flow)
    return _verify_page(who, flow)


@router.post("/flows/{flow}/verify")
async def run_verify(request: Request, who: Operator, flow: FlowPath) -> Response:
    """Compare, and show the report. One comparison runs at a time."""
    site, form = site_of(request), await form_of(request)
    streams, against = form.get("streams", ""), _against(form.get("against") or Against.SOURCE)
    async with site.comparing:
        report = await verify(
            flow,
            streams=streams.split(),
            against=against,
            examples=EXAMPLES_SHOWN,
            settings=site.runtime.settings,
        )
    return _verify_page(who, flow, streams, against, report)


def _against(text: str) -> Against:
    try:
        return Against(text)
    except ValueError:
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"The destination is compared with {' or '.join(Against)}."
        ) from None


@dataclass(frozen=True, slots=True)
class Example:
    """A key that differs, as text."""

    key: str
    difference: Difference


def _verify_page(
    who: Identity,
    flow: FlowName,
    streams: str = "",
    against: Against = Against.SOURCE,
    report: Verification | None = None,
) -> Response:
    examples: dict[str, Sequence[Example]] = {}
    if report is not None:
        examples = {
            one.stream: [Example(key_text(found.key), found) for found in one.examples] for one in report.differing
        }
    return page("verify", who, flow=flow, streams=streams, against=against.value, report=report, examples=examples)
