"""What does a page of a large campaign's results cost? Any page over HTTP, beside the bare SQL of the first."""

import time
from decimal import Decimal

import msgspec
import psycopg
from msgspec import Struct

from bench import http
from bench.ground import Ground, now
from bench.results import Figure, NotMeasured, figure
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.schedule import ALL_DAY
from zvonar.core.script import Prompt, plain
from zvonar.dialects.callo.limits import PAGE
from zvonar.dialects.callo.routes import KEY_KIND, PREFIXES
from zvonar.store import accounts, campaigns
from zvonar.store.db import Database

KEY = "bench_export"

# Calls that were tried once each; half of their callees pressed a key.
FILL = """
INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, due_at, state, call_end, attempts,
                   disposition, script_result, choice, last_attempt_at, talk_seconds, cost, clip_id, created_at,
                   updated_at, completed_at)
SELECT %(account_id)s, new_call_id(%(now)s), %(campaign_id)s, n, '+7912' || lpad((n %% 10000000)::text, 7, '0'), 'RU',
    %(now)s, 'finished', CASE WHEN n %% 2 = 0 THEN 'success' ELSE 'attempts_exhausted' END, 1,
    CASE WHEN n %% 2 = 0 THEN 'answered' ELSE 'busy' END, CASE WHEN n %% 2 = 0 THEN 'choice' ELSE 'none' END,
    CASE WHEN n %% 2 = 0 THEN '1' END, %(now)s, 7, 0.21, 1000000001,
    %(now)s::timestamptz - make_interval(secs => 1e6 - n), %(now)s, %(now)s
FROM generate_series(1, %(calls)s) AS n
"""
FILL_ATTEMPTS = """
INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, ended_at, disposition,
                      script_result, talk_seconds, cost)
SELECT account_id, call_id, 1, campaign_id, phone, %(now)s, %(now)s, disposition, script_result, talk_seconds, cost
FROM calls WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
"""
GIVEN = "UPDATE campaigns SET next_ordinal = %(calls)s WHERE campaign_id = %(campaign_id)s"

# What a reader who knows the table asks for, and nothing made of it.
BARE = """
SELECT c.call_id, c.campaign_id, c.phone, c.state, c.call_end, c.attempts, c.disposition, c.script_result, c.choice,
    c.status_name, t.cause, t.steps, t.recording, c.talk_seconds, c.cost, c.label, c.clip_id, c.created_at,
    c.updated_at, c.completed_at
FROM calls c LEFT JOIN attempts t ON t.account_id = c.account_id AND t.call_id = c.call_id AND t.attempt = c.attempts
WHERE c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s ORDER BY c.ordinal DESC LIMIT 1000
"""


class Size(Struct, frozen=True, kw_only=True):
    """How much is read."""

    calls: int = 1_000_000
    rounds: int = 60  # readings of each page, one after the other


async def measure(ground: Ground, size: Size) -> list[Figure]:
    """The first, the middle and the last page."""
    with ground.database("bench_export") as dsn:
        async with Database(dsn) as db:
            ground.report(f"callo_export: {size.calls} calls")
            ids = await _campaign(db, size)
            with http.server("ours", dsn) as port:
                wire = await http.connect(port)
                pages = {"first": 1, "middle": size.calls // PAGE // 2, "last": size.calls // PAGE}
                times: dict[str, list[float]] = {name: [] for name in (*pages, "bare")}
                ground.report(f"callo_export: {size.rounds} readings of each page")
                async with await psycopg.AsyncConnection.connect(
                    dsn, autocommit=True, prepare_threshold=1, options="-c timezone=UTC"
                ) as connection:
                    for number in range(size.rounds + 5):
                        began = time.perf_counter()
                        found = await (await connection.execute(BARE, ids)).fetchall()
                        bare = (time.perf_counter() - began) * 1000
                        taken = {"bare": bare}
                        for name, page in pages.items():
                            path = f"{PREFIXES[0]}/phones/all_calls/?public_key={KEY}{number % 16}"
                            path += f"&campaign_id={ids['campaign_id']}&page={page}"
                            answer = await wire.ask(http.get(path))
                            if answer.status != 200 or len(msgspec.json.decode(answer.body)) != len(found):
                                raise NotMeasured(f"A page was answered with {answer.status}.")
                            taken[name] = answer.milliseconds
                        if number >= 5:  # before that, plans and caches are made
                            for name, took in taken.items():
                                times[name].append(took)
    return [
        figure(
            "callo_export",
            f"{name} page of {size.calls} calls",
            times[name],
            "ms",
            times["bare"],
            at_most_ratio=2.0,
        )
        for name in pages
    ]


async def _campaign(db: Database, size: Size) -> dict[str, int]:
    account = await accounts.add(
        db,
        name="bench export",
        currency="RUB",
        timezone="UTC",
        countries=["RU"],
        balance=Decimal(1000),
        # Several, because each may ask twenty times a second.
        keys={KEY_KIND: KEY + "0"},
        logins={},
        now=now(),
    )
    async with db.connection() as connection:
        for number in range(1, 16):
            await connection.execute(
                accounts.ADD_KEY,
                {
                    "key_hash": accounts.hash_key(f"{KEY}{number}"),
                    "account_id": account.account_id,
                    "kind": KEY_KIND,
                    "networks": None,
                },
            )
    campaign = await campaigns.add(
        db,
        account.account_id,
        name="bench",
        type=CampaignType.regular,
        settings=CampaignSettings(script=plain(Prompt(text="Bench.")), window=ALL_DAY),
        status=CampaignStatus.paused,
        now=now(),
    )
    ids = {"account_id": account.account_id, "campaign_id": campaign.campaign_id}
    params = {**ids, "calls": size.calls, "now": now()}
    async with db.transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = '10min'")
        await connection.execute(FILL, params)
        await connection.execute(FILL_ATTEMPTS, params)
        await connection.execute(GIVEN, params)
    async with db.connection() as connection:
        await connection.execute("SET statement_timeout = '5min'")
        await connection.execute("VACUUM ANALYZE calls, attempts")
        await connection.execute("RESET statement_timeout")
    return ids
