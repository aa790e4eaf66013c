"""How long does a flashcall ring? 50 a second, timed by the callee's telephone, beside a bare script that does it too.

The telephone is SIPp: it rings, and keeps the time until the CANCEL. A script that creates, dials, waits as long as the
campaign rings and deletes is the least that can do it.
"""

import asyncio
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.bare import Job
from bench.callee import rings
from bench.ground import Ground, now
from bench.results import Figure, NotMeasured, figure, percentile
from zvonar.core.campaign import CallOverrides, CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.phone import Phone
from zvonar.core.schedule import ALL_DAY
from zvonar.core.verification import Flash
from zvonar.line.asterisk.config import endpoint
from zvonar.service.operations import add_account
from zvonar.service.plant import ARI_USER
from zvonar.store import campaigns, phone_lists, steering, trunks
from zvonar.store.calls import NewCall
from zvonar.store.db import Database
from zvonar.store.trunks import NewTrunk, Trunk

PER_SECOND = 50
GRACE = 60.0  # seconds beyond what a round should last
TARGET = 2500.0  # ms from the ringing to the CANCEL, p95
POOL = "+7495000XXXX"

CAME_TO = """
SELECT count(*) FILTER (WHERE t.disposition = 'cancelled' AND t.script_result = 'completed') AS rung,
    count(t.answered_at) AS answered, count(*) AS n
FROM attempts t WHERE t.account_id = %(account_id)s AND t.campaign_id = %(campaign_id)s AND t.ended_at IS NOT NULL
"""


class Size(Struct, frozen=True, kw_only=True):
    """How much is measured."""

    calls: int = 500
    rounds: int = 3


class _CameTo(Struct, frozen=True):
    rung: int
    answered: int
    n: int


async def measure(ground: Ground, trunk: Trunk, size: Size) -> list[Figure]:
    """The rounds, in figures. A telephone that rings and the service must be there."""
    numbers = iter(range(10_000_000))
    ours: list[float] = []
    least: list[float] = []
    answered: list[float] = []
    async with Database(ground.dsn, size=4) as db:
        await trunks.put(
            db,
            NewTrunk(
                name=trunk.name,
                settings=trunk.settings,
                max_channels=600,
                calls_per_second=Decimal(PER_SECOND),
                caller_ids=[POOL],
            ),
        )
        account = await add_account(
            db,
            name="flashcall bench",
            balance=Decimal(1_000_000),
            currency="RUB",
            timezone="UTC",
            countries=["RU"],
            now=now(),
        )
        await db.execute("UPDATE accounts SET attempts_per_minute = 30000")
        for number in range(1, size.rounds + 1):
            ground.report(f"flashcall: round {number} of {size.rounds}")
            phones = [f"+7914{next(numbers):07d}" for _ in range(size.calls)]
            before = len(rings(ground))
            came_to = await _ours(db, account["account_id"], phones)
            if came_to.rung < size.calls:
                raise NotMeasured(f"Of {size.calls} flashcalls {came_to.rung} have rung.")
            ours.append(percentile(await _rung(ground, before, size.calls), 95))
            answered.append(float(came_to.answered))
            phones = [f"+7914{next(numbers):07d}" for _ in range(size.calls)]
            before = len(rings(ground))
            await _bare(ground, trunk, phones)
            least.append(percentile(await _rung(ground, before, size.calls), 95))
    return [
        figure("flashcall", f"ring to CANCEL at {PER_SECOND}/s, p95", ours, "ms", least, at_most=TARGET),
        figure("flashcall", f"answered of {size.calls}", answered, "calls", [0.0], at_most=0.0),
    ]


async def _rung(ground: Ground, before: int, calls: int) -> list[float]:
    """What the telephone has kept of the last calls; it writes a moment later."""
    async with asyncio.timeout(GRACE):
        while len(found := rings(ground)) < before + calls:  # noqa: ASYNC110 - a file notifies nobody
            await asyncio.sleep(0.1)
    return found[before:]


async def _ours(db: Database, account_id: int, phones: list[str]) -> _CameTo:
    settings = CampaignSettings(
        window=ALL_DAY, ring_timeout=10, max_call_time=10, flash=Flash(), caller_ids=(POOL,)
    )
    campaign = await campaigns.add(
        db,
        account_id,
        name="flash",
        type=CampaignType.flashcall,
        settings=settings,
        status=CampaignStatus.paused,
        now=now(),
    )
    ids = {"account_id": account_id, "campaign_id": campaign.campaign_id}
    new = [
        NewCall(phone=Phone(e164=phone, country="RU", trial=False), overrides=CallOverrides(code=phone[-4:]))
        for phone in phones
    ]
    await phone_lists.load(db, account_id, campaign.campaign_id, new, name="flash", rejected=0, now=now())
    await steering.start(db, account_id, campaign.campaign_id, now=now())
    try:
        async with asyncio.timeout(len(phones) / PER_SECOND + GRACE):
            while True:
                [came_to] = await db.rows(_CameTo, CAME_TO, ids)
                if came_to.n == len(phones):
                    return came_to
                await asyncio.sleep(0.3)
    except TimeoutError:
        raise NotMeasured(f"Only {came_to.n} of {len(phones)} flashcalls have ended.") from None


async def _bare(ground: Ground, trunk: Trunk, phones: list[str]) -> None:
    job = Job(
        url=f"http://127.0.0.1:{ground.ports.gateway_ari}",
        user=ARI_USER,
        password=ground.home.secret("gateway-ari"),
        endpoint=endpoint(str(trunk.trunk_id)),
        phones=phones,
        per_second=PER_SECOND,
        media="",
        flash=Flash().rings,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.bare"),
        cwd=Path(__file__).parent.parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(len(phones) / PER_SECOND + GRACE):
            await process.communicate(msgspec.json.encode(job))
    except TimeoutError:
        process.kill()
        raise NotMeasured("The bare script did not end.") from None
    if process.returncode:
        raise NotMeasured("The bare script failed.")
