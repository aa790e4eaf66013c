"""What do an autocall and a call look like on the wire? Every key of the reference, in its order.

Facts come as the outbox keeps them: things as they were at the event.
"""

from datetime import UTC, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

from msgspec import Struct

from zvonar.core.call import FINAL, CallState
from zvonar.core.campaign import CampaignSettings, CampaignStatus, Waits
from zvonar.core.result import Disposition, ScriptResult
from zvonar.core.schedule import zone_of
from zvonar.dialects.autocall.outcomes import (
    AutocallStatus,
    CallStatus,
    autocall_status,
    call_status,
    ended_by_status,
    try_status,
)

# Whether times are the account's or UTC is open [G]: the tries of the reference's sample are outside its window.
TIMES_IN_UTC = False

_ENDED = (CampaignStatus.completed, CampaignStatus.cancelled)


class CampaignFact(Struct, frozen=True, kw_only=True):
    """A campaign as an event tells it."""

    account_id: int
    campaign_id: int
    name: str
    type: str
    status: CampaignStatus
    waits: Waits | None = None
    settings: CampaignSettings
    timezone: str  # the account's, IANA
    phone_lists: tuple[int, ...]  # ids
    tallies: dict[str, int]  # state/…, end/…, result/…, attempts, seconds, cost in 0.0001
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TransferFact(Struct, frozen=True, kw_only=True):
    """Somebody to whom a subscriber was put through."""

    talk_seconds: int = 0


class StepFact(Struct, frozen=True, kw_only=True):
    """One thing that happened in a scenario."""

    node: str
    key: str | None = None  # None: silence, or a word
    word: str | None = None
    status_name: str | None = None
    transfer: TransferFact | None = None


class AttemptFact(Struct, frozen=True, kw_only=True):
    """One attempt of a call as an event tells it."""

    started_at: datetime
    ended_at: datetime | None  # None while it lasts, and where its placement was taken back
    disposition: Disposition | None
    script_result: ScriptResult | None
    steps: tuple[StepFact, ...] | None = None  # what was pressed where


class CallFact(Struct, frozen=True, kw_only=True):
    """A call as an event tells it."""

    call_id: int
    campaign_id: int
    phone: str  # E.164
    extra: str | None
    state: CallState
    disposition: Disposition | None  # of the last ended attempt
    script_result: ScriptResult | None
    talk_seconds: int  # of all attempts
    attempts: tuple[AttemptFact, ...]  # oldest first
    recalled_at: datetime | None = None  # when the subscriber called back
    timezone: str  # the account's, IANA
    created_at: datetime
    updated_at: datetime
    locked: bool = False  # held back by the client


class Counters(Struct, frozen=True, kw_only=True):
    """An autocall in numbers; calls are counted once they have ended."""

    success_percentage: int  # of total
    success: int
    recalled: int
    no_answer: int
    busy: int
    error: int
    spam: int
    tries: int  # attempts
    duration: int  # seconds of talk
    total: int  # calls, ended or not


class Autocall(Struct, frozen=True, kw_only=True):
    """A campaign on this wire."""

    id: int
    client_id: str  # as the client has named it; the account's id unless given
    name: str
    date_from: str  # a date with the time zero
    time_from: str  # H:i:s of the daily window
    time_to: str
    max_tries: int
    tries_interval: int  # minutes
    type: str
    sms: bool  # whether `text` is sent after a success
    sms_unanswered: bool  # whether `text_unanswered` is sent where a call has ended without one
    text: str | None
    text_unanswered: str | None
    audio_id: tuple[str, ...]  # clips
    list_id: tuple[int, ...]  # phone lists
    scenario_id: int | None
    max_cost: str | None  # money with two decimals
    final_cost: str | None  # known once it has ended
    processed: int  # calls that have ended
    speeches: int  # recognised answers [G]
    lifetime: bool  # stays running when its calls have ended [G]
    record: bool
    status: AutocallStatus
    comment: str | None
    callback_url: str | None
    finished_at: str | None
    created_at: str
    updated_at: str
    calls_count: int
    processed_percentage: int
    counters: Counters


class Choice(Struct, frozen=True, kw_only=True):
    """What a subscriber has chosen in a scenario."""

    node: str
    key: str  # or the word
    name: str | None  # what the scenario calls this choice


class Call(Struct, frozen=True, kw_only=True):
    """A call on this wire."""

    id: int
    autocall_id: int
    number: str  # E.164 with the plus
    extra: str | None  # the contact's own label
    lock: bool  # held back by the client, or a try is under way [G]
    tries: int
    date_tries: tuple[str, ...]  # when each began
    status_tries: tuple[CallStatus, ...]  # beside date_tries
    last_try_at: str | None
    duration: int  # seconds of talk of all tries
    r_duration: int  # seconds of a forwarded leg [G]
    status: CallStatus
    data: tuple[Choice, ...]  # what was chosen in a scenario, of all tries [G]
    created_at: str
    updated_at: str


class AutocallBody(Struct, frozen=True, kw_only=True):
    """The callback at a change of an autocall's status."""

    autocall: Autocall


class CallBody(Struct, frozen=True, kw_only=True):
    """The callback after a try, and at another change of a call's status."""

    call: Call


def autocall(fact: CampaignFact) -> Autocall:
    """A campaign as the wire shows it."""
    settings, window = fact.settings, fact.settings.window
    zone = zone_of(fact.timezone)
    ended = ended_by_status(fact.tallies)
    by_state = {state: fact.tallies.get(f"state/{state}", 0) for state in CallState}
    total = sum(by_state.values())
    processed = sum(by_state[state] for state in FINAL)
    first_day = window.date_from or (fact.started_at or fact.created_at).astimezone(zone).date()
    return Autocall(
        id=fact.campaign_id,
        client_id=settings.client_id or str(fact.account_id),
        name=fact.name,
        date_from=f"{first_day.isoformat()} 00:00:00",
        time_from=window.start.isoformat("seconds"),
        # Midnight as the end of a day: a client would read 00:00:00 as a window that never opens.
        time_to="23:59:59" if window.end == time(0) else window.end.isoformat("seconds"),
        max_tries=settings.retry.max_attempts,
        tries_interval=-(-settings.retry.interval // 60),
        type=fact.type,
        sms=settings.sms_text is not None,
        sms_unanswered=settings.sms_unanswered_text is not None,
        text=settings.sms_text,
        text_unanswered=settings.sms_unanswered_text,
        audio_id=_clips(settings),
        list_id=fact.phone_lists,
        scenario_id=settings.scenario_id,
        max_cost=None if settings.max_cost is None else money(settings.max_cost),
        final_cost=money(Decimal(fact.tallies.get("cost", 0)) / 10_000) if fact.status in _ENDED else None,
        processed=processed,
        speeches=0,
        lifetime=settings.open_ended,
        record=settings.record,
        status=autocall_status(fact.status, fact.waits),
        comment=settings.comment,
        callback_url=settings.callback_url,
        finished_at=local_time(fact.finished_at, zone) if fact.finished_at else None,
        created_at=local_time(fact.created_at, zone),
        updated_at=local_time(fact.updated_at, zone),
        calls_count=total,
        processed_percentage=_percentage(processed, total),
        counters=Counters(
            success_percentage=_percentage(ended[CallStatus.success], total),
            success=ended[CallStatus.success],
            recalled=ended[CallStatus.recalled],
            no_answer=ended[CallStatus.no_answer],
            busy=ended[CallStatus.busy],
            error=ended[CallStatus.error],
            spam=ended[CallStatus.spam],
            tries=fact.tallies.get("attempts", 0),
            duration=fact.tallies.get("seconds", 0),
            total=total,
        ),
    )


def call(fact: CallFact) -> Call:
    """A call as the wire shows it, with the tries that have ended."""
    zone = zone_of(fact.timezone)
    tries = [
        (
            local_time(attempt.started_at, zone),
            try_status(attempt.disposition, attempt.script_result or ScriptResult.none),
        )
        for attempt in fact.attempts
        if attempt.ended_at is not None and attempt.disposition is not None
    ]
    return Call(
        id=fact.call_id,
        autocall_id=fact.campaign_id,
        number=fact.phone,
        extra=fact.extra,
        lock=fact.locked or fact.state in (CallState.dialing, CallState.talking),
        tries=len(tries),
        date_tries=tuple(began for began, _ in tries),
        status_tries=tuple(status for _, status in tries),
        last_try_at=tries[-1][0] if tries else None,
        duration=fact.talk_seconds,
        r_duration=sum(
            step.transfer.talk_seconds
            for attempt in fact.attempts
            for step in attempt.steps or ()
            if step.transfer is not None
        ),
        status=call_status(
            fact.state, fact.disposition, fact.script_result, recalled=fact.recalled_at is not None
        ),
        data=tuple(
            Choice(node=step.node, key=step.key or step.word or "", name=step.status_name)
            for attempt in fact.attempts
            for step in attempt.steps or ()
            if step.key or step.word
        ),
        created_at=local_time(fact.created_at, zone),
        updated_at=local_time(fact.updated_at, zone),
    )


def local_time(moment: datetime, zone: ZoneInfo) -> str:
    """`Y-m-d H:i:s` in the account's zone."""
    local = moment.astimezone(UTC if TIMES_IN_UTC else zone)
    return local.replace(tzinfo=None).isoformat(" ", "seconds")


def money(amount: Decimal) -> str:
    """Two decimals."""
    return str(amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP))


def _percentage(part: int, whole: int) -> int:
    return 100 * part // whole if whole else 0


def _clips(settings: CampaignSettings) -> tuple[str, ...]:
    if settings.audio_ids:
        return tuple(map(str, settings.audio_ids))
    if settings.scenario_id is not None:
        return ()
    prompts = settings.script.prompts() if settings.script is not None else []
    return tuple(str(prompt.clip_id) for prompt in prompts if prompt.clip_id is not None)
