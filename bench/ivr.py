"""How quickly does a menu answer a key? 200 dialogues of three levels over real SIP and RTP, beside a bare script.

The callee presses the last three digits of his number, by SIP INFO, while the prompts play. A witness, a second ARI
application, sees when Asterisk took a key and when the next prompt began. Ours runs a campaign with recording on, and
every dialogue has to come to the keys that were pressed; the bare script plays the next prompt at any key.
"""

import asyncio
import sys
from collections.abc import Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
import psutil
from msgspec import Struct

from bench import bare
from bench.bare import Job
from bench.ground import Ground, now
from bench.results import Figure, NotMeasured, figure, percentile
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.phone import Phone
from zvonar.core.reaction import Reaction
from zvonar.core.schedule import ALL_DAY
from zvonar.core.script import Node, Prompt, Script
from zvonar.line.asterisk.ari import Event
from zvonar.line.asterisk.config import endpoint
from zvonar.service.operations import add_account
from zvonar.service.plant import ARI_USER
from zvonar.store import campaigns, phone_lists, steering
from zvonar.store.calls import NewCall
from zvonar.store.db import Database
from zvonar.store.trunks import Trunk

PER_SECOND = 20
LEVELS = 3
Done = TypeVar("Done")
GRACE = 60.0  # seconds beyond what a round should last
TARGET = 150.0  # ms from a key to the next prompt, p95

# What each call came to, and what was pressed in it.
CAME_TO = """
SELECT c.phone, t.script_result, t.choice, t.recording IS NOT NULL AS recorded,
    (SELECT string_agg(step ->> 'key', '' ORDER BY n) FROM jsonb_array_elements(t.steps) WITH ORDINALITY AS s (step, n))
        AS keys
FROM calls c JOIN attempts t USING (account_id, call_id)
WHERE c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s AND t.ended_at IS NOT NULL
"""


class Size(Struct, frozen=True, kw_only=True):
    """How much is measured."""

    dialogues: int = 200
    rounds: int = 3


class _CameTo(Struct, frozen=True):
    phone: str
    script_result: str | None
    choice: str | None
    recorded: bool
    keys: str | None

    @property
    def right(self) -> bool:
        return self.script_result == "choice" and self.keys == self.phone[-LEVELS:] and self.recorded


class Witness:
    """Sees keys and prompts of every channel."""

    def __init__(self) -> None:
        self.waits: list[float] = []  # ms from a key to the next prompt
        self.ended = 0
        self._pressed: dict[str, float] = {}

    async def watch(self, url: str, password: str, ready: asyncio.Event) -> None:
        """Until it is cancelled."""
        decoder = msgspec.json.Decoder(Event)
        async with (
            aiohttp.ClientSession(headers=bare.authorization(ARI_USER, password), trust_env=False) as session,
            session.ws_connect(
                f"{url}/ari/events", params={"app": "witness", "subscribeAll": "true"}, max_msg_size=0
            ) as socket,
        ):
            ready.set()
            async for message in socket:
                event = decoder.decode(message.data)
                channel = event.channel_id
                if channel is None or channel.endswith("-recording"):
                    continue
                match event.type:
                    case "ChannelDtmfReceived":
                        self._pressed[channel] = event.at.timestamp()
                    case "PlaybackStarted" if channel in self._pressed:
                        self.waits.append((event.at.timestamp() - self._pressed.pop(channel)) * 1000)
                    case "ChannelDestroyed":
                        self._pressed.pop(channel, None)
                        self.ended += 1


def script() -> Script:
    """Three menus of ten keys, a different prompt at each, and a word of thanks."""
    keys = "0123456789"
    thanks = Prompt(text="Спасибо.")
    question = "Это вопрос номер {}. Пожалуйста, выберите кнопку от нуля до девяти."
    nodes = {
        str(level): Node(
            prompt=Prompt(text=question.format(level)),
            keys={
                key: Reaction(goto=str(level + 1)) if level < LEVELS else Reaction(say=thanks) for key in keys
            },
        )
        for level in range(1, LEVELS + 1)
    }
    return Script(nodes=nodes).checked()


async def measure(ground: Ground, roles: dict[str, psutil.Process], trunk: Trunk, size: Size) -> list[Figure]:
    """The rounds, in figures. A callee who chooses and the service must be there."""
    url, password = f"http://127.0.0.1:{ground.ports.gateway_ari}", ground.home.secret("gateway-ari")
    numbers = iter(range(5_000_000, 9_000_000, 7))
    ours: list[float] = []
    least: list[float] = []
    right: list[float] = []
    async with Database(ground.dsn, size=4) as db:
        account = await add_account(
            db,
            name="ivr bench",
            balance=Decimal(1_000_000),
            currency="RUB",
            timezone="UTC",
            countries=["RU"],
            now=now(),
        )
        for number in range(1, size.rounds + 1):
            ground.report(f"ivr: round {number} of {size.rounds}")
            phones = [f"+7913{next(numbers):07d}" for _ in range(size.dialogues)]
            waits, came_to = await _ours(db, url, password, account["account_id"], phones)
            right.append(sum(one.right for one in came_to))
            ours.append(percentile(waits, 95))
            phones = [f"+7913{next(numbers):07d}" for _ in range(size.dialogues)]
            clip = next(iter(sorted(ground.home.clips.rglob("*.wav"))))
            job = Job(
                url=url,
                user=ARI_USER,
                password=password,
                endpoint=endpoint(str(trunk.trunk_id)),
                phones=phones,
                per_second=PER_SECOND,
                media=f"sound:{clip.with_suffix('')}",
                keys=LEVELS,
            )
            least.append(percentile(await _bare(url, password, job, size), 95))
    return [
        figure(
            "ivr",
            f"dialogues right of {size.dialogues}",
            right,
            "dialogues",
            [float(size.dialogues)],
            at_least_ratio=1.0,
        ),
        figure("ivr", "key to next prompt, recording on, p95", ours, "ms", least, at_most=TARGET),
    ]


async def _ours(
    db: Database, url: str, password: str, account_id: int, phones: list[str]
) -> tuple[list[float], list[_CameTo]]:
    settings = CampaignSettings(
        script=script(),
        window=ALL_DAY,
        ring_timeout=10,
        max_call_time=60,
        record=True,
        calls_per_second=Decimal(PER_SECOND),
    )
    campaign = await campaigns.add(
        db,
        account_id,
        name="ivr",
        type=CampaignType.regular,
        settings=settings,
        status=CampaignStatus.paused,
        now=now(),
    )
    ids = {"account_id": account_id, "campaign_id": campaign.campaign_id}
    new = [NewCall(phone=Phone(e164=phone, country="RU", trial=False)) for phone in phones]
    await phone_lists.load(db, account_id, campaign.campaign_id, new, name="ivr", rejected=0, now=now())

    async def dialled() -> list[_CameTo]:
        await steering.start(db, account_id, campaign.campaign_id, now=now())
        while True:
            found = await db.rows(_CameTo, CAME_TO, ids)
            if len(found) == len(phones):
                return found
            await asyncio.sleep(0.3)

    return await _watched(url, password, dialled(), len(phones))


async def _bare(url: str, password: str, job: Job, size: Size) -> list[float]:
    async def dialled() -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.bare"),
            cwd=Path(__file__).parent.parent,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            await process.communicate(msgspec.json.encode(job))
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise NotMeasured("The bare script failed.")

    waits, _ = await _watched(url, password, dialled(), size.dialogues)
    return waits


async def _watched(
    url: str, password: str, work: Coroutine[Any, Any, Done], dialogues: int
) -> tuple[list[float], Done]:
    """What the witness saw while this was done."""
    witness, ready = Witness(), asyncio.Event()
    watching = asyncio.create_task(witness.watch(url, password, ready))
    try:
        async with asyncio.timeout(dialogues / PER_SECOND + GRACE):
            await ready.wait()
            done = await work
    except TimeoutError:
        raise NotMeasured(f"The dialogues did not end; {len(witness.waits)} keys were answered.") from None
    finally:
        watching.cancel()
        await asyncio.wait({watching})
    if len(witness.waits) < dialogues * (LEVELS - 1):
        raise NotMeasured(f"Of {dialogues} dialogues only {len(witness.waits)} keys were answered.")
    return witness.waits, done
