"""Is no callee ever dialled more often than every cap allows, whoever dials, and as often as they allow?"""

import asyncio
import itertools
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from zvonar.core.call import CallState, Next
from zvonar.core.control import Cap
from zvonar.core.leg import LegId
from zvonar.core.result import CallEnd, Disposition, Outcome
from zvonar.store import accounts, calls, caps
from zvonar.store.db import Database
from zvonar.store.legs import Refusal

from .conftest import World as TheWorld

World = Any  # conftest's
DAY, WEEK = 86400, 7 * 86400
ONE_A_DAY_TWO_A_WEEK = (Cap(attempts=1, seconds=DAY), Cap(attempts=2, seconds=WEEK))


async def free_at(world: World, phone: str, limits: tuple[Cap, ...]) -> datetime | None:
    known = await caps.free_at(world.db, world.account.account_id, [phone], limits, now=world.now)
    return known.get(phone)


@pytest.mark.asyncio
async def test_one_a_day_and_two_a_week_hold_over_all_campaigns(world: World) -> None:
    phone, limits = world.number(), ONE_A_DAY_TWO_A_WEEK
    began = world.now
    placed = []
    for hours in range(0, 24 * 15, 6):
        world.now = began + timedelta(hours=hours)
        world.campaign = await world.new_campaign()
        call = await world.leased(phone=phone)
        got = await world.place(call, caps=limits)
        if isinstance(got, LegId):
            placed.append(hours)
            assert await world.rung(got)
        else:
            assert got is Refusal.capped
            assert await free_at(world, phone, limits) > world.now
    assert placed == [0, 24, 7 * 24, 8 * 24, 14 * 24]


@pytest.mark.asyncio
async def test_the_account_s_caps_bind_campaigns_that_have_none(world: World) -> None:
    await accounts.set_control(
        world.db, world.account.account_id, moderated=False, caps=[Cap(attempts=2, seconds=3600)]
    )
    phone = world.number()
    for expected in (True, True, False):
        call = await world.leased(phone=phone)
        got = await world.place(call)
        assert isinstance(got, LegId) is expected
        world.tick(60)
    # The campaign's own cap comes on top of it.
    call = await world.leased(phone=world.number())
    assert await world.rung(await world.placed(call))
    call = await world.leased(phone=call.phone)
    assert await world.place(call, caps=(Cap(attempts=1, seconds=60),)) is Refusal.capped
    assert await world.placed(call)


@pytest.mark.asyncio
async def test_another_account_s_calls_do_not_count(world: World) -> None:
    phone = world.number()
    assert await world.rung(await world.placed(await world.leased(phone=phone)))
    world.account = await world.new_account()
    world.campaign = await world.new_campaign()
    assert await world.placed(await world.leased(phone=phone), caps=(Cap(attempts=1, seconds=DAY),))


@pytest.mark.asyncio
async def test_what_was_never_dialled_does_not_count(world: World) -> None:
    phone, limits = world.number(), (Cap(attempts=1, seconds=DAY),)
    unspoken = await world.leased(phone=phone)
    ended = Next(state=CallState.finished, call_end=CallEnd.unsuccessful)
    outcome = Outcome(disposition=Disposition.synth_failed)
    assert await calls.fail(world.db, unspoken, outcome, ended, epoch=world.epoch, now=world.now)
    taken = await world.leased(phone=phone)
    assert await world.take_back(await world.placed(taken, caps=limits))
    (again,) = [call for call in await world.lease() if call.call_id == taken.call_id]
    assert await world.placed(again, caps=limits)


@pytest.mark.asyncio
async def test_of_many_dialers_at_once_only_as_many_place_a_leg_as_the_caps_allow(world: World) -> None:
    phone, waiting = world.number(), []
    for _ in range(4):
        world.campaign = await world.new_campaign()
        waiting += [await world.leased(phone=phone) for _ in range(4)]
    limits = (Cap(attempts=3, seconds=WEEK), Cap(attempts=5, seconds=DAY))
    got = await asyncio.gather(*(world.place(call, caps=limits) for call in waiting))
    assert sum(isinstance(leg, LegId) for leg in got) == 3
    assert {leg for leg in got if not isinstance(leg, LegId)} == {Refusal.capped}
    await world.check_laws()


_firsts = itertools.count(2_000_000, 1000)
some_caps = st.lists(
    st.builds(Cap, attempts=st.integers(1, 4), seconds=st.sampled_from([60, 600, 3600, DAY])),
    min_size=0,
    max_size=3,
).map(tuple)
# Campaigns with caps of their own; then who dials whom, how long after the one before.
plans = st.tuples(
    some_caps,
    st.lists(some_caps, min_size=1, max_size=4),
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 2), st.sampled_from([0, 1, 30, 59, 60, 61, 599, 3600, 40_000])
        ),
        min_size=5,
        max_size=40,
    ),
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
@given(plan=plans)
def test_random_campaigns_never_dial_anybody_above_a_cap_nor_leave_him_out_below(
    module_dsn: str, plan: Any
) -> None:
    asyncio.run(_walk(module_dsn, *plan))


async def _walk(
    dsn: str,
    of_account: tuple[Cap, ...],
    of_campaigns: list[tuple[Cap, ...]],
    dials: list[tuple[int, int, int]],
) -> None:
    async with Database(dsn, size=2) as db:
        world = TheWorld(db)
        # Names and numbers that no other example has used in this database.
        world.numbers = itertools.count(next(_firsts))
        await world.settle(balance="100000")
        await db.execute("UPDATE accounts SET calls_per_callee_day = 1000")
        await accounts.set_control(db, world.account.account_id, moderated=False, caps=of_account)
        made = [await world.new_campaign(caps=limits) for limits in of_campaigns]
        phones = [world.number() for _ in range(3)]
        dialled: dict[str, list[datetime]] = defaultdict(list)
        for which, callee, after in dials:
            world.tick(after)
            world.campaign = made[which % len(made)]
            limits = of_account + world.campaign.settings.caps
            phone = phones[callee]
            call = await world.leased(phone=phone)
            got = await world.place(call, caps=world.campaign.settings.caps)
            # The model: whoever was dialled as often as a cap allows, in the stretch that ends now.
            waits = [
                sorted(dialled[phone])[-cap.attempts] + timedelta(seconds=cap.seconds)
                for cap in limits
                if len(dialled[phone]) >= cap.attempts
            ]
            until = max((free for free in waits if free > world.now), default=None)
            assert isinstance(got, LegId) is (until is None), (got, until)
            if limits and until is not None:
                assert await free_at(world, phone, limits) == until
            if isinstance(got, LegId):
                dialled[phone].append(world.now)
                assert await world.end(got)
            else:
                assert got is Refusal.capped
                await calls.leave_queue(db, call, state="removed", call_end="removed", now=world.now)
