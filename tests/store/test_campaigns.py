"""Where does a campaign stand, and what does it hold?"""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.errors import CampaignNotFound, NoMoney, SettingsInvalid
from zvonar.core.script import Prompt, plain
from zvonar.store import campaigns, phone_lists, steering

pytestmark = pytest.mark.asyncio
World = Any  # conftest's


async def hold_of(world: World) -> tuple[Any, ...]:
    statement = "SELECT hold, spent, leg_held FROM campaign_guards WHERE campaign_id = %s"
    ((hold, spent, leg_held),) = await world.all(statement, [world.campaign.campaign_id])
    return hold, spent, leg_held


async def test_settings_come_back_as_they_were_given(world: World) -> None:
    settings = CampaignSettings(
        script=plain(Prompt(text="Привет")),
        max_cost=Decimal("10.5"),
        caller_ids=("+74950000000",),
        lifetime=60,
    )
    added = await campaigns.add(
        world.db,
        world.account.account_id,
        name="звонарь",
        type=CampaignType.regular,
        settings=settings,
        status=CampaignStatus.paused,
        now=world.now,
    )
    found = await campaigns.get(world.db, added.account_id, added.campaign_id)
    assert found == added == await campaigns.get_any(world.db, added.campaign_id)
    assert (found.settings, found.started_at, found.calls) == (settings, None, 0)
    assert found not in await campaigns.running(world.db)


async def test_settings_that_do_not_hold_together_are_not_stored(world: World) -> None:
    before = await world.dump()
    broken = msgspec.structs.replace(world.campaign, settings=CampaignSettings(ring_timeout=1))
    with pytest.raises(SettingsInvalid):
        await campaigns.change(world.db, broken, now=world.now)
    assert await world.dump() == before


async def test_another_account_s_campaign_is_not_found(world: World) -> None:
    other = await world.new_account()
    with pytest.raises(CampaignNotFound):
        await campaigns.get(world.db, other.account_id, world.campaign.campaign_id)
    foreign = msgspec.structs.replace(world.campaign, account_id=other.account_id)
    for attempt in (
        campaigns.change(world.db, foreign, now=world.now),
        steering.start(world.db, other.account_id, world.campaign.campaign_id, now=world.now),
        steering.pause(world.db, other.account_id, world.campaign.campaign_id, now=world.now),
    ):
        with pytest.raises(CampaignNotFound):
            await attempt


async def test_pausing_and_starting_again_holds_max_cost_once(world: World) -> None:
    world.campaign = await world.new_campaign(max_cost=Decimal(100))
    ids = world.campaign.account_id, world.campaign.campaign_id
    for _ in range(3):
        await steering.pause(world.db, *ids, now=world.now)
        await steering.start(world.db, *ids, now=world.now)
    await steering.start(world.db, *ids, now=world.now)
    assert (await world.purse()).held == 100
    await world.check_laws()


async def test_campaign_that_cannot_hold_its_max_cost_does_not_start(world: World) -> None:
    world.campaign = await world.new_campaign(running=False, max_cost=Decimal(1001))
    before = await world.dump()
    with pytest.raises(NoMoney):
        await steering.start(world.db, world.campaign.account_id, world.campaign.campaign_id, now=world.now)
    assert await world.dump() == before


async def changed(world: World, max_cost: Decimal | None) -> None:
    current = await campaigns.get(world.db, world.campaign.account_id, world.campaign.campaign_id)
    settings = msgspec.structs.replace(current.settings, max_cost=max_cost)
    await campaigns.change(world.db, msgspec.structs.replace(current, settings=settings), now=world.now)


async def test_changed_max_cost_is_held_at_once_and_never_below_what_legs_may_use(world: World) -> None:
    world.campaign = await world.new_campaign(max_cost=Decimal(100))
    leg = await world.placed(await world.leased(), held_by_campaign=True)
    await changed(world, Decimal(50))
    assert await hold_of(world) == (50, 0, 6)
    await changed(world, Decimal(200))
    assert (await world.purse()).held == 200
    with pytest.raises(NoMoney):
        await changed(world, Decimal(1001))
    await changed(world, Decimal(1))
    assert await hold_of(world) == (6, 0, 6)
    await changed(world, None)
    await world.check_laws()
    await world.rung(leg, seconds=60)
    assert await hold_of(world) == (6, 6, 0)
    assert (await world.purse()).held == 0
    await world.check_laws()


async def test_max_cost_given_to_a_campaign_that_rests_is_held_when_it_starts(world: World) -> None:
    world.campaign = await world.new_campaign(running=False)
    await changed(world, Decimal(70))
    assert (await world.purse()).held == 0
    await steering.start(world.db, world.campaign.account_id, world.campaign.campaign_id, now=world.now)
    assert (await world.purse()).held == 70


async def test_completion_waits_for_the_last_call_and_gives_the_rest_back(world: World) -> None:
    world.campaign = await world.new_campaign(max_cost=Decimal(100))
    ids = world.campaign.account_id, world.campaign.campaign_id
    assert not await steering.complete_if_done(world.db, *ids, now=world.now)
    leg = await world.placed(await world.leased(), held_by_campaign=True)
    assert not await steering.complete_if_done(world.db, *ids, now=world.now)
    await world.rung(leg, seconds=60)
    assert await steering.complete_if_done(world.db, *ids, now=world.now)
    assert not await steering.complete_if_done(world.db, *ids, now=world.now)
    purse = await world.purse()
    assert (purse.balance, purse.held) == (994, 0)
    found = await campaigns.get(world.db, *ids)
    assert (found.status, found.finished_at) == ("completed", world.now)
    await world.check_laws()


async def test_change_of_status_is_one_event_with_the_campaign_as_it_was(world: World) -> None:
    ids = world.campaign.account_id, world.campaign.campaign_id
    await world.add()
    await steering.pause(world.db, *ids, now=world.now)
    await steering.pause(world.db, *ids, now=world.now)
    statement = "SELECT payload FROM outbox WHERE kind = 'campaign' ORDER BY event_id"
    said = [payload for (payload,) in await world.all(statement)]
    assert [payload["status"] for payload in said] == ["running", "paused"]
    assert said[-1]["tallies"] == {"state/queued": 1}
    assert (said[-1]["timezone"], said[-1]["phone_lists"]) == ("Europe/Moscow", [])


async def test_counters_of_all_campaigns_add_up(world: World) -> None:
    await world.rung(await world.placed(await world.leased()))
    world.campaign = await world.new_campaign()
    await phone_lists.load(
        world.db,
        world.campaign.account_id,
        world.campaign.campaign_id,
        [world.new() for _ in range(3)],
        name="list",
        rejected=0,
        now=world.now,
    )
    counted = await campaigns.all_tallies(world.db)
    assert (counted["state/finished"], counted["state/queued"], counted["attempts"]) == (1, 3, 1)
