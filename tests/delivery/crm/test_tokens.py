"""Does exactly one process keep the tokens fresh, and does everybody hear when they are lost?"""

from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from zvonar.delivery import letters
from zvonar.delivery.crm.vault import Credentials, CredentialsUnreadable, Vault
from zvonar.store import push_connections, receivers
from zvonar.store.db import Database

from .sink import Asked, Proceed, Sink, problem, token
from .world import (
    ACCOUNT,
    VAULT,
    connected,
    deliveries,
    ended,
    eventually,
    phone,
    pushing,
    uniq,
    until_done,
)

pytestmark = pytest.mark.asyncio

SOON_OVER = timedelta(minutes=1)


def refreshes(sink: Sink) -> int:
    return len(sink.requests("POST", "/oauth2/access_token"))


async def test_a_token_is_refreshed_before_its_end_by_one_of_many_processes(
    db: Database, dsn: str, sink: Sink
) -> None:
    for call in range(1, 201):
        sink.contact(phone(call))
    await connected(db, sink.url, oauth=True, expires_at=datetime.now(UTC) + SOON_OVER)
    await ended(db, range(1, 201))
    async with Database(dsn) as other, Database(dsn) as third, pushing(db), pushing(other), pushing(third):
        await until_done(db, 200)
    assert refreshes(sink) == 1
    assert {asked.token for asked in sink.requests("POST", "/api/v4/calls")} == {token(1)}
    assert set(sink.logged().values()) == {1}
    crm = await push_connections.get(db, ACCOUNT)
    kept = VAULT.open(ACCOUNT, crm.credentials)
    assert (kept.access_token, kept.refresh_token) == (token(1), "refresh-1")
    assert crm.expires_at is not None
    assert crm.expires_at - datetime.now(UTC) > timedelta(hours=23)


async def test_a_token_that_is_refused_is_refreshed_and_the_calls_cost_no_try(
    db: Database, dsn: str, sink: Sink
) -> None:
    for call in range(1, 121):
        sink.contact(phone(call))
    sink.tokens = {"another"}
    await connected(db, sink.url, oauth=True)
    await ended(db, range(1, 121))
    async with Database(dsn) as other, pushing(db), pushing(other):
        sent = await until_done(db, 120)
    assert refreshes(sink) == 1
    assert {one.tries for one in sent} == {1}
    assert set(sink.logged().values()) == {1}


async def test_a_lost_refresh_token_is_a_state_with_a_letter_and_nothing_is_lost(
    db: Database, sink: Sink
) -> None:
    for call in range(1, 4):
        sink.contact(phone(call))
    sink.refresh_tokens = set()
    await connected(db, sink.url, oauth=True, expires_at=datetime.now(UTC) + SOON_OVER)
    await ended(db, [1])
    async with pushing(db):
        await eventually(lambda: db.value("SELECT state = 'lost' FROM push_connections"))
        await ended(db, [2])  # what ends meanwhile waits with the rest
        await eventually(lambda: db.value("SELECT count(*) = 2 FROM deliveries WHERE state = 'disabled'"))
        (trouble,) = await receivers.troubled(db, ACCOUNT)
        assert (trouble.address, trouble.reason, trouble.waiting) == ("amocrm:1", "unauthorised", 2)
        crm = await push_connections.get(db, ACCOUNT)
        assert (crm.trouble, crm.trouble_status) == ("unauthorised", 400)
        (facts,) = await mail(db)
        subject, text = letters.crm_lost(facts)
        assert "подключите CRM заново" in subject
        assert sink.url in text
        assert refreshes(sink) == 1
        # Connected again, everything that waited goes.
        sink.tokens = {token(0)}
        await connected(db, sink.url)
        await until_done(db, 2)
    assert sink.logged() == {uniq(1): 1, uniq(2): 1}
    assert await receivers.troubled(db, ACCOUNT) == []


async def mail(db: Database) -> list[dict[str, str]]:
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT payload -> 'facts' FROM outbox WHERE kind = 'mail'")
        return [row[0] for row in await cursor.fetchall()]


async def test_a_long_lived_token_that_is_refused_is_lost_at_once(db: Database, sink: Sink) -> None:
    sink.tokens = set()
    await connected(db, sink.url)
    await ended(db, [1])
    async with pushing(db):
        await eventually(lambda: db.value("SELECT state = 'lost' FROM push_connections"))
    assert refreshes(sink) == 0
    assert [one.state for one in await deliveries(db)] == ["disabled"]


async def test_a_refresh_that_is_not_answered_is_no_loss(db: Database, sink: Sink) -> None:
    sink.contact(phone(1))

    async def once_away(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        return problem(503) if asked.path.startswith("/oauth2") and refreshes(sink) == 1 else await proceed()

    sink.behave = once_away
    await connected(db, sink.url, oauth=True, expires_at=datetime.now(UTC) + SOON_OVER)
    await ended(db, [1])
    async with pushing(db):
        await until_done(db, 1)
    assert refreshes(sink) == 2
    assert sink.logged() == {uniq(1): 1}


async def test_a_token_that_is_refused_as_soon_as_it_is_fresh_is_lost(db: Database, sink: Sink) -> None:
    async def never(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        return await proceed() if asked.path.startswith("/oauth2") else problem(401)

    sink.behave = never
    await connected(db, sink.url, oauth=True)
    await ended(db, [1])
    async with pushing(db):
        await eventually(lambda: db.value("SELECT state = 'lost' FROM push_connections"))
    assert refreshes(sink) == 1


async def test_keys_are_unreadable_without_the_key_file_and_for_another_account() -> None:
    credentials = Credentials(access_token="secret-token", issued_at=datetime.now(UTC), refresh_token="r")
    sealed = VAULT.seal(1, credentials)
    assert b"secret-token" not in sealed
    assert VAULT.open(1, sealed) == credentials
    for vault, account_id, given in (
        (Vault("another home"), 1, sealed),
        (VAULT, 2, sealed),
        (VAULT, 1, sealed[:-4]),
        (VAULT, 1, None),
    ):
        with pytest.raises(CredentialsUnreadable):
            vault.open(account_id, given)
    assert "secret-token" not in repr(credentials)


async def test_with_another_key_file_nothing_is_sent_and_nothing_lost(db: Database, sink: Sink) -> None:
    other = Vault("another home")
    now = datetime.now(UTC)
    sealed = other.seal(ACCOUNT, Credentials(access_token=token(0), issued_at=now))
    await connected(db, sink.url, credentials=sealed)
    await ended(db, [1])
    async with pushing(db):
        await eventually(lambda: db.value("SELECT trouble = 'strange' FROM push_connections"))
        assert sink.asked == []
        sink.contact(phone(1))
        await connected(db, sink.url)
        await eventually(lambda: db.value("SELECT count(*) = 0 FROM push_calls WHERE state <> 'logged'"))
        await until_done(db, 1)


async def test_the_trouble_of_a_crm_is_told_in_two_languages() -> None:
    for trouble in ("forbidden", "payment", "rights", "strange"):
        facts = {"base_url": "https://x.amocrm.ru", "account_id": "7", "trouble": trouble, "status": "403"}
        subject, text = letters.crm_trouble(facts)
        assert "CRM сейчас не принимает" in subject
        assert "account 7 at present" in text
