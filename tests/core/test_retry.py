"""Is a call tried again exactly when its campaign says so?"""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from zvonar.core.errors import SettingsInvalid
from zvonar.core.result import Cause, Disposition, Outcome, ScriptResult
from zvonar.core.retry import DEFAULT_RULES, KIN, MAX_INTERVAL, RULE_NAMES, RetryPolicy, RetryRule, rule_name

from .worlds import NOW, answered, outcome, outcomes, policies

EVERY = [
    Outcome(disposition=d, script_result=s)
    for d in Disposition
    for s in (ScriptResult if d is Disposition.answered else [ScriptResult.none])
]
RETRIED_BY_DEFAULT = {
    "busy",
    "no_answer",
    "declined",
    "unreachable",
    "congestion",
    "failed",
    "answered/machine",
}


def test_defaults_retry_what_may_pass_and_nothing_that_was_heard() -> None:
    policy = RetryPolicy(max_attempts=5)
    wanted = {rule_name(o) for o in EVERY if policy.wants(o)}
    assert wanted == RETRIED_BY_DEFAULT


@pytest.mark.parametrize("name", ["lost", "answered/none"])
def test_who_may_have_heard_us_is_not_called_again_by_default(name: str) -> None:
    assert RetryPolicy(max_attempts=9).retry_at(outcome(name), history=(), now=NOW) is None


def test_every_default_names_an_outcome() -> None:
    assert {rule_name(o) for o in EVERY} >= set(DEFAULT_RULES)
    short = Outcome(disposition=Disposition.answered, cause=Cause.too_short_talk)
    assert set(RULE_NAMES) == {rule_name(o) for o in (*EVERY, short)} - {"answered/none"}


@given(attempt=outcomes, on=st.booleans())
def test_a_campaigns_own_rule_replaces_the_default(attempt: Outcome, on: bool) -> None:
    policy = RetryPolicy(max_attempts=2, rules={rule_name(attempt): RetryRule(on=on)})
    assert policy.wants(attempt) == (on and not attempt.succeeded)


@given(attempt=outcomes, policy=policies, history=st.lists(outcomes, max_size=10).map(tuple))
def test_a_retry_is_within_the_maximum_the_tries_and_at_the_interval(
    attempt: Outcome, policy: RetryPolicy, history: tuple[Outcome, ...]
) -> None:
    rule = policy.rule(attempt)
    alike = sum(ruled_by(policy, past) == ruled_by(policy, attempt) for past in (*history, attempt))
    allowed = (
        rule.on
        and not attempt.succeeded
        and len(history) + 1 < policy.max_attempts
        and (rule.tries is None or alike < rule.tries)
    )
    found = policy.retry_at(attempt, history=history, now=NOW)
    assert (found is not None) == allowed
    if found is not None:
        interval = policy.interval if rule.interval is None else rule.interval
        backoff = policy.backoff if rule.backoff is None else rule.backoff
        waited = timedelta(seconds=min(MAX_INTERVAL, int(interval * backoff ** (alike - 1))))
        assert found == NOW + max(waited, timedelta(seconds=interval))


def ruled_by(policy: RetryPolicy, attempt: Outcome) -> str:
    """Under which name an outcome is counted: its own, unless only its kin has a rule."""
    name = rule_name(attempt)
    kin = KIN.get(name)
    return kin if kin in policy.rules and name not in policy.rules else name


@pytest.mark.parametrize(
    ("rule", "kin"),
    [
        ("busy", ["busy", "declined"]),
        ("no_answer", ["no_answer", "unreachable"]),
        ("failed", ["failed", "congestion"]),
        ("voicemail", ["answered/machine"]),
    ],
)
def test_what_operators_tell_apart_speaks_for_its_kin(rule: str, kin: list[str]) -> None:
    policy = RetryPolicy(max_attempts=9, rules={rule: RetryRule(tries=2, interval=7)}).checked()
    for name in kin:
        assert policy.retry_at(outcome(name), history=(), now=NOW) == NOW + timedelta(seconds=7)
        # All of them together have these tries.
        assert policy.retry_at(outcome(name), history=(outcome(kin[0]),), now=NOW) is None
        own = RetryPolicy(max_attempts=9, rules={**policy.rules, name: RetryRule(on=False)})
        assert not own.wants(outcome(name))
    others = {rule_name(o) for o in EVERY if policy.wants(o)} - set(kin)
    assert others == RETRIED_BY_DEFAULT - set(kin)
    for name in others:
        assert policy.retry_at(outcome(name), history=(), now=NOW) == NOW + timedelta(seconds=3600)


def test_each_further_try_waits_longer_by_the_back_off() -> None:
    rules = {"busy": RetryRule(interval=60, backoff=Decimal(2)), "no_answer": RetryRule(backoff=Decimal(1))}
    policy = RetryPolicy(max_attempts=50, interval=600, backoff=Decimal("1.5"), rules=rules).checked()

    def waits(name: str, before: int) -> float:
        at = policy.retry_at(outcome(name), history=(outcome(name),) * before, now=NOW)
        assert at is not None
        return (at - NOW).total_seconds()

    assert [waits("busy", n) for n in range(4)] == [60, 120, 240, 480]
    assert [waits("failed", n) for n in range(3)] == [600, 900, 1350]
    assert [waits("no_answer", n) for n in range(3)] == [600, 600, 600]
    assert waits("busy", 45) == MAX_INTERVAL


@given(policy=policies, attempts=st.integers(1, 8), chosen=st.lists(answered, min_size=8, max_size=8))
def test_no_call_is_answered_more_often_than_is_said_beforehand(
    policy: RetryPolicy, attempts: int, chosen: list[Outcome]
) -> None:
    history: tuple[Outcome, ...] = ()
    allowed = structs.replace(policy, max_attempts=attempts)
    for attempt in chosen:
        again = allowed.retry_at(attempt, history=history, now=NOW)
        history = (*history, attempt)
        if again is None:
            break
    assert len(history) <= allowed.paid_at_most(attempts) <= attempts


def test_tries_count_only_outcomes_of_their_own_kind() -> None:
    policy = RetryPolicy(max_attempts=10, rules={"busy": RetryRule(tries=2)})
    busy, silent = outcome("busy"), outcome("no_answer")
    assert policy.retry_at(busy, history=(silent, silent), now=NOW) is not None
    assert policy.retry_at(busy, history=(busy, silent), now=NOW) is None
    assert policy.retry_at(silent, history=(busy, busy), now=NOW) is not None


def test_an_interval_of_zero_is_an_interval() -> None:
    policy = RetryPolicy(max_attempts=2, interval=60, rules={"busy": RetryRule(interval=0)})
    assert policy.retry_at(outcome("busy"), history=(), now=NOW) == NOW


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(max_attempts=0),
        RetryPolicy(max_attempts=101),
        RetryPolicy(interval=-1),
        RetryPolicy(interval=MAX_INTERVAL + 1),
        RetryPolicy(interval=10**30),
        RetryPolicy(rules={"bussy": RetryRule()}),
        RetryPolicy(rules={"answered": RetryRule()}),
        RetryPolicy(rules={"answered/none": RetryRule()}),
        RetryPolicy(rules={"busy": RetryRule(interval=-1)}),
        RetryPolicy(rules={"busy": RetryRule(interval=10**30)}),
        RetryPolicy(rules={"busy": RetryRule(tries=0)}),
        RetryPolicy(rules={"busy": RetryRule(backoff=Decimal("0.5"))}),
        RetryPolicy(rules={"voicemail": RetryRule(backoff=Decimal("NaN"))}),
        RetryPolicy(backoff=Decimal(11)),
        RetryPolicy(rules={"busy": RetryRule(tries=101)}),
    ],
)
def test_settings_without_sense_are_refused(policy: RetryPolicy) -> None:
    with pytest.raises(SettingsInvalid):
        policy.checked()


@given(policies)
def test_settings_with_sense_are_accepted_as_they_are(policy: RetryPolicy) -> None:
    assert policy.checked() is policy
