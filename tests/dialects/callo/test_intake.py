"""Is a call accepted exactly as long as nothing speaks against it, whoever asks at the same time?"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, LiteralString

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from zvonar.core.script import Prompt, plain
from zvonar.dialects.callo import limits
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.store import campaigns, steering
from zvonar.store.accounts import hash_key
from zvonar.store.limits import key_hash, take

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

PATH = PREFIXES[0] + "/phones/call/"


def form(tenant: Tenant, campaign_id: int, **fields: Any) -> dict[str, Any]:
    return {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id, **fields}


def at_once(house: House, *forms: dict[str, Any]) -> list[httpx.Response]:
    """Every other one goes to the other process."""

    async def work() -> list[httpx.Response]:
        clients = [house.client, house.neighbour]
        return await asyncio.gather(
            *(clients[n % 2].post(PATH, data=fields) for n, fields in enumerate(forms))
        )

    house.clock += timedelta(seconds=2)
    return house.run(work())


def codes(responses: list[httpx.Response]) -> Counter[int]:
    return Counter(response.status_code for response in responses)


def in_store(house: House, campaign_id: int) -> tuple[int, int, int]:
    """Calls, the highest number of one, and the number that the campaign gave last."""
    found = house.run(
        house.db.value(
            """SELECT ARRAY[count(c.*), coalesce(max(c.ordinal), 0), max(g.next_ordinal)]
            FROM campaigns g LEFT JOIN calls c USING (account_id, campaign_id) WHERE g.campaign_id = %s""",
            [campaign_id],
        )
    )
    calls, highest, last = found
    return calls, highest, last


def test_of_two_processes_that_add_the_same_label_one_adds_a_call(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    for number in range(5):
        forms = [
            form(tenant, campaign_id, label=f"same{number}", phone=f"+7000123{n:03d}1") for n in range(4)
        ]
        assert codes(at_once(house, *forms)) == {200: 1, 400: 3}
    assert in_store(house, campaign_id) == (5, 5, 5), "numbered without a gap"


def test_two_processes_together_let_twenty_requests_of_a_key_through(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    forms = [form(tenant, campaign_id, phone=f"+7000123{n:03d}1") for n in range(60)]
    assert codes(at_once(house, *forms)) == {200: 20, 429: 40}
    assert in_store(house, campaign_id) == (20, 20, 20)


def test_what_comes_to_nothing_is_a_request_too(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    wrong: list[dict[str, Any]] = [
        {"phone": "abc"},
        {"campaign_id": 1},
        {"label": "?"},
        {"max_call_time": "x"},
        {"text": "\0"},
    ]
    forms = [{**form(tenant, campaign_id), **wrong[n % 5]} for n in range(30)]
    assert codes(at_once(house, *forms)) == {400: 20, 429: 10}


def test_two_processes_together_let_a_number_through_five_times(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    assert codes(at_once(house, *[form(tenant, campaign_id)] * 12)) == {200: 5, 400: 7}
    assert in_store(house, campaign_id) == (5, 5, 5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 120), min_size=25, max_size=60))
def test_no_second_has_more_than_twenty_requests_in_whatever_order_they_come(
    house: House, steps: list[int]
) -> None:
    # Hundredths of a second; where steps go back, a request was overtaken on its way.
    key, latest = key_hash("test", *steps), 0
    rule = limits.PER_KEY
    let_through: list[int] = []
    at = 0
    for step in steps:
        at = max(0, at + step - 40)
        latest = max(latest, at) if not let_through else max(at, let_through[-1])
        allowed = len(let_through) < rule.count or let_through[-rule.count] <= latest - 100
        now = house.clock + timedelta(milliseconds=10 * at)
        assert house.run(take(house.db, rule, key, now=now)) == allowed
        if allowed:
            let_through.append(latest)
    assert all(
        later - earlier >= 100 for earlier, later in zip(let_through, let_through[rule.count :], strict=False)
    )
    house.run(house.db.execute("DELETE FROM rate_limits WHERE key_hash = %s", [key]))


def test_who_waits_for_a_campaign_keeps_no_other_waiting(house: House, tenant: Tenant) -> None:
    held, free = house.campaign(tenant), house.campaign(tenant)
    at_once(house, form(tenant, held), form(tenant, held), form(tenant, free), form(tenant, free))

    async def work() -> list[int]:
        async with house.db.transaction() as connection:
            # As a bulk load holds it.
            await connection.execute("SELECT FROM campaigns WHERE campaign_id = %s FOR UPDATE", [held])
            waiting = [
                asyncio.create_task(house.client.post(PATH, data=form(tenant, held))) for _ in range(2)
            ]
            served = [await house.client.post(PATH, data=form(tenant, free, label=f"l{n}")) for n in range(3)]
            assert not any(task.done() for task in waiting)
        return [response.status_code for response in [*served, *await asyncio.gather(*waiting)]]

    house.clock += timedelta(seconds=2)
    assert house.run(work()) == [200] * 5


def test_who_waits_for_a_key_keeps_no_other_waiting(house: House, tenant: Tenant) -> None:
    other = house.tenant()
    held, free = house.campaign(tenant), house.campaign(other)
    at_once(house, form(tenant, held), form(other, free), form(tenant, held), form(other, free))

    async def work() -> list[int]:
        async with house.db.transaction() as connection:
            # As another process holds it that stores a call of this key.
            lock = "SELECT FROM rate_limits WHERE scope = %s AND key_hash = %s FOR UPDATE"
            await connection.execute(lock, [limits.PER_KEY.scope, hash_key(tenant.callo)])
            waiting = [
                asyncio.create_task(house.client.post(PATH, data=form(tenant, held))) for _ in range(2)
            ]
            served = [await house.client.post(PATH, data=form(other, free, label=f"l{n}")) for n in range(3)]
            assert not any(task.done() for task in waiting)
        return [response.status_code for response in [*served, *await asyncio.gather(*waiting)]]

    house.clock += timedelta(seconds=2)
    assert house.run(work()) == [200] * 5


def test_what_comes_together_is_judged_one_by_one(house: House, tenant: Tenant) -> None:
    stranger, poor = house.tenant(), house.tenant(balance="0")
    campaign_id = house.campaign(tenant)
    forms = [
        form(tenant, campaign_id, label="a", phone="+70001230011"),
        form(stranger, campaign_id),
        form(tenant, campaign_id, label="a", phone="+70001230021"),
        form(poor, house.campaign(poor)),
        form(tenant, campaign_id, text="nobody has said this", phone="+70001230031"),
        form(tenant, campaign_id, label="b", max_call_time=5, phone="+70001230041"),
    ]
    house.clock += timedelta(seconds=2)

    async def work() -> list[httpx.Response]:
        return await asyncio.gather(*(house.client.post(PATH, data=fields) for fields in forms))

    first, foreign, taken, broke, spoken, last = house.run(work())
    assert {first.status_code, taken.status_code} == {200, 400}
    assert foreign.json()["data"] == f"Campaign by id={campaign_id} don't found"
    assert broke.json()["data"] == "Form isn't valid: * public_key\n  * Insufficient balance."
    assert (spoken.status_code, last.status_code) == (200, 200)
    assert in_store(house, campaign_id) == (3, 3, 3)
    stored = house.run(
        house.db.value(
            "SELECT ARRAY[phone, label, overrides ->> 'max_call_time'] FROM calls WHERE call_id = %s",
            [last.json()["call_id"]],
        )
    )
    assert stored == ["+70001230041", "b", "5"]


@pytest.mark.parametrize(
    "how",
    [
        "UPDATE keys SET revoked_at = now() WHERE account_id = %s",
        "UPDATE keys SET blocked_at = now() WHERE account_id = %s",
        "UPDATE keys SET expires_at = '-infinity' WHERE account_id = %s",
        "UPDATE accounts SET inactive_at = now() WHERE account_id = %s",
    ],
)
@pytest.mark.parametrize("text", [None, "раз"])  # what is said first is asked about alone, the rest together
def test_a_key_that_was_known_stops_at_once(
    house: House, tenant: Tenant, how: LiteralString, text: str | None
) -> None:
    campaign_id = house.campaign(tenant)
    said = {} if text is None else {"text": text}
    assert codes(at_once(house, *[form(tenant, campaign_id)] * 2)) == {200: 2}
    house.run(house.db.execute(how, [tenant.account.account_id]))
    for refused in at_once(house, *[form(tenant, campaign_id, **said)] * 2):
        assert refused.json()["data"] == "Form isn't valid: * public_key\n  * Invalid public key."
    assert in_store(house, campaign_id) == (2, 2, 2)


def test_a_campaign_that_was_known_is_taken_as_it_is_now(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant, script=None)
    spoken = form(tenant, campaign_id, text="раз")
    silent = form(tenant, campaign_id)
    assert codes(at_once(house, spoken, silent)) == {200: 1, 400: 1}
    campaign = house.run(campaigns.get(house.db, tenant.account.account_id, campaign_id))
    settings = structs.replace(campaign.settings, script=plain(Prompt(text="два")))
    changed = structs.replace(campaign, settings=settings)
    house.clock += timedelta(seconds=1)
    house.run(campaigns.change(house.db, changed, now=house.clock))
    assert codes(at_once(house, silent, silent)) == {200: 2}
    house.run(
        house.db.execute("UPDATE campaigns SET status = 'cancelled' WHERE campaign_id = %s", [campaign_id])
    )
    assert codes(at_once(house, silent, spoken)) == {400: 2}


def test_looking_again_at_a_changed_campaign_is_still_one_request(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    at_once(house, form(tenant, campaign_id))
    touch = "UPDATE campaigns SET updated_at = updated_at + interval '1 millisecond' WHERE campaign_id = %s"
    for number in range(20):
        house.run(house.db.execute(touch, [campaign_id]))
        sent = form(tenant, campaign_id, phone=f"+7000124{number:03d}1")
        assert house.send("POST", PATH, data=sent, pause=2 if number == 0 else 0).status_code == 200
    assert house.send("POST", PATH, data=form(tenant, campaign_id), pause=0).status_code == 429


def test_a_completed_campaign_wakes_up_and_holds_its_most_again(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant, max_cost=Decimal(600))
    account_id = tenant.account.account_id
    held = "SELECT held FROM accounts WHERE account_id = %s"
    assert house.run(house.db.value(held, [account_id])) == 600

    def complete() -> None:
        assert house.run(steering.complete_if_done(house.db, account_id, campaign_id, now=house.clock))

    assert codes(at_once(house, form(tenant, campaign_id))) == {200: 1}
    remove = {"public_key": tenant.callo, "campaign_id": campaign_id, "phone": "+70001230001"}
    house.send("POST", PREFIXES[0] + "/phones/remove_call/", data=remove)
    complete()
    assert house.run(house.db.value(held, [account_id])) == 0
    assert codes(at_once(house, form(tenant, campaign_id))) == {200: 1}
    assert house.run(house.db.value(held, [account_id])) == 600
    house.send("POST", PREFIXES[0] + "/phones/remove_call/", data=remove)
    complete()
    # Another campaign holds the money now.
    house.campaign(tenant, max_cost=Decimal(600))
    before = house.picture()
    [refused] = at_once(house, form(tenant, campaign_id))
    assert refused.json()["data"] == "Form isn't valid: * public_key\n  * Insufficient balance."
    assert house.picture() == before


def over_processes(
    house: House, addresses: list[str], forms: list[dict[str, Any]], *, seconds: float = 0.0
) -> list[httpx.Response]:
    """Forms by turns to real processes with the real clock, spread over so many seconds."""

    async def send(client: httpx.AsyncClient, fields: dict[str, Any], after: float) -> httpx.Response:
        await asyncio.sleep(after)
        return await client.post(PATH, data=fields)

    async def work() -> list[httpx.Response]:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(httpx.AsyncClient(base_url=one, timeout=90, trust_env=False))
                for one in addresses
            ]
            for client in clients:  # they are still starting
                assert (await client.post(PATH)).status_code == 400
            return await asyncio.gather(
                *(
                    send(clients[n % len(clients)], fields, seconds * n / len(forms))
                    for n, fields in enumerate(forms)
                )
            )

    return house.run(work())


def test_no_second_has_more_than_twenty_requests_of_a_key_over_two_processes(
    house: House, tenant: Tenant, processes: list[str]
) -> None:
    campaign_id = house.campaign(tenant)
    forms = [form(tenant, campaign_id, phone=f"+7000{n:06d}1") for n in range(200)]
    came = codes(over_processes(house, processes, forms, seconds=3.0))
    assert set(came) == {200, 429}
    assert came[200] + came[429] == 200
    added = house.run(
        house.db.value(
            "SELECT array_agg(created_at ORDER BY created_at) FROM calls WHERE campaign_id = %s",
            [campaign_id],
        )
    )
    assert len(added) == came[200] > 20, "a second second had room again"
    for first, beyond in zip(added, added[20:], strict=False):
        assert (beyond - first).total_seconds() >= 1.0


def test_labels_are_unique_over_two_processes(house: House, tenant: Tenant, processes: list[str]) -> None:
    campaign_id = house.campaign(tenant)
    forms = [form(tenant, campaign_id, label=f"same{n // 4}", phone=f"+7000123{n:03d}1") for n in range(20)]
    assert codes(over_processes(house, processes, forms)) == {200: 5, 400: 15}
    assert in_store(house, campaign_id) == (5, 5, 5)
