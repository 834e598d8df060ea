"""`pipeline flow apply`, `set` and `show`: what is declared becomes what is stored."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.assembly.commands.declared.changes import FlowChange, find_change, other_problems
from pipeline.assembly.commands.declared.table import flow_table
from pipeline.assembly.connectors import PathText
from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow, Movement
from pipeline.settings import Settings, load_settings
from pipeline.settings.flow_file import FlowEntry, ensure_no_problems, parse_flows, read_flow_file

Confirm = Callable[[Sequence[FlowChange]], bool]
"""Shows a person what would change, and returns whether to change it."""


@dataclass(frozen=True, slots=True)
class ListedFlow:
    """A Flow and its latest Movement."""

    flow: Flow
    latest: Movement | None


async def apply_flows(
    file: PathText, confirm: Confirm = lambda changes: True, *, settings: Settings | None = None
) -> Sequence[FlowChange]:
    """Make the Flows of a file as they are declared, if `confirm` agrees. Others stay as they are.

    ConfigurationError names all that is wrong with the file, and then nothing is changed.
    """
    settings, file = settings or load_settings(), Path(file)
    entries, problems = read_flow_file(file)
    return await _apply(entries, problems, _directory(file), confirm, settings)


def _directory(file: Path) -> Path:
    return file.expanduser().absolute().parent


async def set_flow(
    name: str, assignments: Sequence[str], confirm: Confirm = lambda changes: True, *, settings: Settings | None = None
) -> FlowChange:
    """Change values of a Flow, each written as `windows.life_days=7`; an empty one becomes the default again."""
    settings = settings or load_settings()
    async with open_runtime(settings) as runtime:
        flow = await runtime.flows.read_flow(FlowName(name))
        table = flow_table(flow)
        unread = [problem for one in assignments if (problem := _assign(table, one))]
        ensure_no_problems(unread)
        entries, problems = parse_flows({"flow": {name: table}}, "")
    (change,) = await _apply(entries, problems, None, confirm, settings)
    return change


async def read_declared(name: str, *, settings: Settings | None = None) -> Flow:
    """Return a Flow as it is stored."""
    async with open_runtime(settings or load_settings()) as runtime:
        return await runtime.flows.read_flow(FlowName(name))


async def list_flows(*, settings: Settings | None = None) -> Sequence[ListedFlow]:
    """Return all Flows with the latest Movement of each, by name."""
    async with open_runtime(settings or load_settings()) as runtime:
        return [ListedFlow(flow, await runtime.flows.latest(flow)) for flow in await runtime.flows.list_flows()]


async def _apply(
    entries: Sequence[FlowEntry], misread: Sequence[str], base: Path | None, confirm: Confirm, settings: Settings
) -> Sequence[FlowChange]:
    """Change the Flows, if nothing is wrong with them. `misread` is what was wrong already when they were read."""
    async with AsyncExitStack() as opened:
        if misread and not settings.store and not settings.home.exists():  # nothing will be stored, so none is made
            settings = replace(settings, home=Path(opened.enter_context(TemporaryDirectory(prefix="pipeline-"))))
        runtime = await opened.enter_async_context(open_runtime(settings, create_home=True))
        changes: list[FlowChange] = []
        problems = [*misread]
        for entry in entries:
            if not (entry.name and entry.source and entry.destination):  # which is said already
                problems += await other_problems(runtime, entry, base)
                continue
            try:
                changes.append(await find_change(runtime, entry, base))
            except ConfigurationError as error:
                lines = str(error).splitlines()
                problems += [
                    line if line.startswith(entry.where()[:-1]) else f"{entry.where()}: {line}" for line in lines
                ]
        ensure_no_problems(problems)
        if any(change.kind != "none" for change in changes) and confirm(changes):
            for change in changes:
                await _write(runtime, change)
        return changes


async def _write(runtime: Runtime, change: FlowChange) -> None:
    wanted = change.flow
    if change.is_new:
        stored = await runtime.flows.add(wanted)
        if stored.created != wanted.created:
            raise ConfigurationError(
                f"Flow {wanted.name!r} has just been created by another process. Run the command again."
            )
    elif change.differences:

        def take(now: Flow) -> Flow:
            if (now.source, now.destination) != (wanted.source, wanted.destination) and now.movements:
                raise ConfigurationError(f"Flow {now.name!r} has just been moved. Run the command again.")
            return replace(now, source=wanted.source, destination=wanted.destination, declared=wanted.declared)

        await runtime.flows.update_flow(wanted.name, take)


def _assign(table: dict[str, Any], assignment: str) -> str | None:
    """Change a table by `name=value`; return what is wrong with that, if anything."""
    name, equals, text = assignment.partition("=")
    if not equals or not name.strip():
        return f"{name[:80]!r} is not complete. Write NAME=VALUE, with a name as of the file: windows.life_days=7"
    value = text if text.strip() else '""'
    for written in (value, json.dumps(text)):
        try:
            given = tomllib.loads(f"{name} = {written}")
        except tomllib.TOMLDecodeError:
            continue
        _merge(table, given, removing=not text.strip())
        return None
    return f"{name[:80]!r} is no name of a value. Put a pattern or label in quotes: 'stream.\"a*\".group=sales'"


def _merge(table: dict[str, Any], given: dict[str, Any], *, removing: bool) -> None:
    for name, value in given.items():
        if isinstance(value, dict) and isinstance(table.get(name, {}), dict):
            _merge(table.setdefault(name, {}), value, removing=removing)
            if removing and not table[name]:
                del table[name]
        elif removing and not isinstance(value, dict):
            table.pop(name, None)
        else:  # a table in place of a value is named when all is parsed
            table[name] = value
