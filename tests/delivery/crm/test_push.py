"""Does each call get into the CRM once, whatever the CRM does?"""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest
from aiohttp import web

from zvonar.delivery.crm.settings import CrmSettings
from zvonar.store import receivers
from zvonar.store.db import Database

from .sink import Asked, Proceed, Sink, hal, problem, token, usual
from .world import HASTY, connected, deliveries, ended, eventually, log, phone, pushing, uniq, until_done

pytestmark = pytest.mark.asyncio


def known(sink: Sink, calls: range) -> None:
    for call in calls:
        sink.contact(phone(call))


async def test_a_call_that_has_ended_becomes_an_entry_on_its_card(db: Database, sink: Sink) -> None:
    contact = sink.contact("8 (916) 000-00-05")
    await connected(db, sink.url)
    async with pushing(db):
        await ended(
            db, [5], script_result="choice", choice="1", status_name="согласен", recording="5.1.1.wav"
        )
        (sent,) = await until_done(db, 1)
    assert (sent.order_key, sent.tries) == (uniq(5), 1)
    (row,) = await log(db)
    assert (row.uniq, row.state, row.entity_type, row.entity_id) == (
        uniq(5),
        "logged",
        "contact",
        str(contact),
    )
    (asked,) = sink.requests("POST", "/api/v4/calls")
    assert asked.token == token(0)
    (item,) = asked.body
    link, created_at = item.pop("link"), item.pop("created_at")
    assert link.startswith("https://calls.example.com/recordings/")
    assert link.endswith("/0/1/5.1.mp3")
    assert isinstance(created_at, int)
    assert item == {
        "direction": "outbound",
        "uniq": uniq(5),
        "request_id": uniq(5),
        "duration": 7,
        "source": "Zvonar",
        "phone": phone(5),
        "call_result": "Сделал выбор: согласен",
        "call_status": 4,
    }


async def test_many_calls_go_fifty_at_a_time(db: Database, sink: Sink) -> None:
    known(sink, range(1, 131))
    await connected(db, sink.url)
    await ended(db, range(1, 131))
    async with pushing(db):
        await until_done(db, 130)
    assert [len(asked.body) for asked in sink.requests("POST", "/api/v4/calls")] == [50, 50, 30]
    assert set(sink.logged().values()) == {1}
    assert len(sink.logged()) == 130


async def test_nothing_is_pushed_for_an_account_without_a_crm(db: Database) -> None:
    async with pushing(db):
        await ended(db, [1])
        await eventually(lambda: db.value("SELECT count(*) = 0 FROM outbox WHERE fanned_out_at IS NULL"))
    assert await deliveries(db) == []


async def test_a_call_that_was_stored_though_the_answer_never_came_is_read_back_and_not_sent_again(
    db: Database, sink: Sink
) -> None:
    known(sink, range(1, 61))
    hang = asyncio.Event()
    times = 0

    async def store_and_hang(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        nonlocal times
        answer = await proceed()
        if asked.path == "/api/v4/calls":
            times += 1
            if times == 1:
                await hang.wait()
        return answer

    sink.behave = store_and_hang
    await connected(db, sink.url)
    await ended(db, range(1, 61))
    async with pushing(db, limits=HASTY):
        sent = await until_done(db, 60)
        hang.set()
    assert len(sink.posted()) == 60
    assert set(sink.logged().values()) == {1}
    assert {row.state for row in await log(db)} == {"logged"}
    assert sum(one.tries == 2 for one in sent) == 50
    assert all(row.note_id is not None for row in await log(db))


async def test_a_call_that_was_not_stored_when_the_answer_never_came_is_sent_again(
    db: Database, sink: Sink
) -> None:
    known(sink, range(1, 4))
    hang = asyncio.Event()

    async def hang_first(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        if asked.path == "/api/v4/calls" and len(sink.requests("POST", asked.path)) == 1:
            await hang.wait()
            return problem(504)
        return await proceed()

    sink.behave = hang_first
    await connected(db, sink.url)
    await ended(db, range(1, 4))
    async with pushing(db, limits=HASTY):
        await until_done(db, 3)
        hang.set()
    assert sink.logged() == {uniq(call): 1 for call in range(1, 4)}
    assert len(sink.requests("GET", "/api/v4/contacts/notes")) == 1


@pytest.mark.parametrize("failure", ["broken", "stored", "not stored", "no json", "half"])
async def test_whatever_leaves_a_doubt_ends_with_each_call_there_once(
    db: Database, sink: Sink, failure: str
) -> None:
    known(sink, range(1, 6))

    async def stumble(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        if asked.path != "/api/v4/calls" or len(sink.requests("POST", asked.path)) > 1:
            return await proceed()
        if failure == "not stored":
            return problem(500)
        answer = await proceed()
        match failure:
            case "broken":
                raise asyncio.CancelledError  # the connection closes without an answer
            case "stored":
                return problem(502)
            case "no json":
                return web.Response(text="<html>ok</html>", content_type="text/html")
        assert isinstance(answer.body, bytes)
        body = msgspec.json.decode(answer.body)
        body["_embedded"]["calls"] = body["_embedded"]["calls"][:2]  # nothing is said of the others
        return hal(body)

    sink.behave = stumble
    await connected(db, sink.url)
    await ended(db, range(1, 6))
    async with pushing(db):
        await until_done(db, 5)
    assert sink.logged() == {uniq(call): 1 for call in range(1, 6)}


async def test_too_many_requests_cost_no_call_a_try_and_retry_after_is_kept(db: Database, sink: Sink) -> None:
    known(sink, range(1, 3))

    async def throttle(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        if len(sink.requests("POST", "/api/v4/calls")) == 1:
            return web.Response(status=429, text="slow down", headers={"Retry-After": "1"})
        return await proceed()

    sink.behave = throttle
    await connected(db, sink.url)
    await ended(db, range(1, 3))
    async with pushing(db):
        sent = await until_done(db, 2)
    first, second = sink.requests("POST", "/api/v4/calls")
    assert second.at - first.at >= 1.0
    assert {one.tries for one in sent} == {1}
    assert set(sink.logged().values()) == {1}
    assert sink.requests("GET", "/api/v4/contacts/notes") == []


@pytest.mark.parametrize(("status", "trouble"), [(403, "forbidden"), (402, "payment")])
async def test_a_crm_that_closes_itself_is_left_alone_and_its_operator_told(
    db: Database, sink: Sink, status: int, trouble: str
) -> None:
    known(sink, range(1, 3))
    closed = True

    async def close(_: Asked, proceed: Proceed) -> web.StreamResponse:
        return problem(status) if closed else await proceed()

    sink.behave = close
    await connected(db, sink.url)
    await ended(db, range(1, 3))
    async with pushing(db):
        await sink.until(lambda s: len(s.asked) >= 2)
        assert await db.value("SELECT trouble FROM push_connections") == trouble
        await eventually(
            lambda: db.value("SELECT count(*) = 1 FROM outbox WHERE payload ->> 'about' = 'crm_trouble'")
        )
        closed = False
        sent = await until_done(db, 2)
    assert {one.tries for one in sent} == {1}
    assert set(sink.logged().values()) == {1}
    assert await db.value("SELECT trouble FROM push_connections") is None


async def test_missing_rights_are_a_trouble_of_the_crm_and_not_of_a_call(db: Database, sink: Sink) -> None:
    known(sink, range(1, 3))
    detail = (
        "Код ошибки 244. В случае повторного возникновения ошибки, обращайтесь в нашу техническую поддержку"
    )

    async def no_rights(_: Asked, proceed: Proceed) -> web.StreamResponse:
        return problem(400, detail=detail) if len(sink.asked) < 3 else await proceed()

    sink.behave = no_rights
    await connected(db, sink.url)
    await ended(db, range(1, 3))
    async with pushing(db):
        sent = await until_done(db, 2)
    assert {one.tries for one in sent} == {1}


async def test_one_call_that_is_not_acceptable_costs_the_others_nothing(db: Database, sink: Sink) -> None:
    known(sink, range(1, 6))
    await connected(db, sink.url)
    await ended(db, range(1, 6), [*map(phone, (1, 2)), "bad", *map(phone, (4, 5))])
    async with pushing(db):
        await eventually(lambda: db.value("SELECT count(*) = 5 FROM push_calls WHERE settled_at IS NOT NULL"))
    assert {row.uniq: row.state for row in await log(db)} == {
        **{uniq(call): "logged" for call in (1, 2, 4, 5)},
        uniq(3): "refused",
    }
    assert {one.order_key for one in await deliveries(db) if one.state == "dead"} == {uniq(3)}


async def test_a_refusal_that_names_no_call_is_divided_until_it_does(db: Database, sink: Sink) -> None:
    known(sink, range(1, 12))

    async def mute(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        if asked.path == "/api/v4/calls" and any(item["phone"] == "bad" for item in asked.body):
            return problem(400, detail="Request validation failed")
        return await proceed()

    sink.behave = mute
    await connected(db, sink.url)
    await ended(db, range(1, 12), ["bad" if call == 7 else phone(call) for call in range(1, 12)])
    async with pushing(db):
        await eventually(
            lambda: db.value("SELECT count(*) = 11 FROM push_calls WHERE settled_at IS NOT NULL")
        )
    states = {row.uniq: row.state for row in await log(db)}
    assert states.pop(uniq(7)) == "refused"
    assert set(states.values()) == {"logged"}
    assert set(sink.logged().values()) == {1}


async def test_results_that_nobody_wants_are_not_pushed(db: Database, sink: Sink) -> None:
    known(sink, range(1, 6))
    await connected(db, sink.url, CrmSettings(push=("answered/choice", "busy")))
    async with pushing(db):
        await ended(db, [1])
        await ended(db, [2], script_result="choice", choice="1")
        await ended(db, [3], disposition="busy", script_result="none", seconds=0)
        await ended(db, [4], disposition="no_answer", script_result="none", seconds=0)
        await until_done(db, 2)
        await eventually(lambda: db.value("SELECT count(*) = 0 FROM outbox WHERE fanned_out_at IS NULL"))
    assert [row.uniq for row in await log(db)] == [uniq(2), uniq(3)]


async def test_a_delivery_that_is_sent_again_on_purpose_is_not_logged_again(db: Database, sink: Sink) -> None:
    known(sink, range(1, 2))
    await connected(db, sink.url)
    async with pushing(db):
        await ended(db, [1])
        await until_done(db, 1)
        await db.execute("UPDATE deliveries SET state = 'pending', next_at = now()")
        await db.execute("NOTIFY zvonar_deliveries")
        await until_done(db, 1)
    assert sink.posted() == [uniq(1)]


async def test_the_guard_holds_for_a_crm_too(db: Database, sink: Sink) -> None:
    known(sink, range(1, 2))
    await connected(db, sink.url)
    await ended(db, [1])
    async with pushing(db, allowed=()):
        await eventually(lambda: db.value("SELECT coalesce(max(troubles), 0) >= 2 FROM push_connections"))
    assert sink.asked == []
    assert await db.value("SELECT trouble FROM push_connections") == "away"


async def test_a_crm_that_takes_nothing_for_five_days_is_disabled_with_a_letter_and_kept_for(
    db: Database, sink: Sink
) -> None:
    sink.contact(phone(1))

    async def down(_: Asked, __: Proceed) -> web.StreamResponse:
        return problem(503)

    sink.behave = down
    await connected(db, sink.url)
    await db.execute(
        """INSERT INTO receivers (account_id, address, failing_since, last_failed_at)
        VALUES (1, 'amocrm:1', now() - interval '6 days', now() - interval '1 hour')"""
    )
    await ended(db, [1])
    async with pushing(db):
        await eventually(lambda: db.value("SELECT count(*) = 1 FROM deliveries WHERE state = 'disabled'"))
        assert await db.value("SELECT reason FROM receivers") == "failing"
        about = "SELECT count(*) = 1 FROM outbox WHERE payload ->> 'about' = 'receiver_disabled'"
        assert await db.value(about)
        sink.behave = usual
        await receivers.enable(db, 1, "amocrm:1", now=datetime.now(UTC))
        await until_done(db, 1)
    assert sink.logged() == {uniq(1): 1}
    assert await db.value("SELECT failing_since FROM receivers") is None
