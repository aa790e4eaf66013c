"""Whose calls are pushed where? An account that is connected to a sink, and calls that end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct, structs

from zvonar.delivery.backoff import Backoff
from zvonar.delivery.crm.items import Links
from zvonar.delivery.crm.pusher import Crm, CrmLimits
from zvonar.delivery.crm.settings import CrmSettings
from zvonar.delivery.crm.vault import Credentials, Vault
from zvonar.delivery.guard import networks
from zvonar.delivery.lanes import Limits
from zvonar.delivery.worker import deliver
from zvonar.speech.links import RecordingLinks
from zvonar.store import push_connections, sessions
from zvonar.store.db import Database
from zvonar.store.push_connections import CrmConnection

from .sink import DEADLINE, Sink, token

ACCOUNT = 1
TAG = "zv-test"
VAULT = Vault("secret of a home")
LINKS = Links(base="https://calls.example.com", makes=RecordingLinks(b"media"))
LOOPBACK = networks(["127.0.0.0/8"])
# A CRM that has gone is asked again soon, and what was given up has ended at once.
QUICK = CrmLimits(poll=0.02, rest=0.05, timeout=30.0, pauses=0.002, drain=5.0)
HASTY = structs.replace(QUICK, timeout=3.0)  # for a CRM that hangs
SOON = Backoff(pauses=(0.02,) * 50, jitter=0.0)

CAMPAIGN = """
INSERT INTO campaigns (account_id, campaign_id, name, type, status, settings, created_at, updated_at)
VALUES (1, 1, 'c', 'regular', 'running', '{}', now(), now()) ON CONFLICT DO NOTHING
"""
CALLS = """
INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, state, due_at, attempts, created_at,
    updated_at)
SELECT 1, id, 1, id, phone, 'RU', 'dialing', %(at)s, 1, %(at)s, %(at)s
FROM unnest(%(ids)s::bigint[], %(phones)s::text[]) AS c (id, phone)
"""
ATTEMPTS = """
INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, ended_at, disposition,
    script_result, talk_seconds, caller_id, choice, status_name, recording)
SELECT 1, id, 1, 1, phone, %(at)s, %(at)s + interval '10 seconds', %(disposition)s, %(script_result)s, %(seconds)s,
    '+74951234567', %(choice)s, %(status_name)s, %(recording)s
FROM unnest(%(ids)s::bigint[], %(phones)s::text[]) AS c (id, phone)
"""
SESSIONS = """
INSERT INTO report_rows (account_id, session_id, start_time, direction, is_lost, disposition, script_result, call_id,
    attempt)
SELECT 1, id, %(at)s, 'out', false, %(disposition)s, %(script_result)s, id, 1
FROM unnest(%(ids)s::bigint[], %(phones)s::text[]) AS c (id, phone)
"""
END = """
UPDATE calls SET state = 'finished', call_end = 'success', disposition = %(disposition)s,
    script_result = %(script_result)s, choice = %(choice)s, status_name = %(status_name)s,
    talk_seconds = %(seconds)s, completed_at = %(at)s, updated_at = %(at)s
WHERE account_id = 1 AND call_id = ANY(%(ids)s)
"""


class Row(Struct, frozen=True, kw_only=True):
    """A call in the log."""

    uniq: str
    state: str
    note_id: int | None
    entity_type: str | None
    entity_id: str | None


class Sent(Struct, frozen=True, kw_only=True):
    """A delivery."""

    order_key: str
    state: str
    tries: int
    last_error: str | None


def uniq(call: int) -> str:
    return f"{TAG}-{call}.1"


async def connected(
    db: Database, url: str, settings: CrmSettings | None = None, *, oauth: bool = False, **more: Any
) -> CrmConnection:
    """Connect account 1 to this CRM."""
    now = datetime.now(UTC)
    issued = more.pop("issued_at", now - timedelta(hours=1))
    keys = {"refresh_token": "refresh-0", "client_id": "id", "client_secret": "secret"} if oauth else {}
    credentials = Credentials(access_token=token(0), issued_at=issued, **keys)
    given = {
        "tag": TAG,
        "base_url": url,
        "kind": "oauth" if oauth else "long_lived",
        "credentials": VAULT.seal(ACCOUNT, credentials),
        "expires_at": now + timedelta(days=1) if oauth else None,
        "settings": (settings or CrmSettings()).document(),
        "crm_account_id": 28805383,
        "customers": False,
        "now": now,
        **more,
    }
    made, _ = await push_connections.put(db, ACCOUNT, **given)  # type: ignore[arg-type]
    return made


def phone(call: int) -> str:
    return f"+7916{call:07}"


async def ended(
    db: Database,
    ids: Sequence[int],
    phones: Sequence[str] | None = None,
    *,
    at: datetime | None = None,
    **more: Any,
) -> list[str]:
    """Calls of these ids end; their `uniq`s."""
    at = at or datetime.now(UTC)
    params = {
        "ids": list(ids),
        "phones": list(phones or map(phone, ids)),
        "at": at,
        "disposition": "answered",
        "script_result": "completed",
        "seconds": 7,
        "choice": None,
        "status_name": None,
        "recording": None,
        **more,
    }
    await sessions.ensure_months(db, now=at)
    await db.execute(CAMPAIGN)
    for statement in (CALLS, ATTEMPTS, SESSIONS, END):
        await db.execute(statement, params)
    return [uniq(call) for call in ids]


async def log(db: Database) -> list[Row]:
    return await db.rows(
        Row, "SELECT uniq, state, note_id, entity_type, entity_id FROM push_calls ORDER BY call_id"
    )


async def deliveries(db: Database) -> list[Sent]:
    statement = (
        "SELECT order_key, state, tries, last_error FROM deliveries WHERE kind = 'amocrm' ORDER BY event_id"
    )
    return await db.rows(Sent, statement)


async def eventually(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await what():
            await asyncio.sleep(0.02)


async def until_done(db: Database, count: int) -> list[Sent]:
    """Wait until so many deliveries are delivered and none is pending."""

    async def so() -> bool:
        states = [sent.state for sent in await deliveries(db)]
        return states.count("delivered") == count and "pending" not in states

    await eventually(so)
    return await deliveries(db)


@asynccontextmanager
async def pushing(
    db: Database, *, limits: CrmLimits = QUICK, links: Links | None = LINKS, **more: Any
) -> AsyncIterator[asyncio.Event]:
    """A worker beside the test."""
    stop = asyncio.Event()
    given = {
        "allowed": LOOPBACK,
        "limits": Limits(poll=0.02, drain=5.0),
        "backoff": SOON,
        "crm": Crm(vault=VAULT, links=links, limits=limits),
        **more,
    }
    async with asyncio.TaskGroup() as group:
        group.create_task(deliver(db, lambda _: (), stop=stop, **given))
        try:
            yield stop
        finally:
            stop.set()


__all__ = ["Sink"]
