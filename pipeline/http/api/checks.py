"""Checks before a Movement, and approvals."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from pipeline.assembly.commands.checks.run import CheckReport, check
from pipeline.assembly.commands.declared.approve import Asked, approve, revoke
from pipeline.domain.errors import ConflictError
from pipeline.domain.flows.approvals import Approval
from pipeline.domain.flows.declaration import Side
from pipeline.domain.ids import FlowName
from pipeline.engine.control.approvals import read_approvals
from pipeline.http.access import Operator, Viewer
from pipeline.http.api.models import Page
from pipeline.http.api.paths import FlowPath
from pipeline.http.site import Site, site_of
from pipeline.log_events import log

router = APIRouter(prefix="/flows/{flow}", tags=["checks"])


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CheckRequest(_Strict):
    """`quick`: no rows are read. `accept` names findings that need not block, for a `reason` that is kept."""

    quick: StrictBool = False
    accept: list[str] = Field(default_factory=list, max_length=100)
    reason: str = Field(default="", max_length=500)


class FindingModel(BaseModel):
    """What a check found: `severity` is ok, warning or blocks."""

    id: str
    severity: str
    title: str
    count: int
    sample: list[str]
    steps: str
    excludable: bool
    accepted: str | None


class ReportModel(BaseModel):
    """All findings, and the most serious severity among them."""

    verdict: str
    findings: list[FindingModel]

    @classmethod
    def of(cls, report: CheckReport) -> ReportModel:
        """Return the document of a report."""
        findings = [
            FindingModel(
                id=one.id,
                severity=one.severity.value,
                title=one.title,
                count=one.count,
                sample=list(one.sample),
                steps=one.steps,
                excludable=one.excludable,
                accepted=one.accepted,
            )
            for one in report.findings
        ]
        return cls(verdict=report.verdict.value, findings=findings)


class ApprovalModel(BaseModel):
    """One act of a person: `act` is approve or revoke."""

    number: int
    side: str
    act: str
    by: str
    at: datetime
    text_sha256: str
    scopes: list[str]
    reason: str

    @classmethod
    def of(cls, act: Approval) -> ApprovalModel:
        """Return the document of an act."""
        return cls(
            number=act.number,
            side=act.side.value,
            act=act.act.value,
            by=act.by,
            at=act.at,
            text_sha256=act.text_sha256,
            scopes=list(act.scopes),
            reason=act.reason,
        )


class ApproveRequest(_Strict):
    """What is approved: the text with this hash, as the terms show it."""

    side: Side
    text_sha256: str = Field(min_length=64, max_length=64)


class RevokeRequest(_Strict):
    """Which side revokes, and why."""

    side: Side
    reason: str = Field(default="", max_length=500)


class TermsModel(BaseModel):
    """What one side is asked to approve."""

    side: str
    text: str
    text_sha256: str
    links: list[str]
    scopes: list[str]


@router.post("/checks")
async def run_checks(request: Request, who: Operator, flow: FlowPath, wanted: CheckRequest) -> ReportModel:
    """Run the checks of a Flow. Nothing is changed but for what is accepted."""
    return ReportModel.of(await run(site_of(request), who.name, flow, wanted))


async def run(site: Site, who: str, flow: FlowName, wanted: CheckRequest) -> CheckReport:
    """Run the checks of a Flow for a person."""
    await site.runtime.flows.read_flow(flow)
    report = await check(
        flow=flow, accept=wanted.accept, reason=wanted.reason, quick=wanted.quick, settings=site.runtime.settings
    )
    if wanted.accept:
        log.info("action_taken", flow=flow, verb="accept", by=who, why=wanted.reason)
    return report


@router.get("/approvals")
async def list_approvals(request: Request, _: Viewer, flow: FlowPath) -> Page[ApprovalModel]:
    """List who has approved and revoked, oldest first."""
    site = site_of(request)
    await site.runtime.flows.read_flow(flow)
    return Page(items=[ApprovalModel.of(one) for one in await read_approvals(site.runtime.store, flow)])


@router.get("/approvals/terms/{side}")
async def read_terms(request: Request, _: Viewer, flow: FlowPath, side: Side) -> TermsModel:
    """Return what a side is asked to approve. The source is opened for the scopes of its streams."""
    return await terms_of_side(site_of(request), flow, side)


async def terms_of_side(site: Site, flow: FlowName, side: Side) -> TermsModel:
    """Return what a side is asked to approve."""
    asked: list[Asked] = []

    def look(one: Asked) -> bool:
        asked.append(one)
        return False

    await approve(flow, side, "nobody", look, settings=site.runtime.settings)
    terms = asked[0].terms
    return TermsModel(
        side=side.value,
        text=terms.text,
        text_sha256=terms.text_sha256,
        links=list(terms.links),
        scopes=list(terms.scopes),
    )


@router.post("/approvals")
async def approve_flow(request: Request, who: Operator, flow: FlowPath, wanted: ApproveRequest) -> ApprovalModel:
    """Record that the person of the token approves. 409 when the terms have changed meanwhile."""
    return ApprovalModel.of(await record(site_of(request), who.name, flow, wanted.side, wanted.text_sha256))


async def record(site: Site, who: str, flow: FlowName, side: Side, text_sha256: str) -> Approval:
    """Record that a person approves terms that they have seen."""
    act = await approve(
        flow, side, who, lambda asked: asked.terms.text_sha256 == text_sha256, settings=site.runtime.settings
    )
    if act is None:
        raise ConflictError("The terms have changed since they were shown. Read them again.")
    log.info("action_taken", flow=flow, verb="approve", by=who, why=side.value)
    return act


@router.post("/approvals/revoke")
async def revoke_approval(request: Request, who: Operator, flow: FlowPath, wanted: RevokeRequest) -> ApprovalModel:
    """Record that an approval is revoked. A Movement that has not settled is stopped."""
    return ApprovalModel.of(await withdraw(site_of(request), who.name, flow, wanted))


async def withdraw(site: Site, who: str, flow: FlowName, wanted: RevokeRequest) -> Approval:
    """Record that a person revokes an approval."""
    act, _ = await revoke(flow, wanted.side, who, wanted.reason, settings=site.runtime.settings)
    log.info("action_taken", flow=flow, verb="revoke", by=who, why=wanted.reason)
    return act
