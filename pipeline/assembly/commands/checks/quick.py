"""The quick checks, which `move` and `start` run: they ask no server, and read no row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from pipeline.assembly.commands.checks.places import free_bytes, space_finding
from pipeline.assembly.runtime import Runtime
from pipeline.connectors.locations import split_urls
from pipeline.connectors.registry import FILES, SQLITE, parse_location
from pipeline.domain.errors import AbsentError, RefusedError
from pipeline.domain.flows.findings import CheckFinding, judged
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow
from pipeline.settings import Settings

LOCAL = tuple(f"{scheme}://" for scheme in (*FILES.schemes, *SQLITE.schemes))


async def find_flow(runtime: Runtime | None, name: FlowName) -> Flow | None:
    """Return the Flow, if it exists."""
    if runtime is None:
        return None
    try:
        return await runtime.flows.read_flow(name)
    except AbsentError:
        return None


def local_paths(place: str) -> Sequence[Path]:
    """Return the paths on this computer in what a Flow stores of a place."""
    found = [parse_location(url).path for url in split_urls(place) if url.startswith(LOCAL)]
    return [path for path in found if path is not None]


def ensure_checked(name: FlowName, paths: Sequence[Path], flow: Flow | None, settings: Settings) -> None:
    """RefusedError when a quick check blocks, and is not accepted. `paths` are those of the destination."""
    found = [space_finding({str(path): free_bytes(path) for path in paths}, settings)]
    if blocking := [one for one in judged(found, () if flow is None else flow.accepted_findings) if one.blocks]:
        raise RefusedError("\n".join(_sentence(one, name) for one in blocking))


def _sentence(finding: CheckFinding, name: FlowName) -> str:
    how = (
        f" To accept it: pipeline check {quote(name)} --accept {finding.id} --reason WHY" if finding.excludable else ""
    )
    return f"Check {finding.id!r}: {finding.title} {'; '.join(finding.sample)}. {finding.steps}{how}"
