"""What `pipeline move --dry-run` prints: what a Movement would do, stream by stream."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.assembly.commands.dry_run import Forecast, StreamForecast
from pipeline.cli.output.inventory import inventory_lines
from pipeline.cli.output.json_output import held_object, inventory_object
from pipeline.cli.output.text import columns, count, printable


def forecast_lines(forecast: Forecast) -> list[str]:
    """Return the forecast, line by line."""
    movement = forecast.movement
    lines = [f"Flow {printable(movement.flow)}, Movement {movement.number} would do this:", ""]
    rows: list[tuple[str, ...]] = [("stream", "upserts", "deletes", "to import", "at the destination")]
    rows += [_row(one) for one in forecast.streams]
    lines += columns(rows) if forecast.streams else ["  There is nothing to move."]
    if not forecast.is_destination_known:
        lines.append("  What the destination has is not known: it cannot be read.")
    lines += inventory_lines(movement.inventory)
    lines += [f"  {printable(problem)}" for problem in forecast.problems]
    return [*lines, "", "Dry run: nothing was written."]


def _row(one: StreamForecast) -> tuple[str, ...]:
    counts = (f"{one.upserts:,}", f"{one.deletes:,}", f"{one.imported:,}")
    return (printable(one.stream), *counts, ", ".join(_changes(one)))


def _changes(one: StreamForecast) -> Iterator[str]:
    if one.is_created:
        yield "is created"
    if one.new_columns:
        yield f"gets {count(len(one.new_columns), 'column')}: {printable(', '.join(one.new_columns))}"
    if one.existing is not None:
        reason = one.existing.report.incomparable
        own = f"has {count(one.existing.rows, 'record')} of its own"
        yield f"may have records of its own, which cannot all be compared: {reason}" if reason else own


def forecast_object(forecast: Forecast) -> dict[str, object]:
    """Return the object that `move --dry-run --json` prints."""
    movement = forecast.movement
    return {
        "dry_run": True,
        "flow": movement.flow,
        "movement": movement.number,
        "streams": [_stream_object(one) for one in forecast.streams],
        "destination_known": forecast.is_destination_known,
        "problems": list(forecast.problems),
        "inventory": inventory_object(movement.inventory),
    }


def _stream_object(one: StreamForecast) -> dict[str, object]:
    existing = one.existing
    return {
        "stream": one.stream,
        "upserts": one.upserts,
        "deletes": one.deletes,
        "to_import": one.imported,
        "held_deletes": None if one.held is None else held_object(one.held),
        "creates": one.is_created,
        "new_columns": list(one.new_columns),
        "existing": None
        if existing is None
        else {"rows": existing.rows, "different": existing.overwritten, "not_at_source": existing.report.extra},
    }
