"""Does the preflight say before a campaign runs what would come of it?"""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from zvonar.core.campaign import CallOverrides
from zvonar.core.control import Cap, Clock
from zvonar.core.phone import Phone
from zvonar.core.retry import RetryPolicy, RetryRule
from zvonar.core.schedule import ALL_DAY, Window
from zvonar.store import preflight, steering, stoplist
from zvonar.store.calls import NewCall
from zvonar.store.preflight import Preflight, Skip

from .conftest import World

pytestmark = pytest.mark.asyncio
# A minute of the default tariff, +7.
MINUTE = Decimal("1.8000")


async def flown(world: World) -> Preflight:
    of = world.campaign
    return await preflight.preflight(world.db, of.account_id, of.campaign_id, now=world.now)


async def planned(world: World, **settings: Any) -> World:
    world.campaign = await world.new_campaign(running=False, **{"window": ALL_DAY, **settings})
    return world


async def test_who_would_be_skipped_is_counted_under_one_reason_each(world: World) -> None:
    await planned(world, lifetime=None)
    ids = world.campaign.account_id, world.campaign.campaign_id
    stopped, globally = world.number(), world.number()
    await stoplist.put(world.db, ids[0], stopped, reason=None, until=None, now=world.now)
    await stoplist.put(
        world.db, ids[0], world.number(), reason=None, until=world.now - timedelta(1), now=world.now
    )
    await world.db.execute(
        "INSERT INTO global_stop_list (phone, created_at) VALUES (%(phone)s, now())", {"phone": globally}
    )
    for phone in (stopped, globally, world.number(), world.number()):
        await world.add(world.new(phone))
    for abroad in ("+77010000001", "+77010000002"):
        await world.add(NewCall(phone=Phone(e164=abroad, country="KZ")))
    await world.add(world.new("+70000001001", trial=True))  # and there is no trial trunk
    found = await flown(world)
    assert found.would_dial == 2
    assert found.skipped == {
        Skip.stop_list: 1,
        Skip.global_stop_list: 1,
        Skip.country: 2,
        Skip.no_route: 1,
    }
    assert found.calls == 7


async def test_the_worst_case_is_what_all_attempts_cost_at_full_length(world: World) -> None:
    voicemail = RetryPolicy(max_attempts=3, rules={"voicemail": RetryRule(tries=2)})
    await planned(world, retry=voicemail, max_call_time=60)
    await world.add()
    await world.add(world.new(overrides=CallOverrides(max_call_time=120)))
    found = await flown(world)
    # Of three attempts two may reach a machine, and the last of these ends the call.
    assert found.worst_case == 2 * MINUTE + 2 * 2 * MINUTE
    assert found.covered
    await planned(world, retry=msgspec.structs.replace(voicemail, rules={"voicemail": RetryRule(on=False)}))
    await world.add()
    assert (
        await flown(world)
    ).worst_case == 3 * MINUTE  # 180 seconds, and nobody who answered is called again


async def test_the_longest_prefix_prices_a_number_and_none_skips_it(world: World) -> None:
    await world.db.execute("DELETE FROM tariff_rates WHERE prefix IN ('', '7')")
    await world.db.execute(
        "INSERT INTO tariff_rates (tariff_id, prefix, per_minute) SELECT tariff_id, '7999100', 60 FROM tariffs"
    )
    await planned(world, max_call_time=60)
    await world.add(world.new("+79991000000"))
    await world.add(world.new("+79992000000"))
    found = await flown(world)
    assert (found.would_dial, found.worst_case) == (1, Decimal(60))
    assert found.skipped == {Skip.no_tariff: 1}


async def test_no_campaign_costs_more_than_its_max_cost_or_less_than_the_balance_allows(world: World) -> None:
    await planned(world, max_cost=Decimal(4), max_call_time=60)
    for _ in range(5):
        await world.add()
    found = await flown(world)
    assert (found.worst_case, found.available, found.covered) == (Decimal(4), Decimal(1000), True)
    await steering.start(world.db, world.account.account_id, world.campaign.campaign_id, now=world.now)
    # What it holds by now is its own.
    assert (await flown(world)).available == Decimal(1000)
    poor = msgspec.structs.replace(world.campaign.settings, max_cost=None)
    await planned(world, **{name: getattr(poor, name) for name in ("max_cost", "max_call_time")})
    for _ in range(600):
        await world.add()
    found = await flown(world)
    assert (found.worst_case, found.covered) == (600 * MINUTE, False)


async def test_it_tells_how_long_the_trunks_take_and_what_the_window_adds(world: World) -> None:
    # One channel, and 45 seconds of it for each call.
    await world.db.execute("UPDATE trunks SET max_channels = 1")
    await planned(world, window=Window(start=time(9), end=time(10)), max_call_time=30)
    for _ in range(120):
        await world.add()
    found = await flown(world)
    assert found.seconds == 120 * 45
    assert found.seconds_at_most == 120 * (30 + 30)
    # Noon in UTC is past the window in Moscow, UTC+3: an hour tomorrow, and half of the next.
    opens = datetime.combine(world.now.date() + timedelta(days=1), time(6), world.now.tzinfo)
    assert found.opens_at == opens
    assert found.finishes_at == opens + timedelta(days=1, minutes=30)
    await world.db.execute("UPDATE trunks SET max_channels = 100, calls_per_second = 2")
    assert (await flown(world)).seconds == 60


async def test_a_campaign_whose_dates_have_passed_dials_nobody(world: World) -> None:
    await planned(world, window=Window(date_till=date(2020, 1, 1)))
    await world.add()
    found = await flown(world)
    assert (found.would_dial, found.opens_at, found.finishes_at) == (0, None, None)
    assert found.skipped == {Skip.window_over: 1}
    assert found.worst_case == 0


async def test_who_is_nowhere_surely_inside_the_window_is_named_when_the_clock_is_strict(
    world: World,
) -> None:
    await planned(world, clock=Clock.strictest, window=Window(start=time(9), end=time(11)))
    await world.add(world.new("+79160000001"))  # anywhere in Russia
    await world.add(world.new("+74950000001"))  # Moscow
    await world.add(world.new("+79160000002", overrides=CallOverrides(timezone="Asia/Omsk")))
    found = await flown(world)
    assert found.would_dial == 2
    assert found.skipped == {Skip.window_over: 1}


async def test_lifetimes_that_end_before_the_window_opens_are_counted(world: World) -> None:
    await planned(world, window=Window(start=time(9), end=time(10)), lifetime=3600)
    await world.add()
    assert (await flown(world)).skipped == {Skip.expired: 1}


async def test_callees_who_were_dialled_too_often_lately_are_counted(world: World) -> None:
    phone = world.number()
    call = await world.leased(phone=phone)
    assert await world.rung(await world.placed(call))
    await planned(world, caps=(Cap(attempts=1, seconds=86400),))
    await world.add(world.new(phone))
    await world.add()
    found = await flown(world)
    assert (found.would_dial, found.capped_now) == (2, 1)
    world.tick(86400)
    assert (await flown(world)).capped_now == 0


async def test_calls_that_are_over_are_no_part_of_it(world: World) -> None:
    call = await world.leased()
    assert await world.rung(await world.placed(call))
    await world.add()
    found = await flown(world)
    assert (found.calls, found.would_dial) == (1, 1)


async def test_without_a_trunk_there_is_no_time_to_tell(world: World) -> None:
    await world.db.execute("UPDATE trunks SET enabled = false")
    await planned(world)
    await world.add()
    found = await flown(world)
    assert (found.seconds, found.finishes_at, found.skipped) == (None, None, {Skip.no_route: 1})
