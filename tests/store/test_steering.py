"""Does a campaign say where it stands and why, once for each change, and is nobody dialled before he may be?"""

from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from zvonar.core.call import CallState
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType, NoMoneyPolicy, Waits
from zvonar.core.control import Cap, Clock
from zvonar.core.errors import CampaignNotFound, NoMoney
from zvonar.core.schedule import Window
from zvonar.dialects.autocall.callbacks import render
from zvonar.store import accounts, calls, campaigns, outbox, steering
from zvonar.store.campaigns import Campaign, NotAllowedNow
from zvonar.store.legs import Refusal

pytestmark = pytest.mark.asyncio
World = Any  # conftest's
NIGHT = Window(start=time(22), end=time(23))  # it is 15:00 in Moscow
TOLD = """
SELECT e.event_id, e.account_id, e.campaign_id, e.call_id, e.kind, e.at, e.payload FROM outbox e
WHERE e.fanned_out_at IS NULL ORDER BY event_id
"""


def ids(world: World) -> tuple[int, int]:
    return world.campaign.account_id, world.campaign.campaign_id


async def standing(world: World) -> tuple[str, str | None, str | None]:
    found = await campaigns.get(world.db, *ids(world))
    return str(found.status), found.waits, found.reason


async def told(world: World, what: str = "autocall") -> list[dict[str, Any]]:
    """The bodies that an autocall client gets, in their order."""
    bodies = []
    for event in await world.db.rows(outbox.Event, TOLD):
        for rendered in render(event):
            body = msgspec.json.decode(rendered.body)
            if what in body:
                bodies.append(body[what])
    return bodies


async def prepared(world: World, **settings: Any) -> World:
    """A campaign whose calls are still to come, and which runs once they have."""
    world.campaign = await campaigns.add(
        world.db,
        world.account.account_id,
        name="bell",
        type=CampaignType.regular,
        settings=CampaignSettings(callback_url="https://client.example/", **settings),
        status=CampaignStatus.paused,
        waits=Waits.generating,
        now=world.now,
    )
    return world


async def test_a_campaign_tells_every_status_from_the_first_to_the_last_once(world: World) -> None:
    await accounts.set_control(world.db, world.account.account_id, moderated=True, caps=())
    await prepared(world, window=NIGHT)
    assert (await steering.start(world.db, *ids(world), now=world.now)).waits is Waits.generating
    call = await world.add()
    await steering.prepared(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("paused", "moderation", None)
    await steering.approve(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("running", "awaiting", "window_closed")
    world.tick(7 * 3600)
    for _ in range(2):
        await steering.go_on(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("running", None, None)
    await steering.pause(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("paused", None, "by_hand")
    await steering.start(world.db, *ids(world), now=world.now)
    (leased,) = await world.lease()
    assert leased.call_id == call
    assert await world.rung(await world.placed(leased), seconds=5)
    assert await steering.complete_if_done(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("completed", None, "finished")
    assert [body["status"] for body in await told(world)] == [
        "generating",
        "moderation",
        "awaiting",
        "running",
        "paused",
        "running",
        "completed",
    ]


async def test_a_campaign_that_is_paused_while_it_is_prepared_does_not_start_by_itself(world: World) -> None:
    await prepared(world)
    await steering.start(world.db, *ids(world), now=world.now)
    await steering.pause(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("paused", "generating", "by_hand")
    await steering.prepared(world.db, *ids(world), now=world.now)
    await steering.prepared(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("paused", None, None)
    assert [body["status"] for body in await told(world)] == ["generating", "paused"]


async def test_what_is_prepared_and_cannot_be_paid_is_paused_for_that(world: World) -> None:
    await prepared(world, max_cost=Decimal(5000))
    await steering.start(world.db, *ids(world), now=world.now)
    await steering.prepared(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("paused", None, "no_money")
    await world.check_laws()


@pytest.mark.parametrize("how", ["added", "started"])
async def test_nothing_of_a_moderated_account_is_dialled_before_it_was_approved(
    world: World, how: str
) -> None:
    await accounts.set_control(world.db, world.account.account_id, moderated=True, caps=())
    world.campaign = await world.new_campaign(running=how == "added", max_cost=Decimal(10))
    if how == "started":
        await steering.start(world.db, *ids(world), now=world.now)
    await world.add()
    assert await standing(world) == ("paused", "moderation", None)
    assert (await world.purse()).held == 0
    (call,) = await world.lease()
    assert await world.place(call) is Refusal.gone
    await steering.start(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("paused", "moderation", None)
    approved = await steering.approve(world.db, *ids(world), now=world.now)
    assert (approved.status, approved.started_at) == (CampaignStatus.running, world.now)
    assert (await world.purse()).held == 10
    assert await world.placed(call, held_by_campaign=True)


async def test_what_is_changed_after_its_approval_is_approved_again(world: World) -> None:
    await accounts.set_control(world.db, world.account.account_id, moderated=True, caps=())
    world.campaign = await world.new_campaign(running=False)
    await steering.approve(world.db, *ids(world), now=world.now)
    await steering.start(world.db, *ids(world), now=world.now)
    assert (await standing(world))[0] == "running"
    await steering.pause(world.db, *ids(world), now=world.now)
    current = await campaigns.get(world.db, *ids(world))
    other = msgspec.structs.replace(current.settings, comment="something else")
    await campaigns.change(world.db, msgspec.structs.replace(current, settings=other), now=world.now)
    await steering.start(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("paused", "moderation", None)
    await steering.reject(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("cancelled", None, "rejected")
    with pytest.raises(NotAllowedNow):
        await steering.approve(world.db, *ids(world), now=world.now)
    with pytest.raises(NotAllowedNow):
        await steering.reject(world.db, *ids(world), now=world.now)


async def test_moderation_is_off_unless_it_is_asked_for(world: World) -> None:
    assert not (await world.purse()).moderated
    assert (await standing(world))[0] == "running"


@pytest.mark.parametrize("closed", [Window(start=time(22), end=time(23)), Window(date_from=date(2030, 1, 1))])
async def test_a_campaign_that_starts_outside_its_window_waits_for_it(world: World, closed: Window) -> None:
    world.campaign = await world.new_campaign(running=False, window=closed)
    await steering.start(world.db, *ids(world), now=world.now)
    assert await standing(world) == ("running", "awaiting", "window_closed")
    world.campaign = await world.new_campaign(window=closed)
    assert await standing(world) == ("running", "awaiting", "window_closed")
    # Somewhere it is evening already, and there is no year of 2030 anywhere.
    world.campaign = await world.new_campaign(window=closed, clock=Clock.callee)
    waits = None if closed.date_from is None else "awaiting"
    assert (await standing(world))[1] == waits


async def test_window_s_change_is_told_once_whoever_sees_it(world: World) -> None:
    assert [await steering.await_window(world.db, *ids(world), now=world.now) for _ in range(2)] == [
        True,
        False,
    ]
    assert await standing(world) == ("running", "awaiting", "window_closed")
    assert [await steering.go_on(world.db, *ids(world), now=world.now) for _ in range(2)] == [True, False]
    assert await standing(world) == ("running", None, None)


async def test_cancelling_stops_what_waits_and_lets_what_is_up_end(world: World) -> None:
    world.campaign = await world.new_campaign(
        max_cost=Decimal(100), callback_url="https://client.example/", recall_within=0
    )
    up = await world.leased()
    leg = await world.placed(up, held_by_campaign=True)
    waiting = [await world.add() for _ in range(3)]
    cancelled = await steering.cancel(world.db, *ids(world), now=world.now)
    assert (cancelled.status, cancelled.reason, cancelled.finished_at) == ("cancelled", "by_hand", world.now)
    assert [found.campaign_id for found in await steering.emptying(world.db)] == [world.campaign.campaign_id]
    while not await steering.empty(world.db, *ids(world), now=world.now):
        pass
    assert {(await world.call(call)).call_end for call in waiting} == {"stopped"}
    assert await world.call(up.call_id) == msgspec.structs.replace(
        await world.call(up.call_id), removing=True
    )
    assert (await world.purse()).held == 100  # what is up is still paid from it
    assert await steering.emptying(world.db)
    assert await world.rung(leg, after=CallState.waiting)
    assert (await world.call(up.call_id)).call_end == "removed"
    assert await steering.empty(world.db, *ids(world), now=world.now)
    assert (await world.purse()).held == 0
    assert await steering.emptying(world.db) == []
    await world.check_laws()
    assert [body["status"] for body in await told(world)] == ["running", "cancelled"]
    # The try of the one that was up, and the end of each that waited.
    assert sorted(body["status"] for body in await told(world, "call")) == ["busy", "error", "error", "error"]


async def test_cancelled_is_for_good(world: World) -> None:
    for _ in range(2):
        await steering.cancel(world.db, *ids(world), now=world.now)
    for attempt in (
        steering.start(world.db, *ids(world), now=world.now),
        steering.pause(world.db, *ids(world), now=world.now),
        world.add(),
    ):
        with pytest.raises((NotAllowedNow, calls.CampaignClosed)):
            await attempt
    with pytest.raises(CampaignNotFound):
        await steering.cancel(world.db, ids(world)[0] + 1, ids(world)[1], now=world.now)


async def test_max_cost_that_nobody_gave_is_fixed_and_held_at_the_start(world: World) -> None:
    world.campaign = await world.new_campaign(running=False)
    with pytest.raises(NoMoney):
        await steering.start(world.db, *ids(world), now=world.now, max_cost=Decimal(1001))
    assert (await campaigns.get(world.db, *ids(world))).settings.max_cost is None
    await steering.start(world.db, *ids(world), now=world.now, max_cost=Decimal("12.5"))
    await steering.pause(world.db, *ids(world), now=world.now)
    await steering.start(world.db, *ids(world), now=world.now, max_cost=Decimal(99))
    assert (await campaigns.get(world.db, *ids(world))).settings.max_cost == Decimal("12.5")
    assert (await world.purse()).held == Decimal("12.5")


@pytest.mark.parametrize(
    ("settings", "call_end", "over", "reason"),
    [
        ({}, "no_money", False, "no_money"),
        ({"max_cost": Decimal(5)}, "no_money", False, "max_cost"),
        ({}, "expired", True, "window_closed"),
        ({}, "expired", False, "finished"),  # of its own lifetime
        ({}, "attempts_exhausted", True, "finished"),
    ],
)
async def test_a_completed_campaign_says_what_ended_it(
    world: World, settings: dict[str, Any], call_end: str, over: bool, reason: str
) -> None:
    world.campaign = await world.new_campaign(**settings)
    call = await world.leased()
    await calls.leave_queue(world.db, call, state="expired", call_end=call_end, now=world.now)
    assert await steering.complete_if_done(world.db, *ids(world), over=over, now=world.now)
    assert await standing(world) == ("completed", None, reason)
    await world.add()  # wakes it up
    assert await standing(world) == ("running", None, None)


async def test_by_another_reason_only_what_runs_is_paused(world: World) -> None:
    details = {"failed": 3, "of": 4, "calls": [1, 2, 3]}
    await steering.pause(world.db, *ids(world), reason="breaker", details=details, now=world.now)
    found: Campaign = await campaigns.get(world.db, *ids(world))
    assert (found.reason, found.reason_details) == ("breaker", details)
    with pytest.raises(NotAllowedNow):
        await steering.pause(world.db, *ids(world), reason="no_money", now=world.now)
    await steering.start(world.db, *ids(world), now=world.now)
    found = await campaigns.get(world.db, *ids(world))
    assert (found.reason, found.reason_details) == (None, None)


async def test_an_account_s_caps_are_kept_as_they_were_given(world: World) -> None:
    caps = (Cap(attempts=1, seconds=86400), Cap(attempts=2, seconds=604800))
    account_id = world.account.account_id
    assert (await accounts.set_control(world.db, account_id, moderated=False, caps=caps)).caps == caps
    assert (await world.purse()).caps == caps
    assert (await accounts.set_control(world.db, account_id, moderated=False, caps=())).caps == ()


async def test_no_money_policies_are_two() -> None:
    assert {str(policy) for policy in NoMoneyPolicy} == {"end", "pause"}
    assert timedelta(seconds=CampaignSettings().recall_within) == timedelta(days=1)
