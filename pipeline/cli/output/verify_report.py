"""The report of `verify`: lines for a person, an object for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

from pipeline.assembly.commands.verify import Repair
from pipeline.cli.output.json_output import item_object
from pipeline.cli.output.text import columns, count, duration, moment, printable
from pipeline.codec.values import key_text, key_to_json
from pipeline.domain.comparison.report import (
    Against,
    Difference,
    Finding,
    RangeReport,
    Side,
    StreamReport,
    Verification,
)
from pipeline.domain.inventory import missing_lines
from pipeline.domain.keys import Key

_NAMES_SHOWN = 10


def report_lines(found: Verification) -> list[str]:
    """Return the report for a person, line by line; the last one is the verdict."""
    lines = [f"Flow {printable(found.flow)}: {printable(found.destination)}", *_compared_with(found), ""]
    lines += _table(found.streams) if found.streams else ["  There is nothing to compare."]
    for stream in found.differing:
        lines += ["", *_details(stream, found.flow)]
    lines += _not_compared(found)
    return [*lines, "", _verdict(found)]


def repair_lines(repair: Repair) -> list[str]:
    """Return the result of a repair, and the report of the comparison after it."""
    if repair.movement is None:
        return report_lines(repair.found)
    movement, totals = repair.movement, repair.movement.totals
    records = f"{count(totals.upserts, 'upsert')} and {count(totals.deletes, 'delete')}"
    mended = f"{repair.mended:,} of {count(repair.found.differences, 'differing key')}"
    lines = [
        f"Repaired by Movement {movement.number}, {movement.status.value}: {records}. Equal now: {mended}.",
        "",
    ]
    lines += [f"  {printable(problem)}" for problem in movement.problems[:_NAMES_SHOWN]]
    lines += report_lines(repair.after)
    if not repair.after.equal:
        lines[-1] = (
            f"{_different(repair.after)} The repair has moved these again, and they differ still: what is rejected has its "
            "reason above; other values are changed by the destination (its column types, triggers or other writers)."
        )
    return lines


def _compared_with(found: Verification) -> Iterator[str]:
    took = duration((found.ended - found.begun).total_seconds())
    when = f"{moment(found.begun)}, in {took}"
    if found.against is Against.SOURCE:
        yield f"compared with {printable(found.source)} as it was at {when}"
    else:
        yield f"compared with what was stored of {printable(found.source)}, at {when}"
    latest = found.movement
    yield f"latest Movement: {latest.number}, {latest.status}, {moment(latest.updated)}"


def _table(streams: Sequence[StreamReport]) -> list[str]:
    """Return the counts of all streams, with `waiting` and `twice` if they are not 0 everywhere."""
    counts = ("missing", "extra", "different", "waiting", "twice", "rejected")
    of_apps = ("waiting", "twice")
    shown = [name for name in counts if name not in of_apps or any(getattr(stream, name) for stream in streams)]
    rows = [("stream", "at source", "at destination", *shown, "verdict")]
    rows += [
        (
            printable(stream.stream),
            f"{stream.source.rows:,}",
            f"{stream.destination.rows:,}",
            *(f"{getattr(stream, name):,}" for name in shown),
            _stream_verdict(stream),
        )
        for stream in streams
    ]
    return columns(rows)


def _stream_verdict(stream: StreamReport) -> str:
    if stream.incomparable:
        return "not comparable"
    if stream.absent:
        return "absent at the destination"
    return "equal" if stream.equal else "different"


def _details(stream: StreamReport, flow: str) -> Iterator[str]:
    if stream.incomparable:
        yield f"{printable(stream.stream)}: {printable(stream.incomparable)}"
        return
    ranges = f" in {stream.ranges_differing:,} of {count(stream.ranges, 'range')} of keys"
    yield f"{printable(stream.stream)}: {count(stream.differences, 'key')}{ranges if stream.ranges_differing else ''}"
    if stream.waiting:
        yield f"  {_waiting(stream.waiting)}: `pipeline rejected {quote(printable(flow))}` lists what each needs"
    if stream.twice:
        yield (
            f"  {count(stream.twice, 'key')} there more than once: the app has a second object, or its dump gives one "
            "twice. Delete what is too much at the app; a repair does not"
        )
    if stream.definitions:
        yield f"  the destination's table lacks: {_names(stream.definitions)}"
    if stream.case_twins:
        names = _names(stream.case_twins)
        yield f"  at the destination, names that differ in case only, so that the app may read the wrong one: {names}"
    if stream.gone:
        yield "  the source no longer has this stream"
    if stream.missing_columns:
        yield f"  columns that the destination lacks: {_names(stream.missing_columns)}"
    if stream.extra_columns:
        yield f"  columns that only the destination has, not compared: {_names(stream.extra_columns)}"
    if stream.examples:
        yield from columns([("key", "is", "columns"), *map(_example, stream.examples)])
    if stream.differences > len(stream.examples):
        yield f"  … and {stream.differences - len(stream.examples):,} more"


def _example(difference: Difference) -> tuple[str, str, str]:
    what = _names(difference.columns)
    if difference.rejected is not None:
        said = "" if difference.finding is Finding.WAITING else "rejected: "
        what += f"{'; ' if what else ''}{said}{difference.rejected}"
    return printable(key_text(difference.key)), difference.finding.value, printable(what)


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(map(printable, names[:_NAMES_SHOWN]))
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN:,} more"


def _not_compared(found: Verification) -> Iterator[str]:
    if found.gaps:
        yield ""
        yield from map(printable, missing_lines(found.gaps))
    if found.accepted:
        yield ""
        yield f"Accepted as missing: {_names(tuple(f'{item.kind} {item.name}' for item in found.accepted))}"
    if found.left_out:
        yield ""
        yield f"Exist in one technology only, and not compared: {_names(found.left_out)}"
    if found.not_selected:
        yield ""
        yield f"Excluded from this Flow, and not compared: {_names(found.not_selected)}"
    if found.unhandled:
        yield ""
        yield f"Not handled by the Importer, and not compared: {_names(found.unhandled)}"
    for stream in found.streams:
        if stream.ignored_columns:
            yield ""
            names = _names(stream.ignored_columns)
            yield f"Columns of {printable(stream.stream)} that the Importer does not take, and not compared: {names}"
    if found.only_at_destination:
        yield ""
        yield f"Only at the destination, and not part of this Flow: {_names(found.only_at_destination)}"


def _verdict(found: Verification) -> str:
    if not found.differences and not found.gaps and found.differing and all(it.incomparable for it in found.differing):
        return f"NOT COMPARED: {count(len(found.differing), 'stream')}, for the reasons above."
    if found.equal:
        what = "the source holds" if found.against is Against.SOURCE else "was stored"
        covers = f" This covers {', '.join(found.covers)}." if found.covers else ""
        return f"EQUAL: the destination holds what {what}.{covers}"
    flow = printable(found.flow)
    waits = f" {_waiting(found.waiting)}: `pipeline rejected {quote(flow)}`." if found.waiting else ""
    if not found.gaps and not any(stream.repairable for stream in found.differing):
        return f"{_different(found)}{waits}"
    return (
        f"{_different(found)}{waits} `pipeline move --flow {quote(flow)}` moves what has changed in the source since; "
        f"`pipeline verify {quote(flow)} --repair` moves all of these{' that do not wait' if found.waiting else ''}."
    )


def _waiting(number: int) -> str:
    return f"{count(number, 'record')} {'waits' if number == 1 else 'wait'} for the id of another record"


def _different(found: Verification) -> str:
    what = [f"{count(found.differences, 'key')} in {count(len(found.differing), 'stream')}"] if found.differing else []
    what += [f"{count(len(found.gaps), 'thing')} of the source that the destination lacks"] if found.gaps else []
    return f"DIFFERENT: {' and '.join(what)}."


def report_object(found: Verification) -> dict[str, object]:
    """Return the report for a program."""
    latest = found.movement
    return {
        "flow": found.flow,
        "equal": found.equal,
        "source": found.source,
        "destination": found.destination,
        "against": found.against.value,
        "movement": {"number": latest.number, "status": latest.status, "updated": latest.updated.isoformat()},
        "begun": found.begun.isoformat(),
        "ended": found.ended.isoformat(),
        "streams": [_stream_object(stream) for stream in found.streams],
        "gaps": [item_object(item) for item in found.gaps],
        "accepted_missing": [item_object(item) for item in found.accepted],
        "covers": found.covers,
        "not_compared": {
            "left_out": found.not_selected,
            "unhandled": found.unhandled,
            "only_at_destination": found.only_at_destination,
            "other_technology": found.left_out,
        },
    }


def repair_object(repair: Repair) -> dict[str, object]:
    """Return the comparison after a repair, with the one before it and the Movement in between."""
    if repair.movement is None:
        return report_object(repair.found)
    movement, totals = repair.movement, repair.movement.totals
    return {
        **report_object(repair.after),
        "repair": {
            "movement": movement.number,
            "status": movement.status.value,
            "records": {"upserts": totals.upserts, "deletes": totals.deletes, "quarantined": totals.rejected},
            "mended": repair.mended,
            "problems": movement.problems,
            "found": report_object(repair.found),
        },
    }


def _stream_object(stream: StreamReport) -> dict[str, object]:
    return {
        "stream": stream.stream,
        "equal": stream.equal,
        "absent_at_destination": stream.absent,
        "absent_at_source": stream.gone,
        "incomparable": stream.incomparable or None,
        "source": _side(stream.source),
        "destination": _side(stream.destination),
        "ranges": {
            "compared": stream.ranges,
            "differing": stream.ranges_differing,
            "first": [_range(one) for one in stream.differing],
        },
        "keys": {
            "missing": stream.missing,
            "extra": stream.extra,
            "different": stream.different,
            "waiting": stream.waiting,
            "twice": stream.twice,
            "set_aside": stream.rejected,
            "first": [_key_object(difference) for difference in stream.examples],
        },
        "columns": {
            "missing": stream.missing_columns,
            "extra": stream.extra_columns,
            "ignored": stream.ignored_columns,
        },
        "definitions_missing": stream.definitions,
        "names_in_other_case": stream.case_twins,
    }


def _side(side: Side) -> dict[str, object]:
    return {"rows": side.rows, "digest": side.digest}


def _range(one: RangeReport) -> dict[str, object]:
    return {
        "after": _key(one.after),
        "until": _key(one.until),
        "source": _side(one.source),
        "destination": _side(one.destination),
    }


def _key(key: Key | None) -> object:
    return None if key is None else key_to_json(key)


def _key_object(difference: Difference) -> dict[str, object]:
    return {
        "key": key_to_json(difference.key),
        "is": difference.finding.value,
        "columns": difference.columns,
        "set_aside": difference.rejected,
    }
