"""Does a call walk from left to right and never back?"""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.call import FINAL, LEASABLE, OPEN, CallState, Next, after_attempt, check
from zvonar.core.errors import IllegalTransition
from zvonar.core.result import CallEnd, Disposition, Outcome
from zvonar.core.retry import RetryPolicy, RetryRule

from .worlds import NOW, any_instants, outcome, outcomes, policies

PATIENT = RetryPolicy(max_attempts=3, interval=60)

LEGAL = {
    "queued": {"dialing", "finished", "removed", "blocked", "expired"},
    "dialing": {"talking", "waiting", "finished", "queued"},
    "talking": {"waiting", "finished"},
    "waiting": {"dialing", "finished", "removed", "blocked", "expired"},
}


def after(
    attempt: Outcome,
    *,
    policy: RetryPolicy = PATIENT,
    history: tuple[Outcome, ...] = (),
    now: datetime = NOW,
    removing: bool = False,
    expires_at: datetime | None = None,
) -> Next:
    return after_attempt(
        attempt, policy=policy, history=history, now=now, removing=removing, expires_at=expires_at
    )


@pytest.mark.parametrize(("before", "then"), list(product(CallState, CallState)))
def test_exactly_the_drawn_arrows_are_legal(before: CallState, then: CallState) -> None:
    if then in LEGAL.get(before, ()):
        assert check(before, then) is then
    else:
        with pytest.raises(IllegalTransition):
            check(before, then)


@pytest.mark.parametrize("final", sorted(FINAL))
def test_a_final_state_is_never_left(final: CallState) -> None:
    assert final.final
    for then in CallState:
        with pytest.raises(IllegalTransition):
            check(final, then)


def test_states_are_final_or_open_and_only_open_ones_are_leased() -> None:
    assert set(CallState) == FINAL | OPEN
    assert not FINAL & OPEN
    assert LEASABLE < OPEN


maybe_instants = st.none() | any_instants


@given(
    attempt=outcomes,
    policy=policies,
    history=st.lists(outcomes, max_size=8).map(tuple),
    now=any_instants,
    removing=st.booleans(),
    expires_at=maybe_instants,
)
def test_what_follows_an_attempt_is_legal_and_complete(
    attempt: Outcome,
    policy: RetryPolicy,
    history: tuple[Outcome, ...],
    now: datetime,
    removing: bool,
    expires_at: datetime | None,
) -> None:
    then = after(attempt, policy=policy, history=history, now=now, removing=removing, expires_at=expires_at)
    during = CallState.talking if attempt.disposition == "answered" else CallState.dialing
    assert check(during, then.state) is then.state
    assert (then.call_end is not None) == then.state.final
    assert (then.due_at is not None) == (then.state is CallState.waiting)
    if then.due_at is not None:
        assert then.due_at >= now
        assert expires_at is None or then.due_at < expires_at
        assert not removing


@given(attempts=st.lists(outcomes, min_size=10, max_size=10), policy=policies)
def test_attempts_never_exceed_the_maximum_and_the_call_always_ends(
    attempts: list[Outcome], policy: RetryPolicy
) -> None:
    state, now = CallState.queued, NOW
    history: tuple[Outcome, ...] = ()
    for attempt in attempts:
        state = check(state, CallState.dialing)
        if attempt.disposition == "answered":
            state = check(state, CallState.talking)
        then = after(attempt, policy=policy, history=history, now=now)
        state = check(state, then.state)
        history = (*history, attempt)
        if state.final:
            break
        assert then.due_at is not None
        now = then.due_at
    assert state.final
    assert len(history) <= policy.max_attempts


@given(attempt=outcomes, policy=policies, history=st.lists(outcomes, max_size=3).map(tuple))
def test_removal_is_honoured_unless_the_attempt_succeeded(
    attempt: Outcome, policy: RetryPolicy, history: tuple[Outcome, ...]
) -> None:
    then = after(attempt, policy=policy, history=history, removing=True)
    assert then.call_end == (CallEnd.success if attempt.succeeded else CallEnd.removed)


@given(attempt=outcomes, policy=policies, removing=st.booleans(), expires_at=maybe_instants)
def test_success_is_success_whatever_else_holds(
    attempt: Outcome, policy: RetryPolicy, removing: bool, expires_at: datetime | None
) -> None:
    then = after(attempt, policy=policy, removing=removing, expires_at=expires_at)
    assert (then.call_end is CallEnd.success) == attempt.succeeded


@pytest.mark.parametrize(
    ("name", "end"),
    [("no_money", CallEnd.no_money), ("blocked", CallEnd.stopped), ("cancelled", CallEnd.stopped)],
)
def test_what_no_retry_can_change_ends_the_call_even_where_a_rule_retries_it(name: str, end: CallEnd) -> None:
    policy = RetryPolicy(max_attempts=9, rules={name: RetryRule(on=True)})
    assert after(outcome(name), policy=policy) == Next(state=CallState.finished, call_end=end)


@pytest.mark.parametrize(
    ("history", "last", "max_attempts", "end"),
    [
        ((), "busy", 1, "attempts_exhausted"),
        (("busy", "busy"), "no_answer", 3, "attempts_exhausted"),
        ((), "answered/hung_up", 3, "unsuccessful"),
        ((), "invalid_number", 3, "unsuccessful"),
        (("busy",), "answered/hung_up", 3, "unsuccessful"),  # attempts were left: nothing was exhausted
        (("busy",), "invalid_number", 3, "unsuccessful"),
        (("busy", "busy"), "answered/pin_wrong", 3, "unsuccessful"),
    ],
)
def test_attempts_are_exhausted_only_where_another_would_have_been_wanted(
    history: tuple[str, ...], last: str, max_attempts: int, end: str
) -> None:
    then = after(
        outcome(last),
        policy=RetryPolicy(max_attempts=max_attempts),
        history=tuple(map(outcome, history)),
    )
    assert then.call_end == end


@pytest.mark.parametrize(
    ("lifetime", "expected"), [(59, "expired"), (60, "expired"), (61, None), (-10_000, "expired")]
)
def test_a_call_expires_when_its_retry_would_come_too_late(lifetime: int, expected: str | None) -> None:
    then = after(outcome("busy"), expires_at=NOW + timedelta(seconds=lifetime))
    assert then.call_end == expected


@pytest.mark.parametrize("edge", [datetime.min, datetime.max])
def test_the_ends_of_the_calendar_are_times_like_others(edge: datetime) -> None:
    edge = edge.replace(tzinfo=UTC)
    assert after(outcome("busy"), expires_at=edge).state == (
        CallState.waiting if edge > NOW else CallState.finished
    )
    assert after(outcome("busy"), now=edge, expires_at=edge).call_end is CallEnd.expired


def test_every_disposition_leads_somewhere() -> None:
    assert {after(Outcome(disposition=d)).state for d in Disposition} == {"waiting", "finished"}
