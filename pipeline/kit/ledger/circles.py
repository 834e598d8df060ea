"""Records that wait for each other in a circle, so that none of them can ever be imported."""

from __future__ import annotations

from collections.abc import Mapping

Id = tuple[str, str]
"""A kind, and an id at the source."""
NAMED = 5


def circles(needs: Mapping[Id, Id]) -> Mapping[Id, str]:
    """Return, for each id in a circle, the circle in words. `needs` maps what waits to what it waits for."""
    found: dict[Id, str] = {}
    seen: set[Id] = set()
    for start in needs:
        path: list[Id] = []
        at = start
        while at in needs and at not in seen:
            seen.add(at)
            path.append(at)
            at = needs[at]
        if at in path:
            circle = path[path.index(at) :]
            found |= {member: _words(circle[place:] + circle[:place]) for place, member in enumerate(circle)}
    return found


def _words(circle: list[Id]) -> str:
    names = [f"{kind} {source!r}" for kind, source in circle]
    steps = [f"{one} waits for {other}" for one, other in zip(names, [*names[1:], names[0]], strict=True)]
    more = f", … ({len(steps):,} records in all)" if len(steps) > NAMED else ""
    return f"{', '.join(steps[:NAMED])}{more}"
