"""Who calls whom in the dialer's tests? A small account with a campaign, and what must be true once all is over."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, LiteralString

from msgspec import Struct

from zvonar.core.call import FINAL
from zvonar.core.campaign import CallOverrides, CampaignSettings, CampaignStatus, CampaignType, Voice
from zvonar.core.phone import Phone
from zvonar.core.schedule import Window
from zvonar.core.script import Node, Prompt, Reaction, Script
from zvonar.dialer.engine import Dialer
from zvonar.dialer.prompts import Prompts
from zvonar.line.asterisk.town import number
from zvonar.line.line import Gateway
from zvonar.store import accounts, calls, campaigns, steering, trunks
from zvonar.store.accounts import Account
from zvonar.store.calls import Call, NewCall
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.trunks import NewTrunk, Trunk

DEADLINE = 90.0  # seconds for anything that a test waits for
ASK = Prompt(text="Press one.")
ONE_KEY = Script(
    nodes={"1": Node(prompt=ASK, keys={"1": Reaction(status_name="yes")}, timeout=3.0, repeats=0)}
)
ALL_DAY = Window(start=time(0), end=time(0))
# Leg ids never repeat within a session, because the town counts INVITEs for as long as it lives.
_first_call_ids = itertools.count(1000, 1000)


def now() -> datetime:
    return datetime.now(UTC)


class OneClip(Prompts):
    """Every prompt is the same file."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip

    async def files(self, account_id: int, voice: Voice, prompts: Iterable[Prompt]) -> dict[Prompt, Path]:
        return dict.fromkeys(prompts, self._clip)

    def seconds(self, file: Path) -> float:
        return 1.0


class Leg(Struct, frozen=True, kw_only=True):
    """A leg as the table has it."""

    leg_id: str
    call_id: int
    attempt: int
    trunk_id: int
    phase: str
    placed_at: datetime
    dialled_at: datetime | None
    answered_at: datetime | None
    disposition: str | None
    cost: Decimal


class World:
    """An account, its trunks and campaigns, in a database of the test's own."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.account: Account
        self.trunks: list[Trunk] = []
        self.campaigns: list[Campaign] = []

    async def settle(self, *, balance: str = "1000", trunks: int = 1, **limits: Any) -> "World":
        await self.db.value("SELECT setval('call_numbers', %(n)s)", {"n": next(_first_call_ids)})
        self.account = await accounts.add(
            self.db,
            name="account",
            currency="RUB",
            timezone="Europe/Moscow",
            countries=["RU"],
            balance=Decimal(balance),
            keys={},
            logins={},
            now=now(),
        )
        for _ in range(trunks):
            await self.trunk(**limits)
        return self

    async def trunk(self, **changed: Any) -> Trunk:
        plain = {
            "name": f"trunk {len(self.trunks) + 1}",
            "settings": {"host": "127.0.0.1"},
            "trial": True,
            "max_channels": 50,
            "caller_ids": ["+7000999XXXX"],
            "priority": len(self.trunks) + 1,
        }
        self.trunks.append(await trunks.put(self.db, NewTrunk(**{**plain, **changed})))
        return self.trunks[-1]

    async def campaign(
        self,
        phones: Iterable[str] = (),
        *,
        running: bool = True,
        type: CampaignType = CampaignType.regular,
        **settings: Any,
    ) -> Campaign:
        """A campaign with a call to each of these numbers, which rings no longer than five seconds."""
        plain = {"script": ONE_KEY, "window": ALL_DAY, "ring_timeout": 5, "max_call_time": 30}
        made = await campaigns.add(
            self.db,
            self.account.account_id,
            name="bell",
            type=type,
            settings=CampaignSettings(**{**plain, **settings}),
            status=CampaignStatus.paused,
            now=now(),
        )
        self.campaigns.append(made)
        for phone in phones:
            await self.add(phone, made)
        if running:
            await steering.start(self.db, made.account_id, made.campaign_id, now=now())
        return made

    async def add(
        self, phone: str, campaign: Campaign | None = None, *, at: datetime | None = None, **overrides: Any
    ) -> int:
        of = campaign or self.campaigns[-1]
        new = NewCall(
            phone=Phone(e164=phone, country="RU", trial=phone.startswith("+7000")),
            overrides=CallOverrides(**overrides) if overrides else None,
        )
        return await calls.add(self.db, of.account_id, of.campaign_id, new, now=at or now())

    async def leased(self) -> int:
        """How many calls somebody holds and nobody dials."""
        found = await self.db.value(
            "SELECT count(*) FROM calls WHERE lease_epoch IS NOT NULL AND state IN ('queued', 'waiting')"
        )
        return int(found)

    async def calls(self, campaign: Campaign | None = None) -> list[Call]:
        of = campaign or self.campaigns[-1]
        pages = [page async for page in calls.each(self.db, of.account_id, of.campaign_id)]
        return [call for page in pages for call in page]

    async def results(self, campaign: Campaign | None = None) -> dict[int, str]:
        """What became of each call, by its number's last digit."""
        return {
            int(call.phone[-1]): f"{call.disposition}/{call.script_result}"
            for call in await self.calls(campaign)
        }

    async def causes(self) -> list[str | None]:
        """Why attempts came to nothing, those without a reason first."""
        rows = await self.db.rows(_Cause, "SELECT cause FROM attempts ORDER BY cause NULLS FIRST")
        return [found.cause for found in rows]

    async def legs(self) -> list[Leg]:
        return await self.db.rows(
            Leg,
            """SELECT leg_id, call_id, attempt, trunk_id, phase, placed_at, dialled_at, answered_at, disposition, cost
            FROM legs ORDER BY placed_at, leg_id""",
        )

    async def status(self, campaign: Campaign | None = None) -> CampaignStatus:
        of = campaign or self.campaigns[-1]
        return (await campaigns.get(self.db, of.account_id, of.campaign_id)).status

    async def completed(self, campaign: Campaign | None = None, *, within: float = DEADLINE) -> None:
        """Wait until a campaign, or each of them, has completed."""
        for of in [campaign] if campaign else self.campaigns:
            await until(lambda of=of: self._is_completed(of), within=within)  # type: ignore[misc]

    async def _is_completed(self, campaign: Campaign) -> bool:
        return await self.status(campaign) is CampaignStatus.completed

    async def holds(self, statement: LiteralString) -> bool:
        return bool(await self.db.patiently(lambda: self.db.value(statement), what="look"))

    async def check_laws(self, invites: dict[str, int]) -> None:
        """What is true whatever happened, once every call has ended. `invites`: as the callee counted them."""
        everything = [call for campaign in self.campaigns for call in await self.calls(campaign)]
        assert all(call.state in FINAL for call in everything), [
            (call.call_id, call.state) for call in everything
        ]
        legs = await self.legs()
        assert all(leg.phase == "ended" for leg in legs)
        for leg in legs:
            rung = invites.get(leg.leg_id, 0)
            assert rung <= 1, (leg, rung)
            assert not rung or leg.dialled_at is not None, leg
        counted = Counter((leg.call_id, leg.attempt) for leg in legs if leg.dialled_at is not None)
        for call in everything:
            rung_attempts = {attempt for call_id, attempt in counted if call_id == call.call_id}
            # No attempt is burnt on legs that were taken back before their INVITE.
            assert rung_attempts <= set(range(1, call.attempts + 1)), call
        assert await self._money() == []
        broken = [call.call_id for call in everything if not await self._told(call)]
        assert broken == []
        used = "SELECT coalesce(sum(in_use), 0)::int FROM trunks"
        assert await self.db.value(used) == 0
        assert await self.db.value("SELECT coalesce(sum(in_use), 0)::int FROM campaign_guards") == 0
        assert await self.db.value("SELECT count(*) FROM calls WHERE lease_epoch IS NOT NULL") == 0

    async def _money(self) -> list[tuple[Any, ...]]:
        """What does not add up."""
        async with self.db.connection() as connection:
            cursor = await connection.execute(
                """
                SELECT 'balance', account_id::text FROM accounts a WHERE held <> 0 OR at_risk <> 0
                    OR balance <> (SELECT sum(amount) FROM ledger l WHERE l.account_id = a.account_id)
                UNION ALL SELECT 'leg', leg_id FROM legs l WHERE cost <> (SELECT coalesce(-sum(amount), 0) FROM ledger e
                    WHERE e.account_id = l.account_id AND e.leg_id = l.leg_id)
                UNION ALL SELECT 'free talk', leg_id FROM legs
                    WHERE direction = 'out' AND (cost > 0) <> (disposition = 'answered')
                UNION ALL SELECT 'call', call_id::text FROM calls c WHERE cost <> (SELECT coalesce(sum(cost), 0)
                    FROM legs l WHERE l.account_id = c.account_id AND l.call_id = c.call_id)
                UNION ALL SELECT 'session', call_id::text FROM attempts t WHERE t.session_id IS NOT NULL AND 1 <> (
                    SELECT count(*) FROM ended_sessions s WHERE s.call_id = t.call_id AND s.attempt = t.attempt)
                UNION ALL SELECT 'tally', key FROM (
                    SELECT key, sum(n) AS n FROM campaign_tallies WHERE key LIKE 'state/%' GROUP BY key) t
                WHERE n <> (SELECT count(*) FROM calls WHERE 'state/' || state = key)
                """
            )
            return await cursor.fetchall()

    async def _told(self, call: Call) -> bool:
        """Whether the outbox tells the call's story without a gap or a repetition."""
        rows = await self.db.rows(
            _Change,
            """SELECT payload -> 'before' ->> 'state' AS before, payload ->> 'state' AS after FROM outbox
            WHERE call_id = %(call_id)s ORDER BY event_id""",
            {"call_id": call.call_id},
        )
        state = "queued"
        for change in rows:
            if change.before != state or change.after == state:
                return False
            state = change.after
        return state == call.state


class _Cause(Struct, frozen=True):
    cause: str | None


class _Change(Struct, frozen=True):
    before: str
    after: str


async def until(what: Callable[[], Awaitable[bool]], *, within: float = DEADLINE) -> None:
    """Wait until this is so; a database that is away just now is waited for too."""
    async with asyncio.timeout(within):
        while True:
            with contextlib.suppress(StoreUnavailable):
                if await what():
                    return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def dialling(
    db: Database,
    gateway: Gateway,
    clip: Path = Path("clip.wav"),
    *,
    prompts: Prompts | None = None,
    drain: float = 10.0,
    clock: Callable[[], datetime] = now,
) -> AsyncIterator[Dialer]:
    """A dialer beside the test, ready; drained and awaited at the end."""
    stop, ready = asyncio.Event(), asyncio.Event()
    dialer = Dialer(db, gateway, prompts or OneClip(clip), now=clock, drain=drain)
    running = asyncio.create_task(dialer.run(stop, ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({running, waiting}, timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
    try:
        yield dialer
    finally:
        stop.set()
        async with asyncio.timeout(drain + DEADLINE):
            await running


def town(digit: int, *, ring: int = 0) -> str:
    """A town number of its own."""
    return number(next(_subscribers) % 10000, ring, digit)


_subscribers = itertools.count(1)
