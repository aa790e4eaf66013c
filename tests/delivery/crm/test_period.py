"""Is a period made up for, once, and does a dry look at it change nothing?"""

from datetime import UTC, datetime, timedelta

import pytest

from zvonar.delivery.crm.settings import CrmSettings
from zvonar.store import push_attempts, push_connections
from zvonar.store.db import Database
from zvonar.store.push_attempts import Wanted

from .sink import Sink
from .world import ACCOUNT, connected, deliveries, ended, eventually, phone, pushing, uniq, until_done

pytestmark = pytest.mark.asyncio

DAY = datetime(2025, 11, 20, 9, tzinfo=UTC)


async def wanted(db: Database, **more: object) -> Wanted:
    crm = await push_connections.get(db, ACCOUNT)
    given = {
        "since": DAY,
        "until": DAY + timedelta(days=1),
        "outcomes": CrmSettings().push,
        "last_only": True,
    }
    return Wanted(account_id=ACCOUNT, tag=crm.tag, **{**given, **more})  # type: ignore[arg-type]


async def settled(db: Database) -> None:
    await eventually(lambda: db.value("SELECT count(*) = 0 FROM outbox WHERE fanned_out_at IS NULL"))


async def test_calls_from_before_the_connection_are_pushed_once_however_often_that_is_asked(
    db: Database, sink: Sink
) -> None:
    for call in range(1, 131):
        sink.contact(phone(call))
    await ended(db, range(1, 121), at=DAY)
    await ended(db, [121], at=DAY, disposition="no_route", script_result="none")
    await ended(db, [122], at=DAY - timedelta(seconds=1))
    await ended(db, [123], at=DAY + timedelta(days=1))
    async with pushing(db):
        await settled(db)
    await connected(db, sink.url)
    period = await wanted(db)
    first = await push_attempts.backfill(db, period, now=datetime.now(UTC), limit=50)
    assert (first.seen, first.added) == (120, 120)
    # Asked again before the first is on its way: some go out twice, and none is logged twice.
    await push_attempts.backfill(db, period, now=datetime.now(UTC), limit=50)
    async with pushing(db):
        await settled(db)
        await eventually(lambda: db.value("SELECT count(*) = 120 FROM push_calls WHERE state = 'logged'"))
        await eventually(lambda: db.value("SELECT count(*) = 0 FROM deliveries WHERE state = 'pending'"))
    assert sink.logged() == {uniq(call): 1 for call in range(1, 121)}
    assert len(sink.posted()) == 120
    third = await push_attempts.backfill(db, period, now=datetime.now(UTC))
    assert (third.seen, third.added) == (120, 0)


async def test_a_live_call_and_its_backfill_are_one_entry(db: Database, sink: Sink) -> None:
    sink.contact(phone(1))
    await connected(db, sink.url)
    await ended(db, [1], at=DAY)
    await push_attempts.backfill(db, await wanted(db), now=datetime.now(UTC))
    async with pushing(db):
        await until_done(db, 2)
    assert sink.posted() == [uniq(1)]
    assert {one.order_key for one in await deliveries(db)} == {uniq(1)}


async def test_what_was_skipped_is_tried_again_by_a_backfill(db: Database, sink: Sink) -> None:
    await connected(db, sink.url)
    await ended(db, [1], at=DAY)
    async with pushing(db):
        await until_done(db, 1)
        sink.contact(phone(1))
        again = await push_attempts.backfill(db, await wanted(db), now=datetime.now(UTC))
        assert again.added == 1
        await until_done(db, 2)
    assert sink.logged() == {uniq(1): 1}


async def test_a_dry_look_sees_what_would_be_pushed_and_changes_nothing(db: Database, sink: Sink) -> None:
    sink.contact(phone(1))
    await connected(db, sink.url)
    await ended(db, [1], at=DAY)
    async with pushing(db):
        await until_done(db, 1)
    await ended(db, [2, 3], at=DAY)
    before = await db.value("SELECT count(*) FROM outbox")
    found = await push_attempts.page(db, await wanted(db), limit=10)
    assert [(one.call_id, one.state) for one in found] == [(1, "logged"), (2, None), (3, None)]
    assert await db.value("SELECT count(*) FROM outbox") == before
    assert len(sink.requests("POST", "/api/v4/calls")) == 1


async def test_another_crm_knows_nothing_of_what_was_logged_in_the_first(db: Database, sink: Sink) -> None:
    sink.contact(phone(1))
    await connected(db, sink.url)
    await ended(db, [1], at=DAY)
    async with pushing(db):
        await until_done(db, 1)
    same = await connected(db, "https://moved.amocrm.ru", tag="zv-new")
    assert same.tag == "zv-test"  # the same account of the CRM under a new name
    other = await connected(db, sink.url, tag="zv-other", crm_account_id=5)
    assert other.tag == "zv-other"
    found = await push_attempts.page(db, await wanted(db), limit=10)
    assert [one.state for one in found] == [None]


async def test_each_attempt_is_an_entry_where_that_is_wanted(db: Database, sink: Sink) -> None:
    sink.contact(phone(1))
    await connected(db, sink.url, CrmSettings(each="attempt"))
    await ended(db, [1], at=DAY)
    async with pushing(db):
        await until_done(db, 1)
    # The first of two attempts, of a call that goes on.
    sink.contact(phone(2))
    statement = """
    INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, state, due_at, attempts, created_at,
        updated_at) VALUES (1, 2, 1, 2, %(phone)s, 'RU', 'dialing', now(), 1, now(), now())
    """
    await db.execute(statement, {"phone": phone(2)})
    await db.execute(
        """INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, ended_at, disposition)
        VALUES (1, 2, 1, 1, %(phone)s, now(), now(), 'busy')""",
        {"phone": phone(2)},
    )
    await db.execute("UPDATE calls SET state = 'waiting', disposition = 'busy' WHERE call_id = 2")
    async with pushing(db):
        await until_done(db, 2)
    assert sink.logged() == {uniq(1): 1, uniq(2): 1}
    assert sink.notes[-1]["params"]["call_status"] == 7
