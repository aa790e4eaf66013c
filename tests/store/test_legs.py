"""How does a leg end, or never begin? Money, attempt, call and session follow it, once."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from zvonar.core.call import CallState, Next
from zvonar.core.leg import LegId
from zvonar.core.result import CallEnd, Disposition, ScriptResult
from zvonar.store import calls, legs

pytestmark = pytest.mark.asyncio
World = Any  # conftest's


async def test_ending_twice_changes_nothing_the_second_time(world: World) -> None:
    leg = await world.placed(await world.leased())
    assert await world.rung(leg, seconds=10)
    before = await world.dump()
    assert not await world.end(leg, seconds=50)
    assert await world.dump() == before


async def test_retry_is_a_new_attempt_of_the_same_call(world: World) -> None:
    call = await world.leased()
    await world.rung(await world.placed(call), after=CallState.waiting)
    waiting = await world.call(call.call_id)
    assert (waiting.state, waiting.attempts, waiting.disposition, waiting.call_end) == (
        "waiting",
        1,
        "busy",
        None,
    )
    (again,) = await world.lease()
    assert await world.placed(again) == LegId(call.call_id, 2, 1)
    await world.check_laws()


async def test_removal_asked_for_during_a_call_is_honoured_at_its_end(world: World) -> None:
    call = await world.leased()
    leg = await world.placed(call)
    await world.db.execute("UPDATE calls SET removing = true")
    await world.rung(leg, after=CallState.waiting)
    ended = await world.call(call.call_id)
    assert (ended.state, ended.call_end, ended.completed_at) == ("finished", "removed", world.now)


@pytest.mark.parametrize("end", [CallEnd.attempts_exhausted, CallEnd.unsuccessful, CallEnd.expired])
async def test_a_removal_outweighs_every_end_but_a_success(world: World, end: CallEnd) -> None:
    leg = await world.placed(await world.leased())
    await world.db.execute("UPDATE calls SET removing = true")
    assert await world.dialled(leg)
    over = Next(state=CallState.finished, call_end=end)
    assert await legs.end(world.db, msgspec.structs.replace(world.ending(leg), next=over), now=world.now)
    ended = await world.call(leg.call_id)
    assert (ended.state, ended.call_end, ended.completed_at) == ("finished", "removed", world.now)
    assert (await world.tallies())["end/removed"] == 1


async def test_success_stays_a_success_though_removal_was_asked_for(world: World) -> None:
    call = await world.leased()
    leg = await world.placed(call)
    await world.db.execute("UPDATE calls SET removing = true")
    await world.rung(leg, seconds=5)
    assert (await world.call(call.call_id)).call_end == "success"


async def test_taken_back_leg_burns_no_attempt_and_its_name_is_not_used_again(world: World) -> None:
    call = await world.leased()
    first = await world.placed(call)
    assert await world.take_back(first)
    back = await world.call(call.call_id)
    assert (back.state, back.attempts) == ("queued", 0)
    assert await world.all("SELECT * FROM attempts") == []
    assert (await world.purse()).held == 0
    await world.check_laws()
    (again,) = await world.lease()
    assert await world.placed(again) == LegId(call.call_id, 1, 2)
    assert not await world.dialled(first)


async def test_dialled_leg_is_not_taken_back(world: World) -> None:
    leg = await world.placed(await world.leased())
    assert await world.dialled(leg)
    before = await world.dump()
    assert not await world.take_back(leg)
    assert await world.dump() == before


async def test_taking_back_twice_frees_once(world: World) -> None:
    leg = await world.placed(await world.leased())
    assert await world.take_back(leg)
    before = await world.dump()
    assert not await world.take_back(leg)
    assert await world.dump() == before


async def test_taken_back_retry_waits_again(world: World) -> None:
    call = await world.leased()
    await world.rung(await world.placed(call), after=CallState.waiting)
    (again,) = await world.lease()
    assert await world.take_back(await world.placed(again))
    back = await world.call(call.call_id)
    assert (back.state, back.attempts) == ("waiting", 1)
    await world.check_laws()


async def test_taken_back_next_leg_leaves_the_call_to_the_leg_that_is_up(world: World) -> None:
    call = await world.leased()
    first = await world.placed(call)
    assert await world.dialled(first)
    second = await world.placed(call, next_leg=True)
    assert await world.take_back(second)
    assert (await world.call(call.call_id)).state == "dialing"
    assert await world.end(first)
    assert (await world.call(call.call_id)).state == "finished"
    await world.check_laws()


async def test_attempt_whose_next_leg_was_taken_back_is_gone_on_with(world: World) -> None:
    call = await world.leased()
    started = world.now
    first = await world.placed(call)
    assert await world.dialled(first)
    second = await world.placed(call, next_leg=True)
    assert await world.end(first, disposition=Disposition.congestion, after=None)
    assert await world.take_back(second)
    await world.check_laws()
    world.tick()
    (again,) = await world.lease()
    third = await world.placed(again)
    assert third == LegId(call.call_id, 1, 3)
    await world.rung(third, seconds=5)
    (attempt,) = (await calls.attempts_of(world.db, call.account_id, [call.call_id]))[call.call_id]
    assert (attempt.started_at, attempt.disposition) == (started, "answered")
    await world.check_laws()


async def test_attempt_costs_what_all_its_legs_cost(world: World) -> None:
    call = await world.leased()
    first = await world.placed(call)
    assert await world.dialled(first)
    await world.placed(call, next_leg=True)
    ending = world.ending(first, seconds=10, after=None)
    assert await legs.end(world.db, ending, now=world.now)
    await world.check_laws()
    await world.rung(LegId(call.call_id, 1, 2), seconds=20)
    ended = await world.call(call.call_id)
    assert (ended.cost, ended.talk_seconds, ended.attempts) == (3, 20, 1)
    await world.check_laws()


async def test_leg_that_ends_after_its_attempt_adds_its_cost_and_no_second_session(world: World) -> None:
    call = await world.leased()
    first = await world.placed(call)
    assert await world.dialled(first)
    second = await world.placed(call, next_leg=True)
    await world.rung(second, seconds=10)
    assert await world.end(first, seconds=10)
    assert (await world.call(call.call_id)).cost == 2
    assert len(await world.all("SELECT FROM ended_sessions")) == 1
    broken_for_a_moment = await world.all("SELECT call_end FROM calls WHERE call_end <> 'success'")
    assert not broken_for_a_moment
    await world.check_laws()


async def test_legs_that_end_together_bill_what_each_costs_and_make_one_session_an_attempt(
    world: World,
) -> None:
    calls_up = [await world.leased() for _ in range(3)]
    ends = []
    for number, call in enumerate(calls_up, start=1):
        leg = await world.placed(call)
        assert await world.dialled(leg)
        ends.append(world.ending(leg, seconds=10 * number))
    # Both of these say that they end the attempt; one does, and the other leaves its cost.
    second = await world.placed(calls_up[0], next_leg=True)
    assert await world.dialled(second)
    ends.append(world.ending(second, seconds=10))
    unheard = await world.placed(await world.leased())
    told = await legs.end_all(world.db, ends, now=world.now)
    assert sorted(told) == sorted(str(one.leg_id) for one in ends)
    assert await legs.end_all(world.db, ends, now=world.now) == []
    assert [(await world.call(call.call_id)).cost for call in calls_up] == [2, 2, 3]
    assert len(await world.all("SELECT FROM ended_sessions")) == 3
    charges = await world.all("SELECT balance_after FROM ledger WHERE kind = 'charge' ORDER BY entry_id")
    assert charges == [(Decimal(999),), (Decimal(998),), (Decimal(996),), (Decimal(993),)]
    assert {live.leg_id for live in await legs.live(world.db, "gateway")} == {str(unheard)}
    await world.check_laws()


async def test_leg_that_cost_more_than_its_hold_is_paid_in_full(world: World) -> None:
    world.campaign = await world.new_campaign(max_cost=Decimal(10))
    leg = await world.placed(await world.leased(), held_by_campaign=True)
    assert await world.dialled(leg)
    ending = msgspec.structs.replace(world.ending(leg, seconds=60), cost=Decimal(12))
    assert await legs.end(world.db, ending, now=world.now)
    purse = await world.purse()
    assert (purse.balance, purse.held) == (988, 4)
    await world.check_laws()


async def test_end_of_an_attempt_is_one_small_row_for_the_report(world: World) -> None:
    call = await world.leased()
    leg = await world.placed(call)
    assert await world.dialled(leg)
    await world.answered(leg)
    world.tick(10)
    assert await world.end(leg, seconds=10)
    statement = """SELECT e.call_id, e.attempt, e.facts, e.session_id = t.session_id FROM ended_sessions e
        JOIN attempts t USING (account_id, call_id, attempt)"""
    assert await world.all(statement) == [(call.call_id, 1, None, True)]


async def test_live_legs_are_what_a_new_dialer_has_to_settle(world: World) -> None:
    placed = await world.placed(await world.leased())
    dialled = await world.placed(await world.leased())
    assert await world.dialled(dialled)
    answered = await world.placed(await world.leased())
    assert await world.dialled(answered)
    await world.answered(answered)
    over = await world.placed(await world.leased())
    await world.rung(over)
    found = {LegId.parse(live.leg_id): live.phase for live in await legs.live(world.db, "gateway")}
    assert found == {placed: "placing", dialled: "dialled", answered: "answered"}
    assert await legs.live(world.db, "elsewhere") == []


async def test_recount_sets_a_trunk_to_what_is_up(world: World) -> None:
    await world.placed(await world.leased())
    assert await legs.recount(world.db, "gateway") == 0
    await world.db.execute("UPDATE trunks SET in_use = 7")
    assert await legs.recount(world.db, "gateway") == 1
    await world.check_laws()


async def test_history_is_every_earlier_attempt_and_no_other(world: World) -> None:
    call = await world.leased()
    await world.rung(await world.placed(call), after=CallState.waiting)
    (again,) = await world.lease()
    await world.rung(await world.placed(again), seconds=3, after=CallState.waiting)
    (third,) = await world.lease()
    leg = await world.placed(third)
    past = await legs.history(world.db, account_id=call.account_id, leg=leg)
    assert [(o.disposition, o.script_result) for o in past] == [
        (Disposition.busy, ScriptResult.none),
        (Disposition.answered, ScriptResult.choice),
    ]


async def test_day_s_spending_starts_anew_at_midnight_utc(world: World) -> None:
    for hours in (0, 13):
        world.tick(timedelta(hours=hours).total_seconds())
        await world.rung(await world.placed(await world.leased()), seconds=10)
    ((spent_on, spent),) = await world.all("SELECT spent_on, spent_today FROM accounts")
    assert (spent_on, spent) == (world.now.date(), 1)


async def test_answers_are_committed_together_and_those_of_ended_legs_change_nothing(world: World) -> None:
    first, second = await world.placed(await world.leased()), await world.placed(await world.leased())
    for leg in (first, second):
        assert await world.dialled(leg)
    await world.end(first)
    ended = await world.call(first.call_id)
    await legs.mark_answered(
        world.db,
        [
            legs.Answered(account_id=world.account.account_id, leg=leg, at=world.now)
            for leg in (first, second)
        ],
    )
    assert await world.call(first.call_id) == ended
    assert (await world.call(second.call_id)).state == "talking"
    await world.check_laws()
