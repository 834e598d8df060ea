"""Names in paths, cursors, and pages of lists that are in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, TypeVar

from fastapi import Depends, Query

from pipeline.domain.ids import EventFileId, FlowName, decode_name
from pipeline.http.api.models import Page
from pipeline.http.problems import ProblemError

T = TypeVar("T")
C = TypeVar("C")
LARGEST_PAGE = 1000


async def _flow_name(flow: str) -> FlowName:
    """Return the name of a Flow. A name with `/` is percent-encoded twice in a path, as the link `self` has it."""
    return FlowName(decode_name(flow))


FlowPath = Annotated[FlowName, Depends(_flow_name)]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="How many items a page has at most.")]
After = Annotated[str | None, Query(max_length=2000, description="The cursor `next` of the page before.")]


def event_file_id(text: str) -> EventFileId:
    """Return the id of an Event File in a path. ProblemError when it is none."""
    try:
        return EventFileId.parse(text)
    except ValueError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"{error}.") from error


def page_of(items: Sequence[T], cursor: Callable[[T], C], after: C | None, limit: int) -> Page[T]:
    """Return a page of a list: the items behind the one that `after` names. ProblemError when the list has none such."""
    start = 0 if after is None else next((at + 1 for at, item in enumerate(items) if cursor(item) == after), -1)
    if start < 0:
        raise gone()
    shown = list(items[start : start + limit])
    more = start + limit < len(items)
    return Page(items=shown, next=str(cursor(shown[-1])) if more and shown else None)


def gone() -> ProblemError:
    """Return the problem of a cursor whose item is gone."""
    return ProblemError(HTTPStatus.GONE, "The list does not have the item of this cursor any more. Begin again.")
