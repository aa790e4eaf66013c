"""When an attempt fails: should the call be tried again? And when?

One rule per disposition, and per script result for answered attempts; an overall maximum above them. Four rules stand
for what operators tell apart, and speak for their kin unless these have a rule of their own: busy, no_answer, voicemail
and failed.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from msgspec import Struct, field

from zvonar.core.errors import SettingsInvalid
from zvonar.core.result import Cause, Disposition, Outcome, ScriptResult

MAX_ATTEMPTS = 100
MAX_INTERVAL = 30 * 86400  # seconds
TOO_SHORT = "too_short"  # answered, whatever the script says, and over before it counted
MAX_BACKOFF = 10
VOICEMAIL = "voicemail"
# Whose rule an outcome follows that has none of its own.
KIN: dict[str, str] = {
    Disposition.declined: Disposition.busy,
    Disposition.unreachable: Disposition.no_answer,
    Disposition.congestion: Disposition.failed,
    f"answered/{ScriptResult.machine}": VOICEMAIL,
}


class RetryRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do after one kind of outcome."""

    on: bool = True
    interval: int | None = None  # seconds until the next attempt; the policy's own unless given
    tries: int | None = None  # attempts that may end this way; the policy's maximum unless given
    backoff: Decimal | None = None  # factor of the interval after each further one; the policy's unless given


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
    backoff: Decimal = Decimal(1)  # factor of the interval each time an attempt ends as an earlier one did
    rules: dict[str, RetryRule] = field(default_factory=dict)  # "busy", "answered/machine", … → rule

    def checked(self) -> "RetryPolicy":
        """Self, or SettingsInvalid naming the first setting that makes no sense."""
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise SettingsInvalid(f"max_attempts is 1 to {MAX_ATTEMPTS}.")
        if not 0 <= self.interval <= MAX_INTERVAL:
            raise SettingsInvalid(f"retry interval is 0 to {MAX_INTERVAL} seconds.")
        _check_backoff("backoff", self.backoff)
        for name, rule in self.rules.items():
            if name not in RULE_NAMES and name != VOICEMAIL:
                raise SettingsInvalid(f"there is no outcome {name!r} to retry.")
            if rule.interval is not None and not 0 <= rule.interval <= MAX_INTERVAL:
                raise SettingsInvalid(f"the interval of {name} is 0 to {MAX_INTERVAL} seconds.")
            if rule.tries is not None and not 1 <= rule.tries <= MAX_ATTEMPTS:
                raise SettingsInvalid(f"the tries of {name} are 1 to {MAX_ATTEMPTS}.")
            if rule.backoff is not None:
                _check_backoff(f"the backoff of {name}", rule.backoff)
        return self

    def rule(self, outcome: Outcome) -> RetryRule:
        """The rule for this outcome: the campaign's, else that of its kin, else the default, else "retry"."""
        return self._rule(rule_name(outcome))

    def _rule(self, name: str) -> RetryRule:
        return self.rules.get(self._ruled_as(name)) or DEFAULT_RULES.get(name) or RetryRule()

    def _ruled_as(self, name: str) -> str:
        kin = KIN.get(name)
        return kin if kin is not None and name not in self.rules and kin in self.rules else name

    def wants(self, outcome: Outcome) -> bool:
        """Whether this kind of outcome is retried at all."""
        return not outcome.succeeded and self.rule(outcome).on

    def retry_at(self, outcome: Outcome, *, history: tuple[Outcome, ...], now: datetime) -> datetime | None:
        """When to try again, or None. `history`: earlier outcomes of the call, this one excluded."""
        rule = self.rule(outcome)
        if outcome.succeeded or not rule.on or len(history) + 1 >= self.max_attempts:
            return None
        ruled_as = self._ruled_as(rule_name(outcome))
        alike = 1 + sum(self._ruled_as(rule_name(past)) == ruled_as for past in history)
        if rule.tries is not None and alike >= rule.tries:
            return None
        interval = self._interval(rule, alike)
        # Saturates: at the calendar's end there is no later instant to retry at.
        return now + min(timedelta(seconds=interval), datetime.max - now.replace(tzinfo=None))

    def _interval(self, rule: RetryRule, alike: int) -> int:
        """Seconds until the next attempt. `alike`: how many have ended this way, the last included."""
        interval = self.interval if rule.interval is None else rule.interval
        backoff = self.backoff if rule.backoff is None else rule.backoff
        # At most 10 to the power of 99, and cut before it could be too much for a timedelta.
        return max(interval, min(MAX_INTERVAL, int(interval * backoff ** (alike - 1))))

    def paid_at_most(self, attempts: int) -> int:
        """How many of so many attempts of one call can be answered ones, which alone cost anything."""
        again = 0
        for result in ScriptResult:
            rule = self._rule(f"answered/{result}")
            if rule.on and not Outcome(disposition=Disposition.answered, script_result=result).succeeded:
                again += attempts if rule.tries is None else rule.tries - 1
        return min(attempts, 1 + again)


def _check_backoff(name: str, backoff: Decimal) -> None:
    if not (backoff.is_finite() and 1 <= backoff <= MAX_BACKOFF):
        raise SettingsInvalid(f"{name} is 1 to {MAX_BACKOFF}.")


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
