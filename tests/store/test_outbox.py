"""Is each fact told once, in order, and as it was?"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from zvonar.store import outbox
from zvonar.store.outbox import Delivery, Event, Rendered

pytestmark = pytest.mark.asyncio
World = Any  # conftest's
HERE = "http://receiver.example/"
MINUTE = timedelta(minutes=1)


def render(event: Event) -> Sequence[Rendered]:
    """One body to one address for each event of a call, keyed by the call."""
    if event.kind != "call":
        return []
    body = f"{event.call_id} {event.payload['state']}".encode()
    key = str(event.call_id)
    return [Rendered(kind="test", address=HERE, order_key=key, content_type="text/plain", body=body)]


async def lease(world: World, limit: int = 100) -> list[Delivery]:
    return await outbox.lease(world.db, now=world.now, until=world.now + MINUTE, limit=limit)


async def told(world: World) -> list[Delivery]:
    await outbox.fan_out(world.db, render, now=world.now)
    return await lease(world)


async def one_call(world: World) -> str:
    call = await world.leased()
    await world.rung(await world.placed(call), seconds=5)
    return str(call.call_id)


async def test_deliveries_of_a_call_go_one_after_the_other(world: World) -> None:
    call_id = await one_call(world)
    bodies = []
    first = await told(world)
    while first:
        (delivery,) = first
        bodies.append(delivery.body.decode())
        assert await lease(world) == []
        await outbox.delivered(world.db, delivery, status=200, now=world.now)
        first = await lease(world)
    assert bodies == [f"{call_id} {state}" for state in ("dialing", "talking", "finished")]
    lag = await outbox.lag(world.db, now=world.now)
    assert (lag.events, lag.pending, lag.dead) == (0, 0, 0)


async def test_other_calls_do_not_wait_for_a_call_that_waits(world: World) -> None:
    ids = {await one_call(world) for _ in range(3)}
    got = await told(world)
    assert {delivery.body.decode() for delivery in got} == {f"{call_id} dialing" for call_id in ids}


async def test_each_event_is_rendered_once_by_many_workers(world: World) -> None:
    for _ in range(10):
        await one_call(world)
    seen: Counter[int] = Counter()

    def counted(event: Event) -> Sequence[Rendered]:
        seen[event.event_id] += 1
        return render(event)

    async def worker() -> None:
        while await world.db.value("SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"):
            await outbox.fan_out(world.db, counted, now=world.now, limit=7)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(worker())
    ((events,),) = await world.all("SELECT count(*) FROM outbox")
    assert len(seen) == events
    assert set(seen.values()) == {1}
    ((deliveries,),) = await world.all("SELECT count(*) FROM deliveries")
    assert deliveries == 30


async def test_event_says_how_things_were_and_not_how_they_are(world: World) -> None:
    call = await world.leased()
    leg = await world.placed(call)
    await world.rung(leg, seconds=5)
    events: list[Event] = []

    def kept(event: Event) -> Sequence[Rendered]:
        events.append(event)
        return []

    await outbox.fan_out(world.db, kept, now=world.now)
    dialing, _, finished = [event.payload for event in events if event.call_id == call.call_id]
    assert (dialing["state"], dialing["call_end"], dialing["attempts"][0]["ended_at"]) == (
        "dialing",
        None,
        None,
    )
    assert (finished["state"], finished["call_end"], finished["choice"]) == ("finished", "success", "1")
    (attempt,) = finished["attempts"]
    assert (attempt["disposition"], attempt["script_result"], attempt["talk_seconds"]) == (
        "answered",
        "choice",
        5,
    )
    assert finished["timezone"] == "Europe/Moscow"


async def test_failed_render_tells_nothing_and_loses_nothing(world: World) -> None:
    await one_call(world)

    def broken(_: Event) -> Sequence[Rendered]:
        raise ValueError("broken")

    before = await world.dump()
    with pytest.raises(ValueError, match="broken"):
        await outbox.fan_out(world.db, broken, now=world.now)
    assert await world.dump() == before
    assert len(await told(world)) == 1


async def test_later_delivery_waits_behind_a_failed_one_and_passes_a_dead_one(world: World) -> None:
    call_id = await one_call(world)
    (first,) = await told(world)
    again = world.now + 5 * MINUTE
    await outbox.failed(world.db, first, status=500, error="500", next_at=again)
    assert await lease(world) == []
    assert await outbox.next_due(world.db) == again
    world.now = again
    (retry,) = await lease(world)
    assert (retry.delivery_id, retry.body, retry.tries) == (first.delivery_id, first.body, 1)
    await outbox.failed(world.db, retry, status=None, error="timeout", next_at=None)
    (second,) = await lease(world)
    assert second.body.decode() == f"{call_id} talking"
    lag = await outbox.lag(world.db, now=world.now)
    assert (lag.events, lag.pending, lag.dead) == (0, 2, 1)
    assert lag.oldest > 0


async def test_lease_that_ran_out_is_given_again(world: World) -> None:
    await one_call(world)
    (first,) = await told(world)
    assert await lease(world) == []
    assert await outbox.next_due(world.db) == world.now + MINUTE
    world.now += MINUTE + timedelta(microseconds=1)
    (again,) = await lease(world)
    assert again.delivery_id == first.delivery_id


async def test_two_workers_never_lease_the_same_delivery(world: World) -> None:
    for _ in range(20):
        await one_call(world)
    await outbox.fan_out(world.db, render, now=world.now)
    got = await asyncio.gather(*(lease(world, 5) for _ in range(8)))
    ids = [delivery.delivery_id for batch in got for delivery in batch]
    assert len(ids) == len(set(ids))
    assert len(ids) + len(await lease(world)) == 20


async def test_one_event_is_at_most_one_delivery_of_a_kind_to_an_address(world: World) -> None:
    await one_call(world)

    def twice(event: Event) -> Sequence[Rendered]:
        return [*render(event), *render(event)]

    await outbox.fan_out(world.db, twice, now=world.now)
    ((deliveries,),) = await world.all("SELECT count(*) FROM deliveries")
    assert deliveries == 3
    assert await outbox.next_due(world.db) == world.now
