"""How soon are due calls in hand, and how evenly do they go out? The lease and the dialer's pace, without a gateway."""

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from msgspec import Struct

from bench.ground import Ground, now
from bench.results import Figure, NotMeasured, figure, percentile
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType, Voice
from zvonar.core.phone import Phone
from zvonar.core.schedule import ALL_DAY
from zvonar.core.script import Prompt, plain
from zvonar.dialer.engine import Dialer
from zvonar.dialer.prompts import Prompts
from zvonar.line.fake import FakeGateway
from zvonar.service.operations import add_account
from zvonar.store import calls, campaigns, epochs, phone_lists, steering, trunks
from zvonar.store.calls import NewCall
from zvonar.store.db import Database
from zvonar.store.trunks import NewTrunk

BATCH = 100
GATEWAY = "bench"
CLIP = Path("clip.wav")

# What a lease is at the least: two columns, and the index without which every batch would read what is leased.
BARE = """
CREATE TABLE bare (id bigint PRIMARY KEY, leased boolean NOT NULL DEFAULT false) WITH (fillfactor = 70);
CREATE INDEX bare_waiting ON bare (id) WHERE NOT leased;
INSERT INTO bare (id) SELECT generate_series(1, {waiting})
"""

BARE_LEASE = """
UPDATE bare SET leased = true
WHERE id IN (SELECT id FROM bare WHERE NOT leased ORDER BY id LIMIT %(batch)s FOR UPDATE SKIP LOCKED) RETURNING id
"""


PLACED = "SELECT placed_at FROM legs WHERE gateway = %(gateway)s ORDER BY placed_at"


class Size(Struct, frozen=True, kw_only=True):
    """How much is done."""

    waiting: int = 200_000  # calls in the queue
    batches: int = 100  # leases a round
    rounds: int = 5
    dispatched: int = 500  # calls that go out at a pace
    per_second: int = 50


class _At(Struct, frozen=True):
    placed_at: datetime


class _OneClip(Prompts):
    """Every prompt is the same file, which nobody reads."""

    def __init__(self) -> None:
        pass

    async def files(self, account_id: int, voice: Voice, prompts: Iterable[Prompt]) -> dict[Prompt, Path]:
        return dict.fromkeys(prompts, CLIP)

    def seconds(self, file: Path) -> float:
        return 1.0


async def measure(ground: Ground, size: Size) -> list[Figure]:
    """Leases out of a long queue, and the evenness of placements."""
    with ground.database("bench_lease") as dsn:
        async with Database(dsn, size=12) as db:
            ground.report(f"lease: {size.waiting} calls waiting")
            leases = await _leases(db, size)
            ground.report(f"lease: {size.dispatched} calls at {size.per_second} a second")
            return [*leases, *await _dispatch(db, size)]


async def _leases(db: Database, size: Size) -> list[Figure]:
    account_id, campaign_id = await _campaign(db, [f"+7912{n:07d}" for n in range(size.waiting)])
    async with db.connection() as connection:
        for statement in BARE.format(waiting=size.waiting).split(";"):
            await connection.execute(statement)
    epoch = await epochs.claim(db, GATEWAY, now=now())
    ours: list[list[float]] = []
    bare: list[list[float]] = []
    for _ in range(size.rounds):
        ours.append([])
        for _ in range(size.batches):
            began = time.perf_counter()
            leased = await calls.lease(db, [(account_id, campaign_id, BATCH)], epoch=epoch, now=now())
            ours[-1].append((time.perf_counter() - began) * 1000)
            _full(len(leased), size)
        await calls.release_all(db, epoch=epoch)
        bare.append([])
        for _ in range(size.batches):
            began = time.perf_counter()
            got = await db.execute(BARE_LEASE, {"batch": BATCH})
            bare[-1].append((time.perf_counter() - began) * 1000)
            _full(got, size)
        await db.execute("UPDATE bare SET leased = false WHERE leased")
    queue = f"{BATCH} of {size.waiting}"
    return [
        figure(
            "lease",
            f"{queue}, p{percent}",
            [percentile(batch, percent) for batch in ours],
            "ms",
            [percentile(batch, percent) for batch in bare],
            at_most=10.0 if percent == 95 else None,
        )
        for percent in (50, 95)
    ]


def _full(got: int, size: Size) -> None:
    if got != min(BATCH, size.waiting):
        raise NotMeasured(f"A lease brought {got} calls.")


async def _dispatch(db: Database, size: Size) -> list[Figure]:
    """The real dialer and database, and subscribers on no network: when is each call placed?"""
    await trunks.put(
        db,
        NewTrunk(
            name="bench",
            settings={},
            gateway=GATEWAY,
            max_channels=size.dispatched + 1,
            calls_per_second=Decimal(size.per_second),
        ),
    )
    stop = asyncio.Event()
    gateway = FakeGateway(now=now, name=GATEWAY)
    gateway.durations[CLIP.name] = 0.5  # so that calls also end while others are placed
    dialer = Dialer(db, gateway, _OneClip(), now=now)
    dialling = asyncio.create_task(dialer.run(stop))
    # The last three digits tell these subscribers to answer after 0.3 s and to listen to the end.
    phones = [f"+7912{n:04d}000" for n in range(size.dispatched)]
    account_id, campaign_id = await _campaign(db, phones)
    await steering.start(db, account_id, campaign_id, now=now())
    try:
        async with asyncio.timeout(size.dispatched / size.per_second * 2 + 20):
            while await _finished(db, account_id, campaign_id) < size.dispatched:
                await asyncio.sleep(0.2)
                if dialling.done():
                    dialling.result()
                    raise NotMeasured("The dialer stopped.")
    except TimeoutError:
        raise NotMeasured("The calls did not come to their end.") from None
    finally:
        stop.set()
        await dialling
    placed = await db.rows(_At, PLACED, {"gateway": GATEWAY})
    ours = [at.placed_at.timestamp() for at in placed]
    bare = await _clockwork(size)
    spans = [(times[-1] - times[0]) / (len(times) - 1) for times in (ours, bare)]
    pace = f"{size.per_second} a second"
    return [
        figure(
            "dispatch",
            f"jitter at {pace}, p99",
            [percentile(_lateness(ours, size.per_second), 99)],
            "ms",
            [percentile(_lateness(bare, size.per_second), 99)],
            at_most=100.0,
        ),
        figure("dispatch", f"placements at {pace}", [1 / spans[0]], "1/s", [1 / spans[1]]),
    ]


async def _finished(db: Database, account_id: int, campaign_id: int) -> int:
    return (await campaigns.tallies(db, account_id, campaign_id)).get("state/finished", 0)


async def _clockwork(size: Size) -> list[float]:
    """A loop that does nothing but keep time."""
    loop = asyncio.get_running_loop()
    first, ticks = loop.time(), []
    for tick in range(size.dispatched):
        await asyncio.sleep(max(0.0, first + tick / size.per_second - loop.time()))
        ticks.append(loop.time())
    return ticks


def _lateness(times: list[float], per_second: int) -> list[float]:
    """Milliseconds by which each of them is behind a grid that begins with the first."""
    return [abs(at - times[0] - number / per_second) * 1000 for number, at in enumerate(times)]


async def _campaign(db: Database, phones: list[str]) -> tuple[int, int]:
    """A paused campaign of an account of its own, with a call to each number."""
    account = await add_account(
        db,
        name=f"bench {len(phones)} {time.monotonic_ns()}",
        balance=Decimal(1_000_000),
        currency="RUB",
        timezone="UTC",
        countries=["RU"],
        now=now(),
    )
    account_id = account["account_id"]
    campaign = await campaigns.add(
        db,
        account_id,
        name="bench",
        type=CampaignType.regular,
        settings=CampaignSettings(
            script=plain(Prompt(clip_id=1)), window=ALL_DAY, ring_timeout=10, max_call_time=60
        ),
        status=CampaignStatus.paused,
        now=now(),
    )
    new = [NewCall(phone=Phone(e164=phone, country="RU", trial=False)) for phone in phones]
    await phone_lists.load(db, account_id, campaign.campaign_id, new, name="bench", rejected=0, now=now())
    return account_id, campaign.campaign_id
