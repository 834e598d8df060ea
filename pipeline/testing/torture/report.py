"""What a person reads of a torture: the story of a run that fails, in the author's lines, and how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from pipeline.testing.simulated.story import Line
from pipeline.testing.torture.run import Run
from pipeline.testing.torture.seeds import Request, Result

_PORTS = ("store.", "queue.", "log ")
_INNER = ("await", "pause", "leave")
RACES = (
    "rows differ after two workers had changed them at the same time, one of which was taken for dead. Its delivery level "
    "cannot prevent that: only a transaction, or an app that recognises ctx.once_key, can"
)


def summary(result: Result) -> str:
    """Return what is said when nothing is wrong."""
    lines = [f"{result.seeds:,} seeds hold, in {result.seconds:.0f} s"]
    if result.outcome.duplicates:
        lines.append(f'{result.outcome.duplicates:,} second objects: delivery="at-least-once" allows them')
    if result.outcome.races:
        lines.append(f"{result.outcome.races:,} {RACES}")
    return "\n".join(lines)


def told(request: Request, run: Run) -> str:
    """Return the story of a run as text."""
    faults = "1 fault" if len(run.faults) == 1 else f"{len(run.faults) or 'no'} faults"
    return "\n".join([f"seed {run.plan.seed}, shrunk to {faults}", *_lines(run), f"again: {command_of(request, run)}"])


def _lines(run: Run) -> Iterator[str]:
    for line in _story_of(run):
        kind, _, rest = line.what.removeprefix("app.").partition(" ")
        shown = f"  {rest}" if kind in _INNER else f"{kind} {rest}"
        yield f"{line.seconds:9.3f}s  {line.who:<9} {shown}{f'   << {line.fault}' if line.fault else ''}"
    yield from (f"BROKEN: {what}" for what in run.broken)


def _story_of(run: Run) -> Sequence[Line]:
    """Return the lines of a story that are about the author's functions, and those where something goes wrong."""
    return [line for line in run.story if line.fault or not line.what.lstrip().startswith(_PORTS)]


def command_of(request: Request, run: Run) -> str:
    """Return the command that runs a seed again."""
    keys = [part for stream, names in request.keys.items() for part in ("--key", f"{stream}={','.join(names)}")]
    return shlex.join(["pipeline", "torture", *request.names, "--seed", str(run.plan.seed), *keys])


def as_document(request: Request, result: Result) -> Mapping[str, object]:
    """Return the result as the object that `--json` prints."""
    run = result.shortest
    return {
        "seeds": result.seeds,
        "seconds": round(result.seconds, 3),
        "failed": list(result.outcome.failed),
        "duplicates": result.outcome.duplicates,
        "races": result.outcome.races,
        "seed": None if run is None else run.plan.seed,
        "broken": [] if run is None else list(run.broken),
        "story": [] if run is None else [asdict(line) for line in _story_of(run)],
        "command": None if run is None else command_of(request, run),
    }
