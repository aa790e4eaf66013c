"""What becomes of calls to numbers that no card has?"""

import asyncio

import pytest
from aiohttp import web

from zvonar.delivery.crm.pusher import CrmLimits
from zvonar.delivery.crm.settings import CrmSettings
from zvonar.store.db import Database

from .sink import Asked, Proceed, Sink, problem
from .world import connected, ended, eventually, log, phone, pushing, uniq, until_done

pytestmark = pytest.mark.asyncio


async def test_by_default_they_are_skipped_and_the_log_says_so(db: Database, sink: Sink) -> None:
    sink.contact(phone(1))
    await connected(db, sink.url)
    await ended(db, range(1, 4))
    async with pushing(db):
        await until_done(db, 3)
    assert {row.uniq: row.state for row in await log(db)} == {
        uniq(1): "logged",
        uniq(2): "skipped",
        uniq(3): "skipped",
    }
    assert sink.logged() == {uniq(1): 1}


async def test_a_batch_of_which_nothing_is_known_is_skipped_too(db: Database, sink: Sink) -> None:
    await connected(db, sink.url)
    await ended(db, range(1, 4))
    async with pushing(db):
        await until_done(db, 3)
    assert {row.state for row in await log(db)} == {"skipped"}


async def test_a_contact_is_made_once_for_each_number(db: Database, dsn: str, sink: Sink) -> None:
    await connected(db, sink.url, CrmSettings(unknown="contact", responsible=504141))
    # Three calls to each of forty numbers, pushed by two processes.
    await ended(db, range(1, 121), [phone(call % 40) for call in range(1, 121)])
    patient = CrmLimits(poll=0.02, rest=5.0, pauses=0.002)
    async with Database(dsn) as other, pushing(db, limits=patient), pushing(other, limits=patient):
        await until_done(db, 120)
    assert len(sink.contacts) == 40
    assert len(sink.logged()) == 120
    assert set(sink.logged().values()) == {1}
    made = next(iter(sink.contacts.values()))
    assert made["responsible_user_id"] == 504141
    assert made["name"].startswith("Контакт +7916")


async def test_a_contact_with_a_lead_is_made(db: Database, sink: Sink) -> None:
    settings = CrmSettings(unknown="lead", pipeline_id=7, status_id=8, language="en")
    await connected(db, sink.url, settings)
    await ended(db, range(1, 4))
    async with pushing(db):
        await until_done(db, 3)
    assert len(sink.contacts) == len(sink.leads) == 3
    lead = next(iter(sink.leads.values()))
    assert (lead["pipeline_id"], lead["status_id"]) == (7, 8)
    assert lead["name"] == f"Call {phone(1)}"
    assert set(sink.logged().values()) == {1}


async def test_a_contact_whose_making_was_not_answered_is_found_and_not_made_again(
    db: Database, sink: Sink
) -> None:
    async def store_and_fail(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        answer = await proceed()
        first = len(sink.requests("POST", "/api/v4/contacts")) == 1
        return problem(504) if asked.path == "/api/v4/contacts" and first else answer

    sink.behave = store_and_fail
    await connected(db, sink.url, CrmSettings(unknown="lead"))
    await ended(db, range(1, 4))
    async with pushing(db):
        await until_done(db, 3)
    assert len(sink.contacts) == 3
    assert set(sink.logged().values()) == {1}


async def test_a_contact_that_the_search_does_not_find_at_once_is_not_made_again(
    db: Database, sink: Sink
) -> None:
    """A CRM may need a moment to know a number; until then its answer is as before."""
    late = True

    async def forgetful(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        if asked.path == "/api/v4/calls" and late:
            kept, sink.contacts = sink.contacts, {}
            try:
                return await proceed()
            finally:
                sink.contacts = kept
        return await proceed()

    sink.behave = forgetful
    await connected(db, sink.url, CrmSettings(unknown="contact"))
    await ended(db, [1])
    async with pushing(db):
        await sink.until(lambda s: len(s.requests("POST", "/api/v4/calls")) >= 4)
        late = False
        await until_done(db, 1)
    assert len(sink.contacts) == 1
    assert sink.logged() == {uniq(1): 1}


async def test_a_lead_that_was_not_made_is_made_with_the_next_call(db: Database, sink: Sink) -> None:
    async def no_leads_yet(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        if asked.path == "/api/v4/leads" and len(sink.requests("POST", asked.path)) == 1:
            return problem(500)
        return await proceed()

    sink.behave = no_leads_yet
    await connected(db, sink.url, CrmSettings(unknown="lead"))
    await ended(db, [1])
    async with pushing(db):
        await until_done(db, 1)
        await asyncio.sleep(0)
        await ended(db, [2], [phone(1)])
        await until_done(db, 2)
        await eventually(lambda: db.value("SELECT lead_id IS NOT NULL FROM push_cards"))
    assert len(sink.contacts) == len(sink.leads) == 1
    assert sink.logged() == {uniq(1): 1, uniq(2): 1}


async def test_a_number_of_which_no_contact_can_be_made_costs_the_others_nothing(
    db: Database, sink: Sink
) -> None:
    async def picky(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        if asked.path == "/api/v4/contacts" and any(one["request_id"] == phone(2) for one in asked.body):
            return problem(400, detail="Request validation failed")
        return await proceed()

    sink.behave = picky
    await connected(db, sink.url, CrmSettings(unknown="contact"))
    await ended(db, range(1, 4))
    async with pushing(db):
        await until_done(db, 3)
    assert {row.uniq: row.state for row in await log(db)} == {
        uniq(1): "logged",
        uniq(2): "skipped",
        uniq(3): "logged",
    }
    assert len(sink.contacts) == 2


async def test_they_become_unsorted_with_everything_that_is_known(db: Database, sink: Sink) -> None:
    sink.contact(phone(1))
    await connected(db, sink.url, CrmSettings(unknown="unsorted", pipeline_id=9))
    await ended(db, range(1, 4))
    async with pushing(db):
        await until_done(db, 3)
    assert sink.logged() == {uniq(call): 1 for call in range(1, 4)}
    (asked,) = sink.requests("POST", "/api/v4/leads/unsorted/sip")
    one = asked.body[0]
    assert (one["pipeline_id"], one["request_id"]) == (9, uniq(2))
    assert one["metadata"]["is_call_event_needed"] is True
    assert (one["metadata"]["uniq"], one["metadata"]["duration"]) == (uniq(2), 7)
    assert one["_embedded"]["contacts"][0]["custom_fields_values"][0]["values"][0]["value"] == phone(2)
    rows = {row.uniq: (row.entity_type, row.entity_id) for row in await log(db)}
    assert rows[uniq(2)] == ("unsorted", sink.unsorted[0]["uid"])


async def test_unsorted_ones_whose_answer_never_came_are_read_back(db: Database, sink: Sink) -> None:
    async def store_and_fail(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        answer = await proceed()
        path = "/api/v4/leads/unsorted/sip"
        return problem(504) if asked.path == path and len(sink.requests("POST", path)) == 1 else answer

    sink.behave = store_and_fail
    await connected(db, sink.url, CrmSettings(unknown="unsorted"))
    await ended(db, range(1, 4))
    async with pushing(db):
        await until_done(db, 3)
    assert sink.logged() == {uniq(call): 1 for call in range(1, 4)}
    assert {row.entity_type for row in await log(db)} == {"unsorted"}
