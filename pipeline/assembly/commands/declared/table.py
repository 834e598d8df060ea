"""A Flow as a table of a file of Flows: what `flow show` prints, and what two declarations are compared by."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.assembly.places.options import bare_url
from pipeline.connectors.locations import split_urls
from pipeline.connectors.registry import parse_location
from pipeline.domain.flows.declaration import FlowLimits, quoted
from pipeline.domain.movement import Flow
from pipeline.kit.configuration.names import REQUIRES
from pipeline.settings.flow_file import table_rules


def flow_table(flow: Flow) -> dict[str, Any]:
    """Return the table `[flow.NAME]` that declares this Flow, without what is as the defaults are."""
    declared = flow.declared
    (source, *files), (destination, *copies) = split_urls(flow.source), split_urls(flow.destination)
    own = {
        "source": bare_url(source, declared.source_options),
        "destination": bare_url(destination, {**declared.destination_options, REQUIRES: ""}),
        "files": [str(parse_location(url).path) for url in (*files, *copies)],
        "requires": declared.requires or "",
        "notifications": list(declared.notifications),
    }
    limits, approvals = declared.limits, declared.approvals
    tables: dict[str, Any] = {
        "source_options": dict(declared.source_options),
        "destination_options": dict(declared.destination_options),
        "stream": {
            rule.pattern: _changed("stream", {"group": rule.group or "", "include": rule.include})
            for rule in declared.streams
        },
        "group": {rule.label: _changed("group", {"depends_on": list(rule.depends_on)}) for rule in declared.groups},
        "limits": _changed("limits", {name: getattr(limits, name) or 0 for name in FlowLimits.__slots__}),
        **{name: _plain(name, getattr(declared, name)) for name in ("windows", "retention", "maintenance")},
        "approvals": _changed(
            "approvals",
            {
                "required": [side.value for side in approvals.required],
                "text": approvals.text,
                "links": list(approvals.links),
            },
        ),
    }
    return _changed("", own) | {name: table for name, table in tables.items() if table}


def _plain(table: str, declared: object) -> dict[str, Any]:
    """Return those values of a table that are not the defaults; in a declaration they have the same names."""
    return _changed(table, {name: getattr(declared, name) for name in table_rules(table)})


def _changed(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are not the defaults of a table."""
    rules = table_rules(table)
    return {
        name: value
        for name, value in values.items()
        if (tuple(value) if isinstance(value, list) else value) != rules[name].default
    }


def flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of a table with its dotted name; an empty table as such."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{before}{quoted(name)}.")
        else:
            yield f"{before}{quoted(name)}", value


def toml_lines(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the file that declares a Flow."""
    heading = f"flow.{quoted(name)}"
    yield f"[{heading}]"
    yield from _values(table)
    for key, below in table.items():
        if not isinstance(below, dict):
            continue
        named = key in ("stream", "group")
        for one, values in below.items() if named else ((None, below),):
            yield ""
            yield f"[{heading}.{key}{'' if one is None else f'.{quoted(one)}'}]"
            yield from _values(values)


def _values(table: Mapping[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        if not isinstance(value, dict):
            yield f"{quoted(name)} = {json.dumps(value, ensure_ascii=False)}"
