"""What is stored of a stream with a change feed: a base, which is all rows at one time, and the changes after it.

A new base takes the place of all that was stored before it as soon as it is whole. A stream that is read by its feed alone
has no base at first: its changes begin with all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.domain.ids import ObjectKey
from pipeline.kit.reading.spool import Part, Spool


@dataclass(frozen=True, slots=True)
class StoredParts:
    """`used` are the pages that together are the rows, in their order; `replaced` those before them, `stale` others.

    `cursor` is the latest one, `made` the time of the base. `fits`: they were stored with the present row type. `number` is
    the one of the next page of the present Movement.
    """

    used: Sequence[ObjectKey] = ()
    replaced: Sequence[ObjectKey] = ()
    stale: Sequence[ObjectKey] = ()
    cursor: str | None = None
    made: datetime | None = None
    fits: bool = True
    number: int = 0


async def find_parts(spool: Spool, movement: int, *, has_snapshot: bool) -> StoredParts:
    """Find the stored parts. `has_snapshot`: the stream's rows begin with a snapshot."""
    found = sorted((await spool.movements()).items())
    keys = [key for _, pages in found for key in pages]
    number = max([number_of(key) + 1 for one, pages in found if one == movement for key in pages], default=0)
    whole = max([at for at, key in enumerate(keys) if key.endswith(Part.WHOLE)], default=-1)
    if whole < 0:
        return await _without_base(spool, keys, number, has_snapshot=has_snapshot)
    start = whole
    while start and keys[start - 1].endswith(Part.BASE):
        start -= 1
    after = keys[whole + 1 :]
    stale = [key for key in after if key.endswith(Part.BASE)]
    used = [*keys[start : whole + 1], *(key for key in after if not key.endswith(Part.BASE))]
    base, last = await spool.read(keys[whole]), await spool.read(used[-1])
    return StoredParts(used, keys[:start], stale, last.cursor, base.made, base.fits and last.fits, number)


async def _without_base(spool: Spool, keys: Sequence[ObjectKey], number: int, *, has_snapshot: bool) -> StoredParts:
    """Find what a feed alone gave, or an earlier release stored, whose snapshot ends with a page without `next`."""
    used = [key for key in keys if not key.endswith(Part.BASE)]
    if not used or (has_snapshot and not await _has_last_page(spool, used)):
        return StoredParts(stale=keys, number=number)  # rows may have moved since: the snapshot is begun again
    last = await spool.read(used[-1])
    stale = [key for key in keys if key.endswith(Part.BASE)]
    return StoredParts(used, (), stale, last.cursor, None, last.fits, number)


async def _has_last_page(spool: Spool, keys: Sequence[ObjectKey]) -> bool:
    async for page in spool.pages(keys):
        if page.next is None:
            return True
    return False


def number_of(key: ObjectKey) -> int:
    """Return the number of a page in its Movement."""
    return int(key.rpartition("/")[2].partition(".")[0])
