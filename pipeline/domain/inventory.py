"""The inventory of a Movement: all that a source has, and what became of each at the destination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.domain.errors import ConfigurationError

NOTICE_KINDS = frozenset(
    {
        "comment",
        "extended attribute",
        "file setting",
        "file flag",
        "foreign data wrapper",
        "foreign server",
        "grant",
        "mount point",
        "owner",
        "pipeline file",
        "publication",
        "schema object",
        "security label",
        "statistics",
        "subscription",
        "table constraint",
        "table option",
        "unhandled stream",
        "unused handler",
        "user_version",
        "application_id",
    }
)
"""Kinds without which an app's queries give the same answers. Their absence is reported and does not prevent SUCCESS."""

GAP_KINDS = frozenset(
    {
        "access control list", "access method", "aggregate", "capability", "cast", "collation", "column", "constraint",
        "conversion", "default", "device",
        "domain", "domain constraint", "event trigger", "extension", "fifo", "file", "foreign table", "former table", "function",
        "generated column",
        "index", "language", "large object", "materialized view", "operator", "operator class", "policy", "procedure",
        "row security", "rule", "schema", "sequence", "set-gid bit", "set-uid bit", "socket", "stream", "table",
        "text search configuration", "text search dictionary", "text search parser", "text search template", "transform",
        "trigger", "type", "view", "virtual table",
    }
)  # fmt: skip
"""Kinds without which the copy may behave differently. While one is missing and not accepted, a Movement is INCOMPLETE."""

ASKED_KINDS = frozenset({"grant", "owner"})
"""Kinds that are moved on request, and are then missed."""

ATTRIBUTE_KINDS = frozenset({"access control list", "capability", "set-gid bit", "set-uid bit"})
"""Kinds of which the destination of a tree knows alone what its copies lack."""

NAMED_ITEMS = 1000
"""How many items of an inventory are kept by name; the others are counted."""

NAMES_IN_LINE = 5
"""How many names a line about missing items holds."""


class Fate(StrEnum):
    """What became of an item."""

    MOVED = "moved"
    OTHER_FORM = "moved in another form"
    NOT_MOVED = "not moved"


@dataclass(frozen=True, slots=True)
class InventoryItem:
    """One thing that the source has: its kind as a noun ("view"), its name there, and for any fate but MOVED the reason.

    `asked`: the user has asked for it, so it is missed although its kind is one that is only reported.
    """

    kind: str
    name: str
    fate: Fate
    reason: str = ""
    asked: bool = False

    @property
    def is_gap(self) -> bool:
        """Whether the copy may behave differently for the app because the item is missing."""
        return self.fate is Fate.NOT_MOVED and (self.asked or self.kind not in NOTICE_KINDS)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Counts of moved items by kind; the other items by name, at most `NAMED_ITEMS`, and counts of those left unnamed."""

    moved: Mapping[str, int] = field(default_factory=dict)
    items: tuple[InventoryItem, ...] = ()
    unnamed: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Iterable[InventoryItem]) -> Inventory:
        """Return the inventory of these items. Gaps are named before notices."""
        found = list(items)
        moved = Counter(item.kind for item in found if item.fate is Fate.MOVED)
        others = sorted(
            (item for item in found if item.fate is not Fate.MOVED),
            key=lambda item: (not item.is_gap, item.kind, item.name),
        )
        named = _named(others)
        unnamed = Counter(item.kind for item in others)
        unnamed.subtract(item.kind for item in named)
        return cls(dict(sorted(moved.items())), tuple(named), dict(sorted((+unnamed).items())))

    def with_fate(self, fate: Fate) -> Sequence[InventoryItem]:
        """Return the named items of this fate."""
        return [item for item in self.items if item.fate is fate]

    def gaps(self, accepted: Collection[str]) -> Sequence[InventoryItem]:
        """Return the gaps whose kind is not among the accepted ones."""
        return [item for item in self.items if item.is_gap and item.kind not in accepted]


def _named(items: Sequence[InventoryItem]) -> list[InventoryItem]:
    """Return the first `NAMED_ITEMS`, and of each kind the first `NAMES_IN_LINE` at least, so that none is overlooked."""
    seen: Counter[str] = Counter()
    named = []
    for place, item in enumerate(items):
        seen[item.kind] += 1
        if place < NAMED_ITEMS or seen[item.kind] <= NAMES_IN_LINE:
            named.append(item)
    return named


def ensure_kinds(kinds: Iterable[str]) -> None:
    """ConfigurationError when one of these is not a kind whose absence can be accepted."""
    for kind in kinds:
        if kind not in GAP_KINDS | ASKED_KINDS:
            raise ConfigurationError(
                f"There is no kind {kind!r} to accept. The kinds are: {', '.join(sorted(GAP_KINDS | ASKED_KINDS))}."
            )


def missing_lines(gaps: Sequence[InventoryItem], unnamed: Mapping[str, int] | None = None) -> list[str]:
    """Return a line for each kind and reason: how many items are missing, the first names, and how to accept that.

    `unnamed` counts further items by kind; they belong to the last reason of their kind.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for item in gaps:
        groups.setdefault((item.kind, item.reason), []).append(item.name)
    last = dict(groups.keys())
    counts = {
        (kind, reason): len(names) + (unnamed or {}).get(kind, 0) * (reason == last[kind])
        for (kind, reason), names in groups.items()
    }
    return [
        f"not moved: {counts[kind, reason]:,} {kind if counts[kind, reason] == 1 else plural(kind)} "
        f"({', '.join(names[:NAMES_IN_LINE])}{', …' if counts[kind, reason] > NAMES_IN_LINE else ''}): {reason}; "
        f"accept this with --accept-missing {_argument(kind)}"
        for (kind, reason), names in groups.items()
    ]


def plural(kind: str) -> str:
    """Return the plural of a kind: "policies", "views"; "statistics" and "row security" stay as they are."""
    if kind.endswith(("s", "security")):
        return kind
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def _argument(kind: str) -> str:
    return f"'{kind}'" if " " in kind else kind
