"""How fast does `phones/call/` take calls? Over many keys, beside a bare handler that does the plain insert."""

import time
from decimal import Decimal
from itertools import count
from urllib.parse import quote

from msgspec import Struct

from bench import http
from bench.callo_serve import BARE_PATH
from bench.ground import Ground, now
from bench.results import Figure, NotMeasured, figure, percentile
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.schedule import ALL_DAY
from zvonar.core.script import Prompt, plain
from zvonar.dialects.callo.routes import KEY_KIND, PREFIXES
from zvonar.store import accounts, campaigns
from zvonar.store.db import Database

PATH = PREFIXES[0] + "/phones/call/"

BARE = """
CREATE TABLE bare_calls (LIKE calls INCLUDING DEFAULTS INCLUDING INDEXES INCLUDING STORAGE);
CREATE SEQUENCE bare_ordinals
"""


class Size(Struct, frozen=True, kw_only=True):
    """How much is done."""

    keys: int = 500  # each of an account with a campaign of its own
    connections: int = 16
    seconds: float = 4.0  # of a round
    rounds: int = 5


async def measure(ground: Ground, size: Size) -> list[Figure]:
    """Calls a second, and the time of one."""
    with ground.database("bench_add") as dsn:
        async with Database(dsn) as db:
            ground.report(f"callo_add: {size.keys} keys")
            known = [await _account(db, number) for number in range(size.keys)]
            async with db.connection() as connection:
                for statement in BARE.split(";"):
                    await connection.execute(statement)  # type: ignore[arg-type]
        numbers = count()
        labels = f"b{time.monotonic_ns()}"

        def ours() -> bytes:
            number = next(numbers)
            key, campaign_id = known[number % len(known)]
            # Every fourth has a label, which must be unique.
            label = f"&label={labels}_{number}" if number % 4 == 0 else ""
            phone = quote(f"+7912{number % 10**7:07d}")
            return http.form(PATH, f"public_key={key}&campaign_id={campaign_id}&phone={phone}{label}")

        def bare() -> bytes:
            number = next(numbers)
            key, campaign_id = known[number % len(known)]
            phone = quote(f"+7912{number % 10**7:07d}")
            return http.form(BARE_PATH, f"public_key={key}&campaign_id={campaign_id}&phone={phone}")

        rates: dict[str, list[float]] = {"ours": [], "bare": []}
        slowest: dict[str, list[float]] = {"ours": [], "bare": []}
        with http.server("ours", dsn) as our_port, http.server("bare", dsn) as bare_port:
            await http.flood(our_port, ours, connections=size.connections, seconds=size.seconds / 2)
            await http.flood(bare_port, bare, connections=size.connections, seconds=size.seconds / 2)
            for done in range(size.rounds):
                ground.report(f"callo_add: round {done + 1} of {size.rounds}")
                for name, port, request in (("ours", our_port, ours), ("bare", bare_port, bare)):
                    answers = await http.flood(
                        port, request, connections=size.connections, seconds=size.seconds
                    )
                    if wrong := [answer for answer in answers if answer.status != 200]:
                        raise NotMeasured(f"{len(wrong)} requests failed, one with {wrong[0].status}.")
                    rates[name].append(len(answers) / size.seconds)
                    slowest[name].append(percentile((answer.milliseconds for answer in answers), 99))
    case = f"{size.keys} keys, {size.connections} connections"
    return [
        figure("callo_add", case, rates["ours"], "1/s", rates["bare"], at_least_ratio=0.75),
        figure("callo_add", f"{case}, p99", slowest["ours"], "ms", slowest["bare"], at_most=25.0),
    ]


async def _account(db: Database, number: int) -> tuple[str, int]:
    key = f"bench{number}"
    account = await accounts.add(
        db,
        name=f"bench {number}",
        currency="RUB",
        timezone="UTC",
        countries=["RU"],
        balance=Decimal(1000),
        keys={KEY_KIND: key},
        logins={},
        now=now(),
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
    return key, campaign.campaign_id
