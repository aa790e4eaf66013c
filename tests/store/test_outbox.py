"""Is each fact told once, in order, and as it was?"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from zvonar.core.call import CallState
from zvonar.core.result import Disposition
from zvonar.store import deliveries, outbox
from zvonar.store.deliveries import Delivery, Settlement
from zvonar.store.outbox import Event, Rendered

pytestmark = pytest.mark.asyncio
World = Any  # conftest's
HERE = "http://receiver.example/"
MINUTE = timedelta(minutes=1)


def render(event: Event) -> Sequence[Rendered]:
    """One body to one address for each event of a call, keyed by the call."""
    if event.kind != "call":
        return []
    body = f"{event.call_id} {event.payload['disposition']}".encode()
    key = str(event.call_id)
    return [Rendered(kind="test", address=HERE, order_key=key, content_type="text/plain", body=body)]


ME = 7  # a worker's number


async def fan_out(world: World, renderer: Any = render, *, limit: int = 500) -> outbox.Batch:
    return await outbox.fan_out(
        world.db, renderer, now=world.now, next_try=lambda tries: world.now + tries * MINUTE, limit=limit
    )


async def lease(world: World, limit: int = 100) -> list[Delivery]:
    return await deliveries.lease(
        world.db,
        worker_id=ME,
        now=world.now,
        until=world.now + MINUTE,
        limit=limit,
        per_address=limit,
        rooms={},
    )


async def settle(world: World, delivery: Delivery, *, error: str | None = None, next_at: Any = None) -> None:
    settled = Settlement(
        delivery=delivery,
        worker_id=ME,
        until=world.now + MINUTE,
        sent_at=world.now,
        at=world.now,
        latency=5,
        status=None if error else 200,
        error=error,
        next_at=next_at,
    )
    await deliveries.settle(world.db, [settled], now=world.now)


async def told(world: World) -> list[Delivery]:
    await fan_out(world)
    return await lease(world)


RESULTS = (Disposition.busy, Disposition.no_answer, Disposition.answered)


async def one_call(world: World) -> str:
    """A call of three attempts, each of which is told."""
    call = await world.leased()
    for disposition in RESULTS:
        last = disposition is Disposition.answered
        how = {"seconds": 5} if last else {"disposition": disposition, "after": CallState.waiting}
        await world.rung(await world.placed(call), **how)
        if not last:
            (call,) = [again for again in await world.lease() if again.call_id == call.call_id]
    return str(call.call_id)


async def test_deliveries_of_a_call_go_one_after_the_other(world: World) -> None:
    call_id = await one_call(world)
    bodies = []
    first = await told(world)
    while first:
        (delivery,) = first
        bodies.append(delivery.body.decode())
        assert await lease(world) == []
        await settle(world, delivery)
        first = await lease(world)
    assert bodies == [f"{call_id} {result}" for result in RESULTS]
    lag = await outbox.lag(world.db, now=world.now)
    assert (lag.events, lag.pending, lag.dead) == (0, 0, 0)


async def test_other_calls_do_not_wait_for_a_call_that_waits(world: World) -> None:
    ids = {await one_call(world) for _ in range(3)}
    got = await told(world)
    assert {delivery.body.decode() for delivery in got} == {f"{call_id} busy" for call_id in ids}


async def test_each_event_is_rendered_once_by_many_workers(world: World) -> None:
    for _ in range(10):
        await one_call(world)
    seen: Counter[int] = Counter()

    def counted(event: Event) -> Sequence[Rendered]:
        seen[event.event_id] += 1
        return render(event)

    async def worker() -> None:
        while await world.db.value("SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"):
            await fan_out(world, counted, limit=7)

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(worker())
    # That a call is dialled and answered is in the outbox too, and told to nobody.
    untold = "kind = 'call' AND payload ->> 'state' IN ('dialing', 'talking')"
    ((events,),) = await world.all(f"SELECT count(*) FROM outbox WHERE NOT ({untold})")
    ((others,),) = await world.all(f"SELECT count(*) FROM outbox WHERE {untold}")
    assert (len(seen), others) == (events, 10 * 4)
    assert set(seen.values()) == {1}
    ((found,),) = await world.all("SELECT count(*) FROM deliveries")
    assert found == 30


async def test_event_says_how_things_were_and_not_how_they_are(world: World) -> None:
    call_id = await one_call(world)
    events: list[Event] = []

    def kept(event: Event) -> Sequence[Rendered]:
        events.append(event)
        return []

    await fan_out(world, kept)
    waiting, _, finished = [event.payload for event in events if str(event.call_id) == call_id]
    assert (waiting["state"], waiting["call_end"], len(waiting["attempts"])) == ("waiting", None, 1)
    assert (finished["state"], finished["call_end"], finished["choice"]) == ("finished", "success", "1")
    *_, attempt = finished["attempts"]
    assert len(finished["attempts"]) == 3
    assert (attempt["disposition"], attempt["script_result"], attempt["talk_seconds"]) == (
        "answered",
        "choice",
        5,
    )
    assert finished["timezone"] == "Europe/Moscow"


async def test_failed_render_loses_nothing_and_stops_nobody_else(world: World) -> None:
    first, second = await one_call(world), await one_call(world)

    def broken(event: Event) -> Sequence[Rendered]:
        if str(event.call_id) == first:
            raise ValueError("broken")
        return render(event)

    batch = await fan_out(world, broken)
    # One could not be rendered; the others of its call wait behind it without a try.
    assert [(event.error, event.tries, event.next_at) for event in batch.parked] == [
        ("ValueError", 1, world.now + MINUTE)
    ]
    assert [delivery.body.decode() for delivery in await lease(world)] == [f"{second} busy"]
    assert (await fan_out(world)).events == 0
    world.now += MINUTE
    again = await fan_out(world, broken)
    assert [(event.tries, event.next_at) for event in again.parked] == [(2, world.now + 2 * MINUTE)]
    world.now += 2 * MINUTE
    assert (await fan_out(world)).deliveries == 3
    assert f"{first} busy" in [delivery.body.decode() for delivery in await lease(world)]


async def test_what_is_not_text_is_not_rendered(world: World) -> None:
    await one_call(world)

    def bytes_of_a_kind(event: Event) -> Sequence[Rendered]:
        return [msgspec.structs.replace(one, body=b"\xff") for one in render(event)]

    batch = await fan_out(world, bytes_of_a_kind)
    assert [event.error for event in batch.parked] == ["UnicodeDecodeError"]


async def test_later_delivery_waits_behind_a_failed_one_and_passes_a_dead_one(world: World) -> None:
    call_id = await one_call(world)
    (first,) = await told(world)
    again = world.now + 5 * MINUTE
    await settle(world, first, error="status", next_at=again)
    assert await lease(world) == []
    world.now = again
    (retry,) = await lease(world)
    assert (retry.delivery_id, retry.body, retry.tries) == (first.delivery_id, first.body, 1)
    await settle(world, retry, error="timeout")
    (second,) = await lease(world)
    assert second.body.decode() == f"{call_id} no_answer"
    lag = await outbox.lag(world.db, now=world.now)
    assert (lag.events, lag.pending, lag.dead) == (0, 2, 1)
    assert lag.oldest > 0


async def test_lease_that_ran_out_is_given_again(world: World) -> None:
    await one_call(world)
    (first,) = await told(world)
    assert await lease(world) == []
    world.now += MINUTE + timedelta(microseconds=1)
    (again,) = await lease(world)
    assert again.delivery_id == first.delivery_id


async def test_two_workers_never_lease_the_same_delivery(world: World) -> None:
    for _ in range(20):
        await one_call(world)
    await fan_out(world)
    got = await asyncio.gather(*(lease(world, 5) for _ in range(8)))
    ids = [delivery.delivery_id for batch in got for delivery in batch]
    assert len(ids) == len(set(ids))
    assert len(ids) + len(await lease(world)) == 20


async def test_one_event_is_at_most_one_delivery_of_a_kind_to_an_address(world: World) -> None:
    await one_call(world)

    def twice(event: Event) -> Sequence[Rendered]:
        return [*render(event), *render(event)]

    await fan_out(world, twice)
    ((found,),) = await world.all("SELECT count(*) FROM deliveries")
    assert found == 3
