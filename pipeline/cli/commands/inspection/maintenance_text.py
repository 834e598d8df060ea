"""What `pipeline status` says of how a Flow is kept small by itself."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.cli.output.text import count, moment, size
from pipeline.codec.documents.maintenance import MaintenanceState
from pipeline.domain.movement import Flow


def maintenance_lines(flow: Flow, state: MaintenanceState, *, details: bool) -> Iterator[str]:
    """Yield what was done and what waits; with `details` also that nothing was due so far. A derived Flow stores nothing."""
    if flow.origin is not None:
        return
    if not flow.declared.maintenance.automatic:
        yield "Automatic maintenance is off (maintenance.automatic = false)."
        return
    done = []
    if state.compacted:
        done.append(f"compacted in Movement {state.compacted}")
    if state.at is not None:
        deleted = f"{count(state.objects, 'object')} of {size(state.stored_bytes)}"
        done.append(f"pruned after Movement {state.pruned} ({deleted}, {moment(state.at)})")
    if done or details:
        yield f"Automatic maintenance: {', '.join(done) or 'nothing was due so far'}."
    if state.worker:
        yield f"{state.worker} is compacting and pruning it."
    if state.waits:
        yield f"Automatic maintenance waits: {state.waits}"
    if details:
        yield from (f"Stream {stream} is not compacted: {reason}" for stream, reason in sorted(state.left.items()))


def maintenance_object(flow: Flow, state: MaintenanceState) -> dict[str, object]:
    """Return the policy of a Flow and what was done, for --json."""
    policy = flow.declared.maintenance
    return {
        "automatic": policy.automatic and flow.origin is None,
        "event_files": policy.event_files,
        "waste_percent": policy.waste_percent,
        "compacted_movement": state.compacted or None,
        "pruned_movement": state.pruned or None,
        "pruned_at": state.at.isoformat() if state.at else None,
        "pruned_objects": state.objects,
        "pruned_bytes": state.stored_bytes,
        "worker": state.worker or None,
        "waits": state.waits or None,
        "not_compacted": dict(state.left),
    }
