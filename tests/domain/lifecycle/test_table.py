"""The state machine of a Movement: the table, and the rules that people rely on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from pipeline.domain.errors import DefectError
from pipeline.domain.flows.declaration import Windows
from pipeline.domain.ids import FlowName, Label
from pipeline.domain.lifecycle.deadlines import Deadlines, may_rerun
from pipeline.domain.lifecycle.outcome import Counts, final_status
from pipeline.domain.lifecycle.status import RERUN, SENTENCES, SETTLED, Reason, Status
from pipeline.domain.lifecycle.table import LEGAL, NEXT, Facts, Verb, refusal, state_of, status_of
from pipeline.domain.lifecycle.wish import NO_WISH, Want, Wish
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.rejections import rejection_problem, shortened, without_accepted

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
CRM = Flow(FlowName("crm"), "app.db", "copy.db", NOW, movements=3)
MOVEMENT = Movement(CRM.name, 3, NOW, NOW)
PAUSE = Wish(Want.PAUSE, "ann@ops", NOW, "night")
STOP = Wish(Want.STOP, "bob@ops", NOW)


@pytest.mark.parametrize(
    ("outcome", "attempts", "want", "status"),
    [
        (None, 0, Want.RUN, Status.READY),
        (None, 1, Want.RUN, Status.IN_PROGRESS),
        (None, 0, Want.PAUSE, Status.PAUSED),
        (None, 7, Want.PAUSE, Status.PAUSED),
        (None, 0, Want.STOP, Status.CANCELLATION_REQUESTED),
        (None, 7, Want.STOP, Status.CANCELLATION_REQUESTED),
        *((one, attempts, want, one) for one in sorted(SETTLED) for attempts in (0, 1) for want in Want),
    ],
)
def test_the_status_follows_from_facts_and_wish(outcome: Status, attempts: int, want: Want, status: Status) -> None:
    assert status_of(outcome, attempts, want) is status


def test_every_combination_has_a_status_a_reason_and_a_sentence() -> None:
    outcomes = [(None, Reason.UNKNOWN), *((one, reason) for one in SETTLED for reason in SENTENCES)]
    wishes = [NO_WISH, PAUSE, STOP, replace(PAUSE, until=NOW - timedelta(1)), replace(PAUSE, until=NOW + timedelta(1))]
    for (outcome, because), attempts, wish, in_hand, silent in product(outcomes, (0, 2), wishes, (0, 3), ((), ("w",))):
        facts = Facts(outcome, because, attempts, wish, in_hand=in_hand, working=bool(in_hand), silent=silent)
        state = state_of(facts, NOW)
        assert state.sentence.endswith((".", "!"))
        assert state.status in SETTLED or outcome is None
        assert state.status is outcome or outcome is None


def test_every_settled_reason_has_a_sentence() -> None:
    shown_with_facts = {Reason.NOBODY_WORKS, Reason.PAUSING, Reason.PAUSED, Reason.GROUPS_PAUSED, Reason.STOPPING}
    assert SENTENCES.keys() == set(Reason) - shown_with_facts


@pytest.mark.parametrize(("status", "following"), list(product(sorted(SETTLED), Status)))
def test_settled_is_final(status: Status, following: Status) -> None:
    assert following not in NEXT[status]
    settled = replace(MOVEMENT, outcome=status)
    with pytest.raises(DefectError, match="cannot change"):
        settled.to(following, NOW)


def test_only_final_statuses_are_stored() -> None:
    for status in set(Status) - SETTLED:
        with pytest.raises(DefectError, match="cannot change"):
            MOVEMENT.to(status, NOW)


@pytest.mark.parametrize(
    ("verb", "legal"),
    [
        (Verb.PAUSE, {Status.READY, Status.IN_PROGRESS, Status.PAUSED}),
        (Verb.RESUME, {Status.READY, Status.IN_PROGRESS, Status.PAUSED}),
        (Verb.STOP, {Status.READY, Status.IN_PROGRESS, Status.PAUSED, Status.CANCELLATION_REQUESTED}),
        (Verb.RERUN, {Status.FAILED, Status.INCOMPLETE, Status.TIMED_OUT, Status.CANCELLED}),
        (Verb.RETRY, {Status.PAUSED, *SETTLED}),
        (Verb.RELOAD, SETTLED),
        (Verb.START, SETTLED),
        (Verb.QUEUE, set(Status)),
    ],
)
def test_each_verb_is_legal_in_its_statuses_alone(verb: Verb, legal: set[Status]) -> None:
    assert {status for status in Status if verb in LEGAL[status]} == legal
    assert {status for status in Status if refusal(verb, status, "crm", 3) is None} == legal


def test_an_illegal_verb_names_the_legal_ones() -> None:
    for verb, status in product(Verb, Status):
        said = refusal(verb, status, "crm", 3)
        if said is not None:
            assert f"Movement 3 of Flow 'crm' is {status}" in said
            commands = {one: f"`pipeline {one} crm{' STREAM' * (one is Verb.RELOAD)}`" for one in Verb}
            commands[Verb.QUEUE] = "`pipeline start crm --queue`"
            named = {one for one, command in commands.items() if command in said}
            would_not_wait = {Verb.QUEUE} if status in SETTLED else set()
            assert named == LEGAL[status] - would_not_wait != frozenset()
            assert ("which is final" in said) is (status in SETTLED)


def test_a_pause_shows_what_is_in_hand_until_nothing_is() -> None:
    busy = state_of(Facts(attempts=1, wish=PAUSE, in_hand=2, working=True), NOW)
    assert (busy.status, busy.reason) == (Status.IN_PROGRESS, Reason.PAUSING)
    assert "2 Event Files are in hand" in busy.sentence
    quiet = state_of(Facts(attempts=1, wish=PAUSE), NOW)
    assert (quiet.status, quiet.reason) == (Status.PAUSED, Reason.PAUSED)
    lives = state_of(Facts(attempts=1, wish=PAUSE, life_ends=NOW), NOW).sentence
    assert lives == f"{quiet.sentence} Its life ends at {NOW:%Y-%m-%d %H:%M} UTC, paused or not."
    assert "by ann@ops" in quiet.sentence
    assert "because: night" in quiet.sentence
    assert "`pipeline resume FLOW`" in quiet.sentence


def test_a_pause_ends_by_itself() -> None:
    wish = replace(PAUSE, until=NOW + timedelta(hours=4))
    assert state_of(Facts(attempts=1, wish=wish), NOW).status is Status.PAUSED
    assert state_of(Facts(attempts=1, wish=wish), NOW + timedelta(hours=4)).status is Status.IN_PROGRESS
    assert replace(STOP, until=NOW - timedelta(1)).at(NOW) is Want.STOP


def test_a_movement_that_nobody_works_on_is_shown_as_that_with_the_remedy() -> None:
    silent = state_of(Facts(attempts=1, silent=["host:7"], silent_seconds=40), NOW)
    left = state_of(Facts(attempts=1, silent_seconds=121, patience_seconds=120), NOW)
    for state in (silent, left):
        assert (state.status, state.reason) == (Status.IN_PROGRESS, Reason.NOBODY_WORKS)
        assert "Nobody works on it" in state.sentence
        assert "`pipeline worker all`" in state.sentence
    assert "host:7" in silent.sentence
    assert state_of(Facts(attempts=1, silent_seconds=119), NOW).reason is Reason.WORKING
    assert state_of(Facts(attempts=1, silent=["host:7"], working=True), NOW).reason is Reason.WORKING


def test_a_process_that_moved_alone_and_has_stopped_is_named_at_once() -> None:
    state = state_of(Facts(attempts=1, gone="host:7", silent_seconds=1), NOW)
    assert state.reason is Reason.NOBODY_WORKS
    assert "Process host:7 has stopped." in state.sentence
    assert state_of(Facts(attempts=1, gone="host:7", working=True), NOW).reason is Reason.WORKING


def test_a_movement_without_a_worker_says_how_to_start_one() -> None:
    state = state_of(Facts(silent_seconds=9999), NOW)
    assert (state.status, state.reason) == (Status.READY, Reason.WAITS_FOR_WORKER)
    assert "`pipeline worker all`" in state.sentence


def test_a_destination_that_refuses_everything_is_named_with_the_remedy() -> None:
    for facts in (Facts(attempts=1, refused="disk full"), Facts(attempts=1, refused="disk full", silent_seconds=9999)):
        state = state_of(facts, NOW)
        assert (state.status, state.reason) == (Status.IN_PROGRESS, Reason.DESTINATION_REFUSES)
        assert "disk full. Correct the cause" in state.sentence
        assert "`pipeline resume FLOW`" in state.sentence
    assert state_of(replace(facts, silent=["host:7"]), NOW).reason is Reason.NOBODY_WORKS
    assert state_of(replace(facts, wish=STOP), NOW).reason is Reason.STOPPING


def test_a_movement_that_waits_for_paused_groups_is_not_shown_as_left_alone() -> None:
    state = state_of(Facts(attempts=1, paused=["people"], silent_seconds=9999), NOW)
    assert (state.reason, "paused group people" in state.sentence) == (Reason.GROUPS_PAUSED, True)
    assert state_of(Facts(attempts=1, paused=["people"], silent=["host:7"]), NOW).reason is Reason.NOBODY_WORKS


def test_groups_of_which_something_is_wished_are_named() -> None:
    paused = state_of(Facts(attempts=1, paused=["people", "sales"]), NOW)
    stopped = state_of(Facts(attempts=1, stopped=["people"]), NOW)
    assert (paused.reason, "groups people, sales" in paused.sentence) == (Reason.GROUPS_PAUSED, True)
    assert "group people; it can only end INCOMPLETE" in stopped.sentence


def test_a_stop_shows_what_holds_it_up() -> None:
    in_hand = state_of(Facts(attempts=1, wish=STOP, in_hand=1, working=True), NOW)
    frozen = state_of(Facts(attempts=1, wish=STOP, silent=["host:7"]), NOW)
    nothing = state_of(Facts(attempts=1, wish=STOP), NOW)
    assert {one.status for one in (in_hand, frozen, nothing)} == {Status.CANCELLATION_REQUESTED}
    assert "1 Event File is in hand" in in_hand.sentence
    pulled = state_of(Facts(attempts=1, wish=STOP, in_hand=1, working=True, grace_ends=NOW), NOW).sentence
    assert f"or reported by the app that pulls it, and until {NOW:%Y-%m-%d %H:%M} UTC at most" in pulled
    assert "Worker host:7 held work, and shows no sign of life" in frozen.sentence
    assert "Nothing is in hand" in nothing.sentence


@pytest.mark.parametrize(
    ("counts", "status", "because"),
    [
        (Counts(), Status.SUCCESS, Reason.NOTHING_TO_MOVE),
        (Counts(skipped=9), Status.SUCCESS, Reason.NOTHING_TO_MOVE),
        (Counts(imported=1, skipped=9), Status.SUCCESS, Reason.ALL_IMPORTED),
        (Counts(imported=1, failed=1), Status.INCOMPLETE, Reason.FILES_FAILED),
        (Counts(skipped=1, failed=1), Status.INCOMPLETE, Reason.FILES_FAILED),
        (Counts(imported=1, rejected=1), Status.INCOMPLETE, Reason.RECORDS_REJECTED),
        (Counts(imported=1, violations=1), Status.INCOMPLETE, Reason.CONSTRAINTS_VIOLATED),
        (Counts(imported=1, gaps=1), Status.INCOMPLETE, Reason.OBJECTS_MISSING),
        (Counts(imported=1, held=1), Status.INCOMPLETE, Reason.DELETES_HELD),
        (Counts(imported=1, stopped=1), Status.INCOMPLETE, Reason.GROUPS_STOPPED),
        (Counts(failed=3, stopped=1), Status.INCOMPLETE, Reason.GROUPS_STOPPED),
        (Counts(failed=1), Status.FAILED, Reason.NOTHING_IMPORTED),
        (Counts(failed=9, refused=True), Status.FAILED, Reason.DESTINATION_REFUSES),
        (Counts(imported=1, failed=9, refused=True), Status.INCOMPLETE, Reason.DESTINATION_REFUSES),
        (Counts(imported=1, refused=True), Status.SUCCESS, Reason.ALL_IMPORTED),
        (Counts(imported=1, failed=9, stopped=1, refused=True), Status.INCOMPLETE, Reason.GROUPS_STOPPED),
        (Counts(failed=1, to_stop=True), Status.CANCELLED, Reason.STOPPED),
        (Counts(imported=1, failed=1, to_stop=True), Status.CANCELLED, Reason.STOPPED),
        (Counts(imported=1, to_stop=True), Status.SUCCESS, Reason.ALL_IMPORTED),
    ],
)
def test_the_final_status_follows_from_the_counts(counts: Counts, status: Status, because: Reason) -> None:
    assert final_status(counts) == (status, because)


def test_incomplete_is_a_full_citizen() -> None:
    assert Status.INCOMPLETE in SETTLED & RERUN
    assert LEGAL[Status.INCOMPLETE] == LEGAL[Status.FAILED]


def test_deadlines_are_judged_from_dates_of_the_store() -> None:
    deadlines = Deadlines(900, 14 * 86_400)
    sign = NOW - timedelta(seconds=900)
    assert deadlines.overdue(created=NOW, last_sign=sign, now=NOW) is None
    assert deadlines.overdue(created=NOW, last_sign=sign - timedelta(seconds=1), now=NOW) is Reason.NO_PROGRESS
    born = NOW - timedelta(days=14)
    assert deadlines.overdue(created=born, last_sign=None, now=NOW) is None
    assert deadlines.overdue(created=born - timedelta(seconds=1), last_sign=NOW, now=NOW) is Reason.TOO_OLD


def test_the_inactivity_clock_stops_while_paused_and_the_life_does_not() -> None:
    deadlines = Deadlines(900, 14 * 86_400)
    assert deadlines.overdue(created=NOW - timedelta(days=13), last_sign=None, now=NOW) is None
    assert deadlines.overdue(created=NOW - timedelta(days=15), last_sign=None, now=NOW) is Reason.TOO_OLD


def test_windows_of_a_flow_take_the_place_of_settings() -> None:
    def of(windows: Windows | None) -> Deadlines:
        return Deadlines.of(windows, idle_timeout_seconds=60, lifetime_seconds=3600)

    assert of(None) == of(Windows()) == Deadlines(60, 3600, 3600)
    assert of(Windows(inactivity_seconds=5, life_days=2, stop_grace_seconds=7)) == Deadlines(5, 172_800, 7)


@pytest.mark.parametrize(("days", "may"), [(0, True), (11.99, True), (12, True), (12.01, False), (13, False)])
def test_a_rerun_is_allowed_for_twelve_days(days: float, may: bool) -> None:
    assert may_rerun(NOW - timedelta(days=days), NOW, Windows().rerun_days) is may


def test_a_movement_names_the_groups_of_which_something_is_wished() -> None:
    movement = replace(MOVEMENT, group_wishes={Label("b"): STOP, Label("a"): STOP, Label("c"): PAUSE})
    assert movement.groups_that(Want.STOP) == ("a", "b")
    assert movement.groups_that(Want.PAUSE) == ("c",)


def test_problems_of_accepted_records_are_taken_away_and_the_others_counted() -> None:
    problems = [rejection_problem("1/a/full/0", line, f"[{line}]", "bad") for line in range(1, 131)]
    stored = shortened(["a: it is missing", *problems])
    assert stored[-1] == "… and 31 more"
    accepted = {("1/a/full/0", line): f"[{line}]" for line in range(90, 131)}
    left = without_accepted(stored, accepted)
    assert left == ("a: it is missing", *problems[:89])
    assert without_accepted(stored, dict(list(accepted.items())[:1]))[-1] == "… and 31 more"
    everything = {("1/a/full/0", line): f"[{line}]" for line in range(1, 131)}
    assert without_accepted(stored, everything) == ("a: it is missing",)
