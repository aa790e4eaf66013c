"""Is a subscriber who called back a recalled call, once, told and counted, and not dialled again?"""

from typing import Any

import pytest

from zvonar.core.call import CallState
from zvonar.core.result import Disposition
from zvonar.dialects.autocall.outcomes import CallStatus, ended_by_status
from zvonar.store import recalls

from .test_steering import told

pytestmark = pytest.mark.asyncio
World = Any  # conftest's


async def tried(world: World, **how: Any) -> int:
    """A call that was dialled."""
    call = await world.leased()
    assert await world.rung(await world.placed(call), **how)
    return int(call.call_id)


async def recalled(world: World, call_id: int) -> bool:
    return await recalls.recall(world.db, world.account.account_id, call_id, now=world.now)


async def settled(world: World, **settings: Any) -> World:
    world.campaign = await world.new_campaign(callback_url="https://client.example/", **settings)
    return world


async def counted(world: World) -> dict[str, int]:
    return {str(status): n for status, n in ended_by_status(await world.tallies()).items() if n}


async def test_whoever_was_busy_and_called_back_is_told_and_counted_as_recalled(world: World) -> None:
    await settled(world)
    call_id = await tried(world, after=CallState.finished)
    assert await counted(world) == {CallStatus.busy: 1}
    world.tick(600)
    assert [await recalled(world, call_id) for _ in range(2)] == [True, False]
    assert [body["status"] for body in await told(world, "call")] == ["busy", "recalled"]
    assert await counted(world) == {CallStatus.recalled: 1}
    last = (await told(world, "call"))[-1]
    assert (last["tries"], last["status_tries"]) == (1, ["busy"])
    await world.check_laws()


async def test_whoever_waits_for_another_try_and_called_back_is_not_tried_again(world: World) -> None:
    await settled(world)
    call_id = await tried(world, after=CallState.waiting)
    leased = [call.call_id for call in await world.lease()]
    assert leased == [call_id]
    assert await recalled(world, call_id)
    call = await world.call(call_id)
    assert (call.state, call.call_end) == ("finished", "unsuccessful")
    assert await world.lease() == []
    # One body for the try and one for the call back, though that also ended the call.
    assert [body["status"] for body in await told(world, "call")] == ["busy", "recalled"]
    assert await counted(world) == {CallStatus.recalled: 1}
    await world.check_laws()


async def test_who_was_reached_did_not_call_back_for_that(world: World) -> None:
    await settled(world)
    call_id = await tried(world, seconds=5)
    assert not await recalled(world, call_id)
    assert await counted(world) == {CallStatus.success: 1}


@pytest.mark.parametrize(("after", "counts"), [(3599, True), (3601, False)])
async def test_a_call_back_counts_within_the_time_that_the_campaign_sets(
    world: World, after: int, counts: bool
) -> None:
    await settled(world, recall_within=3600)
    began = world.now
    call_id = await tried(world)
    world.tick(after - (world.now - began).total_seconds())
    assert await recalled(world, call_id) is counts


async def test_a_call_that_is_up_or_was_never_dialled_is_not_recalled(world: World) -> None:
    await settled(world)
    never = await world.add()
    assert not await recalled(world, never)
    (call,) = [call for call in await world.lease() if call.call_id == never]
    await world.placed(call)
    assert not await recalled(world, never)


async def test_another_account_s_call_is_left_alone(world: World) -> None:
    await settled(world)
    call_id = await tried(world)
    other = await world.new_account()
    assert not await recalls.recall(world.db, other.account_id, call_id, now=world.now)


async def test_every_end_without_an_answer_may_be_called_back(world: World) -> None:
    await settled(world)
    for disposition in (
        Disposition.no_answer,
        Disposition.unreachable,
        Disposition.declined,
        Disposition.congestion,
    ):
        assert await recalled(world, await tried(world, disposition=disposition))
    assert await counted(world) == {CallStatus.recalled: 4}
