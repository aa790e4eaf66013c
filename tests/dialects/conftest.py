"""What do the dialects' tests share? One house: PostgreSQL, an account, a campaign, the surfaces over HTTP."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
from litestar import Litestar, Router
from litestar.exceptions import HTTPException
from psycopg.conninfo import conninfo_to_dict

from zvonar.core.call import CallState, Next, after_attempt
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.money import Rate
from zvonar.core.result import CallEnd, Cause, Disposition, Outcome
from zvonar.core.retry import RetryPolicy
from zvonar.core.schedule import ALL_DAY
from zvonar.core.script import Node, Prompt, Reaction, Script, Step
from zvonar.dialects.amocrm import routes as amocrm_routes
from zvonar.dialects.autocall import routes as autocall_routes
from zvonar.dialects.callo import routes as callo_routes
from zvonar.dialects.callo.media import Media
from zvonar.dialects.uis import outcomes as uis_outcomes
from zvonar.dialects.uis import routes as uis_routes
from zvonar.dialects.uis.media import Media as UisMedia
from zvonar.reports import postgres
from zvonar.reports.filling import Filling
from zvonar.reports.postgres import PostgresReportStore
from zvonar.service.app import _http_error
from zvonar.speech.clips import ClipCache
from zvonar.speech.converter import Converter
from zvonar.speech.library import Library
from zvonar.speech.recordings import Recordings
from zvonar.speech.synthesis import NullSynthesiser
from zvonar.store import accounts, calls, campaigns, epochs, legs, sessions, trunks
from zvonar.store.accounts import Account
from zvonar.store.db import Database
from zvonar.store.migrate import migrate
from zvonar.store.server import PostgresServer

T = TypeVar("T")
RATE = Rate(prefix="7", per_minute=Decimal("1.8"))
MENU = Script(
    nodes={
        "1": Node(
            prompt=Prompt(text="Нажмите один"),
            keys={"1": Reaction(status_name="Да"), "2": Reaction()},
        )
    }
)
# What a request may change.
CHANGEABLE = (
    *("calls", "attempts", "legs", "outbox", "ledger", "accounts", "stop_list", "idempotency_keys"),
    *("campaigns", "campaign_guards", "campaign_counts", "campaign_ends", "campaign_lists"),
    *(
        "clips",
        "clip_audio",
        "phone_lists",
        "phone_list_chunks",
        "phone_list_rejects",
        "contacts",
        "scenarios",
    ),
)
LONG = ("clip_audio", "phone_list_chunks")
_serial = count(1)


class Tenant:
    """An account with its keys."""

    def __init__(self, account: Account, keys: dict[str, str]) -> None:
        self.account = account
        self.callo = keys[callo_routes.KEY_KIND]
        self.uis = keys[uis_routes.KEY_KIND]
        self.autocall = keys[autocall_routes.KEY_KIND]


class House:
    """Everything on one event loop, with a clock that tests move."""

    def __init__(self, dsn: str, sound: Path) -> None:
        """`sound`: a directory for clips and recordings."""
        self._runner = asyncio.Runner()
        self.clock = datetime(2026, 11, 22, 9, 0, 0, 123456, tzinfo=UTC)
        self.db = Database(dsn)
        self.run(self.db.__aenter__())
        self.reports_db = Database(dsn, size=4, session=postgres.SESSION)
        self.run(self.reports_db.__aenter__())
        self.store = PostgresReportStore(self.reports_db)
        self.filling = Filling(self.db, uis_outcomes.describe, clock=lambda: self.clock)
        self.recordings = sound / "spool"
        self.recordings.mkdir(parents=True)
        self.library = Library(
            self.db,
            ClipCache(sound / "clips", NullSynthesiser()),
            directory=sound / "uploads",
            converter=Converter(),
        )
        self.media = Media(
            library=self.library,
            recordings=Recordings(self.recordings, made=sound / "made"),
            secret=b"a secret",
        )
        routers = [
            *callo_routes.routes(callo_routes.Service(db=self.db, now=lambda: self.clock, media=self.media)),
            *uis_routes.routes(
                uis_routes.Service(
                    db=self.db,
                    reports=self.store,
                    writer=self.filling.writer,
                    now=lambda: self.clock,
                    media=UisMedia(recordings=self.media.recordings),
                )
            ),
            *autocall_routes.routes(self.autocall(self.db)),
            *amocrm_routes.routes(amocrm_routes.Service(db=self.db, now=lambda: self.clock)),
        ]
        self.client = _client(routers)
        # A second process of the API, which remembers nothing of what the first has seen.
        self.neighbours_db = Database(dsn)
        self.run(self.neighbours_db.__aenter__())
        callo = callo_routes.Service(db=self.neighbours_db, now=lambda: self.clock, media=self.media)
        self.neighbour = _client(
            [*callo_routes.routes(callo), *autocall_routes.routes(self.autocall(self.neighbours_db))]
        )
        self.run(sessions.ensure_months(self.db, now=self.clock))
        town = trunks.NewTrunk(name="town", settings={}, trial=True, caller_ids=["+70009990000"])
        self.trunk = self.run(trunks.put(self.db, town))

    def autocall(self, db: Database) -> autocall_routes.Service:
        return autocall_routes.Service(db=db, now=lambda: self.clock, library=self.library)

    def close(self) -> None:
        self.run(self.client.aclose())
        self.run(self.neighbour.aclose())
        self.run(self.neighbours_db.__aexit__())
        self.run(self.reports_db.__aexit__())
        self.run(self.db.__aexit__())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
        async def deadline() -> T:
            return await asyncio.wait_for(work, 180)

        return self._runner.run(deadline())

    def send(self, method: str, path: str, *, pause: float = 1.0, **options: Any) -> httpx.Response:
        """One request; the clock goes on a second before it, so that no test meets a limit by accident."""
        self.clock += timedelta(seconds=pause)
        return self.run(self.client.request(method, path, **options))

    def tenant(
        self, *, balance: str = "1000", timezone: str = "Europe/Moscow", countries: tuple[str, ...] = ("RU",)
    ) -> Tenant:
        name = f"tenant {next(_serial)}"
        keys = {
            callo_routes.KEY_KIND: f"callo-{name}",
            uis_routes.KEY_KIND: f"uis-{name}",
            autocall_routes.KEY_KIND: f"autocall-{name}".replace(" ", "-"),
        }
        added = accounts.add(
            self.db,
            name=name,
            currency="RUB",
            timezone=timezone,
            countries=list(countries),
            balance=Decimal(balance),
            keys=keys,
            logins={},
            now=self.clock,
        )
        return Tenant(self.run(added), keys)

    def campaign(
        self,
        tenant: Tenant,
        *,
        script: Script | None = MENU,
        type: CampaignType = CampaignType.regular,
        attempts: int = 1,
        **others: Any,
    ) -> int:
        settings = CampaignSettings(
            script=script,
            window=ALL_DAY,
            retry=RetryPolicy(max_attempts=attempts, interval=0),
            open_ended=True,
            **others,
        )
        added = campaigns.add(
            self.db,
            tenant.account.account_id,
            name="Опрос",
            type=type,
            settings=settings,
            status=CampaignStatus.running,
            now=self.clock,
        )
        return self.run(added).campaign_id

    def dial_as(self, tenant: Tenant, call_id: int, outcome: Outcome) -> None:
        """End a waiting call as if the dialer had found what keeps it from being dialled."""

        async def work() -> None:
            [call] = await calls.by_ids(self.db, tenant.account.account_id, [call_id])
            epoch = await epochs.claim(self.db, "gateway", now=self.clock)
            wanted = [(tenant.account.account_id, call.campaign_id, 1)]
            [leased] = await calls.lease(self.db, wanted, epoch=epoch, now=self.clock)
            assert leased.call_id == call_id
            after = Next(state=CallState.blocked, call_end=CallEnd.stopped)
            why = msgspec.structs.replace(outcome, cause=Cause.destination)
            assert await calls.fail(self.db, leased, why, after, epoch=epoch, now=self.clock)

        self.run(work())

    def put(self, tenant: Tenant, **fields: Any) -> int:
        """A session in the report with these fields; its id."""
        row = {"is_lost": False, "start_time": self.clock, **fields, "account_id": tenant.account.account_id}
        row["start_time"] = row["start_time"].replace(microsecond=0)  # reports know seconds

        async def work() -> int:
            session_id = fields.get("session_id") or await self.db.value("SELECT nextval('session_ids')")
            await self.filling.writer.prepare([row["start_time"]])
            async with self.db.transaction() as connection:
                ids = {"session_id": session_id, "communication_id": session_id}
                await self.filling.writer.put(connection, [{**ids, **row, "session_id": session_id}])
            return int(session_id)

        return self.run(work())

    def picture(self) -> str:
        """Everything that a request may change but its key's rate, as one text.

        Long bytes are not read: whoever changes their row leaves it elsewhere, under his own number.
        """
        rows = "SELECT concat(count(*), ' ', sum(hashtextextended({}, 0))) FROM"
        parts = ", ".join(
            f"({rows.format('concat(t.ctid, t.xmin)' if table in LONG else 't::text')} {table} t)"
            for table in CHANGEABLE
        )
        numbers = (
            f"({rows.format('t::text')} rate_limits t WHERE scope <> 'callo.key' AND scope <> 'autocall.key')"
        )
        return str(self.run(self.db.value(f"SELECT concat_ws('/', {parts}, {numbers})")))  # type: ignore[arg-type]

    async def _ringing(self, tenant: Tenant, campaign_id: int) -> tuple[calls.Leased, Any]:
        """The campaign's next call, which rings now."""
        epoch = await epochs.claim(self.db, "gateway", now=self.clock)
        account_id = tenant.account.account_id
        [leased] = await calls.lease(self.db, [(account_id, campaign_id, 1)], epoch=epoch, now=self.clock)
        wanted = legs.Placement(
            account_id=account_id,
            call_id=leased.call_id,
            campaign_id=campaign_id,
            gateway="gateway",
            epoch=epoch,
            trunk_id=self.trunk.trunk_id,
            caller_id="+70009990000",
            rate=RATE,
            hold=RATE.worst_case(180),
            held_by_campaign=False,
            guarded=False,
            max_channels=0,
            calls_per_second=Decimal(0),
        )
        [leg] = await legs.place_all(self.db, [wanted], now=self.clock)
        assert not isinstance(leg, legs.Refusal), leg
        assert await legs.mark_dialled(self.db, account_id=account_id, leg=leg, epoch=epoch, now=self.clock)
        return leased, leg

    def ring(self, tenant: Tenant, campaign_id: int) -> int:
        """Let the campaign's next call ring and go on ringing; its id."""
        return self.run(self._ringing(tenant, campaign_id))[0].call_id

    def dial(
        self,
        tenant: Tenant,
        campaign_id: int,
        outcome: Outcome,
        *,
        attempts: int = 1,
        history: tuple[Outcome, ...] = (),
        rings: int = 4,
        status_name: str | None = None,
        recorded: bool = False,
        steps: tuple[Step, ...] = (),
    ) -> int:
        """Lead the campaign's next call through one attempt that ends like this; the call's id."""

        async def work() -> int:
            leased, leg = await self._ringing(tenant, campaign_id)
            account_id = tenant.account.account_id
            answered = None
            self.clock += timedelta(seconds=rings)
            if outcome.disposition is Disposition.answered:
                answered = self.clock
                await legs.mark_answered(
                    self.db, [legs.Answered(account_id=account_id, leg=leg, at=answered)]
                )
            self.clock += timedelta(seconds=outcome.talk_seconds)
            after = after_attempt(
                outcome,
                policy=RetryPolicy(max_attempts=attempts, interval=0),
                history=history,
                now=self.clock,
                removing=False,
                expires_at=None,
            )
            ended = legs.LegEnd(
                account_id=account_id,
                campaign_id=campaign_id,
                leg_id=leg,
                outcome=outcome,
                ended_at=self.clock,
                answered_at=answered,
                billed_seconds=RATE.billed_seconds(outcome.talk_seconds),
                cost=RATE.charge(outcome.talk_seconds),
                status_name=status_name,
                recording=f"{leg}.wav" if recorded else None,
                steps=steps,
                next=after,
            )
            assert await legs.end(self.db, ended, now=self.clock)
            await self.filling.once()
            return leased.call_id

        return self.run(work())


def _client(routers: Sequence[Router]) -> httpx.AsyncClient:
    handling = {HTTPException: _http_error}
    app = Litestar(routers, openapi_config=None, logging_config=None, exception_handlers=handling)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://house.test")


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    # Short, because a socket's path may have 107 bytes; passable, because the server's user is not root.
    room = Path(tempfile.mkdtemp(prefix=f"zv-{os.getpid()}-", dir="/tmp"))
    room.chmod(0o711)
    server = PostgresServer(room / "home")
    dsn = server.ensure()
    migrate(dsn)
    made = House(dsn, room / "sound")
    yield made
    made.close()
    server.stop()
    shutil.rmtree(conninfo_to_dict(dsn)["host"], ignore_errors=True)
    shutil.rmtree(room, ignore_errors=True)


@pytest.fixture
def tenant(house: House) -> Tenant:
    return house.tenant()


@pytest.fixture
def travelling(house: House) -> Iterator[None]:
    """Lets a test go days ahead; afterwards it is the same day again."""
    before = house.clock
    yield
    house.clock = before + timedelta(hours=1)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Reads an example of the dialect whose test asks."""
    dialect = Path(request.path).parent.name
    folder = Path(__file__).parents[1] / "golden" / dialect
    return lambda name: msgspec.json.decode((folder / name).read_bytes())


@pytest.fixture
def processes(house: House, tmp_path: Path) -> Iterator[list[str]]:
    """Two processes of the API."""
    with contextlib.ExitStack() as stack:
        addresses = []
        for number in range(2):
            # It listens before the process runs, so that nobody is refused.
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
            argv = [sys.executable, str(Path(__file__).with_name("server.py")), house.db._dsn]
            process = subprocess.Popen(
                [*argv, str(tmp_path / str(number)), str(listening.fileno())], pass_fds=[listening.fileno()]
            )
            stack.callback(process.wait, 90)
            stack.callback(process.terminate)
            addresses.append(f"http://127.0.0.1:{listening.getsockname()[1]}")
        yield addresses
