"""What is known of a call before it is dialled, and what is made of how its line ended?"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path

from msgspec import Struct, structs

from zvonar.core.campaign import CallOverrides, CampaignSettings, CampaignType, LostPolicy
from zvonar.core.money import Rate
from zvonar.core.result import Cause, Disposition, Outcome, ScriptResult, disposition_of
from zvonar.core.retry import RetryPolicy, RetryRule
from zvonar.core.script import Prompt, Script, ScriptReport
from zvonar.dialer.hours import Hours
from zvonar.line.line import LineEnd
from zvonar.store.calls import Leased
from zvonar.store.campaigns import Campaign

# Types in which nothing but the right PIN is a success.
VERIFYING = frozenset({CampaignType.pincode, CampaignType.pincode_short, CampaignType.pincode_incoming})
MARGIN = 15  # seconds that the gateway's own bound on a channel lies beyond ours


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
    def flashes(self) -> bool:
        """Whether it only rings."""
        return self.campaign.type is CampaignType.flashcall

    @property
    def language(self) -> str:
        """In which the call is spoken, and words are understood."""
        return (self.overrides.voice or self.settings.voice).language

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
    elif report.result is ScriptResult.completed:
        # A flashcall has rung, and was cancelled as it should be.
        disposition, script, talk = Disposition.cancelled, ScriptResult.completed, 0
    else:
        disposition, script, talk = unanswered(end), ScriptResult.none, 0
    return Outcome(
        disposition=disposition,
        script_result=script,
        hangup_cause=end.hangup_cause or None,
        sip_code=end.sip_code,
        talk_seconds=talk,
        choice=report.choice,
        cause=report.cause,
    )


def weighed(outcome: Outcome, plan: "Plan") -> Outcome:
    """The outcome as its campaign sees it: a talk that was too short to count, or long enough to be an event."""
    settings = plan.settings
    if plan.campaign.type in VERIFYING:
        return structs.replace(outcome, verifies=True)
    if outcome.disposition is not Disposition.answered or outcome.script_result is ScriptResult.machine:
        return outcome
    if outcome.talk_seconds < settings.min_talk:
        return structs.replace(outcome, cause=Cause.too_short_talk)
    if settings.long_talk is not None and outcome.talk_seconds >= settings.long_talk:
        chosen = outcome.choice is not None
        return structs.replace(outcome, cause=Cause.press_and_long_talk if chosen else Cause.long_talk)
    return outcome


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
