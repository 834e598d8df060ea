"""What can be done about the latest Movement of a Flow: no message offers what would be refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

import pytest

from pipeline.domain.flows.declaration import Declaration, Side, Windows
from pipeline.domain.ids import FlowName, ObjectKey, StreamName
from pipeline.domain.lifecycle.status import RERUN, SENTENCES, Reason, Status
from pipeline.domain.lifecycle.table import Facts, Verb, state_of
from pipeline.domain.lifecycle.wish import NO_WISH, Want, Wish
from pipeline.domain.movement import Choices, Flow, Movement, QueuedStart, Totals
from pipeline.domain.planning.next_steps import NextSteps
from pipeline.domain.rejections import SourceRejections
from tests.domain.lifecycle.test_table import CRM, MOVEMENT, NOW, PAUSE, STOP

REJECTED = replace(MOVEMENT, outcome=Status.INCOMPLETE, because=Reason.RECORDS_REJECTED, updated=NOW)


def sentence(movement: Movement, now: datetime = NOW, flow: Flow = CRM, missing: Sequence[Side] = ()) -> str:
    """The sentence of a Movement that has settled."""
    return state_of(NextSteps(movement, now, flow, missing).facts, now).sentence


def test_the_remedy_for_rejected_records_depends_on_where_they_are() -> None:
    both = replace(REJECTED, totals=Totals(rejected=5), rejections=SourceRejections(count=2))
    assert "`pipeline retry crm` tries them again" in sentence(both)
    at_source = replace(both, totals=Totals(rejected=2))
    assert "Correct them there; then `pipeline rerun crm` moves them" in sentence(at_source)
    none = replace(both, totals=Totals(), rejections=SourceRejections())
    assert "none is left to retry. `pipeline rerun crm` finds out" in sentence(none)
    for movement in (at_source, none):
        assert "pipeline retry" not in sentence(movement)
        assert "retry" not in (NextSteps(movement, NOW, CRM).refusal(Verb.PAUSE) or "")
    assert "`pipeline retry crm`" in (NextSteps(both, NOW, CRM).refusal(Verb.PAUSE) or "")


@pytest.mark.parametrize("because", [Reason.NO_PROGRESS, Reason.TOO_OLD, Reason.STOPPED, Reason.FILES_FAILED])
def test_a_rerun_is_offered_only_while_it_is_allowed(because: Reason) -> None:
    settled = replace(MOVEMENT, outcome=Status.TIMED_OUT, because=because, updated=NOW)
    forbidden = replace(settled, windows=Windows(reruns=False))
    derived = replace(settled, origin=FlowName("erp"))
    later = NOW + timedelta(days=13)
    assert "`pipeline rerun crm` moves what is missing" in sentence(settled)
    assert "`pipeline rerun crm`" in (NextSteps(settled, NOW, CRM).refusal(Verb.STOP) or "")
    for movement, now in ((forbidden, NOW), (settled, later), (derived, NOW)):
        said = sentence(movement, now) + (
            NextSteps(movement, now, CRM).refusal(Verb.STOP) or "nothing is refused: rerun"
        )
        assert "rerun" not in said
    assert "`pipeline start crm` moves what is missing" in sentence(settled, later)
    assert "`pipeline flow import crm` moves what is missing" in sentence(derived)
    assert "reload" not in (NextSteps(derived, NOW, CRM).refusal(Verb.STOP) or "")


def test_no_verb_is_offered_that_the_flow_or_what_is_stored_would_refuse() -> None:
    paused = replace(MOVEMENT, wish=Wish(Want.PAUSE, "ann"))
    assert "retry" not in (NextSteps(paused, NOW, CRM).refusal(Verb.START) or "")
    assert "`pipeline retry crm`" in (
        NextSteps(replace(paused, totals=Totals(rejected=1)), NOW, CRM).refusal(Verb.START) or ""
    )
    queued = replace(CRM, queued=QueuedStart(NOW, "ann", Choices(exclude=("logs",))))
    assert "`pipeline start crm --queue`" in (NextSteps(MOVEMENT, NOW, CRM).refusal(Verb.START) or "")
    assert "queue" not in (NextSteps(MOVEMENT, NOW, queued).refusal(Verb.START) or "")
    settled = replace(MOVEMENT, outcome=Status.CANCELLED, because=Reason.STOPPED, updated=NOW)
    assert "reload" not in (NextSteps(settled, NOW, CRM).refusal(Verb.STOP) or "")
    moved = replace(settled, states={StreamName("people"): ObjectKey("state")})
    assert "`pipeline reload crm STREAM`" in (NextSteps(moved, NOW, CRM).refusal(Verb.STOP) or "")
    no_reruns = replace(CRM, declared=Declaration(windows=Windows(reruns=False)))
    assert "rerun" not in (NextSteps(moved, NOW, no_reruns).refusal(Verb.STOP) or "")


def test_what_the_flow_declares_now_counts_in_the_sentence_too() -> None:
    settled = replace(MOVEMENT, outcome=Status.INCOMPLETE, because=Reason.FILES_FAILED, updated=NOW)
    no_reruns = replace(CRM, declared=Declaration(windows=Windows(reruns=False)))
    assert "`pipeline start crm` moves what is missing" in sentence(settled, flow=no_reruns)


def test_a_movement_of_one_process_is_moved_again_by_one_process() -> None:
    alone = replace(MOVEMENT, outcome=Status.INCOMPLETE, because=Reason.FILES_FAILED, updated=NOW, attempts=1)
    later = NOW + timedelta(days=13)
    assert "`pipeline move --flow crm` moves what is missing" in sentence(alone, later)
    assert "`pipeline start crm` moves what is missing" in sentence(replace(alone, exporter="host:7"), later)


def test_without_an_approval_no_new_movement_is_offered_and_the_approval_is() -> None:
    both = (Side.SOURCE, Side.DESTINATION)
    settled = replace(
        MOVEMENT,
        outcome=Status.CANCELLED,
        because=Reason.STOPPED,
        updated=NOW,
        states={StreamName("people"): ObjectKey("state")},
        totals=Totals(rejected=1),
    )
    steps = NextSteps(settled, NOW, CRM, both)
    assert steps.legal == {Verb.RETRY}
    said = steps.refusal(Verb.STOP) or ""
    assert "You can use `pipeline retry crm`. A new Movement needs an approval first: " in said
    for side in both:
        assert f"`pipeline approve crm --side {side.value} --by NAME`" in said
    assert "`pipeline rerun crm` (after `pipeline approve crm --side source --by NAME`) moves" in sentence(
        settled, missing=both[:1]
    )
    assert "--queue" not in (NextSteps(MOVEMENT, NOW, CRM, both).refusal(Verb.START) or "")
    nothing_left = replace(settled, totals=Totals())
    assert "You can use" not in (NextSteps(nothing_left, NOW, CRM, both).refusal(Verb.STOP) or "You can use")


def test_every_command_of_a_sentence_names_the_flow() -> None:
    outcomes = [(None, Reason.UNKNOWN), *product(sorted(RERUN), SENTENCES)]
    wishes = (NO_WISH, PAUSE, STOP)
    for (outcome, because), wish, busy, paused in product(outcomes, wishes, (False, True), ((), ("people",))):
        facts = Facts(outcome, because, 1, wish, paused, working=busy, silent_seconds=999, again="", flow="'our crm'")
        for command in re.findall(r"`(pipeline [^`]+)`", state_of(facts, NOW).sentence):
            assert "'our crm'" in command or command == "pipeline worker all"
    spaced = replace(MOVEMENT, flow=FlowName("our crm"))
    assert "`pipeline pause 'our crm'`" in (NextSteps(spaced, NOW, CRM).refusal(Verb.START) or "")
