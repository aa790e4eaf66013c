"""What does it cost to look at a large autocall while it runs, and to create one with many numbers?

A look is an answer over HTTP, beside the answer of the same API that is one row by its key; calls of the autocall end
meanwhile, a hundred a second. Creating is measured in the memory of the process that serves.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from decimal import Decimal

import msgspec
import psutil
from msgspec import Struct

from bench import http
from bench.ground import Ground, now
from bench.memory import MB
from bench.results import Figure, NotMeasured, figure
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.prompt import Prompt
from zvonar.core.schedule import ALL_DAY
from zvonar.core.script import plain
from zvonar.dialects.autocall.routes import KEY_KIND, PREFIX
from zvonar.store import accounts, campaigns, scenarios
from zvonar.store.db import Database

KEYS = 64  # each may ask 300 times a minute
ENDING = 100  # calls a second
_TICK = 0.1  # seconds
_LOOK = 0.02  # seconds between two looks at a process's memory

FILL = """
INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, due_at, created_at, updated_at)
SELECT %(account_id)s, new_call_id(%(now)s), %(campaign_id)s, n, '+7912' || lpad((n %% 10000000)::text, 7, '0'), 'RU',
    %(now)s, %(now)s, %(now)s
FROM generate_series(1, %(calls)s) AS n
"""
GIVEN = "UPDATE campaigns SET next_ordinal = %(calls)s WHERE campaign_id = %(campaign_id)s"

# Calls end as they do after a try: with everything that a change of their state sets off.
END = """
UPDATE calls SET state = 'finished', call_end = CASE WHEN ordinal %% 2 = 0 THEN 'success' ELSE 'attempts_exhausted' END,
    attempts = 1, disposition = CASE WHEN ordinal %% 2 = 0 THEN 'answered' ELSE 'busy' END,
    script_result = CASE WHEN ordinal %% 2 = 0 THEN 'completed' ELSE 'none' END, talk_seconds = 7, cost = 0.21,
    last_attempt_at = %(now)s, updated_at = %(now)s, completed_at = %(now)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND ordinal = %(ordinal)s
"""


class Size(Struct, frozen=True, kw_only=True):
    """How much of it."""

    calls: int = 1_000_000  # of the autocall that is looked at
    rounds: int = 300  # looks
    few: int = 1000  # numbers of a small autocall
    many: int = 100_000  # and of a large one


TINY = Size(calls=2000, rounds=10, few=100, many=2000)


async def read(ground: Ground, size: Size) -> list[Figure]:
    """A look at a running autocall."""
    with ground.database("bench_autocall_read") as dsn:
        async with Database(dsn) as db:
            account_id = await _account(db)
            ground.report(f"autocall_read: {size.calls} calls")
            campaign_id = await _campaign(db, account_id, size)
            kept = await scenarios.add(
                db, account_id, name="bench", script=plain(Prompt(text="Bench.")), now=now()
            )
            paths = {
                "ours": f"{PREFIX}/autocalls/{campaign_id}",
                "bare": f"{PREFIX}/scenarios/{kept.scenario_id}",
            }
            times: dict[str, list[float]] = {name: [] for name in paths}
            with http.server("ours", dsn) as port:
                wire = await http.connect(port)
                async with _ending(db, account_id, campaign_id, size.calls):
                    ground.report(f"autocall_read: {size.rounds} looks while calls end")
                    for number in range(size.rounds + 5):
                        for name, path in paths.items():
                            answer = await wire.ask(http.get(path, key=_key(number)))
                            if answer.status != 200:
                                raise NotMeasured(f"A look was answered with {answer.status}.")
                            if number >= 5:  # before that, plans and caches are made
                                times[name].append(answer.milliseconds)
                        await asyncio.sleep(0.01)
    case = f"GET, {size.calls} calls, {ENDING} end/s"
    return [figure("autocall_read", case, times["ours"], "ms", times["bare"], at_most_ratio=2.0)]


async def create(ground: Ground, size: Size) -> list[Figure]:
    """A large autocall beside a small one."""
    with ground.database("bench_autocall_create") as dsn:
        async with Database(dsn) as db:
            await _account(db)
            peaks: dict[int, float] = {}
            took: dict[int, float] = {}
            with http.server("ours", dsn) as port:
                process = _process(port)
                wire = await http.connect(port)
                for numbers in (size.few, size.few, size.many):  # the first makes plans and caches
                    ground.report(f"autocall_create: {numbers} inline numbers")
                    request = http.json(f"{PREFIX}/autocalls", _body(numbers), key=_key(0))
                    began = time.perf_counter()
                    asking = asyncio.create_task(wire.ask(request))
                    peak = 0.0
                    while not asking.done():
                        peak = max(peak, process.memory_info().rss / MB)
                        await asyncio.wait({asking}, timeout=_LOOK)
                    answer = asking.result()
                    if answer.status != 201 or msgspec.json.decode(answer.body)["calls_count"] != numbers:
                        raise NotMeasured(f"An autocall was answered with {answer.status}.")
                    peaks[numbers], took[numbers] = peak, time.perf_counter() - began
    memory = f"peak memory, {size.many} beside {size.few}"
    speed = f"numbers a second, {size.many}"
    rate = {numbers: numbers / seconds for numbers, seconds in took.items()}
    return [
        figure("autocall_create", memory, [peaks[size.many]], "MB", [peaks[size.few]], above=16.0),
        figure("autocall_create", speed, [rate[size.many]], "1/s", [rate[size.few]]),
    ]


def _body(numbers: int) -> bytes:
    people = [{"number": f"+7912{number:07d}", "extra": f"Client {number}"} for number in range(numbers)]
    return msgspec.json.encode(
        {
            "name": "bench",
            "list_id": people,
            "audio_id": [{"data": {"text": "Bench."}}],
            "start": False,
        }
    )


def _key(number: int) -> str:
    return f"bench-autocall-{number % KEYS}"


def _process(port: int) -> psutil.Process:
    """The server that listens there."""
    for child in psutil.Process().children():
        if child.cmdline()[-1:] == [str(port)]:
            return child
    raise NotMeasured("The server of the benchmark is gone.")


async def _account(db: Database) -> int:
    account = await accounts.add(
        db,
        name="bench autocall",
        currency="RUB",
        timezone="UTC",
        countries=["RU"],
        balance=Decimal(1000),
        keys={KEY_KIND: _key(0)},
        logins={},
        now=now(),
    )
    async with db.connection() as connection:
        for number in range(1, KEYS):
            hashed = accounts.hash_key(_key(number))
            params = {
                "key_hash": hashed,
                "account_id": account.account_id,
                "kind": KEY_KIND,
                "networks": None,
            }
            await connection.execute(accounts.ADD_KEY, params)
    return account.account_id


async def _campaign(db: Database, account_id: int, size: Size) -> int:
    campaign = await campaigns.add(
        db,
        account_id,
        name="bench",
        type=CampaignType.regular,
        settings=CampaignSettings(script=plain(Prompt(text="Bench.")), window=ALL_DAY),
        status=CampaignStatus.running,
        now=now(),
    )
    params = {
        "account_id": account_id,
        "campaign_id": campaign.campaign_id,
        "calls": size.calls,
        "now": now(),
    }
    async with db.transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = '10min'")
        await connection.execute(FILL, params)
        await connection.execute(GIVEN, params)
    async with db.connection() as connection:
        await connection.execute("SET statement_timeout = '5min'")
        await connection.execute("VACUUM ANALYZE calls")
        await connection.execute("RESET statement_timeout")
    return campaign.campaign_id


@contextlib.asynccontextmanager
async def _ending(db: Database, account_id: int, campaign_id: int, calls: int) -> AsyncIterator[None]:
    """Calls of the campaign end meanwhile, one statement each."""

    async def end() -> None:
        ordinal = 0
        until = time.perf_counter()
        while ordinal < calls:
            for _ in range(int(ENDING * _TICK)):
                ordinal += 1
                ids = {"account_id": account_id, "campaign_id": campaign_id}
                await db.execute(END, {**ids, "ordinal": ordinal, "now": now()})
            until += _TICK
            await asyncio.sleep(max(0.0, until - time.perf_counter()))

    ending = asyncio.create_task(end())
    try:
        yield
        if ending.done():
            ending.result()  # nothing ended meanwhile if it had failed
    finally:
        ending.cancel()
        await asyncio.wait({ending})
