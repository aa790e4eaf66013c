"""Does a trunk that campaigns share go to each by its weight, whatever they are? On virtual time."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import uvloop
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
    # Counted from when all of them wait: before that a trunk is whoever's comes first.
    await asyncio.sleep(talk + 0.1)
    got.clear()
    await asyncio.sleep(seconds)
    counted = Counter(got)
    for task in callers:
        task.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    return counted


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
        return await served(routes, weights, ahead=25, talk=talk, seconds=60)

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


@pytest.mark.parametrize(("rate", "at_once"), [(1, 1), (10, 1), (15, 2), (30, 3), (50, 4), (100, 8)])
def test_what_is_due_within_a_moment_goes_together_and_none_of_it_late(rate: int, at_once: int) -> None:
    async def work() -> list[float]:
        routes, loop = Routes(), asyncio.get_running_loop()
        routes.renew([trunk(1, calls_per_second=Decimal(rate))])
        went: list[float] = []

        async def caller() -> None:
            await routes.slot(call(1))
            went.append(loop.time())

        await asyncio.gather(*(caller() for _ in range(at_once * 20)))
        return went

    went = virtual.run(work())
    groups = Counter(round(at - went[0], 6) for at in went)
    assert set(groups.values()) == {at_once}
    assert list(groups) == pytest.approx([number * at_once / rate for number in range(20)], abs=1.1e-3)
    # Ahead of its turn by less than a tenth of a second, and behind by no more than a tick.
    for number, at in enumerate(went):
        assert -0.07 - 1e-6 <= at - went[0] - number / rate <= 1.1e-3


@pytest.mark.parametrize("late", [0.003, 0.01, 0.04])
@pytest.mark.parametrize("rate", [10, 30, 100])
def test_late_timers_cost_no_placement(rate: int, late: float) -> None:
    async def work() -> float:
        routes, loop = Routes(), asyncio.get_running_loop()
        routes.renew([trunk(1, calls_per_second=Decimal(rate))])
        slots = [asyncio.create_task(routes.slot(call(1))) for _ in range(rate * 10)]
        began = loop.time()
        await asyncio.gather(*slots)
        return loop.time() - began

    assert virtual.run(work(), late=late) == pytest.approx(10, abs=0.2)


@pytest.mark.parametrize("rate", [7, 30, 300])
def test_a_loop_that_knows_but_milliseconds_gets_everybody_over(rate: int) -> None:
    async def work() -> int:
        routes = Routes()
        routes.renew([trunk(1, calls_per_second=Decimal(rate))])
        async with asyncio.timeout(90):
            return len(await asyncio.gather(*(routes.slot(call(1)) for _ in range(5 + rate // 10))))

    assert uvloop.run(work()) == 5 + rate // 10


def test_strangers_to_a_trunk_hold_up_nobody_and_a_moment_is_no_reason_for_the_next_trunk() -> None:
    async def work() -> list[tuple[int, float]]:
        routes, loop = Routes(), asyncio.get_running_loop()
        routes.renew(
            [
                trunk(1, calls_per_second=Decimal(40)),
                trunk(2, calls_per_second=Decimal(40)),
                trunk(3, trial=True, max_channels=1),
            ]
        )
        await routes.slot(call(2, trial=True))
        strangers = [asyncio.create_task(routes.slot(call(2, trial=True))) for _ in range(20)]
        went: list[tuple[int, float]] = []
        for _ in range(5):
            route = await routes.slot(call(1))
            went.append((route.trunk.trunk_id, loop.time()))
            await asyncio.sleep(0.03)
        pair = await asyncio.gather(*(routes.slot(call(1)) for _ in range(2)))
        went += [(route.trunk.trunk_id, loop.time()) for route in pair]
        for stranger in strangers:
            stranger.cancel()
        await asyncio.gather(*strangers, return_exceptions=True)
        return went

    went = virtual.run(work())
    assert [trunk_id for trunk_id, _ in went] == [1] * 7
    assert [at for _, at in went] == pytest.approx([0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.15], abs=0.03)


def test_who_waits_alone_waits_for_nobody_and_few_channels_for_no_more() -> None:
    async def work() -> tuple[list[float], list[float]]:
        loop = asyncio.get_running_loop()
        alone: list[float] = []
        routes = Routes()
        routes.renew([trunk(1, calls_per_second=Decimal(30))])
        for _ in range(6):  # each comes once the one before it has gone
            await routes.slot(call(1))
            alone.append(loop.time())
        narrow: list[float] = []
        routes = Routes()
        routes.renew([trunk(1, calls_per_second=Decimal(30), max_channels=1)])

        async def caller() -> None:
            route = await routes.slot(call(1))
            narrow.append(loop.time())
            await asyncio.sleep(0.5)
            routes.release(route)

        await asyncio.gather(*(caller() for _ in range(4)))
        return alone, narrow

    alone, narrow = virtual.run(work())
    assert [at - alone[0] for at in alone] == pytest.approx([0, 0, 0, 1 / 30, 2 / 30, 3 / 30], abs=1.1e-3)
    assert [at - narrow[0] for at in narrow] == pytest.approx([0, 0.5, 1, 1.5], abs=1.1e-3)


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
