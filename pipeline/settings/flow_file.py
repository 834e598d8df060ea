"""Reads a file of Flows, and reports all that is wrong with it at once, with the table that it is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.flows.declaration import (
    ApprovalTerms,
    Declaration,
    FlowLimits,
    GroupRule,
    Maintenance,
    Retention,
    Side,
    StreamRule,
    Windows,
    quoted,
)
from pipeline.domain.flows.groups import find_circle
from pipeline.domain.ids import FlowName, Label
from pipeline.settings.flow_tables import NAMED, OPTIONS, TABLES
from pipeline.settings.reading import MAX_PROBLEMS, read_toml
from pipeline.settings.rules import LIST, Rule, rules_of

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FlowEntry:
    """A Flow as it is declared: two places as they are written, two directories or none, and all else."""

    name: FlowName
    source: str
    destination: str
    files: tuple[str, ...] = ()
    declared: Declaration = field(default_factory=Declaration)

    def where(self, table: str = "") -> str:
        """Return what a message calls the Flow, or one of its tables."""
        return self.declared.where(self.name, table)


def read_flow_file(path: Path) -> tuple[Sequence[FlowEntry], Sequence[str]]:
    """Return the Flows that a file declares, and all that is wrong with them. ConfigurationError when it is no TOML."""
    return parse_flows(read_toml(path, "file of Flows"), str(path))


def parse_flows(document: Table, file: str) -> tuple[Sequence[FlowEntry], Sequence[str]]:
    """Return the Flows of a document that is read already, and all that is wrong with them, a sentence each.

    A Flow has the default where something is wrong, so that the rest of it can be checked as well.
    """
    reading = _Reading(file)
    flows = document.get("flow", {})
    for name in document:
        if name != "flow":
            reading.problems.append(f"{file}: there is no table or name {name[:80]!r}. Write [flow.NAME].")
    if not isinstance(flows, dict) or not flows:
        reading.problems.append(f"{file}: it declares no Flow. Write [flow.NAME], with source and destination.")
        flows = {}
    entries = [reading.flow(name, table) for name, table in flows.items()]
    return entries, reading.problems


def ensure_no_problems(problems: Sequence[str]) -> None:
    """ConfigurationError, with a line for each problem, if there are any."""
    more = [f"… and {len(problems) - MAX_PROBLEMS:,} more."] if len(problems) > MAX_PROBLEMS else []
    if problems:
        raise ConfigurationError("\n".join([*problems[:MAX_PROBLEMS], *more]))


@cache
def table_rules(table: str) -> Mapping[str, Rule]:
    """Return the rules of a table, by name."""
    return rules_of(TABLES[table])


class _Reading:
    """Reads the tables of one file. `problems` are all that is wrong so far."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.problems: list[str] = []

    def flow(self, name: str, table: object) -> FlowEntry:
        where = Declaration(file=self._file).where(FlowName(name), "")
        if not name:
            self._wrong(where, "the name of a Flow is empty")
        below = self._table(where, table)
        plain = {key: value for key, value in below.items() if key not in TABLES and key not in OPTIONS}
        own = self._values(where, "", plain)
        for place in ("source", "destination"):
            if not own[place] and plain.get(place, "") == "":
                self._wrong(where, f"{place} is {'empty' if place in plain else 'missing'}")
        if len(own["files"]) not in (0, 2):
            self._wrong(where, "files names a source and a destination directory: a list of two texts")
        declared = self._declaration(FlowName(name), own, below)
        return FlowEntry(FlowName(name), own["source"], own["destination"], own["files"], declared)

    def _declaration(self, flow: FlowName, own: Table, below: Table) -> Declaration:
        def where(table: str) -> str:
            return Declaration(file=self._file).where(flow, table)

        single = {
            name: self._values(where(name), name, below.get(name, {})) for name in TABLES if name not in ("", *NAMED)
        }
        streams = [
            StreamRule(pattern, Label(one["group"]) if one["group"] else None, one["include"])
            for pattern, one in self._named(where, "stream", below)
        ]
        groups = tuple(
            GroupRule(Label(label), tuple(map(Label, one["depends_on"])))
            for label, one in self._named(where, "group", below)
        )
        if circle := find_circle(groups):
            way = ", which depends on ".join(map(repr, (*circle, circle[0])))
            self._wrong(where(f"group.{circle[0]}"), f"the groups depend on each other in a circle: {way}")
        approvals = single["approvals"]
        return Declaration(
            source_options=self._options(where(OPTIONS[0]), below.get(OPTIONS[0], {})),
            destination_options=self._options(where(OPTIONS[1]), below.get(OPTIONS[1], {})),
            streams=tuple(streams),
            groups=groups,
            limits=FlowLimits(**{name: value or None for name, value in single["limits"].items()}),
            windows=Windows(**single["windows"]),
            retention=Retention(**single["retention"]),
            maintenance=Maintenance(**single["maintenance"]),
            requires=own["requires"] or None,
            notifications=own["notifications"],
            approvals=ApprovalTerms(
                tuple(dict.fromkeys(map(Side, approvals["required"]))), approvals["text"], approvals["links"]
            ),
            file=self._file,
        )

    def _named(self, where: Any, table: str, below: Table) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the name and the values of each table `[flow.NAME.table."name"]`."""
        for name, one in self._table(where(table), below.get(table, {})).items():
            yield name, self._values(where(f"{table}.{quoted(name)}"), table, one)

    def _values(self, where: str, table: str, given: object) -> dict[str, Any]:
        """Return the values of a table, its defaults where nothing or something wrong is given."""
        rules = table_rules(table)
        values = {name: rule.default for name, rule in rules.items()}
        for name, value in self._table(where, given).items():
            if name not in rules:
                known = ", ".join([*rules, *(() if table else (*OPTIONS, *(one for one in TABLES if one)))])
                self._wrong(where, f"there is no name {name[:80]!r} here. There are: {known}")
                continue
            try:
                values[name] = _read(rules[name], value)
            except ValueError as error:
                self._wrong(where, f"{name}: {str(error).rstrip('.')}")
        return values

    def _options(self, where: str, given: object) -> dict[str, str]:
        """Return settings of a place as texts."""
        options: dict[str, str] = {}
        for name, value in self._table(where, given).items():
            if isinstance(value, bool):
                options[name] = str(value).lower()
            elif isinstance(value, str | int | float):
                options[name] = str(value)
            else:
                self._wrong(where, f"{name} must be a text, a number, true or false")
        return options

    def _table(self, where: str, value: object) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self._wrong(where, "this must be a table")
        return {}

    def _wrong(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}.")


def _read(rule: Rule, value: object) -> object:
    if (rule.type_ == LIST) is not isinstance(value, list):
        raise ValueError(f"the value is not valid. It must be {rule.form}.")
    return rule.read(value)
