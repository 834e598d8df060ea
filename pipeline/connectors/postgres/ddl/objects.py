"""Schema objects created, replaced and dropped at a destination, so that they are as at the source.

Every statement runs in a savepoint of its own. What depends on an object that is not there yet is tried again for as long
as anything succeeds. An object that was as at the source when the Flow first saw it, or that the Flow
created, follows the source; any other one is neither replaced nor dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import psycopg

from pipeline.connectors.postgres.ddl.create_table import Native, run_single
from pipeline.connectors.postgres.ddl.evolution.alterations import changes_in_place, former_defaults
from pipeline.connectors.postgres.ddl.evolution.dependents import restore_attached
from pipeline.connectors.postgres.ddl.evolution.types import TypeEvolution, rename_range
from pipeline.connectors.postgres.ddl.evolution.users import ROUTINES, Used, is_used_by_rows, without_users
from pipeline.connectors.postgres.ddl.sequences import sequence_of
from pipeline.connectors.postgres.schema.objects.catalog import ROLE_KINDS, read_objects
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted
from pipeline.connectors.sql.schema_objects import ObjectId, SchemaObject
from pipeline.domain.inventory import Fate, InventoryItem

_REPLACED_IN_PLACE = frozenset({"function", "procedure", "view", "rule", "comment", "table option", *ROLE_KINDS})
"""Kinds whose creation replaces an older definition."""
_DEPENDENT = ("view", "materialized view", "rule")
"""Kinds that hold no data and may be dropped and created again with what they depend on."""
_SHARED = frozenset({"comment", "table option", "sequence", *ROLE_KINDS})
"""Kinds that are set to the source's state, also where the Flow did not create them."""
_REWRITTEN = frozenset(
    {
        "domain",
        "domain constraint",
        "function",
        "materialized view",
        "policy",
        "procedure",
        "rule",
        "statistics",
        "trigger",
        "view",
    }
)
"""Kinds with expressions, which PostgreSQL may write in another way once it has read its own text."""
_ANOTHER = "the destination has another one of this name, which is left as it is"


class SchemaObjects:
    """The schema objects of one Flow at a destination. `ours` are those that follow the source."""

    def __init__(self, connection: Connection, ours: Mapping[ObjectId, SchemaObject]) -> None:
        self._connection = connection
        self.ours = dict(ours)
        self._present: dict[ObjectId, SchemaObject] = {}
        self._dropped: set[ObjectId] = set()
        self._has_dropped = False
        self._created: set[ObjectId] = set()

    def apply(self, wanted: Sequence[SchemaObject], *, refresh: bool, drop: bool = True) -> list[InventoryItem]:
        """Make the objects equal to `wanted`; return what became of each.

        `refresh`: rows have changed, so materialized views are refreshed. `drop`: the Flow's objects that are not wanted
        are dropped.
        """
        self._present = {found.id: found for found in read_objects(self._connection, grants=True)}
        names = {one.id for one in wanted}
        gone = [one for one in self.ours.values() if drop and one.id not in names]
        gone.sort(key=lambda one: -one.rank)
        self._until_no_progress(gone, self._drop)
        ready = [one for one in sorted(wanted, key=lambda one: one.rank) if not one.reason]
        failed = self._until_no_progress(ready, lambda one: self._ensure(one, refresh))
        gone, kept = [one for one in gone if one.id in self.ours], dict[ObjectId, str]()
        if gone:  # what used it may have been replaced, or calls another function by the same name
            waiting = [one for one in ready if one.id in failed]
            kept = self._until_no_progress(gone, lambda one: self._drop_with_users(one, waiting))
            gone = [one for one in gone if one.id in kept]
            failed = self._until_no_progress(ready, lambda one: self._ensure(one, refresh=False))
        if self._has_dropped:
            restore_attached(self._connection, self._present.values())
        self._remember_what_is_read()
        items = [_item(one, failed.get(one.id)) for one in wanted]
        return items + [_left(one, kept[one.id]) for one in gone if self._answers(one)]

    def _until_no_progress(
        self, objects: Sequence[SchemaObject], step: Callable[[SchemaObject], str | None]
    ) -> dict[ObjectId, str]:
        """Run `step` for each object, again while it succeeds for any; return the reason for each that failed.

        `step` returns the reason for which an object is left as it is, or None.
        """
        reasons: dict[ObjectId, str] = {}
        left = list(objects)
        while left:
            again = []
            for one in left:
                state = dict(self.ours), dict(self._present), set(self._dropped)
                try:
                    with self._connection.transaction():
                        self._connection.execute("SET LOCAL check_function_bodies = off")
                        reason = step(one)
                    reasons.pop(one.id, None)
                    if reason is not None:
                        reasons[one.id] = reason
                except psycopg.Error as error:
                    self.ours, self._present, self._dropped = state  # the savepoint has undone it
                    reasons[one.id] = _message(error)
                    again.append(one)
            if len(again) == len(left):
                break
            left = again + [one for one in objects if one.id in self._dropped]
            self._dropped.clear()
        return reasons

    def _drop(self, one: SchemaObject) -> None:
        if one.id in self._present and one.remove is not None:
            run_single(self._connection, one.remove)
        self._present.pop(one.id, None)
        del self.ours[one.id]

    def _drop_with_users(self, one: SchemaObject, waiting: Sequence[SchemaObject]) -> None:
        """Drop what the source has no more and something uses: at the source that calls another routine of this name.

        `waiting`: what could not be created, perhaps because `one` is there.
        """
        if one.kind not in ROUTINES:
            return self._drop(one)
        with self._without_users(one):
            self._drop(one)
            for other in waiting:
                with suppress(psycopg.Error), self._connection.transaction():
                    self._ensure(other, refresh=False)
        return None

    @contextmanager
    def _without_users(self, routine: SchemaObject) -> Iterator[None]:
        """Drop what uses a routine, and create it again at the end; what must change too is created later."""
        self._has_dropped = True
        with without_users(self._connection, Used.ROUTINE, routine.name, tuple(self.ours)):
            yield
        self._read_again()

    def _read_again(self) -> None:
        """Find out which objects are not there any more: they are created again."""
        was, self._present = self._present, {it.id: it for it in read_objects(self._connection, grants=True)}
        self._dropped |= was.keys() - self._present.keys()

    def _answers(self, one: SchemaObject) -> bool:
        """Whether an object that the source has no more may give answers here, but for tables that have no rows."""
        if one.kind in ROUTINES:
            return is_used_by_rows(self._connection, Used.ROUTINE, one.name)
        return one.kind in ("view", "materialized view", "operator", "cast")

    def _ensure(self, one: SchemaObject, refresh: bool) -> str | None:
        if one.kind == "sequence":
            return self._ensure_sequence(one)
        present = self._present.get(one.id)
        if present is not None and not self._is_as_wanted(one, present):
            if one.id in self.ours or one.kind in _SHARED:
                self._replace(one)
            elif self._reads_as(one, present):
                self.ours[one.id] = one.with_facts(read_as=list(present.create))
            else:
                return _ANOTHER
        elif present is None:
            self._create(one)
        else:
            self.ours.setdefault(one.id, one)
        if one.kind == "materialized view" and one.facts.get("populated") and (refresh or present is None):
            run_single(self._connection, f"REFRESH MATERIALIZED VIEW {one.name}")
        return None

    def _is_as_wanted(self, one: SchemaObject, present: SchemaObject) -> bool:
        """Whether an object is as the source has it, or is what the destination made of the same statements before."""
        made = self.ours.get(one.id)
        return present.is_same(one) or (
            made is not None and made.is_same(one) and made.facts.get("read_as") == list(present.create)
        )

    def _reads_as(self, one: SchemaObject, present: SchemaObject) -> bool:
        """Whether the statements of an object make what is present. Nothing is changed."""
        if one.kind not in _REWRITTEN or one.remove is None:
            return False
        with suppress(psycopg.Error), self._connection.transaction(force_rollback=True):
            for statement in (one.remove, *one.create):
                run_single(self._connection, statement)
            found = read_objects(self._connection, grants=False, kinds=(one.kind,))
            return any(it.id == one.id and it.create == present.create for it in found)
        return False

    def _remember_what_is_read(self) -> None:
        """Remember the definitions that PostgreSQL writes in another way than it was given them."""
        kinds = {kind for kind, _ in self._created} & _REWRITTEN
        for found in read_objects(self._connection, grants=False, kinds=kinds) if kinds else ():
            made = self.ours.get(found.id)
            if found.id in self._created and made is not None and not found.is_same(made):
                self.ours[found.id] = made.with_facts(read_as=list(found.create))

    def _create(self, one: SchemaObject) -> None:
        if one.kind == "type" and rename_range(self._connection, _described(one), self.ours):
            self._read_again()
        else:
            for statement in one.create:
                run_single(self._connection, statement)
        self.ours[one.id] = self._present[one.id] = one
        self._created.add(one.id)

    def _replace(self, one: SchemaObject) -> None:
        if one.kind in ("type", "domain"):
            return self._follow_type(one)
        if one.kind in _REPLACED_IN_PLACE:
            try:
                with self._connection.transaction():
                    if one.kind == "grant":
                        self._revoke(one)
                    for statement in former_defaults(self._present[one.id], one):
                        run_single(self._connection, statement)
                    return self._create(one)
            except psycopg.Error:
                if one.remove is None:
                    raise
        changes = changes_in_place(self._present[one.id], one)
        if changes:
            for statement in changes:
                run_single(self._connection, statement)
            self.ours[one.id] = self._present[one.id] = one
            return None
        if one.kind in ROUTINES:
            with self._without_users(one):
                self._drop_alone(one)
                self._create(one)
            return None
        if one.remove is not None:
            self._remove(one)
        self._create(one)
        return None

    def _follow_type(self, one: SchemaObject) -> None:
        TypeEvolution(self._connection, tuple(self.ours), is_final=True).follow(_described(one))
        self._read_again()
        self._has_dropped = True
        self.ours[one.id] = self._present[one.id] = one
        self._created.add(one.id)

    def _revoke(self, one: SchemaObject) -> None:
        """Revoke what is granted, but from the owner, who may be another one since the objects were read."""
        for present in read_objects(self._connection, grants=True, kinds=("grant",)):
            if present.id == one.id and present.remove is not None:
                run_single(self._connection, present.remove)

    def _remove(self, one: SchemaObject) -> None:
        """Drop an object; before it those without data that the Flow created and that depend on it.

        They are created again. Another object that depends on it makes this fail.
        """
        try:
            self._drop_alone(one)
        except psycopg.errors.DependentObjectsStillExist:
            later = [
                it for it in self.ours.values() if it.kind in _DEPENDENT and it.rank >= one.rank and it.id != one.id
            ]
            while self._drop_any(later):
                later = [it for it in later if it.id in self._present]
            self._drop_alone(one)

    def _drop_any(self, objects: Sequence[SchemaObject]) -> bool:
        """Drop those on which nothing depends; return whether there were any."""
        dropped = False
        for one in objects:
            if one.id in self._present:
                with suppress(psycopg.errors.DependentObjectsStillExist):
                    self._drop_alone(one)
                    self._present.pop(one.id)
                    self._dropped.add(one.id)
                    dropped = True
        return dropped

    def _drop_alone(self, one: SchemaObject) -> None:
        self._has_dropped = True
        with self._connection.transaction():
            run_single(self._connection, str(one.remove))

    def _ensure_sequence(self, one: SchemaObject) -> str | None:
        present = self._present.get(one.id)
        if present is not None and one.id not in self.ours:
            if present.facts["owned"] and any(present.facts[it] != one.facts[it] for it in ("table", "column")):
                return _ANOTHER
            if not one.create or (one.facts["table"] is None and present.is_same(one)):
                self.ours[one.id] = one.with_facts(set_to=[])  # it follows the source, and has not been set yet
        fed = self._sequence_of_column(one)
        if fed is not None and not one.facts["owned"]:
            self._set_position(one, fed)  # a column of the destination may take its numbers from another sequence
            fed = None
        name = fed or (one.name if one.id in self._present else None)
        if name is None:
            if not one.create:
                return "the identity column that it belongs to is not at the destination"
            self._create(one)
            name = one.name
        elif present is not None and present.facts["options"] != one.facts["options"]:
            run_single(self._connection, f"ALTER SEQUENCE {name} {one.facts['options']}")
        if present is not None and _is_unlogged(one) not in (None, _is_unlogged(present)):
            run_single(self._connection, f"ALTER SEQUENCE {name} SET {'UN' if _is_unlogged(one) else ''}LOGGED")
        self._own(one, name)
        self._set_position(one, name)
        return None

    def _sequence_of_column(self, one: SchemaObject) -> str | None:
        """Return the sequence that feeds the column here, which may have another name than at the source."""
        if one.facts.get("table") is None:
            return None
        return sequence_of(self._connection, qualified(*one.facts["table"]), one.facts["column"])

    def _own(self, one: SchemaObject, name: str) -> None:
        """Let the column own a sequence that the Flow created, once the table is there, or no column if that is so."""
        if one.id not in self.ours or not one.create:
            return
        if not one.facts["owned"]:
            if one.id in self._present and self._present[one.id].facts["owned"]:
                run_single(self._connection, f"ALTER SEQUENCE {name} OWNED BY NONE")
            return
        table = qualified(*one.facts["table"])
        if self._connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() != (None,):
            column = quoted(one.facts["column"])
            run_single(self._connection, f"ALTER SEQUENCE {name} OWNED BY {table}.{column}")

    def _set_position(self, one: SchemaObject, name: str) -> None:
        """Let the sequence go on where the source's does. It goes back only if nobody has used it here since.

        That is not known of one that does not follow the source.
        """
        ((last, called),) = self._connection.execute(
            f"SELECT last_value, is_called FROM {name}".encode(), binary=True
        ).fetchall()
        wanted = one.facts["last_value"], one.facts["is_called"]
        set_here = self.ours[one.id].facts.get("set_to") if one.id in self.ours else []
        is_behind = wanted < (last, called) if "INCREMENT BY -" not in one.facts["options"] else wanted[0] > last
        if is_behind and set_here not in ([last, called], None):
            return
        if wanted != (last, called):
            self._connection.execute("SELECT setval(%s::regclass, %s, %s)", (name, *wanted))
        if one.id in self.ours:
            self.ours[one.id] = one.with_facts(set_to=list(wanted))


def _item(one: SchemaObject, failure: str | None) -> InventoryItem:
    reason = one.reason or failure
    fate = Fate.NOT_MOVED if reason else Fate.MOVED
    return InventoryItem(one.kind, one.name, fate, reason or "", asked=one.kind in ROLE_KINDS)


def _described(type_: SchemaObject) -> Native:
    return {**type_.facts, "create": type_.create[0]}


def _left(one: SchemaObject, reason: str) -> InventoryItem:
    text = f"the source has it no more, but the destination needs it ({reason}): drop what uses it, and move again"
    return InventoryItem(one.kind, one.name, Fate.NOT_MOVED, text)


def _is_unlogged(sequence: SchemaObject) -> bool | None:
    """Return whether a sequence is UNLOGGED; None for that of an identity column, which is as its table."""
    return sequence.create[0].startswith("CREATE UNLOGGED") if sequence.create else None


def _message(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error)
    return f"PostgreSQL: {text}"
