"""What may come in? Strategies that the laws of several modules share."""

from datetime import UTC, date, datetime, time

from hypothesis import strategies as st

from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.core.retry import (
    MAX_ATTEMPTS,
    MAX_BACKOFF,
    MAX_INTERVAL,
    RULE_NAMES,
    VOICEMAIL,
    RetryPolicy,
    RetryRule,
)
from zvonar.core.schedule import Window

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

instants = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))
any_instants = st.datetimes(timezones=st.just(UTC))

unanswered = st.builds(Outcome, disposition=st.sampled_from([d for d in Disposition if d != "answered"]))
answered = st.builds(
    Outcome, disposition=st.just(Disposition.answered), script_result=st.sampled_from(ScriptResult)
)
outcomes = unanswered | answered

_backoffs = st.decimals(1, MAX_BACKOFF, places=1)
rules = st.builds(
    RetryRule,
    on=st.booleans(),
    interval=st.none() | st.integers(0, MAX_INTERVAL),
    tries=st.none() | st.integers(1, MAX_ATTEMPTS),
    backoff=st.none() | _backoffs,
)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 8),
    interval=st.integers(0, MAX_INTERVAL),
    backoff=_backoffs,
    rules=st.dictionaries(st.sampled_from(sorted(map(str, {*RULE_NAMES, VOICEMAIL}))), rules, max_size=4),
)

_clocks = st.times().map(lambda t: t.replace(microsecond=0, fold=0)) | st.sampled_from(
    [time(h, m) for h in (0, 1, 2, 3, 9, 20, 23) for m in (0, 15, 30, 59)]
)
_days = st.none() | st.dates(date(2024, 1, 1), date(2027, 12, 31))
windows = st.builds(
    Window,
    start=_clocks,
    end=_clocks,
    weekdays=st.sets(st.integers(1, 7), min_size=1).map(lambda days: tuple(sorted(days))),
    date_from=_days,
    date_till=_days,
    holidays=st.lists(st.dates(date(2024, 1, 1), date(2027, 12, 31)), max_size=5).map(tuple),
)


def outcome(name: str) -> Outcome:
    """The outcome that a rule's name means: "busy", "answered/hung_up"."""
    disposition, _, script_result = name.partition("/")
    return Outcome(
        disposition=Disposition(disposition), script_result=ScriptResult(script_result or ScriptResult.none)
    )
