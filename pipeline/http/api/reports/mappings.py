"""The id map of a Flow: which id of the source became which id of the destination."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from pipeline.assembly.commands.observation.id_map import open_id_map
from pipeline.domain.ids import known_name
from pipeline.http.access import Viewer
from pipeline.http.api.models import Page
from pipeline.http.api.paths import After, FlowPath, Limit
from pipeline.http.site import site_of
from pipeline.kit.ledger.id_map import StoredIds
from pipeline.kit.ledger.kept import IdEntry

router = APIRouter(prefix="/flows/{flow}", tags=["flows"])


class Mapping(BaseModel):
    """An entry of the id map."""

    source: str
    target: str | None
    how: str
    movement: int

    @classmethod
    def of(cls, source: str, entry: IdEntry) -> Mapping:
        """Return the document of an entry."""
        return cls(source=source, target=entry.target, how=entry.how, movement=entry.movement)


@router.get("/mappings")
async def list_kinds(request: Request, _: Viewer, flow: FlowPath) -> Page[str]:
    """List the kinds of ids in the id map."""
    async with open_id_map(site_of(request).runtime, flow) as ids:
        return Page(items=sorted(ids.kinds()))


@router.get("/mappings/{kind:path}")
async def list_mappings(
    request: Request,
    _: Viewer,
    flow: FlowPath,
    kind: str,
    source: Annotated[
        str | None, Query(max_length=2000, description="Only the entry of this id of the source.")
    ] = None,
    after: After = None,
    limit: Limit = 1000,
) -> Page[Mapping]:
    """List the id map of one kind, in the order of the ids of the source."""
    async with open_id_map(site_of(request).runtime, flow) as ids:
        kind = kind_of(ids, kind)
        if source is not None:
            entry = ids.entry(kind, source)
            return Page(items=[] if entry is None else [Mapping.of(source, entry)])
        return page_of_kind(ids, kind, after, limit)


def page_of_kind(ids: StoredIds, kind: str, after: str | None, limit: int) -> Page[Mapping]:
    """Return a page of the entries of one kind."""
    found = ids.page(kind, after=after or "", limit=limit)
    return Page(items=[Mapping.of(*one) for one in found], next=found[-1][0] if len(found) == limit else None)


def kind_of(ids: StoredIds, name: str) -> str:
    """Return a kind by its name in a path."""
    return known_name(name, ids.kinds()) if "%" in name else name
