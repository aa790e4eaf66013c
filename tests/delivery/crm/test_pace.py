"""Is a CRM never asked more often than it allows, whoever asks?"""

import asyncio
from datetime import datetime, timedelta

import pytest

from zvonar.delivery.crm.settings import CrmSettings
from zvonar.store import push_paces
from zvonar.store.db import Database
from zvonar.store.push_paces import Slot

from .sink import Sink
from .world import connected, ended, phone, pushing, until_done

pytestmark = pytest.mark.asyncio

ORIGIN, COUNT = "https://example.amocrm.ru", 7
SECOND = timedelta(seconds=1)


async def taken(db: Database) -> Slot | float:
    async with db.connection() as connection:
        return await push_paces.take(connection, ORIGIN, count=COUNT)


async def asks(db: Database, times: int) -> list[datetime]:
    """When so many requests left, as the database's clock had it at the latest."""
    loop, left = asyncio.get_running_loop(), []
    while len(left) < times:
        slot = await taken(db)
        if not isinstance(slot, Slot):
            await asyncio.sleep(slot)
            continue
        await asyncio.sleep(max(0.0, slot.leaves - loop.time()))
        now = loop.time()
        left.append(slot.left(now))
        await push_paces.sent(db, slot, left=now)
    return left


async def test_no_second_has_more_than_seven_requests_of_three_processes(db: Database, dsn: str) -> None:
    async with Database(dsn) as other, Database(dsn) as third:
        of_each = await asyncio.gather(*(asks(one, 14) for one in (db, other, third)))
    left = sorted(moment for moments in of_each for moment in moments)
    assert all(late - early > SECOND for early, late in zip(left, left[COUNT:], strict=False))


async def test_what_has_not_left_yet_counts_as_if_it_left_at_any_moment(db: Database) -> None:
    slots = []
    while len(slots) < COUNT:
        slot = await taken(db)
        if isinstance(slot, Slot):
            slots.append(slot)
        else:
            await asyncio.sleep(slot)
    assert isinstance(await taken(db), float)
    # Even once their seconds are over, as long as nobody says that they have left.
    await db.execute(
        "UPDATE push_paces SET granted = ARRAY(SELECT g - interval '5 seconds' FROM unnest(granted) g)"
    )
    assert isinstance(await taken(db), float)
    # Those of a process that died do not count for ever.
    await db.execute(
        "UPDATE push_paces SET granted = ARRAY(SELECT g - interval '11 seconds' FROM unnest(granted) g)"
    )
    assert isinstance(await taken(db), Slot)


async def test_a_slot_that_was_not_used_is_free_again(db: Database) -> None:
    for _ in range(3 * COUNT):
        slot = await taken(db)
        while not isinstance(slot, Slot):
            await asyncio.sleep(slot)
            slot = await taken(db)
        await push_paces.sent(db, slot, left=None)
    assert await db.value("SELECT cardinality(sent) + cardinality(granted) FROM push_paces") == 0


async def test_a_crm_that_wants_to_be_left_alone_is(db: Database) -> None:
    await push_paces.hold(db, ORIGIN, seconds=60.0)
    wait = await taken(db)
    assert isinstance(wait, float)
    assert 50 < wait <= 60
    await push_paces.hold(db, ORIGIN, seconds=1.0)  # a shorter wish does not undo it
    wait = await taken(db)
    assert isinstance(wait, float)
    assert wait > 50
    await push_paces.free(db, ORIGIN)
    assert isinstance(await taken(db), Slot)


async def test_requests_of_all_kinds_count_together(
    db: Database, dsn: str, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, and calls of which half need a card: posts, contacts, and posts again."""
    left: list[datetime] = []
    sent = push_paces.sent

    async def noted(to: Database, slot: Slot, *, left: float | None) -> None:
        if left is not None:
            moments.append(slot.left(left))
        await sent(to, slot, left=left)

    moments = left
    monkeypatch.setattr(push_paces, "sent", noted)
    for call in range(1, 401, 2):
        sink.contact(phone(call))
    await connected(db, sink.url, CrmSettings(unknown="contact"))
    await ended(db, range(1, 401))
    async with Database(dsn) as other, pushing(db), pushing(other):
        await until_done(db, 400)
    assert len(left) == len(sink.asked) >= 24
    left.sort()
    assert all(late - early > SECOND for early, late in zip(left, left[COUNT:], strict=False))
