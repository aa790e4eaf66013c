"""How is an autocall led to another status, where does it stand, and what would it do?"""

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from msgspec import Struct

from zvonar.core.campaign import CampaignStatus, Reason
from zvonar.dialects.autocall import answers
from zvonar.dialects.autocall.answers import Autocall
from zvonar.dialects.autocall.operations import Asked, Example, Operation
from zvonar.dialects.autocall.outcomes import AutocallStatus
from zvonar.dialects.autocall.routes.common import autocall_now, autocall_of, facts_of, not_now
from zvonar.dialects.autocall.routes.cost import fix_cost
from zvonar.store import campaign_facts, steering
from zvonar.store.campaigns import NotAllowedNow
from zvonar.store.db import Database
from zvonar.store.preflight import Preflight, Skip, preflight

TAG = "autocalls"

Steer = Callable[..., Coroutine[Any, Any, Any]]


class Standing(Struct, frozen=True, kw_only=True):
    """Where an autocall stands, and why."""

    status: AutocallStatus
    reason: Reason | None  # null: nothing in particular
    details: dict[str, Any] | None  # of `breaker`: how many failed of how many, and which calls
    changed_at: str


class Forecast(Struct, frozen=True, kw_only=True):
    """What an autocall would do if it ran from now on."""

    calls: int  # that wait
    would_dial: int
    skipped: dict[Skip, int]  # why not; with would_dial they add up to calls
    capped_now: int  # callees who were dialled so often lately that they have to wait
    opens_at: str | None  # when it could begin; null for never
    seconds: int | None  # of dialling, one try a call; null where no trunk is there
    finishes_at: str | None  # with what the window takes; null for not within a year
    seconds_at_most: int | None  # if every try were made and lasted to its end
    worst_case: str  # what it can cost at most
    available: str  # of the balance, and of what it holds already
    covered: bool  # whether that is enough


async def standing(asked: Asked) -> Standing:
    """Where an autocall stands, and why."""
    facts = await facts_of(asked)
    return Standing(
        status=autocall_of(facts).status,
        reason=None if facts.reason is None else Reason(facts.reason),
        details=facts.reason_details,
        changed_at=answers.local_time(facts.updated_at, asked.zone),
    )


async def forecast(asked: Asked) -> Forecast:
    """What an autocall would do if it ran from now on, and no other beside it."""
    facts = await facts_of(asked)
    found: Preflight = await preflight(asked.db, asked.account_id, facts.campaign_id, now=asked.now)

    def said(at: datetime | None) -> str | None:
        return None if at is None else answers.local_time(at, asked.zone)

    return Forecast(
        calls=found.calls,
        would_dial=found.would_dial,
        skipped=found.skipped,
        capped_now=found.capped_now,
        opens_at=said(found.opens_at),
        seconds=found.seconds,
        finishes_at=said(found.finishes_at),
        seconds_at_most=found.seconds_at_most,
        worst_case=answers.money(found.worst_case),
        available=answers.money(found.available),
        covered=found.covered,
    )


def steered(steer: Steer) -> Callable[[Asked], Coroutine[Any, Any, Autocall]]:
    """A handler that leads an autocall to another status."""

    async def handle(asked: Asked) -> Autocall:
        facts = await facts_of(asked, lock=True)
        try:
            await steer(asked.db, asked.account_id, facts.campaign_id, now=asked.now)
        except NotAllowedNow:
            raise not_now(facts) from None
        return await autocall_now(asked, facts.campaign_id)

    return handle


async def _start(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    facts = await campaign_facts.get(db, account_id, campaign_id)
    if facts.status == CampaignStatus.completed:
        raise NotAllowedNow("It is completed.")
    if facts.status == CampaignStatus.running:
        return
    await fix_cost(db, account_id, campaign_id, now=now)
    await steering.start(db, account_id, campaign_id, now=now)


async def _pause(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    facts = await campaign_facts.get(db, account_id, campaign_id)
    if facts.status == CampaignStatus.completed:
        raise NotAllowedNow("It is completed.")
    await steering.pause(db, account_id, campaign_id, now=now)


async def _cancel(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    facts = await campaign_facts.get(db, account_id, campaign_id)
    if facts.status == CampaignStatus.completed:
        raise NotAllowedNow("It is completed.")
    await steering.cancel(db, account_id, campaign_id, now=now)


async def _archive(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    facts = await campaign_facts.get(db, account_id, campaign_id)
    if facts.status == CampaignStatus.running:
        raise NotAllowedNow("It is running.")
    await campaign_facts.archive(db, account_id, campaign_id, at=now)


async def _unarchive(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    await campaign_facts.archive(db, account_id, campaign_id, at=None)


_STEPS = (
    ("start", "Start", _start, "Let a paused autocall dial. Its max_cost is held from the balance."),
    ("pause", "Pause", _pause, "Stop dialling; calls in progress end by themselves."),
    ("resume", "Resume", _start, "Let a paused autocall dial again."),
    ("cancel", "Cancel", _cancel, "End for good: what waits is never dialled."),
    ("archive", "Archive", _archive, "Take an autocall that does not run out of the list."),
    ("unarchive", "Unarchive", _unarchive, "Put an autocall back into the list."),
)

_ONE = {"autocall_id": "{autocall_id}"}

OPERATIONS = (
    Operation(
        method="GET",
        path="/autocalls/{autocall_id}/status",
        tag=TAG,
        name="getAutocallStatus",
        summary="Read where an autocall stands, and why",
        handle=standing,
        answer=Standing,
        examples=(Example(name="one", path=_ONE),),
    ),
    Operation(
        method="GET",
        path="/autocalls/{autocall_id}/preflight",
        tag=TAG,
        name="getPreflight",
        summary="Read what an autocall would do",
        about="How many would be dialled, who would be skipped and why, how long it takes, and the worst-case cost.",
        handle=forecast,
        answer=Forecast,
        examples=(Example(name="one", path=_ONE),),
    ),
    *(
        Operation(
            method="POST",
            path=f"/autocalls/{{autocall_id}}/{step}",
            tag=TAG,
            name=f"{step}Autocall",
            summary=f"{title} an autocall",
            about=about,
            handle=steered(steer),
            answer=Autocall,
            refusals=(402,) if step in ("start", "resume") else (),
            examples=(
                Example(
                    name="one",
                    path=_ONE if step in ("pause", "cancel") else {"autocall_id": "{paused_id}"},
                ),
            ),
        )
        for step, title, steer, about in _STEPS
    ),
)
