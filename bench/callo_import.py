"""How soon are a million rows calls that can be leased? Beside a bare COPY of the same rows into the same table."""

import asyncio
import contextlib
import csv
import itertools
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import psutil
from msgspec import Struct

from bench.ground import Ground, now
from bench.results import Figure, NotMeasured, figure, percentile
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.schedule import ALL_DAY
from zvonar.core.script import Prompt, plain
from zvonar.service.operations import add_account
from zvonar.store import campaigns
from zvonar.store.db import Database

DEADLINE = 600.0  # seconds for the whole list
LOOK = 0.05  # seconds between two looks at what is done
PAUSE = 0.02  # seconds between two requests of whoever asks meanwhile
KEYS = 3  # who ask, so that none of them meets its limit
SINGLES = 4  # every so manieth of them adds a call to the very campaign of the list
MB = 1e6

# The same rows as they stand in the end, into a table with the same indexes and checks, and nothing else.
BARE = """
CREATE TABLE bare_calls (LIKE calls INCLUDING ALL);
COPY (SELECT * FROM calls WHERE campaign_id = {campaign_id} ORDER BY ordinal) TO STDOUT
"""

# Counted in the transaction that makes the calls.
LOADED = "SELECT coalesce(sum(loaded), 0) FROM phone_lists WHERE campaign_id = %(campaign_id)s"


class Size(Struct, frozen=True, kw_only=True):
    """How much is done."""

    rows: int = 1_000_000


class Meanwhile(Struct, kw_only=True):
    """What was seen while the list was worked off."""

    waits: list[float]  # milliseconds of each request
    memory: float = 0.0  # the most that the processes of the list took, in MB of RSS
    worker: float = 0.0  # the most that the worker itself took


async def measure(ground: Ground, roles: dict[str, psutil.Process], size: Size) -> list[Figure]:
    """A list over HTTP, from its first byte to its last call."""
    ground.report(f"callo_import: {size.rows} rows")
    async with Database(ground.dsn, size=4) as db:
        accounts = [
            await _account(db, f"import {number} {time.monotonic_ns()}") for number in range(KEYS + 1)
        ]
        account, *askers = accounts
        campaign_id = await _campaign(db, account["account_id"])
        url = f"http://127.0.0.1:{ground.ports.receiver}/manager/cabapi_external/api/v1/"
        meanwhile = Meanwhile(waits=[])
        with _list(size.rows) as file:
            began = time.perf_counter()
            async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=DEADLINE)) as client:
                single = {"public_key": account["callo_public_key"], "campaign_id": str(campaign_id)}
                watching = asyncio.create_task(_watch(client, roles["worker"], askers, single, meanwhile))
                try:
                    await _send(client, account["callo_public_key"], campaign_id, file)
                    answered = time.perf_counter() - began
                    await _until(db, campaign_id, size.rows)
                    took = time.perf_counter() - began
                finally:
                    watching.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await watching
        ground.report("callo_import: bare COPY")
        bare = await _bare(db, campaign_id)
    rows = f"{size.rows} rows"
    return [
        figure("callo_import", f"{rows}, upload to leasable", [took], "s", [bare], at_most=4 * bare),
        figure("callo_import", f"{rows}, upload to answer", [answered], "s"),
        figure("callo_import", "importer's memory, RSS", [meanwhile.memory], "MB", at_most=400.0),
        figure("callo_import", "worker's memory meanwhile, RSS", [meanwhile.worker], "MB"),
        figure("callo_import", "API meanwhile, p99", [percentile(meanwhile.waits, 99)], "ms", at_most=100.0),
    ]


@contextlib.contextmanager
def _list(rows: int) -> Iterator[BinaryIO]:
    """CSV: numbers with labels of their own, as a shop would send them."""
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "numbers.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows(
                (f"+79{100_000_000 + n * 611_953 % 900_000_000:09d}", f"order_{n}") for n in range(rows)
            )
        with path.open("rb") as sent:
            yield sent


async def _send(client: aiohttp.ClientSession, key: str, campaign_id: int, file: BinaryIO) -> None:
    form = aiohttp.FormData()
    form.add_field("public_key", key)
    form.add_field("campaign_id", str(campaign_id))
    form.add_field("label_from_column", "1")
    form.add_field("phones_file", file, filename="numbers.csv", content_type="text/csv")
    async with client.post("phones/append/calls/", data=form) as response:
        if response.status != 200:
            raise NotMeasured(f"The list was refused: {await response.text()}")


async def _until(db: Database, campaign_id: int, rows: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while await db.value(LOADED, {"campaign_id": campaign_id}) < rows:  # noqa: ASYNC110, another process's doing
            await asyncio.sleep(LOOK)


async def _watch(
    client: aiohttp.ClientSession,
    worker: psutil.Process,
    askers: list[dict[str, Any]],
    single: dict[str, str],
    seen: Meanwhile,
) -> None:
    """Ask for results and add single calls, over and over, and look at the memory."""
    for number in itertools.count():
        path, params = "phones/call/", {**single, "phone": f"+7916{number:07d}"}
        if number % SINGLES:
            key = askers[number % len(askers)]["callo_public_key"]
            path, params = "phones/call_by_id/", {"public_key": key, "call_ids": "1"}
        began = time.perf_counter()
        async with client.get(path, params=params) as response:
            said = await response.text()
            if response.status != 200:
                raise NotMeasured(f"Somebody who asked meanwhile was refused: {response.status} {said}")
        seen.waits.append((time.perf_counter() - began) * 1000)
        with contextlib.suppress(psutil.NoSuchProcess):
            seen.worker = max(seen.worker, worker.memory_info().rss / MB)
            importers = worker.children()
            seen.memory = max(seen.memory, sum(process.memory_info().rss for process in importers) / MB)
        await asyncio.sleep(PAUSE)


async def _bare(db: Database, campaign_id: int) -> float:
    create, read = BARE.format(campaign_id=campaign_id).strip().split(";")
    with tempfile.TemporaryFile() as rows:
        async with db.connection() as connection:
            await connection.execute("SET statement_timeout = '10min'")
            await connection.execute(create)
            async with connection.cursor() as cursor, cursor.copy(read) as copying:
                async for piece in copying:
                    rows.write(piece)
            rows.seek(0)
            began = time.perf_counter()
            async with connection.cursor() as cursor, cursor.copy("COPY bare_calls FROM STDIN") as copying:
                while piece := rows.read(1 << 16):
                    await copying.write(piece)
            return time.perf_counter() - began


async def _account(db: Database, name: str) -> dict[str, Any]:
    return await add_account(
        db, name=name, balance=Decimal(1000), currency="RUB", timezone="UTC", countries=["RU"], now=now()
    )


async def _campaign(db: Database, account_id: int) -> int:
    added = await campaigns.add(
        db,
        account_id,
        name="bench",
        type=CampaignType.regular,
        settings=CampaignSettings(script=plain(Prompt(text="x")), window=ALL_DAY),
        status=CampaignStatus.paused,
        now=now(),
    )
    return added.campaign_id
