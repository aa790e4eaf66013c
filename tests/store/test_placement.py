"""May this leg be dialled? Yes, or one refusal that changes nothing."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from zvonar.core.leg import LegId
from zvonar.store import epochs, legs, steering, stoplist, trunks
from zvonar.store.calls import Leased
from zvonar.store.legs import Refusal

pytestmark = pytest.mark.asyncio
World = Any  # conftest's


async def refused(world: World, call: Leased, why: Refusal, **changed: Any) -> None:
    """The placement is refused for this reason, and not a row of any table is different afterwards."""
    before = await world.dump()
    assert await world.place(call, **changed) is why
    assert await world.dump() == before


async def test_placed_leg_holds_its_worst_case_a_channel_and_the_call(world: World) -> None:
    call = await world.leased()
    leg = await world.placed(call)
    assert leg == LegId(call.call_id, 1, 1)
    assert (await world.call(call.call_id)).state == "dialing"
    assert (await world.purse()).held == Decimal(6)
    ((in_use,),) = await world.all("SELECT in_use FROM trunks")
    assert in_use == 1
    assert (await world.tallies()) == {"state/dialing": 1, "attempts": 1}
    assert await world.dialled(leg)
    await world.answered(leg)
    assert (await world.call(call.call_id)).state == "talking"
    world.tick(10)
    assert await world.end(leg, seconds=10)
    purse = await world.purse()
    assert (purse.balance, purse.held) == (Decimal(999), 0)
    ended = await world.call(call.call_id)
    assert (ended.state, ended.call_end, ended.attempts, ended.talk_seconds) == ("finished", "success", 1, 10)
    assert (ended.disposition, ended.script_result, ended.choice, ended.cost) == (
        "answered",
        "choice",
        "1",
        1,
    )
    assert (await world.tallies()) == {
        "state/finished": 1,
        "attempts": 1,
        "seconds": 10,
        "cost": 10000,
        "end/success": 1,
        "result/answered/choice": 1,
    }
    await world.check_laws()


async def test_placement_asked_again_after_a_lost_answer_finds_the_same_leg(world: World) -> None:
    call = await world.leased()
    leg = await world.placed(call)
    before = await world.dump()
    assert await world.place(call) == leg
    assert await world.dump() == before


async def test_mark_asked_again_after_a_lost_answer_still_says_yes(world: World) -> None:
    leg = await world.placed(await world.leased())
    assert await world.dialled(leg)
    assert await world.dialled(leg)


async def test_fenced_dialer_neither_places_nor_dials_nor_leases(world: World) -> None:
    placed = await world.placed(await world.leased())
    call = await world.leased()
    await world.add()
    await epochs.claim(world.db, "gateway", now=world.now)
    await refused(world, call, Refusal.fenced)
    assert not await world.dialled(placed)
    assert await world.lease() == []


async def test_new_dialer_owns_the_calls_that_are_up_and_frees_the_leased_ones(world: World) -> None:
    up = await world.leased()
    leg = await world.placed(up)
    assert await world.dialled(leg)
    waiting = await world.leased()
    world.epoch = await epochs.claim(world.db, "gateway", now=world.now)
    assert [call.call_id for call in await world.lease()] == [waiting.call_id]
    second = await world.placed(up, next_leg=True)
    assert second == LegId(up.call_id, 1, 2)


async def stop_number(world: World, call: Leased) -> None:
    await stoplist.put(world.db, call.account_id, call.phone, reason=None, until=None, now=world.now)


async def stop_number_for_everybody(world: World, call: Leased) -> None:
    statement = "INSERT INTO global_stop_list (phone, created_at) VALUES (%s, now())"
    await world.db.execute(statement, [call.phone])


async def ask_for_removal(world: World, call: Leased) -> None:
    await world.db.execute("UPDATE calls SET removing = true WHERE call_id = %s", [call.call_id])


async def pause(world: World, call: Leased) -> None:
    await steering.pause(world.db, call.account_id, call.campaign_id, now=world.now)


async def take_the_lease_away(world: World, call: Leased) -> None:
    await world.db.execute("UPDATE calls SET lease_epoch = NULL WHERE call_id = %s", [call.call_id])


async def let_it_expire(world: World, call: Leased) -> None:
    await world.db.execute("UPDATE calls SET expires_at = %s WHERE call_id = %s", [world.now, call.call_id])


@pytest.mark.parametrize(
    "change",
    [stop_number, stop_number_for_everybody, ask_for_removal, pause, take_the_lease_away, let_it_expire],
)
async def test_what_changed_after_the_lease_is_seen_at_the_placement(
    world: World, change: Callable[[World, Leased], Awaitable[None]]
) -> None:
    call = await world.leased()
    await change(world, call)
    await refused(world, call, Refusal.gone)


async def test_stop_that_has_run_out_stops_nothing(world: World) -> None:
    call = await world.leased()
    until = world.now - timedelta(seconds=1)
    await stoplist.put(world.db, call.account_id, call.phone, reason=None, until=until, now=world.now)
    await world.placed(call)


async def test_full_trunk_refuses_until_a_leg_ends(world: World) -> None:
    world.trunk = await world.new_trunk(max_channels=1)
    first = await world.placed(await world.leased())
    second = await world.leased()
    await refused(world, second, Refusal.trunk_busy)
    await world.rung(first)
    await world.placed(second)


async def test_trunk_takes_a_placement_when_its_slot_is_due(world: World) -> None:
    world.trunk = await world.new_trunk(calls_per_second=Decimal(1))
    first, second, third = await world.leased(), await world.leased(), await world.leased()
    await world.placed(first)
    world.tick(0.7)
    await refused(world, second, Refusal.trunk_busy)
    world.tick(0.05)  # a quarter of a second early is not refused
    await world.placed(second)
    world.tick(0.95)  # but what came early is paid back: the third is due two seconds after the first
    await refused(world, third, Refusal.trunk_busy)
    world.tick(0.05)
    await world.placed(third)


@pytest.mark.parametrize("trial", [True, False])
async def test_town_numbers_and_real_ones_never_share_a_trunk(world: World, trial: bool) -> None:
    world.trunk = await world.new_trunk(trial=not trial)
    call = await world.leased(trial=trial)
    await refused(world, call, Refusal.trunk_busy)
    world.trunk = await world.new_trunk(trial=trial)
    await world.placed(call)


@pytest.mark.parametrize("wrong", ["disabled", "another account's", "another gateway's"])
async def test_trunk_that_may_not_carry_the_call_refuses(world: World, wrong: str) -> None:
    other = await world.new_account()
    changed = {
        "disabled": {"enabled": False},
        "another account's": {"account_id": other.account_id},
        "another gateway's": {"gateway": "elsewhere"},
    }[wrong]
    world.trunk = await world.new_trunk(**changed)
    await refused(world, await world.leased(), Refusal.trunk_busy)


async def test_campaign_keeps_to_its_channels(world: World) -> None:
    limits = {"guarded": True, "max_channels": 1}
    first = await world.placed(await world.leased(), **limits)
    second = await world.leased()
    await refused(world, second, Refusal.campaign_busy, **limits)
    await world.rung(first)
    await world.placed(second, **limits)
    await world.check_laws()


async def test_campaign_keeps_to_its_calls_a_second(world: World) -> None:
    limits = {"guarded": True, "calls_per_second": Decimal(1)}
    first, second = await world.leased(), await world.leased()
    await world.placed(first, **limits)
    world.tick(0.7)
    await refused(world, second, Refusal.campaign_busy, **limits)
    world.tick(0.05)
    await world.placed(second, **limits)


async def test_campaign_never_costs_more_than_its_max_cost(world: World) -> None:
    world.campaign = await world.new_campaign(max_cost=Decimal(10))
    assert (await world.purse()).held == 10
    first, second = await world.leased(), await world.leased()
    leg = await world.placed(first, held_by_campaign=True)
    assert (await world.purse()).held == 10
    await world.check_laws()
    await refused(world, second, Refusal.no_money_yet, held_by_campaign=True)
    await world.rung(leg, seconds=50)
    assert (await world.purse()).held == 5
    await refused(world, second, Refusal.no_money, held_by_campaign=True)
    await world.placed(second, held_by_campaign=True, hold=Decimal(5))
    await world.check_laws()


async def test_money_that_others_hold_may_come_back_and_money_that_is_not_there_may_not(world: World) -> None:
    world.account = await world.new_account("10")
    world.campaign = await world.new_campaign()
    first, second = await world.leased(), await world.leased()
    leg = await world.placed(first)
    await refused(world, second, Refusal.no_money_yet)
    await world.rung(leg, seconds=60)
    await refused(world, second, Refusal.no_money)


async def test_day_has_its_cap_in_money_and_ends_at_midnight_utc(world: World) -> None:
    await world.db.execute("UPDATE accounts SET spend_per_day = 10")
    first, second = await world.leased(), await world.leased()
    leg = await world.placed(first)
    await refused(world, second, Refusal.no_money_yet)
    await world.rung(leg, seconds=60)
    await refused(world, second, Refusal.no_money)
    world.tick(12 * 3600)
    await world.placed(second)


async def test_day_s_cap_counts_what_is_held_by_a_campaign_only_for_its_live_legs(world: World) -> None:
    world.campaign = await world.new_campaign(max_cost=Decimal(500))
    await world.db.execute("UPDATE accounts SET spend_per_day = 10")
    first, second = await world.leased(), await world.leased()
    await world.placed(first, held_by_campaign=True)
    await refused(world, second, Refusal.no_money_yet, held_by_campaign=True)


async def test_callee_is_not_called_more_often_than_the_account_allows(world: World) -> None:
    await world.db.execute("UPDATE accounts SET calls_per_callee_day = 2")
    phone = world.number()
    for _ in range(2):
        await world.rung(await world.placed(await world.leased(phone=phone)))
    third = await world.leased(phone=phone)
    await refused(world, third, Refusal.capped)
    world.tick(86400)
    await world.placed(third)


async def test_attempts_a_minute_are_capped_and_no_call_ends_by_it(world: World) -> None:
    await world.db.execute("UPDATE accounts SET attempts_per_minute = 2")
    waiting = [await world.leased() for _ in range(3)]
    for call in waiting[:2]:
        await world.placed(call)
    await refused(world, waiting[2], Refusal.campaign_busy)
    world.tick(30)
    await world.placed(waiting[2])


async def test_next_leg_is_placed_while_the_failed_one_awaits_its_record(world: World) -> None:
    call = await world.leased()
    limits = {"guarded": True, "max_channels": 1}
    first = await world.placed(call, **limits)
    assert await world.dialled(first)
    started = world.now
    other = await world.new_trunk()
    world.tick()
    second = await world.placed(call, next_leg=True, trunk_id=other.trunk_id, **limits)
    assert second == LegId(call.call_id, 1, 2)
    assert (await world.call(call.call_id)).attempts == 1
    assert (await world.purse()).held == 12
    await world.check_laws()
    assert await world.end(first, after=None)
    assert (await world.call(call.call_id)).state == "dialing"
    await world.check_laws()
    await world.rung(second, seconds=10)
    ((start, own),) = await world.all(
        "SELECT started_at, caller_id FROM attempts JOIN ended_sessions USING (account_id, call_id, attempt)"
    )
    assert (start, own) == (started, "+74950000000")
    assert await trunks.of_gateway(world.db, "gateway")
    await world.check_laws()


async def test_next_leg_needs_a_call_that_is_being_dialled(world: World) -> None:
    call = await world.leased()
    await refused(world, call, Refusal.gone, next_leg=True)


async def test_one_placement_at_a_time_is_undecided(world: World) -> None:
    call = await world.leased()
    await world.placed(call)
    other = await world.new_trunk()
    await refused(world, call, Refusal.gone, next_leg=True, trunk_id=other.trunk_id)


async def test_rate_of_a_leg_is_kept_as_it_was_agreed(world: World) -> None:
    leg = await world.placed(await world.leased())
    (live,) = await legs.live(world.db, "gateway")
    assert live.leg_id == str(leg)
    rate = msgspec.convert(live.rate, legs.Rate, strict=False)
    assert rate == world.wanted(await world.leased()).rate
