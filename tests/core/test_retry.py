"""Is a call tried again exactly when its campaign says so?"""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.errors import SettingsInvalid
from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.core.retry import DEFAULT_RULES, MAX_INTERVAL, RULE_NAMES, RetryPolicy, RetryRule, rule_name

from .worlds import NOW, outcome, outcomes, policies

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
    assert set(RULE_NAMES) == {rule_name(o) for o in EVERY} - {"answered/none"}


@given(attempt=outcomes, on=st.booleans())
def test_a_campaigns_own_rule_replaces_the_default(attempt: Outcome, on: bool) -> None:
    policy = RetryPolicy(max_attempts=2, rules={rule_name(attempt): RetryRule(on=on)})
    assert policy.wants(attempt) == (on and not attempt.succeeded)


@given(attempt=outcomes, policy=policies, history=st.lists(outcomes, max_size=10).map(tuple))
def test_a_retry_is_within_the_maximum_the_tries_and_at_the_interval(
    attempt: Outcome, policy: RetryPolicy, history: tuple[Outcome, ...]
) -> None:
    rule = policy.rule(attempt)
    alike = sum(rule_name(past) == rule_name(attempt) for past in (*history, attempt))
    allowed = (
        rule.on
        and not attempt.succeeded
        and len(history) + 1 < policy.max_attempts
        and (rule.tries is None or alike < rule.tries)
    )
    interval = policy.interval if rule.interval is None else rule.interval
    expected = NOW + timedelta(seconds=interval) if allowed else None
    assert policy.retry_at(attempt, history=history, now=NOW) == expected


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
        RetryPolicy(rules={"busy": RetryRule(tries=101)}),
    ],
)
def test_settings_without_sense_are_refused(policy: RetryPolicy) -> None:
    with pytest.raises(SettingsInvalid):
        policy.checked()


@given(policies)
def test_settings_with_sense_are_accepted_as_they_are(policy: RetryPolicy) -> None:
    assert policy.checked() is policy
