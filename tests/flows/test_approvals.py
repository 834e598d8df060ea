"""Approvals: what is approved is recorded, an export without a valid one is refused, and revoking stops."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio
import orjson
import pytest

from pipeline.assembly.commands.declared import approve
from pipeline.assembly.commands.lifecycle import wishes
from pipeline.assembly.runtime import open_runtime
from pipeline.codec.documents.approval import decode_approval, encode_approval
from pipeline.domain.errors import DamagedError
from pipeline.domain.flows.approvals import Act, Approval, Terms, missing_approvals
from pipeline.domain.flows.declaration import ApprovalTerms, Side
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.engine.control.approvals import read_approvals, record_approval
from pipeline.engine.movements.lifecycle import begin_movement, end_movement
from pipeline.settings import Settings
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.cli.app import CommandLine, change, make_database

FLOWS = """
[flow.people]
source = "app/app.py:exporter"
destination = "copy.db"
source_options = {path = "people.json"}

[flow.people.approvals]
required = ["source", "destination"]
text = "Names of all people move to the copy."
links = ["https://example.com/policy"]
"""
MOMENT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
TERMS = Terms("text", ("link",), ("pii",), "people/1")
BOTH = ("source", "destination")


@pytest.fixture
def flow(pipeline: CommandLine) -> CommandLine:
    """Runs `pipeline` in a directory with a Flow that requires two approvals."""
    Path("flows.toml").write_text(FLOWS)
    assert pipeline("flow", "apply", "flows.toml", "--yes").code == 0
    return pipeline


def change_app(before: str, after: str) -> None:
    """Change the app's file, and let this process import it again."""
    code = Path("app/app.py").read_text()
    assert before in code
    Path("app/app.py").write_text(code.replace(before, after))
    shutil.rmtree("app/__pycache__", ignore_errors=True)
    for name in [
        name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).endswith("app/app.py")
    ]:
        del sys.modules[name]


def approve_all(pipeline: CommandLine) -> None:
    for side in BOTH:
        assert pipeline("approve", "people", "--side", side, "--by", f"{side}'s admin", "--yes").code == 0


def test_nothing_is_exported_before_both_sides_have_approved(flow: CommandLine) -> None:
    outcome = flow("move", "--flow", "people")
    assert outcome.code == 1
    assert "needs the approval of the source's side, and has none" in outcome.err
    assert "needs the approval of the destination's side" in outcome.err
    assert "pipeline approve people --side source --by NAME" in outcome.err
    assert flow("start", "people").code == 1
    assert flow("check", "people").code == 1
    assert not Path("copy.db").exists()
    assert not list(Path(".pipeline").rglob("movement.json"))
    assert flow("approve", "people", "--side", "source", "--by", "Ada", "--yes").code == 0
    assert "destination's side, and has none" in flow("move", "--flow", "people").err
    assert flow("approve", "people", "--side", "destination", "--by", "Grace", "--yes").code == 0
    assert flow("check", "people").code == 0
    assert flow("move", "--flow", "people").code == 0
    assert flow("start", "people").code == 0


def test_text_links_scopes_and_contract_are_shown_and_recorded(flow: CommandLine) -> None:
    shown = flow("approve", "people", "--side", "source", "--by", "Ada", "--yes").out
    for expected in ("Names of all people", "https://example.com/policy", "people: pii", "Contract: people/1"):
        assert expected in shown
    text = hashlib.sha256(b"Names of all people move to the copy.\nhttps://example.com/policy").hexdigest()
    assert text in shown
    (printed,) = flow("approve", "people", "--side", "source", "--by", " Ada ", "--yes", "--json").objects
    assert (printed["approved"], printed["number"], printed["by"]) == (True, 2, "Ada")
    documents = sorted(Path(".pipeline").rglob("approvals/*.json"))
    assert [path.name for path in documents] == ["1.json", "2.json"]
    stored = orjson.loads(documents[0].read_bytes())
    assert (stored["side"], stored["act"], stored["by"], stored["textSha256"]) == ("source", "approve", "Ada", text)
    assert (stored["scopes"], stored["contract"]) == (["pii"], "people/1")
    assert stored["at"]


def test_nothing_is_approved_without_consent(flow: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert flow("approve", "people", "--side", "source", "--by", "Ada").code == 1
    asked = flow("approve", "people", "--side", "source", "--by", "Ada", "--json")
    assert (asked.code, asked.objects[0]["approved"]) == (1, False)
    assert not list(Path(".pipeline").rglob("approvals/*"))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert flow("approve", "people", "--side", "source", "--by", "Ada").code == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("flow", "set", "people", "approvals.text=Everything moves.", "--yes"), "its text has changed since"),
        (("flow", "set", "people", 'approvals.links=["https://example.com/new"]', "--yes"), "its text has changed since"),
        (('contract="people/1"', 'contract="people/2"'), "its contract was 'people/1'"),
        (('@exporter.rows("pets", row=Pet, key="id")', '@exporter.rows("pets", row=Pet, key="id", scopes=("security",))'),
         "has not approved data of the scope 'security'"),
    ],
)  # fmt: skip
def test_a_change_asks_again(flow: CommandLine, change: tuple[str, ...], why: str) -> None:
    approve_all(flow)
    if len(change) == 2:
        change_app(*change)
    else:
        assert flow(*change).code == 0
    outcome = flow("move", "--flow", "people")
    assert outcome.code == 1
    assert why in outcome.err
    assert not Path("copy.db").exists()
    approve_all(flow)
    assert flow("move", "--flow", "people").code == 0


def test_a_stream_that_is_left_out_needs_no_approval_of_its_scopes(flow: CommandLine) -> None:
    change_app('"pets", row=Pet, key="id"', '"pets", row=Pet, key="id", scopes=("ugc",)')
    flow("flow", "set", "people", "stream.pets.include=false", "--yes")
    approve_all(flow)
    assert flow("move", "--flow", "people").code == 0
    flow("flow", "set", "people", "stream.pets.include=", "--yes")
    assert "the scope 'ugc'" in flow("move", "--flow", "people").err


def test_revoking_stops_what_is_under_way_and_keeps_others_from_beginning(flow: CommandLine) -> None:
    approve_all(flow)

    async def begin() -> None:
        async with open_runtime(Settings()) as runtime:
            await begin_movement(runtime.flows, await runtime.flows.read_flow(FlowName("people")))

    anyio.run(begin)
    outcome = flow("revoke", "people", "--side", "destination", "--by", "Grace", "--reason", "the audit", "--json")
    assert outcome.code == 0
    (revoked,) = outcome.objects
    assert (revoked["stopped"], revoked["act"], revoked["reason"]) == (True, "revoke", "the audit")
    (listed,) = flow("flow", "list", "--json").objects
    assert listed["status"] in ("CANCELLED", "CANCELLATION_REQUESTED")
    refused = flow("move", "--flow", "people")
    assert refused.code == 1
    assert "which Grace revoked at" in refused.err
    approval = "`pipeline approve people --side destination --by NAME`"
    for said in (flow("pause", "people").err, flow("status").out, flow("stop", "people").err):
        assert approval in said
        assert "`pipeline start" not in said
    assert flow("revoke", "people", "--side", "destination", "--by", "Grace").code == 2
    assert flow("approve", "people", "--side", "destination", "--by", "Grace", "--yes").code == 0
    assert flow("move", "--flow", "people").code == 0


def test_without_approval_no_verb_leaves_a_movement_that_nobody_may_export(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "old.db")
    pipeline("flow", "create", "crm", "old.db", "copy.db")
    assert pipeline("move", "--flow", "crm").code == 0
    pipeline("start", "crm")
    pipeline("stop", "crm")
    change(pipeline.directory / "copy.db", "DELETE FROM people WHERE id = 3")
    assert pipeline("flow", "set", "crm", 'approvals.required=["source"]', "--yes").code == 0
    for command in (("rerun", "crm"), ("reload", "crm", "people"), ("verify", "crm", "--repair")):
        refused = pipeline(*command)
        assert (refused.code, "needs the approval of the source's side" in refused.err) == (1, True)
        (listed,) = pipeline("flow", "list", "--json").objects
        assert (listed["movement"], listed["status"]) == (2, "CANCELLED")


def test_a_movement_that_settles_at_that_moment_is_not_said_to_be_stopped(
    flow: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve_all(flow)

    async def begin() -> None:
        async with open_runtime(Settings()) as runtime:
            await begin_movement(runtime.flows, await runtime.flows.read_flow(FlowName("people")))

    anyio.run(begin)

    async def stop_too_late(name: str, *, reason: str, who: str, settings: Settings) -> object:
        async with open_runtime(settings) as runtime:
            movement = await runtime.flows.read_movement(FlowName(name), 1)
            await end_movement(runtime.flows, movement, Status.SUCCESS, Reason.NOTHING_TO_MOVE)
        return await wishes.stop(name, reason=reason, who=who, settings=settings)

    monkeypatch.setattr(approve, "stop", stop_too_late)
    outcome = flow("revoke", "people", "--side", "destination", "--by", "Grace")
    assert (outcome.code, "Revoked by Grace" in outcome.out, "stopped" in outcome.out) == (0, True, False)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("approve", "people", "--side", "source", "--by", " ", "--yes"), "Say who approves"),
        (("approve", "people", "--side", "source"), "Missing option '--by'"),
        (("approve", "people", "--by", "Ada"), "Missing option '--side'"),
        (("approve", "people", "--side", "both", "--by", "Ada"), "Invalid value for '--side'"),
        (("approve", "plain", "--side", "source", "--by", "Ada", "--yes"), "requires no approval of the source's side"),
        (("revoke", "people", "--side", "source", "--by", "Ada"), "nothing to revoke"),
    ],
)
def test_wrong_usage_is_one_message(flow: CommandLine, arguments: tuple[str, ...], reason: str) -> None:
    flow("flow", "create", "plain", "app.db", "other.db")
    outcome = flow(*arguments)
    assert outcome.code == 2
    assert reason in outcome.err
    assert not list(Path(".pipeline").rglob("approvals/*"))


def test_a_flow_without_approvals_reads_none() -> None:
    assert missing_approvals(FlowName("crm"), (), [], TERMS) == []


def approval(number: int, **changes: object) -> Approval:
    values: dict[str, object] = {
        "text_sha256": TERMS.text_sha256,
        "scopes": TERMS.scopes,
        "contract": "people/1",
        **changes,
    }
    return Approval(number, Side.SOURCE, Act.APPROVE, "Ada", MOMENT, **values)  # type: ignore[arg-type]


def test_the_latest_act_of_a_side_counts() -> None:
    revoked = Approval(2, Side.SOURCE, Act.REVOKE, "Ada", MOMENT, TERMS.text_sha256)
    required, name = (Side.SOURCE,), FlowName("crm")
    assert missing_approvals(name, required, [approval(1)], TERMS) == []
    assert missing_approvals(name, required, [revoked, approval(1)], TERMS)
    assert missing_approvals(name, required, [approval(3), revoked, approval(1)], TERMS) == []
    assert missing_approvals(name, required, [approval(1, scopes=("pii", "more"))], TERMS) == []
    assert missing_approvals(name, (Side.DESTINATION,), [approval(1)], TERMS)
    declared = ApprovalTerms((Side.SOURCE,), "text", ("link",))
    assert Terms.of(declared, {StreamName("a"): ("pii",), StreamName("b"): ()}, "people/1") == TERMS


async def test_two_acts_at_the_same_moment_are_both_kept() -> None:
    store = MemoryObjectStore()
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(record_approval, store, FlowName("crm"), approval(0))
    assert [act.number for act in await read_approvals(store, FlowName("crm"))] == [1, 2, 3, 4, 5]


def test_the_document_survives_a_round_trip_and_a_wrong_one_is_refused_by_name() -> None:
    act = approval(7, reason="why ü")
    assert decode_approval(encode_approval(act), "1.json") == act
    document = orjson.loads(encode_approval(act)) | {"side": "everybody"}
    with pytest.raises(DamagedError, match=r"1\.json"):
        decode_approval(orjson.dumps(document), "1.json")
