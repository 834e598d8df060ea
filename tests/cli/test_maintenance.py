"""A Flow is compacted and pruned by itself after `pipeline move`, as its policy says; `pipeline status` shows it."""

from __future__ import annotations

from pipeline.engine.maintenance.state import LOOK_EVERY
from tests.cli.app import CommandLine, change, contents, make_database


def moved_often(pipeline: CommandLine, *declared: str) -> None:
    """Move the Flow so often that it is looked at once, with a change before each Movement."""
    source = make_database(pipeline.directory / "app.db")
    assert pipeline("flow", "create", "crm", "app.db", "copy.db").code == 0
    assert pipeline("flow", "set", "crm", *declared, "--yes").code == 0
    for number in range(LOOK_EVERY):
        change(source, f"UPDATE people SET age = {number} WHERE id = 7")
        assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0


def maintenance(pipeline: CommandLine) -> dict[str, object]:
    flows = pipeline("status", "--json").objects[-1]["flows"]
    assert isinstance(flows, list)
    found = flows[0]["maintenance"]
    assert isinstance(found, dict)
    return found


def test_a_flow_is_compacted_and_pruned_by_itself_and_says_so(pipeline: CommandLine) -> None:
    moved_often(pipeline, "maintenance.event_files=5")
    shown = maintenance(pipeline)
    assert (shown["automatic"], shown["event_files"], shown["waste_percent"]) == (True, 5, 50)
    assert (shown["compacted_movement"], shown["pruned_movement"]) == (LOOK_EVERY + 1, LOOK_EVERY + 1)
    assert (shown["waits"], shown["worker"]) == (None, None)
    assert f"Automatic maintenance: compacted in Movement {LOOK_EVERY + 1}, pruned after" in pipeline("status").out
    assert len(list((pipeline.directory / ".pipeline/store/objects/flows/crm/events").rglob("*.zst"))) == 1
    change(pipeline.directory / "app.db", "UPDATE people SET age = 77 WHERE id = 8")
    last = pipeline("move", "app.db", "copy.db", "--flow", "crm", "--json").objects[-1]
    assert last["event_files"] == {"exported": 1, "imported": 1, "skipped": 1, "failed": 0}
    pipeline("flow", "add-destination", "crm", "backup.db", "--name", "backup")
    assert pipeline("flow", "import", "backup").code == 0
    assert contents(pipeline.directory / "backup.db") == contents(pipeline.directory / "app.db")


def test_a_flow_may_say_that_it_is_not(pipeline: CommandLine) -> None:
    moved_often(pipeline, "maintenance.event_files=5", "maintenance.automatic=false")
    shown = maintenance(pipeline)
    assert (shown["automatic"], shown["compacted_movement"], shown["pruned_movement"]) == (False, None, None)
    assert "Automatic maintenance is off (maintenance.automatic = false)." in pipeline("status").out
    events = pipeline.directory / ".pipeline/store/objects/flows/crm/events"
    assert len(list(events.rglob("*.zst"))) == LOOK_EVERY


def test_it_waits_for_a_derived_flow_and_goes_on_when_that_has_moved(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    assert pipeline("flow", "create", "crm", "app.db", "copy.db").code == 0
    assert pipeline("flow", "set", "crm", "maintenance.event_files=5", "--yes").code == 0
    assert pipeline("flow", "add-destination", "crm", "backup.db", "--name", "backup").code == 0
    for number in range(LOOK_EVERY + 1):
        change(source, f"UPDATE people SET age = {number} WHERE id = 7")
        assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0  # moves the derived Flow afterwards
    done = [one for one in pipeline("status", "--json").objects[-1]["flows"] if one["flow"] == "crm"]  # type: ignore[attr-defined]
    assert done[0]["maintenance"]["compacted_movement"] == LOOK_EVERY + 1
    assert done[0]["maintenance"]["waits"] is None
    assert done[0]["maintenance"]["pruned_movement"] is not None
    assert contents(pipeline.directory / "backup.db") == contents(source)
