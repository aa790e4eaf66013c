"""How fast are calls logged into cards? Batches over the API, beside SQL that looks numbers up and inserts notes."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from bench import http
from bench.ground import Ground, now
from bench.results import Figure, NotMeasured, figure, percentile
from zvonar.core.crm import tail
from zvonar.dialects.amocrm import grants
from zvonar.store import accounts, crm_users
from zvonar.store.db import Database

PATH = "/api/v4/calls"
CHUNK = 50_000  # contacts that are loaded at once

# Every fifth contact has two numbers, every tenth an open lead.
LOAD = (
    """
    INSERT INTO crm_entities (account_id, kind, card_id, name, fields, responsible_user_id, created_by, updated_by,
        created_at, updated_at)
    SELECT %(account_id)s, 'contact', n, 'Contact ' || n,
        jsonb_build_array(jsonb_build_object('code', 'PHONE', 'values',
            jsonb_build_array(jsonb_build_object('value', '+7' || (9000000000 + n), 'enum', 'WORK'))
            || CASE WHEN n %% 5 = 0 THEN
                jsonb_build_array(jsonb_build_object('value', '8 (495) ' || lpad(n::text, 7, '0'), 'enum', 'HOME'))
            ELSE '[]' END)), %(user_id)s, 0, 0, %(now)s, %(now)s
    FROM generate_series(%(first)s::bigint, %(last)s) n
    """,
    """
    INSERT INTO crm_entities (account_id, kind, card_id, name, pipeline_id, status_id, responsible_user_id, created_by,
        updated_by, created_at, updated_at)
    SELECT %(account_id)s, 'lead', n + 100000000, 'Lead', p.pipeline_id, s.status_id, %(user_id)s, 0, 0, %(now)s,
        %(now)s
    FROM generate_series(%(first)s::bigint, %(last)s) n, crm_pipelines p
    JOIN crm_statuses s ON s.account_id = p.account_id AND s.pipeline_id = p.pipeline_id AND s.sort = 20
    WHERE n %% 10 = 0 AND p.account_id = %(account_id)s
    """,
    """
    INSERT INTO crm_links (account_id, from_id, from_kind, to_id, to_kind)
    SELECT %(account_id)s, l.* FROM generate_series(%(first)s::bigint, %(last)s) n
    CROSS JOIN LATERAL (VALUES
        (n, 'contact'::crm_kind, n + 100000000, 'lead'::crm_kind),
        (n + 100000000, 'lead'::crm_kind, n, 'contact'::crm_kind)) AS l
    WHERE n %% 10 = 0
    """,
)

BARE_TABLE = "CREATE TABLE bare_notes (LIKE crm_notes INCLUDING ALL)"

# What a program would do that has nothing but SQL: look the numbers up by the same index, then insert notes into a
# table with the same columns and indexes, in one transaction.
BARE_FIND = """
SELECT a.place, p.kind::text, p.card_id FROM unnest(%(tails)s::text[]) WITH ORDINALITY AS a (tail, place)
CROSS JOIN LATERAL (
    SELECT kind, card_id FROM crm_phones WHERE account_id = %(account_id)s AND tail = a.tail
    ORDER BY kind, card_id LIMIT 1) p
"""

BARE_ADD = """
INSERT INTO bare_notes (account_id, kind, card_id, note_type, params, responsible_user_id, created_by, updated_by,
    created_at, updated_at)
SELECT %(account_id)s, kind, card_id, 'call_out', params, 1, 0, 0, %(now)s, %(now)s
FROM jsonb_to_recordset(%(notes)s) AS g (kind crm_kind, card_id bigint, params jsonb)
RETURNING note_id
"""


class Size(Struct, frozen=True, kw_only=True):
    """How much is done."""

    contacts: int = 1_000_000
    few: int = 10_000  # contacts of the account that shows whether the cost is flat
    tokens: int = 600  # each is good for seven requests a second
    batch: int = 50
    connections: int = 1  # clients, each of which sends batch after batch
    seconds: float = 4.0  # of a round
    rounds: int = 5


TINY = Size(contacts=4_000, few=1_000, tokens=200, seconds=0.5, rounds=1)


class _Desk(Struct, frozen=True, kw_only=True):
    account_id: int
    contacts: int
    tokens: list[str]


async def measure(ground: Ground, size: Size) -> list[Figure]:
    """Calls a second, by the API and by bare SQL; and by the API with few and with many contacts."""
    with ground.database("bench_amocrm") as dsn:
        async with Database(dsn, size=size.connections + 2) as db:
            desks = [await _desk(ground, db, contacts, size) for contacts in (size.few, size.contacts)]
            async with db.connection() as connection:
                await connection.execute(BARE_TABLE)
            small, large = desks
            rates: dict[str, list[float]] = {"small": [], "large": [], "bare": []}
            slowest: list[float] = []
            with http.server("ours", dsn) as port:
                for done in range(-1, size.rounds):  # the first only warms up
                    ground.report(f"amocrm_calls: round {done + 1} of {size.rounds}")
                    for name, desk in (("small", small), ("large", large)):
                        rate, milliseconds = await _over_http(port, desk, size)
                        if done >= 0:
                            rates[name].append(rate)
                            slowest += milliseconds if name == "large" else []
                    rate = await _bare(db, large, size)
                    if done >= 0:
                        rates["bare"].append(rate)
    case = f"batches of {size.batch}, {size.contacts} contacts"
    return [
        figure("amocrm_calls", case, rates["large"], "1/s", rates["bare"], at_least_ratio=0.5),
        figure(
            "amocrm_calls",
            f"{size.contacts} contacts beside {size.few}",
            rates["large"],
            "1/s",
            rates["small"],
            at_least_ratio=0.8,
        ),
        figure("amocrm_calls", f"{case}, p99 of a batch", [percentile(slowest, 99)], "ms"),
    ]


async def _desk(ground: Ground, db: Database, contacts: int, size: Size) -> _Desk:
    ground.report(f"amocrm_calls: {contacts} contacts")
    account = await accounts.add(
        db,
        name=f"bench {contacts}",
        currency="RUB",
        timezone="UTC",
        countries=["RU"],
        balance=Decimal(0),
        keys={},
        logins={},
        now=now(),
    )
    account_id = account.account_id
    async with db.connection() as connection:
        user = await crm_users.owner(connection, account_id)
        await connection.execute("SET statement_timeout = 0")
        for first in range(1, contacts + 1, CHUNK):
            params = {
                "account_id": account_id,
                "user_id": user.user_id,
                "first": first + account_id * 10_000_000,  # ids of cards are the installation's
                "last": min(first + CHUNK - 1, contacts) + account_id * 10_000_000,
                "now": now(),
            }
            for statement in LOAD:
                await connection.execute(statement, params)  # type: ignore[arg-type]
        for table in ("crm_entities", "crm_phones", "crm_links"):
            await connection.execute(f"VACUUM ANALYZE {table}")  # type: ignore[arg-type]
        await connection.execute("RESET statement_timeout")
    tokens = [
        (await grants.long_lived(db, account_id, user, client_id="bench", now=now())).key
        for _ in range(size.tokens)
    ]
    return _Desk(account_id=account_id, contacts=contacts, tokens=tokens)


def _phone(desk: _Desk) -> str:
    number = 9_000_000_000 + desk.account_id * 10_000_000 + random.randint(1, desk.contacts)
    return f"+7{number}"


def _call(desk: _Desk, place: int) -> dict[str, object]:
    """A call as a telephone exchange logs it."""
    return {
        "direction": "outbound",
        "uniq": f"{time.monotonic_ns()}.{place}",
        "duration": 63,
        "source": "bench",
        "link": "https://records.example.test/2026/11/26/call.mp3",
        "phone": _phone(desk),
        "call_result": "Успешный разговор",
        "call_status": 4,
        "created_at": int(time.time()),
    }


async def _over_http(port: int, desk: _Desk, size: Size) -> tuple[float, list[float]]:
    turn = iter(range(10**9))

    def request() -> bytes:
        token = desk.tokens[next(turn) % len(desk.tokens)]
        body = json.dumps([_call(desk, place) for place in range(size.batch)]).encode()
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    answers = await http.flood(port, request, connections=size.connections, seconds=size.seconds)
    if wrong := [answer for answer in answers if answer.status != 200]:
        raise NotMeasured(f"{len(wrong)} batches failed, one with {wrong[0].status}.")
    if any(b'"errors":[]' not in answer.body for answer in answers):
        raise NotMeasured("Some numbers were not found.")
    return size.batch * len(answers) / size.seconds, [answer.milliseconds for answer in answers]


async def _bare(db: Database, desk: _Desk, size: Size) -> float:
    until = time.perf_counter() + size.seconds
    done = 0

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < until:
            calls = [_call(desk, place) for place in range(size.batch)]
            asked = {"account_id": desk.account_id, "tails": [tail(str(call["phone"])) for call in calls]}
            async with db.transaction() as connection:
                found = await (await connection.execute(BARE_FIND, asked)).fetchall()
                notes = [
                    {"kind": kind, "card_id": card_id, "params": calls[place - 1]}
                    for place, kind, card_id in found
                ]
                params = {
                    "account_id": desk.account_id,
                    "notes": Jsonb(notes, dumps=msgspec.json.encode),
                    "now": now(),
                }
                stored = await (await connection.execute(BARE_ADD, params)).fetchall()
            done += len(stored)

    await _together(work, size.connections)
    return done / size.seconds


async def _together(work: Callable[[], Awaitable[None]], count: int) -> None:
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_run(work))


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()
