"""What is known of a call before it is dialled, and what is made of how its line ended?"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path

from msgspec import Struct, structs

from zvonar.core.campaign import CallOverrides, CampaignSettings, LostPolicy
from zvonar.core.money import Rate
from zvonar.core.result import Disposition, Outcome, ScriptResult, disposition_of
from zvonar.core.retry import RetryPolicy, RetryRule
from zvonar.core.script import Prompt, Script, ScriptReport
from zvonar.dialer.hours import Hours
from zvonar.line.line import LineEnd
from zvonar.store.calls import Leased
from zvonar.store.campaigns import Campaign


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that is known of a call before it is dialled."""

    call: Leased
    campaign: Campaign
    overrides: CallOverrides
    script: Script
    clips: Mapping[Prompt, Path]
    rate: Rate
    hours: Hours  # when this callee may be dialled

    @property
    def settings(self) -> CampaignSettings:
        return self.campaign.settings

    @property
    def max_call_time(self) -> int:
        return self.overrides.max_call_time or self.settings.max_call_time


def outcome_of(end: LineEnd, report: ScriptReport) -> Outcome:
    """The triple's first two facts, from what the line and the script say."""
    if end.answered_at is not None:
        disposition = Disposition.answered
        # Answered and ended before any script saw it: the controller was away, or the callee was quicker.
        script = report.result
        if script is ScriptResult.none:
            script = ScriptResult.hung_up if not end.vanished else ScriptResult.error
        talk = max(1, ceil((end.at - end.answered_at).total_seconds()))
    else:
        disposition, script, talk = unanswered(end), ScriptResult.none, 0
    return Outcome(
        disposition=disposition,
        script_result=script,
        hangup_cause=end.hangup_cause or None,
        sip_code=end.sip_code,
        talk_seconds=talk,
        choice=report.choice,
    )


def unanswered(end: LineEnd) -> Disposition:
    """What became of a leg that nobody answered."""
    if end.vanished:
        return Disposition.lost
    return disposition_of(sip_code=end.sip_code, hangup_cause=end.hangup_cause, rang_out=end.rang_out)


def guarded(settings: CampaignSettings) -> bool:
    """Whether the campaign has limits of its own, kept by its guard row."""
    return bool(settings.max_channels or settings.calls_per_second or settings.max_cost is not None)


def retry_policy(settings: CampaignSettings) -> RetryPolicy:
    """The campaign's retry policy, with its word on lost legs."""
    policy = settings.retry
    if settings.lost is LostPolicy.redial:
        rules = {**policy.rules, Disposition.lost: RetryRule(interval=0)}
        return structs.replace(policy, rules=rules, max_attempts=max(policy.max_attempts, 2))
    return policy


def soon(now: datetime, seconds: float) -> datetime:
    """A moment from now."""
    return now + timedelta(seconds=seconds)
