"""How is a cause brought about, and who says what of it? A row is a campaign with one call, and what befalls it."""

import asyncio
import contextlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.store import campaigns, steering
from zvonar.store.db import Database
from zvonar.store.server import PostgresServer

from .house import House
from .processes import PATIENCE, StillWaiting, until
from .test_told import post

CALLO = "/manager/cabapi_external/api/v1"
ALL = 240.0  # seconds until every row has ended, on a machine that does much else
HELLO = {"script": {"nodes": {"1": {"prompt": {"text": "Добрый день."}}}}}


class Said(NamedTuple):
    """What everybody calls what came of a call."""

    status: str  # Callo's
    dial: int
    uis: str | None  # finish_reason of the session; None where nothing was on the line
    autocall: str | None  # None where it was never told of


class Row(NamedTuple):
    """A cause, and what comes of it."""

    cause: str
    number: str
    said: Said
    settings: "Mapping[str, Any] | Callable[[Stage], Mapping[str, Any]]" = HELLO
    kind: str = "regular"
    attempts: tuple[int, ...] | None = None  # dial status of each; the call's own, once, unless given
    answered: bool = False  # which is what costs money
    form: Mapping[str, str] = {}
    account: str = "tests"
    act: "Callable[[Stage, Made], None] | None" = None  # what happens to the call once it has been added
    paused: bool = False  # the campaign, until it is acted upon
    second: bool = False  # another call of the campaign to this number came before

    @property
    def tried(self) -> tuple[int, ...]:
        """The dial status of each attempt."""
        return (self.said.dial,) if self.attempts is None else self.attempts

    @property
    def name(self) -> str:
        """As it stands in addresses."""
        return re.sub(r"\W+", "-", self.cause)


def posted(house: House, name: str) -> list[dict[str, str]]:
    """The postbacks of a campaign."""
    return [
        dict(urllib.parse.parse_qsl(post.body.decode(), keep_blank_values=True))
        for post in house.receiver.of(f"{name}.postback")
    ]


class Made(NamedTuple):
    """A row's campaign and call."""

    row: Row
    campaign: int
    call: int


class Told(NamedTuple):
    """What everybody has said of one row's call."""

    made: Made
    callo: dict[str, Any]
    english: dict[str, Any]
    uis: list[dict[str, Any]]  # its sessions, oldest first
    autocall: dict[str, Any] | None  # the last callback
    postback: dict[str, str] | None
    charged: Decimal  # by the ledger


class Stage:
    """Where the rows are played."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.accounts: dict[str, dict[str, Any]] = {"tests": house.account}
        self.clips: dict[str, int] = {}  # uploaded ones, by what they are for

    def until_state(self, call: int, state: str) -> None:
        def now() -> str:
            return str(self.house.value("SELECT state FROM calls WHERE call_id = %s", call))

        until(lambda: now() == state, about=now)

    def account(self, name: str, balance: str) -> dict[str, Any]:
        made = self.house.json("account", "add", f"causes-{name}", "--balance", balance, "--timezone", "UTC")
        self.accounts[name] = made
        return self.accounts[name]

    def ask(self, row: Row, path: str, language: str = "ru", **fields: Any) -> Any:
        """A request as Callo's client of this row's account."""
        key = self.accounts[row.account]["callo_public_key"]
        query = urllib.parse.urlencode({"public_key": key, **fields})
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.house.port}{CALLO}/{path}/?{query}",
            headers={"Accept-Language": language},
        )

        def answer() -> tuple[Any] | None:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as given:
                    return (json.loads(given.read()),)
            except urllib.error.HTTPError as exc:
                if exc.code == 429:  # twenty a second
                    return None
                raise AssertionError(exc.read()) from exc

        return until(answer, every=0.3)[0]

    def add(self, rows: list[Row]) -> list[Made]:
        """Campaigns and calls of these rows."""
        ids = asyncio.run(self._campaigns(rows))
        made = []
        for row, campaign in zip(rows, ids, strict=True):
            path = {"regular": "call", "pincode": "confirm"}.get(row.kind, row.kind)
            fields = {"campaign_id": campaign, "phone": row.number, **row.form}
            if row.second:
                first = self.ask(row, f"phones/{path}", **fields)
                if not row.paused:
                    self.until_state(first["call_id"], "finished")
            answer = self.ask(row, f"phones/{path}", **fields)
            one = Made(row, campaign, answer.get("data", answer)["call_id"])
            made.append(one)
            if row.act is not None:
                row.act(self, one)
        return made

    async def _campaigns(self, rows: list[Row]) -> list[int]:
        """As `zvonar campaign add` does, which takes a second each."""
        ids = []
        async with Database(PostgresServer(self.house.home).dsn()) as db:
            for row in rows:
                url = self.house.receiver.url(row.name)
                settings = {
                    "window": {"start": "00:00:00", "end": "00:00:00"},
                    "ring_timeout": 5,
                    "max_call_time": 30,
                    "callback_url": url,
                    "postback": {"url": f"{url}.postback", "method": "POST"},
                    **(row.settings(self) if callable(row.settings) else row.settings),
                }
                made = await campaigns.add(
                    db,
                    self.accounts[row.account]["account_id"],
                    name=row.cause,
                    type=CampaignType(row.kind),
                    settings=msgspec.convert(settings, CampaignSettings, strict=False),
                    status=CampaignStatus.paused if row.paused else CampaignStatus.running,
                    now=datetime.now(UTC),
                )
                ids.append(made.campaign_id)
        return ids

    def ended(self, made: list[Made]) -> None:
        """Wait until the postback of each of these calls has come, and until everybody has been told everything."""
        ends = {str(one.call): one.row.cause for one in made if one.row.said.status != "in_process"}

        def left() -> set[str]:
            heard = {told["ct_call_id"] for one in made for told in posted(self.house, one.row.name)}
            return {cause for call, cause in ends.items() if call not in heard}

        until(lambda: not left(), ALL, about=left)
        quiet = (
            "SELECT NOT EXISTS (SELECT FROM outbox WHERE fanned_out_at IS NULL)"
            " AND NOT EXISTS (SELECT FROM deliveries WHERE state = 'pending')"
            " AND NOT EXISTS (SELECT FROM legs WHERE ended_at IS NULL)"
        )
        until(lambda: self.house.value(quiet), about="somebody still waits to be told")

    # What everybody says.

    def told(self, made: list[Made]) -> dict[str, Told]:
        sessions = self.sessions(made)
        rows: dict[str, dict[int, dict[str, Any]]] = {"ru": {}, "en": {}}
        for language, known in rows.items():
            for account in self.accounts:
                mine = [one for one in made if one.row.account == account]
                ids = ",".join(str(one.call) for one in mine)
                for row in self.ask(mine[0].row, "phones/call_by_id", language, call_ids=ids, expand=1):
                    known[row["call_id"]] = row
        charges = {
            row["call_id"]: row["charged"]
            for row in self.house.rows(
                "SELECT call_id, -sum(amount) AS charged FROM ledger JOIN legs USING (account_id, leg_id)"
                " GROUP BY call_id"
            )
        }
        return {
            one.row.cause: Told(
                made=one,
                callo=rows["ru"][one.call],
                english=rows["en"][one.call],
                uis=sessions[one.row.number],
                autocall=self._callback(one),
                postback=self._postback(one),
                charged=charges.get(one.call, Decimal(0)),
            )
            for one in made
        }

    def _callback(self, made: Made) -> dict[str, Any] | None:
        posts = self.house.receiver.calls(made.row.name).get(made.call)
        said: dict[str, Any] | None = posts[-1].said["call"] if posts else None
        return said

    def _postback(self, made: Made) -> dict[str, str] | None:
        found = [told for told in posted(self.house, made.row.name) if told["ct_call_id"] == str(made.call)]
        return found[-1] if found else None

    def sessions(self, made: list[Made]) -> dict[str, list[dict[str, Any]]]:
        """The sessions of the Data API by number, once those that must be there are."""
        wanted = {one.row.number for one in made if one.row.said.uis is not None}
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)

        def there() -> bool:
            found.clear()
            for account in self.accounts.values():
                now = datetime.now(UTC)
                params = {
                    "access_token": account["uis_access_token"],
                    "date_from": f"{now - timedelta(days=1):%Y-%m-%d %H:%M:%S}",
                    "date_till": f"{now + timedelta(days=1):%Y-%m-%d %H:%M:%S}",
                    "limit": 10_000,
                }
                asked = {"jsonrpc": "2.0", "id": 1, "method": "get.calls_report", "params": params}
                answer = post(self.house, "/v2.0", json.dumps(asked).encode(), "application/json")
                for session in answer["result"]["data"]:
                    found[f"+{session['contact_phone_number']}"].append(session)
            return wanted <= set(found)

        with contextlib.suppress(StillWaiting):
            until(there, every=0.5, about=lambda: wanted - set(found))
        return found


# What happens to a call.


def run(stage: Stage, made: Made, **changed: Any) -> None:
    """Start the campaign, with some settings changed."""

    async def started() -> None:
        async with Database(PostgresServer(stage.house.home).dsn()) as db:
            account_id, now = stage.accounts[made.row.account]["account_id"], datetime.now(UTC)
            if changed:
                found = await campaigns.get(db, account_id, made.campaign)
                settings = msgspec.structs.replace(found.settings, **changed)
                await campaigns.change(db, msgspec.structs.replace(found, settings=settings), now=now)
            await steering.start(db, account_id, made.campaign, now=now)

    asyncio.run(started())


def removed(stage: Stage, made: Made) -> None:
    stage.ask(made.row, "phones/remove_call", campaign_id=made.campaign, call_id=made.call)


def removed_while_it_rings(stage: Stage, made: Made) -> None:
    stage.until_state(made.call, "dialing")
    removed(stage, made)


def stopped(stage: Stage, made: Made) -> None:
    stage.ask(made.row, "phones/stoplist", campaign_id=made.campaign, phone=made.row.number, call_type="all")
    run(stage, made)


def cancelled(stage: Stage, made: Made) -> None:
    assert stage.house.command("campaign", "cancel", made.campaign).returncode == 0


def stopped_everywhere(stage: Stage, made: Made) -> None:
    assert stage.house.command("stop-list", "add", made.row.number).returncode == 0
    run(stage, made)


def renumbered(stage: Stage, made: Made) -> None:
    """The number whose end is the code is taken from the pool."""
    run(stage, made, caller_ids=("+70009992222",))


def robbed(stage: Stage, made: Made) -> None:
    """While it rings, the file of what would be said after the key is lost from the disk."""
    stage.until_state(made.call, "dialing")
    fingerprint = stage.house.value("SELECT fingerprint FROM clips WHERE clip_id = %s", stage.clips["lost"])
    [file] = (stage.house.home / "uploads").rglob(f"{fingerprint}.wav")
    file.unlink()
