"""Is every status of Callo's table reached by what really causes it? The table, row by row, on real calls.

One service, one Asterisk; the town and a carrier whose network is SIPp are at the other ends. All rows run side by
side, and every dialect is asked what came of them. Dial status 7 is deprecated, 9 says nothing, and nobody knows what
32 to 34 are.
"""

import asyncio
import contextlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import pytest

from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.dialects.callo.outcomes import CallStatus, DialStatus
from zvonar.line.asterisk import town
from zvonar.store import campaigns, steering
from zvonar.store.db import Database
from zvonar.store.server import PostgresServer

from ..network import HERE, Refusal, free_port, network
from ..sounds import sound
from .house import House
from .processes import StillWaiting, kill, until
from .test_calling import upload
from .test_told import post

pytestmark = pytest.mark.timeout(300)

CALLO = "/manager/cabapi_external/api/v1"
ALL = 120.0  # seconds until every row has ended, on a machine that does much else

# The reference's tables, of which nothing but 7, 9 and 32 to 34 is missing here.
DIAL = {
    0: "Ожидание вызова (звонка еще нет)",
    1: "Ошибка при вызове абонента",
    2: "Абонент сбросил звонок",
    3: "Не дозвонились",
    4: "Абонент занят",
    5: "Абонент ответил",
    6: "Ответил автоответчик",
    8: "Невалидная кнопка",
    10: "Завершен без действия клиента",
    11: "Пользовательский стоп-лист",
    12: "Глобальный стоп-лист",
    13: "Абонент ответил, но продолжительности разговора не достаточно для фиксации результата в статистике",
    14: "Номер абонента совпадает с CallerID",
    15: "Номер удалён из прозвона",
    16: "Действие без нажатия",
    17: "По максимальной продолжительности звонка",
    18: "Внутренняя ошибка сервера",
    19: "Прослушал ролик и не нажал кнопку",
    20: "Внутренняя ошибка в меню",
    21: "Событие по нажатию кнопки и продолжительности разговора",
    22: "Событие по продолжительности разговора",
    23: "Попытка приостановлена по отрицательному балансу",
    24: "Не найден транк для звонка",
    25: "Не найден исходящий номер для звонка",
    26: "Данное направление заблокировано",
    27: "Ошибка генерации ролика",
    28: "Слишком короткий ролик",
    29: "Не найден провайдер для звонка",
    30: "Истекло время жизни звонка",
    31: "Попытки закончились",
    35: "Дублирующий звонок",
}
CALL = {
    "in_process": "В процессе",
    "attempts_exc": "Попытки закончились",
    "compl_finished": "Закончен удачно",
    "compl_nofinished": "Некорректный ответ",
    "deleted": "Удалён из прозвона",
    "duration_error": "Некорректная максимальная продолжительность звонка",
    "expires": "Истекло время жизни звонка",
    "novalid_button": "Невалидная кнопка",
    "no_provider": "Нет подходящего провайдера",
    "interrupted": "Прерван по настройкам",
    "pincode_ok": "Пинкод верный",
    "pincode_nook": "Пинкод неверный",
    "synth_error": "Ошибка генерации ролика",
    "user": "Пользовательский IVR",
}

ENGLISH: dict[int | str, str] = {  # as far as the reference has it
    4: "Subscriber is busy / Unavailable",
    5: "The subscriber answered",
    10: "Completed without client action",
    16: "Non-click action",
    "attempts_exc": "Attempts ended",
    "compl_finished": "Finished successfully",
    "user": "Custom IVR",
}

HELLO = {"script": {"nodes": {"1": {"prompt": {"text": "Добрый день."}}}}}


LONG = {
    "script": {"nodes": {"1": {"prompt": {"text": "Здравствуйте! Это долгий рассказ о погоде и о природе."}}}}
}


def asking(key: str = "1", then: int | None = None, **more: Any) -> dict[str, Any]:
    """A menu of one key; what the key plays is a clip."""
    nodes = {"1": {"prompt": {"text": "Нажмите."}, "keys": {key: {}}, "repeats": 0, "timeout": 3, **more}}
    if then is not None:
        nodes["1"]["keys"] = {key: {"goto": "2"}}
        nodes["2"] = {"prompt": {"clip_id": then}}
    return {"script": {"nodes": nodes}}


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


class Stage:
    """Where the rows are played."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.accounts: dict[str, dict[str, Any]] = {"tests": house.account}
        self.clips: dict[str, int] = {}  # uploaded ones, by what they are for

    def until_state(self, call: int, state: str) -> None:
        def now() -> str:
            return str(self.house.value("SELECT state FROM calls WHERE call_id = %s", call))

        until(lambda: now() == state, 20, about=now)

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
                with urllib.request.urlopen(request, timeout=20) as given:
                    return (json.loads(given.read()),)
            except urllib.error.HTTPError as exc:
                if exc.code == 429:  # twenty a second
                    return None
                raise AssertionError(exc.read()) from exc

        return until(answer, 20, every=0.3)[0]

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
        until(lambda: self.house.value(quiet), 30, about="somebody still waits to be told")

    # What everybody says.

    def told(self, made: list[Made]) -> "dict[str, Told]":
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
            until(there, 20, every=0.5, about=lambda: wanted - set(found))
        return found


_subscriber = iter(range(7000, 8000))


def lives(digit: int, ring: int = 0) -> str:
    return town.number(next(_subscriber), ring, digit)


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


# What the network refuses with. UIS tells a circuit that is not there from a network that is out of order, by the Q.850
# cause that the gateway makes of the SIP code.
NETWORK = {
    Refusal(403): Said("attempts_exc", 1, "no_success_subscriber_call", "error"),
    Refusal(404): Said("attempts_exc", 1, "subscriber_number_problems", "error"),
    Refusal(408): Said("attempts_exc", 3, "subscriber_not_responsible", "no_answer"),
    Refusal(410): Said("attempts_exc", 1, "subscriber_number_problems", "error"),
    Refusal(480): Said("attempts_exc", 3, "no_success_subscriber_call", "no_answer"),
    Refusal(484): Said("attempts_exc", 1, "subscriber_number_problems", "error"),
    Refusal(486): Said("attempts_exc", 4, "subscriber_busy", "busy"),
    Refusal(488): Said("attempts_exc", 1, "no_success_subscriber_call", "error"),
    Refusal(500): Said("attempts_exc", 1, "net_lock", "error"),
    Refusal(502): Said("attempts_exc", 1, "locked_phone", "error"),
    Refusal(503): Said("attempts_exc", 1, "max_out_call_reached", "error"),
    # A Reason header changes nothing: Asterisk tells of the SIP code alone.
    Refusal(503, 38): Said("attempts_exc", 1, "max_out_call_reached", "error"),
    Refusal(504): Said("attempts_exc", 1, "locked_phone", "error"),
    Refusal(600): Said("attempts_exc", 4, "subscriber_busy", "busy"),
    Refusal(603): Said("attempts_exc", 2, "subscriber_disconnects", "busy"),
    Refusal(604): Said("attempts_exc", 1, "subscriber_number_problems", "error"),
    Refusal(606): Said("attempts_exc", 2, "subscriber_disconnects", "busy"),
}

OWN = lives(0)
PIN = {"pin": {"tries": 1, "timeout": 3}}
CAPPED = {**HELLO, "caps": [{"attempts": 1, "seconds": 86400}], "lifetime": 3600}
RETRIED = {**HELLO, "retry": {"max_attempts": 3, "interval": 3600}, "lifetime": 60}
ANSWERED = {"answered": True}
UNTRIED: dict[str, Any] = {"attempts": (), "paused": True}
ROWS = [
    Row("nobody has called yet", lives(0), Said("in_process", 0, None, None), **UNTRIED),
    Row("no such number", lives(4), Said("attempts_exc", 1, "subscriber_number_problems", "error")),
    Row("no circuit", lives(6), Said("attempts_exc", 1, "max_out_call_reached", "error")),
    *(
        Row(f"refused, {code} {cause}", Refusal(code, cause).number(1), said)
        for (code, cause), said in NETWORK.items()
    ),
    Row("rings out", lives(3), Said("attempts_exc", 3, "subscriber_not_responsible", "no_answer")),
    Row(
        "cancelled at the carrier",
        "+74951800001",
        Said("attempts_exc", 3, "subscriber_not_responsible", "no_answer"),
    ),
    Row("busy", lives(2), Said("attempts_exc", 4, "subscriber_busy", "busy")),
    Row("a key", lives(1), Said("user", 5, "success_finish", "success"), asking(), **ANSWERED),
    Row(
        "right digits",
        lives(9),
        Said("pincode_ok", 5, "success_finish", "success"),
        PIN,
        **ANSWERED,
        kind="pincode",
        form={"pincode": "1234"},
    ),
    Row(
        "wrong digits",
        lives(9),
        Said("pincode_nook", 5, "incorrect_input", "success"),
        PIN,
        **ANSWERED,
        kind="pincode",
        form={"pincode": "4321"},
    ),
    Row(
        "a machine",
        lives(5),
        Said("attempts_exc", 6, "success_finish", "no_answer"),
        {**HELLO, "machine": {"on_machine": "hang_up"}},
        **ANSWERED,
    ),
    Row(
        "a key that is none",
        lives(1),
        Said("novalid_button", 8, "incorrect_input", "success"),
        asking("2"),
        **ANSWERED,
    ),
    Row("hears it out", lives(0), Said("compl_finished", 10, "success_finish", "success"), **ANSWERED),
    Row(
        "hears it out at the carrier",
        "+74952000001",
        Said("compl_finished", 10, "success_finish", "success"),
        **ANSWERED,
    ),
    Row(
        "hangs up",
        lives(7),
        Said("compl_nofinished", 10, "subscriber_disconnects", "success"),
        LONG,
        **ANSWERED,
    ),
    Row("his stop list", lives(0), Said("interrupted", 11, None, "spam"), paused=True, act=stopped),
    Row(
        "everybody's stop list",
        lives(0),
        Said("interrupted", 12, None, "spam"),
        paused=True,
        act=stopped_everywhere,
    ),
    Row(
        "too short to count",
        lives(7),
        Said("attempts_exc", 13, "subscriber_disconnects", "success"),
        {**LONG, "min_talk": 10},
        **ANSWERED,
    ),
    Row("his own number", OWN, Said("interrupted", 14, None, "spam"), {**HELLO, "caller_ids": [OWN]}),
    Row("removed", lives(0), Said("deleted", 15, None, "error"), **UNTRIED, act=removed),
    Row(
        "removed while it rings",
        lives(3),
        Said("deleted", 15, "subscriber_not_responsible", "no_answer"),
        attempts=(3,),
        act=removed_while_it_rings,
    ),
    Row("campaign cancelled", lives(0), Said("interrupted", 15, None, "error"), **UNTRIED, act=cancelled),
    Row(
        "what follows silence",
        lives(0),
        Said("compl_finished", 16, "success_finish", "success"),
        asking(silence={"status_name": "shy"}),
        **ANSWERED,
    ),
    Row(
        "cut by its longest time",
        lives(0),
        Said("interrupted", 17, "action_interval_exceeded", "success"),
        {**asking(timeout=20), "max_call_time": 3},
        **ANSWERED,
    ),
    Row(
        "shorter than its prompt",
        lives(0),
        Said("duration_error", 17, None, "error"),
        {**LONG, "max_call_time": 1},
    ),
    Row(
        "presses nothing",
        lives(0),
        Said("compl_finished", 19, "success_finish", "success"),
        asking(),
        **ANSWERED,
    ),
    Row(
        "a prompt lost from the disk",
        lives(1, ring=3),
        Said("compl_nofinished", 20, "internal_error", "error"),
        lambda stage: asking(then=stage.clips["lost"]),
        **ANSWERED,
        act=robbed,
    ),
    Row(
        "a key and a long talk",
        lives(1),
        Said("user", 21, "success_finish", "success"),
        {**asking(), "long_talk": 1},
        **ANSWERED,
    ),
    Row(
        "a long talk",
        lives(0),
        Said("compl_finished", 22, "success_finish", "success"),
        {**HELLO, "long_talk": 1},
        **ANSWERED,
    ),
    Row("no money", lives(0), Said("interrupted", 23, None, "error"), account="poor"),
    Row(
        "no caller ID that ends so",
        lives(3),
        Said("no_provider", 25, None, "error"),
        {"caller_ids": ["+70009991111"]},
        kind="flashcall",
        form={"phone_suffix": "1111"},
        paused=True,
        act=renumbered,
    ),
    Row("a closed country", "+4915112345678", Said("interrupted", 26, None, "spam")),
    Row(
        "a voice that there is not",
        lives(0),
        Said("synth_error", 27, None, "error"),
        {**HELLO, "voice": {"name": "nobody"}},
    ),
    Row(
        "a clip too short to hear",
        lives(0),
        Said("synth_error", 28, None, "error"),
        lambda stage: {"script": {"nodes": {"1": {"prompt": {"clip_id": stage.clips["short"]}}}}},
    ),
    Row(
        "nobody has a price for it",
        "+79161234567",
        Said("no_provider", 29, None, "error"),
        account="unpriced",
    ),
    Row(
        "too late for another try",
        lives(2),
        Said("expires", 30, "subscriber_busy", "busy"),
        RETRIED,
        attempts=(4,),
    ),
    # The session is the first call's.
    Row(
        "no try that a cap allows",
        lives(2),
        Said("attempts_exc", 31, "subscriber_busy", "error"),
        CAPPED,
        attempts=(),
        second=True,
    ),
    Row(
        "called already",
        lives(0, ring=2),
        Said("interrupted", 35, "success_finish", "spam"),
        {**HELLO, "unique_phones": True},
        second=True,
        paused=True,
        act=run,
    ),
]

# Before there is a trunk that may carry it; and when its gateway dies.
NO_TRUNK = Row("no trunk", "+74952000002", Said("no_provider", 24, None, "error"))
LOST = Row(
    "the gateway dies while it rings",
    lives(0, ring=20),
    Said("attempts_exc", 18, "internal_error", "error"),
    {**HELLO, "ring_timeout": 30},
)
EVERY = [NO_TRUNK, *ROWS, LOST]


class Told(NamedTuple):
    """What everybody has said of one row's call."""

    made: Made
    callo: dict[str, Any]
    english: dict[str, Any]
    uis: list[dict[str, Any]]  # its sessions, oldest first
    autocall: dict[str, Any] | None  # the last callback
    postback: dict[str, str] | None
    charged: Decimal  # by the ledger


@pytest.fixture(scope="module")
def told(home: House) -> dict[str, Told]:
    """Every row, played."""
    if home.serving is None or not home.serving.running():
        home.serve()
    home.until_healthy()
    stage = Stage(home)
    stage.account("poor", "0.5")
    stage.account("unpriced", "100")
    # A price list for calls within the town alone.
    for command in (
        ("tariff", "set", "town", "7000", "--per-minute", "1.8"),
        ("account", "set", "causes-unpriced", "--tariff", "town"),
    ):
        assert home.command(*command).returncode == 0
    stage.clips = {"short": upload(home, sound(0.15)), "lost": upload(home, sound(1.0))}
    made = stage.add([NO_TRUNK])
    stage.ended(made)
    with ExitStack() as stack:
        calls = len(NETWORK) + 2
        port = free_port()
        carrier = stack.enter_context(network(home.room, calls, list(NETWORK), port=port))
        home.carrier(HERE, port)
        stack.callback(home.carrier, HERE, port, "--disabled")
        made += stage.add(ROWS)
        stage.ended(made)
        verdict = carrier.verdict(10)
    lost = stage.add([LOST])
    until(lambda: home.value("SELECT count(*) FROM legs WHERE phase = 'dialled'") == 1, 20)
    until(lambda: town.invites(home.home / "town").get(f"{lost[0].call}.1.1"), 20)
    kill([home.asterisk("gateway")])
    stage.ended(lost)
    everything = stage.told([*made, *lost])
    for one in made:
        if one.row.said.status == "in_process":
            removed(stage, one)
    assert verdict == 0, carrier.said()
    return everything


def test_the_rows_are_the_whole_table(told: dict[str, Told]) -> None:
    assert {row.said.dial for row in EVERY} == set(DIAL) == set(DialStatus)
    assert set(DIAL) == set(range(36)) - {7, 9, 32, 33, 34}
    assert {row.said.status for row in EVERY} == set(CALL) == set(CallStatus)
    assert len(told) == len(EVERY)


@pytest.mark.parametrize("row", EVERY, ids=lambda row: row.name)
def test_a_status_has_its_cause(told: dict[str, Told], row: Row) -> None:
    came = told[row.cause]
    callo, english, said = came.callo, came.english, row.said
    assert (callo["status"], callo["dial_status"]) == (said.status, said.dial)
    assert callo["call_status"] == said.status
    assert callo["status_display"] == CALL[said.status]
    assert callo["call_status_display"].startswith(CALL[said.status])
    assert callo["dial_status_display"] == DIAL[said.dial]
    for display in ("status_display", "dial_status_display"):
        assert english[display] != callo[display]
        assert english[display].isascii()
    assert english["status_display"] == ENGLISH.get(said.status, english["status_display"])
    assert english["dial_status_display"] == ENGLISH.get(said.dial, english["dial_status_display"])
    assert callo["phone"] == row.number


@pytest.mark.parametrize("row", EVERY, ids=lambda row: row.name)
def test_its_attempts_and_its_cost_are_those_of_the_line(told: dict[str, Told], row: Row) -> None:
    came = told[row.cause]
    callo, tried = came.callo, came.callo["attempts"]
    assert [attempt["dial_status"] for attempt in tried] == list(row.tried)
    assert [attempt["attempt_num"] for attempt in tried] == list(range(1, len(tried) + 1))
    assert [attempt["status"] for attempt in tried] == [row.said.status] * len(tried)
    assert sum(attempt["billsec"] for attempt in tried) == callo["duration"]
    assert sum(Decimal(str(attempt["cost"])) for attempt in tried) == Decimal(callo["cost"]) == came.charged
    assert (callo["duration"] > 0, came.charged > 0) == (row.answered, row.answered)
    assert (callo["completed"] is None) == (row.said.status == "in_process")


@pytest.mark.parametrize("row", EVERY, ids=lambda row: row.name)
def test_everybody_tells_the_same(told: dict[str, Told], row: Row) -> None:
    came, callo, said = told[row.cause], told[row.cause].callo, row.said
    sessions = came.uis
    assert [session["finish_reason"] for session in sessions] == ([] if said.uis is None else [said.uis])
    if sessions and not row.second:
        assert sessions[0]["talk_duration"] == callo["duration"]
        assert sessions[0]["is_lost"] is not row.answered
    if said.autocall is None:
        assert came.autocall is None
        assert came.postback is None
        return
    assert came.autocall is not None
    assert came.postback is not None
    assert came.autocall["status"] == said.autocall
    assert (came.autocall["number"], came.autocall["tries"], came.autocall["duration"]) == (
        row.number,
        len(callo["attempts"]),
        callo["duration"],
    )
    expected = {
        "ct_phone": row.number,
        "ct_status": said.status,
        "ct_dial_status": str(said.dial),
        "ct_button_num": str(callo["button_num"] or ""),
        "ct_user_choice": callo["user_choice"] or "",
        "ct_completed": callo["completed"],
    }
    assert {name: came.postback[name] for name in expected} == expected
    assert float(came.postback["ct_duration"]) == callo["duration"]
