"""The objects of one kind in a FakeApp: by id, with the time when each is seen, and with what has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass
class Collection:
    """Objects by id. `changed` has the time of the last change of each id, deleted ones among them."""

    objects: dict[int, Object] = field(default_factory=dict)
    visible_at: dict[int, float] = field(default_factory=dict)
    changed: dict[int, float] = field(default_factory=dict)
    by_key: dict[str, int] = field(default_factory=dict)
    snapshots: dict[str, list[Object]] = field(default_factory=dict)
    last_id: int = 0

    def create(self, body: Mapping[str, Any], change: float, visible_at: float) -> Object:
        """Add an object, and return it with its new id."""
        self.last_id += 1
        made = {**body, "id": self.last_id}
        self._set(self.last_id, made, change, visible_at)
        return made

    def replace(self, id_: int, body: Mapping[str, Any], change: float) -> Object:
        """Change an object, and return it."""
        made = {**self.objects[id_], **body, "id": id_}
        self._set(id_, made, change, self.visible_at[id_])
        return made

    def _set(self, id_: int, made: Object, change: float, visible_at: float) -> None:
        self.objects[id_] = made
        self.changed[id_] = change
        self.visible_at[id_] = visible_at

    def delete(self, id_: int, change: float) -> None:
        """Remove an object."""
        del self.objects[id_], self.visible_at[id_]
        self.changed[id_] = change

    def seen(self, now: float) -> list[Object]:
        """Return the objects that lists and searches show by now, in the order of their ids."""
        return [self.objects[id_] for id_ in sorted(self.objects) if self.visible_at[id_] <= now]

    def page_by_offset(self, objects: Sequence[Object], offset: int, size: int) -> Object:
        """Return a page that begins with the object at a position."""
        more = offset + size < len(objects)
        return _page(objects, objects[offset : offset + size], str(offset + size) if more else None)

    def page_by_id(self, objects: Sequence[Object], after: int, size: int) -> Object:
        """Return the page of the objects after an id."""
        rest = [one for one in objects if one["id"] > after]
        return _page(objects, rest[:size], str(rest[size - 1]["id"]) if len(rest) > size else None)

    def page_by_cursor(self, objects: Sequence[Object], cursor: str, size: int) -> Object | None:
        """Return a page of the list as it was when its first page was asked for; None for a cursor that was not given."""
        number, _, offset = cursor.partition(".")
        if not cursor:
            number, offset = str(len(self.snapshots)), "0"
            self.snapshots[number] = list(objects)
        if number not in self.snapshots or not offset.isdecimal():
            return None
        page = self.page_by_offset(self.snapshots[number], int(offset), size)
        return page | {"next": f"{number}.{page['next']}" if page["next"] else None}

    def changes_since(self, since: float, size: int, now: float) -> Object:
        """Return what has changed after a time, as far as it is seen: objects, ids of deleted ones, the cursor after them."""
        later = ((change, id_) for id_, change in self.changed.items() if change > since)
        found = sorted((change, id_) for change, id_ in later if self.visible_at.get(id_, now) <= now)
        ids = [id_ for _, id_ in found[:size]]
        return {
            "items": [self.objects[id_] for id_ in ids if id_ in self.objects],
            "deleted": [id_ for id_ in ids if id_ not in self.objects],
            "cursor": f"{found[len(ids) - 1][0] if ids else since:.6f}",
            "more": len(found) > size,
        }


def _page(objects: Sequence[Object], shown: Sequence[Object], following: str | None) -> Object:
    return {"items": list(shown), "next": following, "total": len(objects)}
