"""Which numbers are to be called? Ids, order, labels, leases and ways out of the queue."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from zvonar.core.call import CallState, Next
from zvonar.core.campaign import CallOverrides
from zvonar.core.errors import CampaignNotFound, NoMoney
from zvonar.core.result import CallEnd, Disposition, Outcome
from zvonar.store import calls, campaigns, clips, epochs, phone_lists, steering
from zvonar.store.calls import CampaignClosed, LabelTaken
from zvonar.store.campaigns import NotAllowedNow

pytestmark = pytest.mark.asyncio
World = Any  # conftest's
JS_SAFE = 2**53 - 1


async def load(world: World, new: list[Any], **changed: Any) -> int:
    of = world.campaign
    how = {"name": "numbers.csv", "rejected": 2, "now": world.now, **changed}
    return await phone_lists.load(world.db, of.account_id, of.campaign_id, new, **how)


async def test_ids_are_as_long_as_the_wires_want_them(world: World) -> None:
    world.now = datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)
    call_id = await world.add()
    assert str(call_id).startswith("251231")
    assert len(str(call_id)) == 15
    assert call_id < JS_SAFE
    clip = await clips.put_text(world.db, world.account.account_id, "Привет", clips.Voice(), now=world.now)
    phone_list = await load(world, [])
    assert [len(str(i)) for i in (world.campaign.campaign_id, clip.clip_id, phone_list)] == [10, 10, 12]


async def test_call_id_has_the_day_in_utc_whatever_the_zone_of_the_clock(world: World) -> None:
    moscow = datetime(2026, 1, 1, 2, 0, tzinfo=UTC).astimezone().replace(tzinfo=UTC) - timedelta(hours=3)
    world.now = moscow
    assert str(await world.add()).startswith(moscow.strftime("%y%m%d"))


async def test_loaded_list_keeps_the_order_of_its_file(world: World) -> None:
    await world.add()
    new = [world.new() for _ in range(500)]
    await load(world, new)
    pages = [
        page
        async for page in calls.each(world.db, world.account.account_id, world.campaign.campaign_id, page=99)
    ]
    found = [call for page in pages for call in page]
    assert [call.ordinal for call in found] == list(range(1, 502))
    assert [call.phone for call in found[1:]] == [call.phone.e164 for call in new]
    assert len({call.call_id for call in found}) == 501
    assert all(len(str(call.call_id)) == 15 for call in found)
    assert (await world.tallies()) == {"state/queued": 501}
    ((loaded, rejected),) = await world.all("SELECT loaded, rejected FROM phone_lists")
    assert (loaded, rejected) == (500, 2)


async def test_loaded_calls_keep_what_each_of_them_says(world: World) -> None:
    later = world.now + timedelta(hours=1)
    said = world.new(label="a", extra="Иван", overrides=CallOverrides(text="Добрый день"), due_at=later)
    await load(world, [said, world.new()])
    (now_due,) = await world.lease()
    assert now_due.overrides is None
    world.tick(3600)
    (due,) = await world.lease()
    assert (due.overrides, due.due_at) == ({"text": "Добрый день"}, later)
    found = await world.call(due.call_id)
    assert (found.label, found.extra) == ("a", "Иван")


async def test_label_is_one_call_of_its_campaign(world: World) -> None:
    await world.add(world.new(label="order 1"))
    before = await world.dump()
    with pytest.raises(LabelTaken):
        await world.add(world.new(label="order 1"))
    with pytest.raises(LabelTaken):
        await load(world, [world.new(), world.new(label="order 1")])
    assert await world.dump() == before
    world.campaign = await world.new_campaign()
    await world.add(world.new(label="order 1"))


async def test_unknown_and_foreign_campaigns_take_no_calls(world: World) -> None:
    other = await world.new_account()
    for account_id, campaign_id in (
        (world.account.account_id, 9_999_999_999),
        (other.account_id, world.campaign.campaign_id),
    ):
        with pytest.raises(CampaignNotFound):
            await calls.add(world.db, account_id, campaign_id, world.new(), now=world.now)


async def finish_everything(world: World) -> None:
    for call in await world.lease():
        await calls.leave_queue(world.db, call, state="removed", call_end="removed", now=world.now)
    of = world.campaign
    assert await steering.complete_if_done(world.db, of.account_id, of.campaign_id, now=world.now)


async def test_completed_campaign_is_woken_by_a_new_call(world: World) -> None:
    await world.add()
    await finish_everything(world)
    world.tick()
    call_id = await world.add()
    found = await campaigns.get(world.db, world.account.account_id, world.campaign.campaign_id)
    assert (found.status, found.finished_at) == ("running", None)
    assert [call.call_id for call in await world.lease()] == [call_id]
    statement = "SELECT payload ->> 'status' FROM outbox WHERE kind = 'campaign' AND campaign_id = %s ORDER BY event_id"
    said = [status for (status,) in await world.all(statement, [world.campaign.campaign_id])]
    assert said == ["running", "completed", "running"]


async def test_woken_campaign_holds_what_is_left_of_its_max_cost_or_is_not_woken(world: World) -> None:
    world.campaign = await world.new_campaign(max_cost=Decimal(900))
    leg = await world.placed(await world.leased(), held_by_campaign=True)
    await world.rung(leg, seconds=60)
    await finish_everything(world)
    assert (await world.purse()).held == 0
    await world.add()
    assert (await world.purse()).held == 894
    await finish_everything(world)
    await world.db.execute("UPDATE accounts SET held = 500")
    before = await world.dump()
    with pytest.raises(NoMoney):
        await world.add()
    assert await world.dump() == before


async def test_cancelled_campaign_takes_no_calls_and_never_starts(world: World) -> None:
    await world.db.execute("UPDATE campaigns SET status = 'cancelled'")
    before = await world.dump()
    with pytest.raises(CampaignClosed):
        await world.add()
    with pytest.raises(CampaignClosed):
        await load(world, [world.new()])
    with pytest.raises(NotAllowedNow):
        await steering.start(world.db, world.account.account_id, world.campaign.campaign_id, now=world.now)
    assert await world.dump() == before


async def test_lease_is_oldest_first_within_each_campaign_s_own_limit(world: World) -> None:
    first = world.campaign
    ours = [await world.add() for _ in range(3)]
    second = world.campaign = await world.new_campaign()
    theirs = [await world.add() for _ in range(3)]
    wanted = [(c.account_id, c.campaign_id, n) for c, n in ((first, 2), (second, 1))]
    got = await calls.lease(world.db, wanted, epoch=world.epoch, now=world.now)
    assert [call.call_id for call in got] == [*ours[:2], theirs[0]]
    assert await calls.lease(world.db, [], epoch=world.epoch, now=world.now) == []


async def test_released_call_is_due_when_it_was_said_to_be(world: World) -> None:
    call = await world.leased()
    await calls.release(world.db, call, epoch=world.epoch, due_at=world.now + timedelta(seconds=5))
    assert await world.lease() == []
    world.tick(5)
    assert [again.call_id for again in await world.lease()] == [call.call_id]


async def test_draining_dialer_gives_back_all_that_it_has_not_placed(world: World) -> None:
    up = await world.placed(await world.leased())
    call = await world.leased()
    assert await calls.release_all(world.db, epoch=world.epoch) == 1
    assert [again.call_id for again in await world.lease()] == [call.call_id]
    assert await world.dialled(up)


@pytest.mark.parametrize("state", [CallState.queued, CallState.waiting])
async def test_attempt_without_a_leg_counts_and_has_no_session(world: World, state: CallState) -> None:
    call = await world.leased()
    expected = 1
    if state is CallState.waiting:
        await world.rung(await world.placed(call), after=CallState.waiting)
        (call,) = await world.lease()
        expected = 2
    retry = Next(state=CallState.waiting, due_at=world.now)
    outcome = Outcome(disposition=Disposition.synth_failed)
    assert await calls.fail(world.db, call, outcome, retry, epoch=world.epoch, now=world.now)
    assert not await calls.fail(world.db, call, outcome, retry, epoch=world.epoch, now=world.now)
    assert (await world.tallies())["attempts"] == expected
    assert len(await world.all("SELECT FROM ended_sessions")) == expected - 1
    await world.check_laws()
    (again,) = await world.lease()
    over = Next(state=CallState.finished, call_end=CallEnd.unsuccessful)
    assert await calls.fail(world.db, again, outcome, over, epoch=world.epoch, now=world.now)
    ended = await world.call(call.call_id)
    assert (ended.state, ended.call_end, ended.disposition) == ("finished", "unsuccessful", "synth_failed")
    assert ended.completed_at == world.now
    await world.check_laws()


async def test_lifetime_ends_a_waiting_call_and_leaves_a_leased_one_to_its_dialer(world: World) -> None:
    world.campaign = await world.new_campaign(lifetime=60)
    leased = await world.leased()
    waiting = await world.add()
    world.tick(59)
    assert await calls.expire(world.db, now=world.now) == 0
    world.tick(1)
    assert await calls.expire(world.db, now=world.now) == 1
    assert (await world.call(waiting)).state == "expired"
    gone = await calls.why_gone(world.db, leased, epoch=world.epoch, now=world.now)
    assert gone is not None
    assert (gone.ours, gone.expired, gone.stopped, gone.campaign) == (True, True, False, "running")
    assert await calls.leave_queue(world.db, leased, state="expired", call_end="expired", now=world.now)
    assert not await calls.leave_queue(world.db, leased, state="expired", call_end="expired", now=world.now)
    await world.check_laws()


async def test_why_gone_says_what_changed(world: World) -> None:
    call = await world.leased()
    fine = await calls.why_gone(world.db, call, epoch=world.epoch, now=world.now)
    assert fine is not None
    assert (fine.ours, fine.removing, fine.expired, fine.stopped) == (True, False, False, False)
    await world.db.execute(
        "INSERT INTO global_stop_list (phone, created_at) VALUES (%s, now())", [call.phone]
    )
    world.epoch = await epochs.claim(world.db, "gateway", now=world.now)
    changed = await calls.why_gone(world.db, call, epoch=world.epoch, now=world.now)
    assert changed is not None
    assert (changed.ours, changed.stopped) == (False, True)


async def test_calls_come_back_in_the_order_asked_and_only_to_their_account(world: World) -> None:
    ids = [await world.add() for _ in range(3)]
    asked = [ids[2], 1, ids[0], ids[2]]
    found = await calls.by_ids(world.db, world.account.account_id, asked)
    assert [call.call_id for call in found] == [ids[2], ids[0]]
    other = await world.new_account()
    assert await calls.by_ids(world.db, other.account_id, ids) == []


async def test_empty_queue_at_the_end_of_a_campaign_s_dates(world: World) -> None:
    up = await world.placed(await world.leased())
    for _ in range(3):
        await world.add()
    of = world.campaign
    assert await steering.expire_queue(world.db, of.account_id, of.campaign_id, now=world.now) == 3
    assert (await world.tallies())["end/expired"] == 3
    assert await world.dialled(up)
    await world.check_laws()
