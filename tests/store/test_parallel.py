"""What if sixteen do it at the same moment?"""

import asyncio
import random
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from zvonar.core.leg import LegId
from zvonar.store import calls, campaigns, epochs, legs, steering
from zvonar.store.legs import Refusal

pytestmark = pytest.mark.asyncio
World = Any  # conftest's
MANY = 16


async def test_parallel_placements_never_overspend_and_nobody_is_told_never(world: World) -> None:
    world.account = await world.new_account("31")
    world.campaign = await world.new_campaign()
    waiting = [await world.leased() for _ in range(MANY)]
    got = await asyncio.gather(*(world.place(call) for call in waiting))
    assert sum(isinstance(leg, LegId) for leg in got) == 5
    assert {leg for leg in got if not isinstance(leg, LegId)} == {Refusal.no_money_yet}
    await world.check_laws()


async def test_parallel_placements_never_exceed_max_cost(world: World) -> None:
    world.campaign = await world.new_campaign(max_cost=Decimal(20))
    waiting = [await world.leased() for _ in range(MANY)]
    got = await asyncio.gather(*(world.place(call, held_by_campaign=True) for call in waiting))
    assert sum(isinstance(leg, LegId) for leg in got) == 3
    assert {leg for leg in got if not isinstance(leg, LegId)} == {Refusal.no_money_yet}
    await world.check_laws()


async def test_trunk_never_carries_more_than_its_channels(world: World) -> None:
    world.trunk = await world.new_trunk(max_channels=7)
    waiting = [await world.leased() for _ in range(MANY)]
    got = await asyncio.gather(*(world.place(call) for call in waiting))
    assert sum(isinstance(leg, LegId) for leg in got) == 7
    assert {leg for leg in got if not isinstance(leg, LegId)} == {Refusal.trunk_busy}
    await world.check_laws()


async def test_one_callee_is_never_called_beyond_the_cap(world: World) -> None:
    await world.db.execute("UPDATE accounts SET calls_per_callee_day = 2")
    phone = world.number()
    waiting = [await world.leased(phone=phone) for _ in range(MANY)]
    got = await asyncio.gather(*(world.place(call) for call in waiting))
    assert sum(isinstance(leg, LegId) for leg in got) == 2
    assert {leg for leg in got if not isinstance(leg, LegId)} == {Refusal.capped}


async def test_two_leasers_never_get_the_same_call(world: World) -> None:
    for _ in range(40):
        await world.add()
    got = await asyncio.gather(*(world.lease(5) for _ in range(MANY)))
    ids = [call.call_id for batch in got for call in batch]
    assert len(ids) == len(set(ids))
    rest = await world.lease()
    assert len(ids) + len(rest) == 40


async def test_end_asked_many_times_bills_once(world: World) -> None:
    leg = await world.placed(await world.leased())
    assert await world.dialled(leg)
    await world.answered(leg)
    world.tick(60)
    ending = world.ending(leg, seconds=60)
    ended = await asyncio.gather(*(legs.end(world.db, ending, now=world.now) for _ in range(MANY)))
    assert sum(ended) == 1
    assert (await world.purse()).balance == 994
    await world.check_laws()


async def test_placements_and_ends_of_one_account_never_wait_in_a_ring(world: World) -> None:
    """Whole calls over the same guard, trunk, account and counters: a deadlock would be StoreUnavailable."""
    world.campaign = await world.new_campaign(max_cost=Decimal(500))
    for _ in range(20 * 8):
        await world.add()
    # One shard of the counters, so that nobody gets by.
    same = [call for call in await world.lease() if call.call_id % 8 == 0]
    todo = iter(same)

    async def dialer(number: int) -> None:
        for call in todo:
            leg = await world.placed(call, held_by_campaign=True, max_channels=MANY)
            if number % 4 == 0:
                assert await world.take_back(leg)
                continue
            assert await world.dialled(leg)
            await world.answered(leg)
            assert await world.end(leg, seconds=6)
            await calls.expire(world.db, now=world.now)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(dialer(number))
    await world.check_laws()
    assert (await world.tallies())["state/finished"] > 8


async def test_ends_in_batches_and_placements_never_wait_in_a_ring(world: World) -> None:
    """Several campaigns with guards, trunks and shards in each batch, in an order of its own."""
    trunks = [world.trunk, await world.new_trunk(), await world.new_trunk()]
    leased: list[tuple[Any, Any]] = []
    for _ in range(3):
        world.campaign = await world.new_campaign(max_cost=Decimal(320))
        for _ in range(40):
            await world.add()
        leased += [(world.campaign, call) for call in await world.lease()]
    todo = iter(random.Random(1).sample(leased, len(leased)))

    async def dialer(number: int) -> None:
        dice = random.Random(number)
        up: list[legs.LegEnd] = []
        for campaign, call in todo:
            trunk = dice.choice(trunks)
            leg = await world.placed(call, trunk_id=trunk.trunk_id, held_by_campaign=True, max_channels=1000)
            assert await world.dialled(leg)
            ending = world.ending(leg, seconds=6)
            up.append(msgspec.structs.replace(ending, campaign_id=campaign.campaign_id))
            if len(up) == 4:
                account_id = world.account.account_id
                answered = [legs.Answered(account_id=account_id, leg=one.leg_id, at=world.now) for one in up]
                await legs.mark_answered(world.db, answered)
                await legs.end_all(world.db, dice.sample(up, 4), now=world.now)
                up.clear()
        await legs.end_all(world.db, up, now=world.now)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(dialer(number))
    await world.check_laws()
    assert await world.all("SELECT count(*) FROM calls WHERE state <> 'finished'") == [(0,)]


async def test_answers_and_ends_in_batches_never_wait_in_a_ring(world: World) -> None:
    """Every counter of a campaign is in each batch; the ends come in the order that is worst."""
    account_id = world.account.account_id

    async def talking(count: int) -> list[LegId]:
        found = []
        for _ in range(count):
            leg = await world.placed(await world.leased())
            assert await world.dialled(leg)
            found.append(leg)
        return sorted(found, key=lambda leg: -(leg.call_id % 8))

    for _ in range(12):
        ending = [world.ending(leg, seconds=6) for leg in await talking(8)]
        ringing = [legs.Answered(account_id=account_id, leg=leg, at=world.now) for leg in await talking(8)]
        await asyncio.gather(
            legs.end_all(world.db, ending, now=world.now), legs.mark_answered(world.db, ringing)
        )
        later = [world.ending(one.leg, seconds=6) for one in ringing]
        await legs.end_all(world.db, later, now=world.now)
    await world.check_laws()


async def test_placement_under_way_is_seen_by_the_dialer_that_takes_over(world: World) -> None:
    waiting = [await world.leased() for _ in range(MANY)]
    placing = [asyncio.create_task(world.place(call)) for call in waiting]
    epoch = await epochs.claim(world.db, "gateway", now=world.now)
    seen = {LegId.parse(live.leg_id) for live in await legs.live(world.db, "gateway")}
    got = await asyncio.gather(*placing)
    assert {leg for leg in got if isinstance(leg, LegId)} == seen
    assert {leg for leg in got if not isinstance(leg, LegId)} <= {Refusal.fenced, Refusal.gone}
    assert epoch > world.epoch


async def test_completed_campaign_never_has_an_open_call(world: World) -> None:
    of = world.campaign
    for _ in range(10):
        for call in await world.lease():
            await calls.leave_queue(world.db, call, state="removed", call_end="removed", now=world.now)
        ending = (
            steering.complete_if_done(world.db, of.account_id, of.campaign_id, now=world.now)
            for _ in range(4)
        )
        await asyncio.gather(*(world.add() for _ in range(3)), *ending)
        current = await campaigns.get(world.db, of.account_id, of.campaign_id)
        assert current.status == "running"
