"""`zvonar demo`: what does it look like when it works? A whole campaign over real SIP and RTP, in a minute."""

import asyncio
import contextlib
import json as jsonlib
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import msgspec
import psutil
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from zvonar.cli.common import fail, now, sentences, settings
from zvonar.cli.serve import PORT
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.errors import AccountNotFound, NameTaken, ZvonarError
from zvonar.core.phone import Phone
from zvonar.core.schedule import ALL_DAY
from zvonar.core.script import Node, Prompt, Reaction, Script
from zvonar.line.asterisk.town import number
from zvonar.service import logs
from zvonar.service.home import Home
from zvonar.service.operations import add_account
from zvonar.service.supervisor import ROLES, Serving, Supervisor
from zvonar.store import accounts, calls, campaigns, outbox, phone_lists, steering
from zvonar.store.calls import NewCall
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database

START = 300.0  # seconds for setup and start, downloads included
_GIVE_UP = 5.0  # seconds that a start which is not wanted any more is waited for
BALANCE = Decimal(1000)
OPEN_STATES = ("queued", "waiting", "dialing", "talking")

_SCRIPT = Script(
    nodes={
        "1": Node(
            prompt=Prompt(text="Здравствуйте! Вас приветствует Звонарь. Нажмите один."),
            keys={
                "1": Reaction(say=Prompt(text="Спасибо, до свидания."), status_name="agreed"),
                "2": Reaction(status_name="refused"),
            },
            timeout=3.0,
            repeats=0,
        )
    }
)


class DemoTookTooLong(ZvonarError):
    """The demo did not come to its end in time; `zvonar doctor` tells what is missing."""


@sentences
def demo(
    count: Annotated[
        int, typer.Option("--calls", help="How many town numbers to call.", min=1, max=5000)
    ] = 60,
    exit_: Annotated[bool, typer.Option("--exit", help="Stop when the campaign has finished.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    host: Annotated[str, typer.Option(help="Address of the one HTTP port.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The one HTTP port.", min=1, max=65535)] = PORT,
) -> None:
    """Dial a campaign of trial numbers through a real Asterisk, and show how it looks through each dialect."""
    given = settings()
    logs.configure(level="warning" if given.log_level == "info" else given.log_level, role="demo")
    home = Home(given.home).make()
    # Numbers that the roles print go to a file: this terminal shows the campaign.
    supervisor = Supervisor(given, home, Serving(host=host, port=port, roles=ROLES, town=True), log=home.log)
    show = Console(stderr=True)
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()

    for number_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number_, stop)
    service = _Service(supervisor, show, stopping)

    def shown(document: dict[str, Any], campaign: Campaign, keys: dict[str, Any]) -> None:
        if json:
            sys.stdout.write(jsonlib.dumps(document) + "\n")
            sys.stdout.flush()
        _explain(show, document, campaign, keys, address)
        if exit_:
            stopping.set()
        else:
            show.print(f"\nServing at [bold]{address}[/] until Ctrl-C.")

    try:
        address = service.start()
        asyncio.run(_campaign(home, supervisor, count, show, stopping, shown, address))
    finally:
        service.stop()
    raise typer.Exit(service.code)


class _Service:
    """The supervisor in a thread of its own, so that the terminal stays ours."""

    def __init__(self, supervisor: Supervisor, show: Console, stopping: threading.Event) -> None:
        """`stopping`: set by whoever wants an end, and by us where the service has come to one."""
        self._supervisor = supervisor
        self._show = show
        self._stopping = stopping
        self._ready = threading.Event()
        self._address = ""
        self._error: BaseException | None = None
        self.code = 0
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)

    def start(self) -> str:
        """The service's address once it answers."""
        self._thread.start()
        until = time.monotonic() + START
        while not self._ready.wait(0.05):
            if self._stopping.is_set():
                # Nothing has been dialled yet, and a download would not notice: leave it as it is.
                raise self._error or typer.Exit(130)
            if time.monotonic() > until:
                raise DemoTookTooLong("The service did not start.")
        return self._address

    def stop(self) -> None:
        """Drain and wait for the end. Raises what ended the service before its time."""
        self._supervisor.stop()
        if not self._supervisor.started:
            _end_downloads()
            self._thread.join(_GIVE_UP)
            return
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        def ready(address: str) -> None:
            self._address = address
            self._ready.set()

        try:
            self.code = self._supervisor.run(
                report=lambda what: self._show.print(f"[dim]· {what}[/]"), ready=ready
            )
        except BaseException as exc:  # the main thread raises it again
            self._error = exc
        finally:
            self._stopping.set()


def _end_downloads() -> None:
    """End what a start runs in a thread that cannot be interrupted. Database and Asterisks have own sessions."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(child.pid) == os.getsid(0):
                child.terminate()


Shown = Callable[[dict[str, Any], Campaign, dict[str, Any]], None]  # gets document, campaign and keys


async def _campaign(
    home: Home,
    supervisor: Supervisor,
    count: int,
    show: Console,
    stopping: threading.Event,
    shown: Shown,
    address: str,
) -> None:
    """Dial the campaign, have its results shown, and stay with the callback receiver until `stopping`."""
    assert supervisor.ports is not None
    async with Database(supervisor.dsn, size=4) as db, _receiver(supervisor.ports.receiver) as received:
        keys = await _account(db, home)
        campaign = await campaigns.add(
            db,
            keys["account_id"],
            name="Demo",
            type=CampaignType.regular,
            settings=CampaignSettings(
                script=_SCRIPT,
                window=ALL_DAY,
                ring_timeout=8,
                max_call_time=60,
                calls_per_second=Decimal(10),
                callback_url=f"http://127.0.0.1:{supervisor.ports.receiver}/callbacks",
            ),
            status=CampaignStatus.paused,
            now=now(),
        )
        # Subscribers differ from demo to demo: an account calls nobody more than so often a day.
        first = random.randrange(10_000)
        numbers = [
            NewCall(
                phone=Phone(
                    e164=number((first + n) % 10_000, random.randint(0, 2), n % 10), country="RU", trial=True
                )
            )
            for n in range(count)
        ]
        await phone_lists.load(
            db, keys["account_id"], campaign.campaign_id, numbers, name="demo", rejected=0, now=now()
        )
        known = numbers[min(1, count - 1)].phone.e164  # presses 1, where there are two
        contact_id = await _contact(address, keys["amocrm"]["access_token"], known)
        began = time.monotonic()
        await steering.start(db, campaign.account_id, campaign.campaign_id, now=now())
        tallies = await _watch(db, campaign, count, show, stopping)
        if tallies is None:
            return
        seconds = time.monotonic() - began
        await _delivered(db, campaign, stopping)
        results = Counter(
            {
                key.removeprefix("result/").removesuffix("/none"): ended
                for key, ended in tallies.items()
                if key.startswith("result/")
            }
        )
        document = {
            "calls": count,
            "by_result": dict(sorted(results.items())),
            "callbacks_delivered": received[str(campaign.campaign_id)],
            "seconds": round(seconds, 1),
        }
        spent = Decimal(tallies.get("cost", 0)) / 10000
        shown(
            document,
            campaign,
            {**keys, "spent": spent, "contact_id": contact_id, **await _sample(db, campaign)},
        )
        await asyncio.to_thread(stopping.wait)


async def _contact(address: str, token: str, phone: str) -> int | None:
    """Let the CRM know one of those who will be called, as any client of it would; None for keys of before the CRM."""
    import aiohttp

    card = {"name": "Demo", "custom_fields_values": [{"field_code": "PHONE", "values": [{"value": phone}]}]}
    async with (
        aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"}, timeout=aiohttp.ClientTimeout(10), trust_env=False
        ) as session,
        session.post(f"{address}/api/v4/contacts", json=[card]) as answer,
    ):
        if answer.status == HTTPStatus.UNAUTHORIZED:
            return None
        answer.raise_for_status()
        made = await answer.json(content_type=None)
        return int(made["_embedded"]["contacts"][0]["id"])


async def _sample(db: Database, campaign: Campaign) -> dict[str, Any]:
    async for page in calls.each(db, campaign.account_id, campaign.campaign_id, page=200):
        chosen = next((call for call in page if call.choice), page[0])
        return {"call_id": chosen.call_id}
    return {"call_id": 0}


async def _account(db: Database, home: Home) -> dict[str, Any]:
    """The demo account's keys: those of an earlier demo where its account is still there."""
    path = home.root / "demo.json"
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError, AccountNotFound, KeyError):
        keys = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        account = await accounts.get(db, keys["account_id"])
        if account.balance < BALANCE:
            await accounts.top_up(db, account.account_id, BALANCE - account.balance, note="demo", now=now())
        return keys
    for name in ("demo", *(f"demo {n}" for n in range(2, 100))):
        try:
            keys = await add_account(
                db,
                name=name,
                balance=BALANCE,
                currency="RUB",
                timezone="Europe/Moscow",
                countries=["RU"],
                now=now(),
            )
            break
        except NameTaken:
            continue
    else:
        fail("there are a hundred demo accounts already; choose another ZVONAR_HOME.")
    _write_private(path, msgspec.json.encode(keys))
    return keys


def _write_private(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    fresh.replace(path)


@contextlib.asynccontextmanager
async def _receiver(port: int) -> AsyncIterator[Counter[str]]:
    """A callback receiver on loopback: how many bodies came, by campaign."""
    from aiohttp import web  # a quarter of the time that any other command takes

    received: Counter[str] = Counter()

    async def take(request: web.Request) -> web.Response:
        body = await request.json()
        about = body.get("autocall") or body.get("call") or {}
        received[str(about.get("autocall_id") or about.get("id"))] += 1
        return web.Response()

    application = web.Application()
    application.router.add_post("/callbacks", take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    try:
        yield received
    finally:
        await runner.cleanup()


async def _watch(
    db: Database, campaign: Campaign, count: int, show: Console, stopping: threading.Event
) -> dict[str, int] | None:
    """Show the campaign until every call has ended; its tallies then."""
    until = time.monotonic() + 120 + count / 5
    dialled: list[tuple[float, int]] = []
    with Live(console=show, refresh_per_second=8, transient=True) as live:
        while not stopping.is_set():
            tallies = await campaigns.tallies(db, campaign.account_id, campaign.campaign_id)
            moment = time.monotonic()
            placed = count - tallies.get("state/queued", 0)
            dialled = [*((at, n) for at, n in dialled if moment - at < 2.0), (moment, placed)]
            span = dialled[-1][0] - dialled[0][0]
            rate = (dialled[-1][1] - dialled[0][1]) / span if span else 0.0
            live.update(_progress(tallies, count, rate))
            if not any(tallies.get(f"state/{state}", 0) for state in OPEN_STATES):
                return tallies
            if moment > until:
                raise DemoTookTooLong("Calls are still open.")
            await asyncio.sleep(0.125)
    return None


def _progress(tallies: dict[str, int], count: int, rate: float) -> Table:
    table = Table(title="Campaign", title_justify="left")
    for column in ("queued", "dialing", "talking", "ended", "of", "channels up", "calls/s", "spent, RUB"):
        table.add_column(column, justify="right")
    state = {name: tallies.get(f"state/{name}", 0) for name in OPEN_STATES}
    table.add_row(
        str(state["queued"] + state["waiting"]),
        str(state["dialing"]),
        str(state["talking"]),
        str(count - sum(state.values())),
        str(count),
        str(state["dialing"] + state["talking"]),
        f"{rate:.1f}",
        f"{Decimal(tallies.get('cost', 0)) / 10000:.2f}",
    )
    return table


async def _delivered(db: Database, campaign: Campaign, stopping: threading.Event) -> None:
    """Wait until the campaign has completed and everything about it has been told."""
    until = time.monotonic() + 60
    while not stopping.is_set() and time.monotonic() < until:
        found = await campaigns.get(db, campaign.account_id, campaign.campaign_id)
        lag = await outbox.lag(db, now=now() + timedelta(0))
        if found.status is CampaignStatus.completed and lag.events == 0 and lag.pending == 0:
            return
        await asyncio.sleep(0.1)
    if not stopping.is_set():
        raise DemoTookTooLong("Callbacks are still under way.")


def _explain(
    show: Console, document: dict[str, Any], campaign: Campaign, keys: dict[str, Any], address: str
) -> None:
    table = Table(title=f"Campaign {campaign.campaign_id}: results", title_justify="left")
    table.add_column("result")
    table.add_column("calls", justify="right")
    for result, ended in document["by_result"].items():
        table.add_row(result, str(ended))
    table.add_section()
    table.add_row("all", str(sum(document["by_result"].values())))
    show.print(table)
    show.print(
        f"{document['seconds']} s, {keys['spent']:.2f} RUB, {document['callbacks_delivered']} callbacks delivered.\n"
    )
    day = now().date()  # the account's own may be the one before or after it
    show.print("The same calls through each dialect:\n", style="bold")
    report = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "get.calls_report",
        "params": {
            "access_token": keys["uis_access_token"],
            "date_from": f"{day - timedelta(days=1)} 00:00:00",
            "date_till": f"{day + timedelta(days=2)} 00:00:00",
            "limit": 5,
        },
    }
    lines = [
        (
            "Callo, one result",
            f"curl '{address}/manager/cabapi_external/api/v1/phones/call_by_id/"
            f"?public_key={keys['callo_public_key']}&call_id={keys['call_id']}&expand=1'",
        ),
        (
            "Callo, one more call",
            f"curl -d public_key={keys['callo_public_key']} -d campaign_id={campaign.campaign_id} "
            f"-d phone=%2B{number(77, 0, 1)[1:]} {address}/manager/cabapi_external/api/v1/phones/call/",
        ),
        (
            "autocall, every call of the campaign; all requests are at /docs",
            f"curl -H 'Authorization: Bearer {keys['autocall_api_key']}' "
            f"{address}/api/v1/autocalls/{campaign.campaign_id}/calls",
        ),
        (
            "UIS, the last sessions",
            f"curl -H 'Content-Type: application/json' -d '{jsonlib.dumps(report)}' {address}/v2.0",
        ),
    ]
    if keys["contact_id"] is not None:
        card = f"{address}/api/v4/contacts/{keys['contact_id']}/notes"
        lines.append(
            (
                "amoCRM, the call on the card of somebody who is known",
                f"curl -H 'Authorization: Bearer {keys['amocrm']['access_token']}' {card}",
            )
        )
    for title, line in lines:
        show.print(f"# {title}", style="dim", highlight=False)
        show.print(line, soft_wrap=True, highlight=False, markup=False)
