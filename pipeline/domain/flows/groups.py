"""The groups of a Flow: which streams belong to each, and which groups wait for which."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter

from pipeline.domain.flows.declaration import Declaration, GroupRule, quoted
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema


def fits(stream: StreamName, pattern: str) -> bool:
    """Whether a pattern of a Flow names a stream. Those of the pipeline's own begin with `@`, and so must their patterns."""
    return fnmatchcase(stream, pattern) and (stream not in SPECIAL_STREAMS or pattern.startswith("@"))


def grouped(schemas: Sequence[StreamSchema], declared: Declaration) -> Sequence[StreamSchema]:
    """Return the streams with the labels that the Flow declares: of several patterns that fit, the first counts."""
    return [_with_label(schema, declared) for schema in schemas]


def _with_label(schema: StreamSchema, declared: Declaration) -> StreamSchema:
    rules = (rule for rule in declared.streams if rule.group is not None and fits(schema.stream, rule.pattern))
    rule = next(rules, None)
    return schema if rule is None or rule.group is None else replace(schema, label=rule.group)


def dependency_levels(labels: Iterable[Label], groups: Sequence[GroupRule]) -> Sequence[Sequence[Label]]:
    """Return the labels, sorted, in levels: each after those that it depends on, also by way of one not among them."""
    wanted = set(labels)
    sorter = TopologicalSorter({**dict.fromkeys(sorted(wanted), ()), **_needed(groups)})
    sorter.prepare()
    levels: list[Sequence[Label]] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        if level := [label for label in ready if label in wanted]:
            levels.append(level)
        sorter.done(*ready)
    return levels


def find_circle(groups: Sequence[GroupRule]) -> Sequence[Label]:
    """Return groups of which each depends on the next and the last on the first; none if there is no such circle."""
    try:
        TopologicalSorter(_needed(groups)).prepare()
    except CycleError as error:
        circle: list[Label] = error.args[1]
        return circle[:0:-1]
    return ()


def dependencies(label: Label, groups: Sequence[GroupRule]) -> Sequence[Label]:
    """Return the groups that must be imported before this one."""
    return _needed(groups).get(label, ())


def dependants(label: Label, groups: Sequence[GroupRule]) -> Sequence[Label]:
    """Return the groups that wait for this one."""
    return [rule.label for rule in groups if label in rule.depends_on]


def _needed(groups: Sequence[GroupRule]) -> Mapping[Label, tuple[Label, ...]]:
    return {rule.label: rule.depends_on for rule in groups}


def undeclared_problems(
    schemas: Collection[StreamSchema], declared: Declaration, stored: Collection[StreamName] = ()
) -> Sequence[tuple[str, str]]:
    """Return what of a declaration names nothing in the source: the name of the table, and a sentence about it.

    `schemas` are all streams of the source, with the labels that are declared. `stored` are those that the Flow has moved:
    they may be gone at the source, and still be left out, which keeps their records.
    """
    names = [schema.stream for schema in schemas]
    problems = [
        (f"stream.{quoted(rule.pattern)}", "the pattern matches no stream of the source")
        for rule in declared.streams
        if not any(fits(name, rule.pattern) for name in (*names, *(() if rule.include else stored)))
    ]
    labels = {schema.label for schema in schemas}
    for rule in declared.groups:
        if rule.label not in labels:
            problems.append((f"group.{quoted(rule.label)}", "no stream of the source is in this group"))
        problems += [
            (
                f"group.{quoted(rule.label)}",
                f"depends_on names the group {label!r}, in which no stream of the source is",
            )
            for label in rule.depends_on
            if label not in labels
        ]
    return problems
