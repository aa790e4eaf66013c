"""When an attempt fails: should the call be tried again? And when?

One rule per disposition, and per script result for answered attempts; an overall maximum above them.
"""

from datetime import datetime, timedelta

from msgspec import Struct, field

from zvonar.core.errors import SettingsInvalid
from zvonar.core.result import Cause, Disposition, Outcome, ScriptResult

MAX_ATTEMPTS = 100
MAX_INTERVAL = 30 * 86400  # seconds
TOO_SHORT = "too_short"  # answered, whatever the script says, and over before it counted


class RetryRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do after one kind of outcome."""

    on: bool = True
    interval: int | None = None  # seconds until the next attempt; the policy's own unless given
    tries: int | None = None  # attempts that may end this way; the policy's maximum unless given


_OFF = RetryRule(on=False)
DEFAULT_RULES: dict[str, RetryRule] = {
    Disposition.invalid_number: _OFF,
    Disposition.blocked: _OFF,
    Disposition.no_money: _OFF,
    Disposition.no_route: _OFF,
    Disposition.synth_failed: _OFF,
    Disposition.cancelled: _OFF,
    Disposition.lost: _OFF,  # the callee may have heard us: only a campaign that says so calls again
    f"answered/{ScriptResult.none}": _OFF,  # settled after a crash: somebody answered, no more is known
    f"answered/{ScriptResult.hung_up}": _OFF,
    f"answered/{ScriptResult.invalid_input}": _OFF,
    f"answered/{ScriptResult.pin_wrong}": _OFF,
    f"answered/{ScriptResult.max_time}": _OFF,
    f"answered/{ScriptResult.error}": _OFF,
}


class RetryPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A campaign's retry settings."""

    max_attempts: int = 1  # attempts of one call, all outcomes together
    interval: int = 3600  # seconds between attempts
    rules: dict[str, RetryRule] = field(default_factory=dict)  # "busy", "answered/machine", … → rule

    def checked(self) -> "RetryPolicy":
        """Self, or SettingsInvalid naming the first setting that makes no sense."""
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise SettingsInvalid(f"max_attempts is 1 to {MAX_ATTEMPTS}.")
        if not 0 <= self.interval <= MAX_INTERVAL:
            raise SettingsInvalid(f"retry interval is 0 to {MAX_INTERVAL} seconds.")
        for name, rule in self.rules.items():
            if name not in RULE_NAMES:
                raise SettingsInvalid(f"there is no outcome {name!r} to retry.")
            if rule.interval is not None and not 0 <= rule.interval <= MAX_INTERVAL:
                raise SettingsInvalid(f"the interval of {name} is 0 to {MAX_INTERVAL} seconds.")
            if rule.tries is not None and not 1 <= rule.tries <= MAX_ATTEMPTS:
                raise SettingsInvalid(f"the tries of {name} are 1 to {MAX_ATTEMPTS}.")
        return self

    def rule(self, outcome: Outcome) -> RetryRule:
        """The rule for this outcome: the campaign's, else the default, else "retry"."""
        name = rule_name(outcome)
        return self.rules.get(name) or DEFAULT_RULES.get(name) or RetryRule()

    def wants(self, outcome: Outcome) -> bool:
        """Whether this kind of outcome is retried at all."""
        return not outcome.succeeded and self.rule(outcome).on

    def retry_at(self, outcome: Outcome, *, history: tuple[Outcome, ...], now: datetime) -> datetime | None:
        """When to try again, or None. `history`: earlier outcomes of the call, this one excluded."""
        rule = self.rule(outcome)
        if outcome.succeeded or not rule.on or len(history) + 1 >= self.max_attempts:
            return None
        alike = 1 + sum(rule_name(past) == rule_name(outcome) for past in history)
        if rule.tries is not None and alike >= rule.tries:
            return None
        interval = self.interval if rule.interval is None else rule.interval
        # Saturates: at the calendar's end there is no later instant to retry at.
        return now + min(timedelta(seconds=interval), datetime.max - now.replace(tzinfo=None))


def rule_name(outcome: Outcome) -> str:
    """The key of an outcome among the rules: "busy", "answered/hung_up", or "too_short"."""
    if outcome.cause is Cause.too_short_talk:
        return TOO_SHORT
    if outcome.disposition is Disposition.answered:
        return f"answered/{outcome.script_result}"
    return str(outcome.disposition)


RULE_NAMES = (
    frozenset(d for d in Disposition if d is not Disposition.answered)
    | frozenset(f"answered/{s}" for s in ScriptResult if s is not ScriptResult.none)
    | {TOO_SHORT}
)
