"""Does a trunk that campaigns share go to each by its weight, whatever they are? On virtual time."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvonar.core.share import CREDIT
from zvonar.dialer.routes import NoRoute, Routes
from zvonar.store.calls import Leased
from zvonar.store.trunks import Trunk

from . import virtual


def trunk(trunk_id: int, **changed: Any) -> Trunk:
    plain: dict[str, Any] = {
        "trunk_id": trunk_id,
        "account_id": None,
        "name": f"trunk {trunk_id}",
        "gateway": "gateway",
        "settings": {},
        "trial": False,
        "enabled": True,
        "priority": trunk_id,
        "max_channels": 1000,
        "calls_per_second": Decimal(0),
        "caller_ids": [],
        "in_use": 0,
    }
    return Trunk(**{**plain, **changed})


def call(campaign_id: int, *, account_id: int = 1, trial: bool = False) -> Leased:
    return Leased(
        account_id=account_id,
        call_id=campaign_id,
        campaign_id=campaign_id,
        phone="+79161234567",
        country="RU",
        trial=trial,
        state="queued",
        attempts=0,
        due_at=datetime(2026, 3, 2, tzinfo=UTC),
        expires_at=None,
        overrides=None,
        clip_id=None,
    )


async def served(
    routes: Routes, weights: dict[int, int], *, ahead: int, talk: float, seconds: float
) -> Counter[int]:
    """How many slots each campaign gets that always has so many calls waiting; each keeps its channel for a while."""
    got: Counter[int] = Counter()

    async def caller(campaign_id: int) -> None:
        while True:
            route = await routes.slot(call(campaign_id))
            got[campaign_id] += 1
            asyncio.get_running_loop().call_later(talk, routes.release, route)

    callers = [asyncio.create_task(caller(campaign_id)) for campaign_id in weights for _ in range(ahead)]
    await asyncio.sleep(seconds)
    for task in callers:
        task.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    return got


campaigns = st.dictionaries(st.integers(1, 9), st.integers(1, 12), min_size=2, max_size=6)
limits = st.fixed_dictionaries(
    {},
    optional={
        "calls_per_second": st.sampled_from([Decimal(5), Decimal(20)]),
        "max_channels": st.integers(1, 20),
    },
).filter(bool)


@settings(max_examples=40, deadline=None)
@given(weights=campaigns, limit=limits, talk=st.sampled_from([0.5, 3.0]))
def test_random_campaigns_get_their_shares_of_a_trunk_s_channels_or_pace(
    weights: dict[int, int], limit: dict[str, Any], talk: float
) -> None:
    async def work() -> Counter[int]:
        routes = Routes()
        routes.weigh(weights)
        routes.renew([trunk(1, **limit)])
        # More than there are channels, so that each always has one waiting, however many come free at once.
        return await served(routes, weights, ahead=25, talk=talk, seconds=60.2)

    got = virtual.run(work())
    for one, weight in weights.items():
        for other, rival in weights.items():
            apart = got[one] / weight - got[other] / rival
            assert apart <= 1 / weight + 1 / rival + CREDIT + 1e-6, (got, weights)
    # Nothing of the trunk was left unused.
    pace = float(limit.get("calls_per_second", 1000))
    channels = limit.get("max_channels", 1000)
    assert got.total() >= min(pace, channels / talk) * 60 * 0.95 - channels - 1


def test_each_trunk_has_turns_of_its_own() -> None:
    async def work() -> Counter[int]:
        routes = Routes()
        routes.weigh({1: 1, 2: 1})
        routes.renew(
            [
                trunk(1, account_id=1, calls_per_second=Decimal(10)),
                trunk(2, trial=True, calls_per_second=Decimal(40)),
            ]
        )
        got: Counter[int] = Counter()

        async def caller(campaign_id: int, *, trial: bool) -> None:
            while True:
                route = await routes.slot(call(campaign_id, trial=trial))
                got[campaign_id] += 1
                routes.release(route)

        callers = [asyncio.create_task(caller(1, trial=False)), asyncio.create_task(caller(2, trial=True))]
        await asyncio.sleep(10)
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        return got

    got = virtual.run(work())
    assert 98 <= got[1] <= 102
    assert 395 <= got[2] <= 405


def test_who_cannot_go_over_any_trunk_is_told_at_once_and_when_the_last_one_goes() -> None:
    async def work() -> None:
        routes = Routes()
        routes.renew([trunk(1, max_channels=1)])
        with pytest.raises(NoRoute):
            await routes.slot(call(1, trial=True))
        held = await routes.slot(call(1))
        waiting = asyncio.create_task(routes.slot(call(1)))
        await asyncio.sleep(1)
        assert not waiting.done()
        assert routes.free == 0
        routes.renew([])
        with pytest.raises(NoRoute):
            await waiting
        routes.release(held)

    virtual.run(work())


def test_who_stops_waiting_leaves_his_slot_to_the_next() -> None:
    async def work() -> None:
        routes = Routes()
        routes.renew([trunk(1, max_channels=1)])
        held = await routes.slot(call(1))
        gives_up, patient = (asyncio.create_task(routes.slot(call(1))) for _ in range(2))
        await asyncio.sleep(1)
        gives_up.cancel()
        await asyncio.sleep(0)
        routes.release(held)
        assert (await patient).in_use == 1

    virtual.run(work())
