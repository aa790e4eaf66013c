"""Does a list become calls once, whoever stops in between?"""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from zvonar.core.campaign import CampaignStatus
from zvonar.core.phone import Phone
from zvonar.intake.jobs import IDLE
from zvonar.intake.judge import Layout
from zvonar.intake.load import MAX_DEATHS, Ended
from zvonar.intake.upload import NothingToLoad
from zvonar.store import calls, campaigns, phone_lists, stoplist
from zvonar.store.calls import NewCall
from zvonar.store.db import Database

from .world import NOON, World, number


def russian(e164: str) -> Phone:
    return Phone(e164=e164, country="RU")


pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def world(db: Database) -> World:
    return await World(db).settle(lifetime=3600)


async def test_a_list_becomes_calls_in_its_own_order(world: World) -> None:
    seen: list[tuple[int, int]] = []
    list_id = await world.receive([number(n) for n in range(10)])
    ended = await world.work(list_id, progress=lambda done, total: seen.append((done, total)))
    assert ended is Ended.finished
    made = await world.calls()
    assert [(call.ordinal, call.phone) for call in made] == [(n + 1, number(n)) for n in range(10)]
    assert len({call.call_id for call in made}) == 10
    assert seen == [(0, 10), (3, 10), (6, 10), (9, 10), (10, 10)]
    found = await world.phone_list(list_id)
    assert (found.state, found.total, found.done, found.loaded, found.rejected) == ("loaded", 10, 10, 10, 0)
    assert await world.tallied() == {"state/queued": 10}
    chunks = "SELECT count(*) FROM phone_list_chunks"
    assert await world.db.value(chunks) == 0


async def test_what_one_loader_leaves_another_one_finishes(world: World) -> None:
    list_id = await world.receive([*(number(n) for n in range(8)), number(1), number(6), "x"])
    stop = asyncio.Event()

    def after_two(done: int, total: int) -> None:
        if done >= 6:
            stop.set()

    assert await world.work(list_id, stop=stop, progress=after_two) is Ended.stopped
    half = await world.phone_list(list_id)
    assert (half.state, half.done, half.loaded) == ("loading", 6, 6)
    assert await world.work(list_id) is Ended.finished
    assert [call.phone for call in await world.calls()] == [number(n) for n in range(8)]
    assert await world.rejected(list_id) == [(9, "duplicate"), (10, "duplicate"), (11, "phone_invalid")]
    assert await world.work(list_id) is Ended.finished
    assert len(await world.calls()) == 8


async def test_two_loaders_of_one_list_make_its_calls_once(world: World) -> None:
    list_id = await world.receive([number(n) for n in range(40)])
    ended = await asyncio.gather(*(world.work(list_id) for _ in range(3)))
    assert Ended.finished in ended
    assert [call.phone for call in await world.calls()] == [number(n) for n in range(40)]
    found = await world.phone_list(list_id)
    assert (found.state, found.loaded) == ("loaded", 40)


async def test_ordinals_that_a_dead_loader_was_promised_are_filled_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_id = await world.receive([number(n) for n in range(5)])

    async def dies(*_: Any, **__: Any) -> None:
        raise KeyError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr("zvonar.store.loading.copy", dies)
        with pytest.raises(KeyError):
            await world.work(list_id)
    assert (await world.phone_list(list_id)).done == 0
    await calls.add(
        world.db,
        world.account.account_id,
        world.campaign.campaign_id,
        NewCall(phone=russian(number(99))),
        now=NOON,
    )
    assert await world.work(list_id) is Ended.finished
    assert [(call.ordinal, call.phone) for call in await world.calls()] == [
        *((n + 1, number(n)) for n in range(3)),
        (4, number(99)),
        *((n + 2, number(n)) for n in range(3, 5)),
    ]


async def test_a_list_that_kills_its_loaders_is_given_up_until_somebody_wants_it_again(world: World) -> None:
    account_id = world.account.account_id
    list_id = await world.receive([number(1)])
    assert await phone_lists.begin(world.db, account_id, list_id, now=NOON)
    for _ in range(MAX_DEATHS):
        await phone_lists.died(world.db, account_id, list_id)
    assert await world.work(list_id) is Ended.finished
    found = await world.phone_list(list_id)
    assert (found.state, found.error, found.loaded) == ("failed", "given_up", 0)
    assert await phone_lists.retry(world.db, list_id)
    assert [one.phone_list_id for one in await phone_lists.left(world.db, now=NOON, idle=IDLE)] == [list_id]
    await world.work(list_id)
    found = await world.phone_list(list_id)
    assert (found.state, found.error, found.loaded) == ("loaded", None, 1)
    assert not await phone_lists.retry(world.db, list_id)


async def test_a_completed_campaign_runs_again(world: World) -> None:
    account_id, campaign_id = world.account.account_id, world.campaign.campaign_id
    done = "UPDATE campaigns SET status = 'completed', finished_at = %s WHERE campaign_id = %s"
    await world.db.execute(done, (NOON, campaign_id))
    list_id = await world.receive([number(n) for n in range(5)])
    await world.work(list_id)
    campaign = await campaigns.get(world.db, account_id, campaign_id)
    assert (campaign.status, campaign.finished_at, campaign.calls) == (CampaignStatus.running, None, 5)


async def test_a_cancelled_campaign_takes_no_more_and_says_so(world: World) -> None:
    list_id = await world.receive([number(n) for n in range(5)])
    cancel = "UPDATE campaigns SET status = 'cancelled' WHERE campaign_id = %s"
    await world.db.execute(cancel, (world.campaign.campaign_id,))
    assert await world.work(list_id) is Ended.finished
    found = await world.phone_list(list_id)
    assert (found.state, found.error) == ("failed", "campaign_closed")
    assert await world.calls() == []


async def test_stop_lists_count_when_the_list_is_worked_off(world: World) -> None:
    list_id = await world.receive([number(n) for n in range(4)])
    account_id = world.account.account_id
    await stoplist.put(world.db, account_id, number(1), reason=None, until=None, now=NOON)
    await stoplist.put(world.db, account_id, number(2), reason=None, until=NOON, now=NOON)
    everybody = "INSERT INTO global_stop_list (phone, created_at) VALUES (%s, %s)"
    await world.db.execute(everybody, (number(3), NOON))
    await world.work(list_id)
    assert [call.phone for call in await world.calls()] == [number(0), number(2)]
    assert await world.rejected(list_id) == [(2, "stopped"), (4, "stopped")]


async def test_a_label_is_given_once_across_batches_and_lists(world: World) -> None:
    rows = [f"{number(n)},l{n % 5}" for n in range(8)]
    list_id = await world.receive(rows, layout=Layout(label=1))
    await world.work(list_id)
    assert [call.label for call in await world.calls()] == [f"l{n}" for n in range(5)]
    assert await world.rejected(list_id) == [(6, "label_taken"), (7, "label_taken"), (8, "label_taken")]
    with pytest.raises(NothingToLoad) as again:
        await world.receive(rows, layout=Layout(label=1))
    assert {row.reason for row in again.value.rejected} == {"label_taken"}


async def test_a_label_taken_between_the_look_and_the_load_costs_only_its_row(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_id = await world.receive([f"{number(n)},l{n}" for n in range(3)], layout=Layout(label=1))
    looks = itertools.count()

    async def taken(*_: Any) -> set[str]:
        if next(looks) == 0:
            phone = russian(number(9))
            await calls.add(
                world.db,
                world.account.account_id,
                world.campaign.campaign_id,
                NewCall(phone=phone, label="l1"),
                now=NOON,
            )
            return set()
        return {"l1"}

    monkeypatch.setattr("zvonar.store.labels.taken", taken)
    await world.work(list_id)
    assert sorted((call.phone, call.label) for call in await world.calls()) == [
        (number(0), "l0"),
        (number(2), "l2"),
        (number(9), "l1"),
    ]


async def test_single_calls_are_added_while_a_list_is_loaded(world: World) -> None:
    list_id = await world.receive([number(n) for n in range(300)])

    async def singles() -> None:
        for n in range(1000, 1040):
            new = NewCall(phone=russian(number(n)))
            await calls.add(world.db, world.account.account_id, world.campaign.campaign_id, new, now=NOON)

    await asyncio.gather(world.work(list_id, rows=20), singles(), singles())
    made = await world.calls()
    assert sorted(call.ordinal for call in made) == list(range(1, 381))
    assert await world.tallied() == {"state/queued": 380}


@pytest.mark.parametrize("duplicates", [True, False])
async def test_duplicates_are_the_campaigns_business(db: Database, duplicates: bool) -> None:
    world = await World(db).settle(duplicates=duplicates)
    list_id = await world.receive([number(1), number(2), number(1), number(2), number(1)])
    await world.work(list_id, rows=2)
    assert len(await world.calls()) == (5 if duplicates else 2)


async def test_texts_come_through_whatever_they_are_made_of(world: World) -> None:
    texts: Sequence[str] = ["a\\b", "таб\tб", "\\N", 'два ""', "\\.", "x" * 4000, "{}", "a\u2028b\x0bc"]
    rows = [f'{number(n)},"{text}"' for n, text in enumerate(texts)]
    list_id = await world.receive(rows, layout=Layout(text=1))
    await world.work(list_id)
    found = "SELECT array_agg(overrides ->> 'text' ORDER BY ordinal) FROM calls WHERE campaign_id = %s"
    kept = await world.db.value(found, (world.campaign.campaign_id,))
    assert kept == [text.replace('""', '"') for text in texts]


async def test_a_list_that_nobody_comes_on_with_is_found(world: World) -> None:
    list_id = await world.receive([number(1)])
    minute = timedelta(minutes=1)
    assert await phone_lists.left(world.db, now=NOON + minute, idle=minute) == []
    later = NOON + 2 * minute
    assert [one.phone_list_id for one in await phone_lists.left(world.db, now=later, idle=minute)] == [
        list_id
    ]
    await world.work(list_id)
    assert await phone_lists.left(world.db, now=later, idle=minute) == []
