"""Does an autocall client hear of everything, from the store's own changes to the wire?"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.phone import Phone
from zvonar.dialects.autocall.callbacks import render
from zvonar.store import accounts, calls, campaigns, steering
from zvonar.store.calls import NewCall
from zvonar.store.db import Database

from .receiver import Receiver
from .world import worker

pytestmark = pytest.mark.asyncio

NOW = datetime(2025, 11, 22, 12, tzinfo=UTC)

# A call walks its states as the dialer makes it; what else changes with a state is of no interest here.
MOVE = """
UPDATE calls SET state = %(state)s, call_end = %(call_end)s, attempts = attempts + %(attempts)s, updated_at = %(now)s,
    disposition = coalesce(%(disposition)s, disposition), script_result = coalesce(%(script_result)s, script_result),
    talk_seconds = talk_seconds + %(seconds)s
WHERE call_id = %(call_id)s
"""

ATTEMPT = """
INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, ended_at, disposition,
                      script_result)
SELECT account_id, call_id, attempts, campaign_id, phone, %(now)s, %(now)s, %(disposition)s, %(script_result)s
FROM calls WHERE call_id = %(call_id)s
"""


async def move(db: Database, call_id: int, state: str, *, end: str | None = None, **more: Any) -> None:
    params = {"call_id": call_id, "state": state, "call_end": end, "attempts": 0, "seconds": 0, "now": NOW}
    nothing = {"disposition": None, "script_result": None}
    await db.execute(MOVE, {**nothing, **params, **more})


async def tried(
    db: Database, call_id: int, disposition: str, state: str, *, answer: str, **more: Any
) -> None:
    """One attempt from the placement to its end."""
    await move(db, call_id, "dialing", attempts=1)
    if disposition == "answered":
        await move(db, call_id, "talking")
    result = {"disposition": disposition, "script_result": answer}
    await db.execute(ATTEMPT, {"call_id": call_id, "now": NOW, **result})
    await move(db, call_id, state, **result, **more)


async def client(
    db: Database, callback_url: str, *, status: CampaignStatus = CampaignStatus.paused
) -> tuple[int, int]:
    """An account and its campaign."""
    account = await accounts.add(
        db,
        name="client",
        currency="KZT",
        timezone="Asia/Almaty",
        countries=["KZ"],
        balance=Decimal(100),
        keys={},
        logins={},
        now=NOW,
    )
    campaign = await campaigns.add(
        db,
        account.account_id,
        name="test",
        type=CampaignType.regular,
        settings=CampaignSettings(callback_url=callback_url),
        status=status,
        now=NOW,
    )
    return account.account_id, campaign.campaign_id


async def add(db: Database, mine: tuple[int, int], phone: str) -> int:
    return await calls.add(db, *mine, NewCall(phone=Phone(e164=phone, country="KZ", trial=False)), now=NOW)


async def test_each_change_of_a_campaign_and_each_try_is_told_in_order(
    db: Database, receiver: Receiver
) -> None:
    async with worker(db, render, meters=None):
        mine = await client(db, receiver.url())
        ids = [await add(db, mine, f"+7701000000{n}") for n in range(3)]
        await steering.start(db, *mine, now=NOW)
        await tried(db, ids[0], "busy", "waiting", answer="none")
        await tried(db, ids[0], "answered", "finished", answer="completed", end="success", seconds=6)
        # Placed, and taken back before any INVITE: nobody hears of it.
        await move(db, ids[1], "dialing", attempts=1)
        await move(db, ids[1], "queued", attempts=-1)
        await move(db, ids[1], "removed", end="removed")
        # A stop list is found at dispatch, and counts as an attempt.
        stopped = {"disposition": "blocked", "script_result": "none"}
        await move(db, ids[2], "blocked", end="stopped", attempts=1, **stopped)
        assert await steering.complete_if_done(db, *mine, now=NOW)
        await receiver.until(lambda r: len(r.taken) == 7)
    heard = [post.said for post in sorted(receiver.taken, key=lambda post: post.event_id)]
    autocalls = [said["autocall"] for said in heard if "autocall" in said]
    told = [said["call"] for said in heard if "call" in said]
    assert [body["status"] for body in autocalls] == ["paused", "running", "completed"]
    assert [(ids.index(body["id"]), body["status"], body["tries"]) for body in told] == [
        (0, "busy", 1),
        (0, "success", 2),
        (1, "error", 0),
        (2, "spam", 0),
    ]
    assert told[1]["status_tries"] == ["busy", "success"]
    assert told[1]["date_tries"] == ["2025-11-22 17:00:00"] * 2
    assert (told[1]["number"], told[1]["duration"]) == ("+77010000000", 6)
    last = autocalls[-1]
    assert (last["client_id"], last["final_cost"]) == (str(mine[0]), "0.00")
    assert (last["calls_count"], last["processed"], last["processed_percentage"]) == (3, 3, 100)
    assert last["counters"] == {
        "success_percentage": 33,
        "success": 1,
        "recalled": 0,
        "no_answer": 0,
        "busy": 0,
        "error": 1,
        "spam": 1,
        "tries": 3,
        "duration": 6,
        "total": 3,
    }


async def test_an_attempt_that_leaves_a_waiting_call_waiting_is_told(
    db: Database, receiver: Receiver
) -> None:
    call_id = await add(db, await client(db, receiver.url()), "+77010000001")
    await tried(db, call_id, "busy", "waiting", answer="none")
    async with worker(db, render, meters=None):
        await receiver.until(lambda r: len(r.taken) == 2)
        # No route: an attempt that never became a leg.
        await move(db, call_id, "waiting", attempts=1, disposition="no_route", script_result="none")
        await receiver.until(lambda r: len(r.taken) == 3)
    assert receiver.taken[-1].said["call"]["status"] == "error"


async def test_a_campaign_that_runs_from_the_first_was_never_paused(db: Database, receiver: Receiver) -> None:
    async with worker(db, render, meters=None):
        mine = await client(db, receiver.url(), status=CampaignStatus.running)
        call_id = await add(db, mine, "+77010000001")
        await tried(db, call_id, "busy", "finished", answer="none", end="attempts_exhausted")
        assert await steering.complete_if_done(db, *mine, now=NOW)
        await receiver.until(lambda r: len(r.taken) == 3)
    heard = [post.said for post in sorted(receiver.taken, key=lambda post: post.event_id)]
    assert [next(iter(said)) for said in heard] == ["autocall", "call", "autocall"]
    assert [said["autocall"]["status"] for said in heard if "autocall" in said] == ["running", "completed"]
