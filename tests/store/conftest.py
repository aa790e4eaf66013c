"""Which database does a store test run on, and what is in it? A copy of a migrated template, and a small world.

The server is the project's own. The world's clock is moved by the test alone. LAWS hold between any two transactions.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from zvonar.core.call import CallState, Next
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.leg import LegId
from zvonar.core.money import Rate
from zvonar.core.phone import Phone
from zvonar.core.result import CallEnd, Disposition, Outcome, ScriptResult
from zvonar.store import accounts, calls, campaigns, epochs, legs, sessions, trunks
from zvonar.store.accounts import Account
from zvonar.store.calls import Leased, NewCall
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database
from zvonar.store.legs import LegEnd, Placement, Refusal
from zvonar.store.migrate import migrate
from zvonar.store.server import PostgresServer
from zvonar.store.trunks import NewTrunk, Trunk

TEMPLATE = "migrated"
NOON = datetime(2025, 11, 22, 12, tzinfo=UTC)
RATE = Rate(prefix="7", per_minute=Decimal("6"))
HOLD = Decimal("6.0000")  # one minute of RATE
TABLES = (
    *(
        "accounts",
        "trunks",
        "campaigns",
        "campaign_guards",
        "campaign_counts",
        "campaign_ends",
        "phone_lists",
        "calls",
        "attempts",
    ),
    *(
        "legs",
        "ledger",
        "ended_sessions",
        "session_starts",
        "outbox",
        "deliveries",
        "dialer_epochs",
    ),
)
_names = (f"case_{number}" for number in itertools.count())


def at_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    return make_conninfo(**{**conninfo_to_dict(dsn), "dbname": name})


@pytest.fixture(scope="session")
def short_home() -> Iterator[Path]:
    """Short, because a socket's path may have 107 bytes; passable, because the server's user is not root."""
    room = Path(tempfile.mkdtemp(prefix=f"zv-{os.getpid()}-", dir="/tmp"))
    room.chmod(0o711)
    yield room
    shutil.rmtree(room, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(short_home: Path) -> Iterator[str]:
    """The DSN of a running server whose database TEMPLATE is migrated."""
    server = PostgresServer(short_home / "home")
    dsn = server.ensure()
    sockets = Path(conninfo_to_dict(dsn)["host"])
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    migrate(at_database(dsn, TEMPLATE))
    yield dsn
    server.stop()
    shutil.rmtree(sockets, ignore_errors=True)


@contextmanager
def copy_of_template(postgres: str) -> Iterator[str]:
    name = next(_names)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield at_database(postgres, name)
        # Not by force: that needs the right to end an autovacuum worker, whom a plain drop sends away.
        connection.execute(f"DROP DATABASE {name}")


@pytest.fixture
def dsn(postgres: str) -> Iterator[str]:
    """The DSN of a migrated database of this test's own."""
    with copy_of_template(postgres) as made:
        yield made


@pytest.fixture(scope="module")
def module_dsn(postgres: str) -> Iterator[str]:
    """The DSN of a migrated database for a module whose tests leave it as it was."""
    with copy_of_template(postgres) as made:
        yield made


@pytest_asyncio.fixture
async def db(dsn: str) -> AsyncIterator[Database]:
    """A pool on this test's own database, wide enough for 16 at once."""
    async with Database(dsn, size=16) as opened:
        yield opened


class World:
    """An account with a campaign, a trunk and a dialer, on a clock that only the test moves."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.now = NOON
        self.numbers = itertools.count(1_000_000)
        self.account: Account
        self.campaign: Campaign
        self.trunk: Trunk
        self.epoch: int

    async def settle(self, balance: str = "1000") -> "World":
        """Everything that a first call needs."""
        await sessions.ensure_months(self.db, now=self.now)
        self.account = await self.new_account(balance)
        self.campaign = await self.new_campaign()
        self.trunk = await self.new_trunk()
        self.epoch = await epochs.claim(self.db, "gateway", now=self.now)
        return self

    def tick(self, seconds: float = 1) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    async def new_account(self, balance: str = "1000") -> Account:
        return await accounts.add(
            self.db,
            name=f"account {next(self.numbers)}",
            currency="RUB",
            timezone="Europe/Moscow",
            countries=["RU"],
            balance=Decimal(balance),
            keys={},
            logins={},
            now=self.now,
        )

    async def new_campaign(self, *, running: bool = True, **settings: Any) -> Campaign:
        return await campaigns.add(
            self.db,
            self.account.account_id,
            name="bell",
            type=CampaignType.regular,
            settings=CampaignSettings(**settings),
            status=CampaignStatus.running if running else CampaignStatus.paused,
            now=self.now,
        )

    async def new_trunk(self, **changed: Any) -> Trunk:
        plain = {
            "name": f"trunk {next(self.numbers)}",
            "settings": {"host": "sip.example"},
            "max_channels": 100,
        }
        return await trunks.put(self.db, NewTrunk(**{**plain, **changed}))

    def number(self) -> str:
        return f"+7999{next(self.numbers)}"

    def new(self, phone: str | None = None, *, trial: bool = False, **fields: Any) -> NewCall:
        return NewCall(phone=Phone(e164=phone or self.number(), country="RU", trial=trial), **fields)

    async def add(self, new: NewCall | None = None) -> int:
        of = self.campaign
        return await calls.add(self.db, of.account_id, of.campaign_id, new or self.new(), now=self.now)

    async def lease(self, limit: int = 1000) -> list[Leased]:
        wanted = [(self.campaign.account_id, self.campaign.campaign_id, limit)]
        return await calls.lease(self.db, wanted, epoch=self.epoch, now=self.now)

    async def leased(self, **fields: Any) -> Leased:
        """One call, added and leased."""
        call_id = await self.add(self.new(**fields))
        (call,) = [call for call in await self.lease() if call.call_id == call_id]
        return call

    def wanted(self, call: Leased, **changed: Any) -> Placement:
        plain = Placement(
            account_id=call.account_id,
            call_id=call.call_id,
            campaign_id=call.campaign_id,
            gateway="gateway",
            epoch=self.epoch,
            trunk_id=self.trunk.trunk_id,
            caller_id="+74950000000",
            rate=RATE,
            hold=HOLD,
            held_by_campaign=False,
            guarded=False,
            max_channels=0,
            calls_per_second=Decimal(0),
        )
        return msgspec.structs.replace(plain, **changed)

    async def place(self, call: Leased, **changed: Any) -> LegId | Refusal:
        (said,) = await legs.place_all(self.db, [self.wanted(call, **changed)], now=self.now)
        return said

    async def placed(self, call: Leased, **changed: Any) -> LegId:
        leg = await self.place(call, **changed)
        assert isinstance(leg, LegId), leg
        return leg

    async def dialled(self, leg: LegId) -> bool:
        account_id = self.account.account_id
        return await legs.mark_dialled(
            self.db, account_id=account_id, leg=leg, epoch=self.epoch, now=self.now
        )

    async def answered(self, leg: LegId) -> None:
        await legs.mark_answered(
            self.db, [legs.Answered(account_id=self.account.account_id, leg=leg, at=self.now)]
        )

    async def take_back(self, leg: LegId) -> bool:
        account_id = self.account.account_id
        return await legs.take_back(self.db, account_id=account_id, leg=leg, now=self.now)

    def ending(
        self,
        leg: LegId,
        *,
        seconds: int = 0,
        disposition: Disposition | None = None,
        after: CallState | None = CallState.finished,
    ) -> LegEnd:
        """The end of a leg after so many seconds of talk, or without an answer; None: the attempt goes on."""
        talked = seconds > 0
        following = None
        if after is CallState.finished:
            end = CallEnd.success if talked else CallEnd.unsuccessful
            following = Next(state=CallState.finished, call_end=end)
        elif after is CallState.waiting:
            following = Next(state=CallState.waiting, due_at=self.now)
        return LegEnd(
            account_id=self.account.account_id,
            campaign_id=self.campaign.campaign_id,
            leg_id=leg,
            outcome=Outcome(
                disposition=disposition or (Disposition.answered if talked else Disposition.busy),
                script_result=ScriptResult.choice if talked else ScriptResult.none,
                hangup_cause=16 if talked else 17,
                sip_code=200 if talked else 486,
                talk_seconds=seconds,
                choice="1" if talked else None,
            ),
            ended_at=self.now,
            answered_at=self.now - timedelta(seconds=seconds) if talked else None,
            billed_seconds=RATE.billed_seconds(seconds),
            cost=RATE.charge(seconds),
            next=following,
        )

    async def end(self, leg: LegId, **how: Any) -> bool:
        return await legs.end(self.db, self.ending(leg, **how), now=self.now)

    async def rung(self, leg: LegId, **how: Any) -> bool:
        """Dial, answer where there is talk, end."""
        assert await self.dialled(leg)
        if how.get("seconds"):
            await self.answered(leg)
        self.tick(how.get("seconds", 3))
        return await self.end(leg, **how)

    async def call(self, call_id: int) -> calls.Call:
        (found,) = await calls.by_ids(self.db, self.account.account_id, [call_id])
        return found

    async def purse(self) -> Account:
        return await accounts.get(self.db, self.account.account_id)

    async def tallies(self) -> dict[str, int]:
        found = await campaigns.tallies(self.db, self.campaign.account_id, self.campaign.campaign_id)
        return {key: n for key, n in found.items() if n}

    async def all(self, statement: Any, params: Any = ()) -> list[tuple[Any, ...]]:
        async with self.db.connection() as connection:
            return await (await connection.execute(statement, params)).fetchall()

    async def dump(self) -> dict[str, list[str]]:
        """Every row of every table."""
        found = {}
        for table in TABLES:
            found[table] = [row[0] for row in await self.all(f"SELECT t::text FROM {table} t ORDER BY 1")]
        return found

    async def check_laws(self) -> None:
        for law, statement in LAWS.items():
            broken = await self.all(statement)
            assert not broken, (law, broken)


# Each finds what breaks it.
LAWS = {
    "the ledger adds up to the balance": """
        SELECT a.account_id, a.balance, sum(l.amount) FROM accounts a LEFT JOIN ledger l USING (account_id)
        GROUP BY 1 HAVING a.balance <> coalesce(sum(l.amount), 0)""",
    "the last entry says the balance": """
        SELECT l.account_id, l.balance_after, a.balance FROM ledger l JOIN accounts a USING (account_id)
        WHERE l.entry_id = (SELECT max(entry_id) FROM ledger m WHERE m.account_id = l.account_id)
          AND l.balance_after <> a.balance""",
    "held is what live legs and campaigns hold": """
        SELECT a.account_id, a.held FROM accounts a WHERE a.held <>
            (SELECT coalesce(sum(l.hold), 0) FROM legs l
             WHERE l.account_id = a.account_id AND l.phase <> 'ended' AND l.held_by = 'account')
          + (SELECT coalesce(sum(g.hold - g.spent), 0) FROM campaign_guards g
             WHERE g.account_id = a.account_id AND g.hold IS NOT NULL)""",
    "nothing is held beyond the balance": """
        SELECT account_id, held, balance FROM accounts WHERE held > balance""",
    "at risk are the holds of live legs": """
        SELECT a.account_id, a.at_risk FROM accounts a WHERE a.at_risk <> (SELECT coalesce(sum(l.hold), 0)
            FROM legs l WHERE l.account_id = a.account_id AND l.phase <> 'ended')""",
    "a trunk's channels are its live legs, and never too many": """
        SELECT t.trunk_id, t.in_use FROM trunks t WHERE t.in_use > t.max_channels OR t.in_use <>
            (SELECT count(*) FROM legs l WHERE l.trunk_id = t.trunk_id AND l.phase <> 'ended')""",
    "a guard knows its live legs, and never promises more than it holds": """
        SELECT g.campaign_id, g.in_use, g.leg_held FROM campaign_guards g, LATERAL (
            SELECT count(*) AS up, coalesce(sum(l.hold) FILTER (WHERE l.held_by = 'campaign'), 0) AS held
            FROM legs l JOIN calls c USING (account_id, call_id)
            WHERE c.account_id = g.account_id AND c.campaign_id = g.campaign_id AND l.guarded
              AND l.phase <> 'ended') n
        WHERE g.in_use <> n.up OR g.leg_held <> n.held OR g.spent + g.leg_held > g.hold""",
    "counters are the calls": """
        WITH counted AS (
            SELECT campaign_id, key, sum(n) AS n FROM campaign_tallies GROUP BY 1, 2 HAVING sum(n) <> 0
        ), real AS (
            SELECT campaign_id, k.key, sum(k.n) AS n FROM calls, LATERAL (VALUES
                ('state/' || state, 1), ('end/' || call_end, 1), ('attempts', attempts), ('seconds', talk_seconds),
                ('cost', (cost * 10000)::bigint), (CASE WHEN call_end IS NOT NULL THEN 'result/'
                    || coalesce(disposition, 'none') || '/' || coalesce(script_result, 'none') END, 1),
                (CASE WHEN recalled_at IS NOT NULL THEN 'recalled/' || coalesce(disposition, 'none') || '/'
                    || coalesce(script_result, 'none') END, 1)) k (key, n)
            WHERE k.key IS NOT NULL GROUP BY 1, 2 HAVING sum(k.n) <> 0
        )
        SELECT * FROM counted FULL JOIN real USING (campaign_id, key) WHERE counted.n IS DISTINCT FROM real.n""",
    "a call costs what its attempts cost, and they what their legs cost": """
        SELECT c.call_id, c.cost, t.cost, l.cost FROM calls c,
        LATERAL (SELECT coalesce(sum(cost), 0) AS cost FROM attempts
                 WHERE account_id = c.account_id AND call_id = c.call_id) t,
        LATERAL (SELECT coalesce(sum(cost), 0) AS cost FROM legs
                 WHERE account_id = c.account_id AND call_id = c.call_id) l
        WHERE c.cost <> t.cost OR c.cost <> l.cost""",
    "each leg that cost anything is charged once": """
        SELECT l.leg_id FROM legs l WHERE l.cost <> (SELECT coalesce(-sum(e.amount), 0) FROM ledger e
            WHERE e.account_id = l.account_id AND e.leg_id = l.leg_id AND e.kind = 'charge')""",
    "a call that is up has a leg that is up, and no other call has": """
        SELECT c.call_id, c.state FROM calls c WHERE (c.state IN ('dialing', 'talking')) <> EXISTS (
            SELECT FROM legs l WHERE l.account_id = c.account_id AND l.call_id = c.call_id
              AND l.phase <> 'ended')""",
    "only open calls are leased": """
        SELECT call_id FROM calls WHERE lease_epoch IS NOT NULL
            AND state NOT IN ('queued', 'waiting', 'dialing', 'talking')""",
    # An attempt whose next leg was taken back is gone on with: it was dialled, and does not count yet.
    "attempts are numbered without a gap": """
        SELECT c.call_id, c.attempts, t.n, t.last FROM calls c,
        LATERAL (SELECT count(*) AS n, coalesce(max(attempt), 0) AS last FROM attempts t
                 WHERE t.account_id = c.account_id AND t.call_id = c.call_id) t
        WHERE t.n <> t.last OR NOT (t.n = c.attempts OR t.n = c.attempts + 1
            AND c.state NOT IN ('dialing', 'talking') AND EXISTS (SELECT FROM legs l WHERE l.call_id = c.call_id
                AND l.attempt = t.last AND l.dialled_at IS NOT NULL))""",
    "each attempt that ended on a leg is one session, on its way to the report": """
        SELECT t.call_id, t.attempt FROM attempts t
        LEFT JOIN ended_sessions n
            ON (n.account_id, n.call_id, n.attempt, n.session_id) = (t.account_id, t.call_id, t.attempt, t.session_id)
        WHERE t.ended_at IS NOT NULL
        GROUP BY t.account_id, t.call_id, t.attempt
        HAVING count(n.*) <> (EXISTS (
            SELECT FROM legs l WHERE l.call_id = t.call_id AND l.attempt = t.attempt))::int""",
    "there is no session without its attempt": """
        SELECT session_id FROM ended_sessions s WHERE NOT EXISTS (
            SELECT FROM attempts t WHERE t.account_id = s.account_id AND t.session_id = s.session_id)""",
}


@pytest_asyncio.fixture
async def world(db: Database) -> World:
    return await World(db).settle()
