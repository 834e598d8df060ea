"""The approvals of a Flow in the store: recorded once each, and required before an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pipeline.codec.documents.approval import decode_approval, encode_approval
from pipeline.domain import object_keys
from pipeline.domain.errors import ConflictError, RefusedError
from pipeline.domain.flows.approvals import Approval, Terms, missing_approvals, unapproved_sides
from pipeline.domain.flows.declaration import Side
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.next_steps import NextSteps
from pipeline.domain.schema import StreamSchema
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.ports.object_store import ObjectStore, PutCondition, list_pages
from pipeline.ports.source import ScopedSnapshot, Snapshot


async def read_approvals(store: ObjectStore, flow: FlowName) -> Sequence[Approval]:
    """Return all acts of approval of a Flow, in their order."""
    found: list[Approval] = []
    async for page in list_pages(store, object_keys.approvals_prefix(flow)):
        found += [decode_approval((await store.get(info.key)).data, info.key) for info in page]
    return sorted(found, key=lambda act: act.number)


async def record_approval(store: ObjectStore, flow: FlowName, act: Approval) -> Approval:
    """Store an act under the next number, and return it."""
    acts = await read_approvals(store, flow)
    numbered = replace(act, number=acts[-1].number + 1 if acts else 1)
    while True:
        try:
            key = object_keys.approval_key(flow, numbered.number)
            await store.put(key, encode_approval(numbered), PutCondition.ABSENT)
        except ConflictError:
            numbered = replace(numbered, number=numbered.number + 1)
        else:
            return numbered


def terms_of(flow: Flow, snapshot: Snapshot, schemas: Sequence[StreamSchema]) -> Terms:
    """Return what has to be approved before these streams are exported."""
    scopes: Mapping[StreamName, Sequence[str]] = {}
    contract = ""
    if isinstance(snapshot, ScopedSnapshot):
        known = snapshot.scopes()
        scopes = {schema.stream: known.get(schema.stream, ()) for schema in schemas}
        contract = snapshot.contract()
    return Terms.of(flow.declared.approvals, scopes, contract)


async def unapproved(store: ObjectStore, flow: Flow) -> Sequence[Side]:
    """Return the sides whose approval the Flow requires and does not have, as far as that is known without its source.

    A Flow that requires none costs no request.
    """
    its = flow.declared.approvals
    if not its.required:
        return ()
    return unapproved_sides(its.required, await read_approvals(store, flow.name), Terms.of(its, {}, None))


async def next_steps(flows: FlowStore, flow: Flow, movement: Movement, now: datetime) -> NextSteps:
    """Return what can be done about a Movement at `now`."""
    return NextSteps(movement, now, flow, await unapproved(flows.store, flow))


async def ensure_text_approved(store: ObjectStore, flow: Flow) -> None:
    """RefusedError when an approval that the Flow requires is missing, or its text has changed. No source is asked."""
    if flow.declared.approvals.required:
        await _ensure(store, flow, Terms.of(flow.declared.approvals, {}, None))


async def ensure_approved(store: ObjectStore, flow: Flow, snapshot: Snapshot, schemas: Sequence[StreamSchema]) -> None:
    """RefusedError when the Flow requires approvals that do not cover these streams. Without, nothing is read."""
    await _ensure(store, flow, terms_of(flow, snapshot, schemas))


async def _ensure(store: ObjectStore, flow: Flow, terms: Terms) -> None:
    acts = await read_approvals(store, flow.name)
    if missing := missing_approvals(flow.name, flow.declared.approvals.required, acts, terms):
        raise RefusedError("\n".join(missing))
