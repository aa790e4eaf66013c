"""Does a campaign stop by itself when its trunk begins to fail? On a real Asterisk, over the town."""

import asyncio
from decimal import Decimal

import pytest

from zvonar.core.campaign import CampaignStatus
from zvonar.core.control import Breaker
from zvonar.core.retry import RetryPolicy
from zvonar.dialer.engine import Dialer
from zvonar.store import campaigns
from zvonar.store.db import Database

from ..plant import Plant
from .world import World, dialling, town, until

pytestmark = pytest.mark.asyncio


async def test_a_campaign_whose_trunk_has_no_circuits_any_more_is_paused_and_names_the_calls(
    plant: Plant, db: Database
) -> None:
    """The town answers 503 from some call on, as a carrier does that has broken down."""
    world = await World(db).settle(max_channels=5)
    breaker = Breaker(above=Decimal(50), at_least=8, window=120)
    campaign = await world.campaign(
        [town(digit) for digit in (1, 2, 2, 1, 2)],
        breaker=breaker,
        open_ended=True,
        retry=RetryPolicy(max_attempts=3, interval=3600),
    )
    async with plant.client() as ari, dialling(db, plant.line_gateway(ari), plant.clip(0.3)) as dialer:
        await until(lambda: _tried(db, 5))
        sound = await campaigns.get(db, campaign.account_id, campaign.campaign_id)
        assert (sound.status, sound.reason) == (CampaignStatus.running, None)
        for _ in range(40):
            await world.add(town(6), campaign)
        await until(lambda: _paused(world, campaign))
        await until(lambda: _idle(dialer))
        placed = len(await world.legs())
        # Nobody dials it again until somebody has looked.
        await asyncio.sleep(1)
        assert len(await world.legs()) == placed
    stands = await campaigns.get(db, campaign.account_id, campaign.campaign_id)
    assert stands.reason == "breaker"
    told = stands.reason_details
    assert told is not None
    failed = {call.call_id for call in await world.calls(campaign) if call.disposition == "congestion"}
    assert told["outcomes"] == {"congestion": told["failed"]}
    assert set(told["calls"]) <= failed
    assert told["failed"] * 2 > told["of"] >= 8
    # It stopped as soon as it could be known: a few that were up already came on top.
    assert told["failed"] <= len(failed) <= told["failed"] + 10 < 40
    assert all(count == 1 for count in plant.invites().values())


async def _tried(db: Database, n: int) -> bool:
    return bool(await db.value("SELECT count(*) = %(n)s FROM attempts WHERE ended_at IS NOT NULL", {"n": n}))


async def _paused(world: World, campaign: campaigns.Campaign) -> bool:
    return await world.status(campaign) is CampaignStatus.paused


async def _idle(dialer: Dialer) -> bool:
    return dialer.in_hand == 0
