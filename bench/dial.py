"""What does the whole pipeline cost a call? 300 calls over real SIP and RTP, beside a bare script on the same Asterisk.

Both sides are seen by the same witness, a second ARI application that hears every event, and by Asterisk's clock:
- setup: from the moment a call is begun (bare: its request is sent; ours: its placement, the first thing that is done
  for it once its slot has come) to the answer, less the callee's ringing;
- prompt: from the answer to PlaybackStarted.
The baseline sends the same requests, create and then dial. What these take more than a plain originate is Asterisk's
own, and stands in rows of its own: a channel that was dialled stays in one hidden bridge with all others.
"""

import asyncio
import contextlib
import math
import sys
import wave
from array import array
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import aiohttp
import msgspec
import psutil
from msgspec import Struct

from bench import bare, callee, memory
from bench.bare import Did, Job
from bench.ground import Ground, cpu, cpu_of_tree, now
from bench.memory import Sample
from bench.results import Figure, NotMeasured, figure, percentile
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.phone import Phone
from zvonar.core.schedule import ALL_DAY
from zvonar.core.script import Prompt, plain
from zvonar.line.asterisk.ari import Event
from zvonar.line.asterisk.config import endpoint
from zvonar.line.asterisk.process import Record
from zvonar.service.operations import add_account
from zvonar.service.plant import ARI_USER
from zvonar.speech.formats import wav_duration_ms
from zvonar.store import campaigns, clips, phone_lists, steering, trunks
from zvonar.store.calls import NewCall
from zvonar.store.db import Database
from zvonar.store.trunks import NewTrunk, Trunk

CALLS = 300
PER_SECOND = 30
ROUNDS = 3
OVERLAP = 3.0  # seconds for which all of them are up
GRACE = 30.0  # seconds beyond what a round should last

# A commit that does as little as one can; ours makes five a call: placed, dialled, answered, ended, told.
BARE_COMMITS = 5
BARE_TABLE = """
CREATE TABLE IF NOT EXISTS bare_commits (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, fact text NOT NULL)
"""
BARE_COMMIT = "INSERT INTO bare_commits (fact) VALUES ('a fact')"

PLACED = """
SELECT l.leg_id, l.placed_at FROM legs l JOIN calls c USING (account_id, call_id)
WHERE c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s
"""


class _Placed(Struct, frozen=True):
    leg_id: str
    placed_at: datetime


class Round(Struct, frozen=True, kw_only=True):
    """One round of one side."""

    setup: list[float]  # ms beyond the callee's ringing
    prompt: list[float]  # ms from the answer
    python: float  # ms of processor a call
    asterisk: float  # ms of processor a call


class Sides(Struct, frozen=True, kw_only=True):
    """Rounds by who made them."""

    ours: list[Round]
    script: list[Round]  # the baseline: the same requests to Asterisk as ours
    originate: list[Round]  # what Asterisk itself takes less when nobody asks for dialling at most once


class Witness:
    """Sees every channel of the gateway, whoever made it."""

    def __init__(self) -> None:
        self.answered: dict[str, float] = {}  # Unix seconds by channel
        self.heard: dict[str, float] = {}
        self.ended: set[str] = set()

    @contextlib.asynccontextmanager
    async def watching(self, url: str, password: str) -> AsyncIterator["Witness"]:
        """Watch until the end of the block."""
        async with (
            aiohttp.ClientSession(headers=bare.authorization(ARI_USER, password), trust_env=False) as session,
            session.ws_connect(
                f"{url}/ari/events", params={"app": "witness", "subscribeAll": "true"}, max_msg_size=0
            ) as socket,
        ):
            listening = asyncio.create_task(self._listen(socket))
            try:
                yield self
            finally:
                listening.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await listening

    def forget(self) -> None:
        """A new round."""
        self.answered.clear()
        self.heard.clear()
        self.ended.clear()

    @property
    def up(self) -> int:
        """Answered channels that have not ended."""
        return len(self.answered.keys() - self.ended)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        decoder = msgspec.json.Decoder(Event)
        async for message in socket:
            event = decoder.decode(message.data)
            channel = event.channel_id
            if channel is None:
                continue
            match event.type:
                case "Dial" if event.dialstatus == "ANSWER":
                    self.answered.setdefault(event.peer.id if event.peer else channel, event.at.timestamp())
                case "PlaybackStarted":
                    self.heard.setdefault(channel, event.at.timestamp())
                case "ChannelDestroyed":
                    self.ended.add(channel)


class Bench:
    """The service, the callee and the witness, once they are there."""

    def __init__(self, ground: Ground, db: Database, trunk: Trunk, roles: dict[str, psutil.Process]) -> None:
        self._ground = ground
        self._db = db
        self._trunk = trunk
        self._dialer = roles["dialer"]
        self._asterisk = _asterisk(ground)
        self._url = f"http://127.0.0.1:{ground.ports.gateway_ari}"
        self._password = ground.home.secret("gateway-ari")
        self._clip = ground.home.uploads / "bench.wav"
        self._witness = Witness()
        self._numbers = iter(range(10_000_000))
        self.up: list[Sample] = []  # the dialer's memory with every call up
        self.postgres: list[float] = []  # ms of processor a call

    async def rounds(self, count: int) -> Sides:
        """Each side's, in turn."""
        _speak(self._clip, CALLS / PER_SECOND + OVERLAP)
        account = await add_account(
            self._db,
            name="bench",
            balance=Decimal(1_000_000),
            currency="RUB",
            timezone="UTC",
            countries=["RU"],
            now=now(),
        )
        account_id = account["account_id"]
        with self._clip.open("rb") as file, self._clip.open("rb") as same:
            clip = await clips.add_upload(
                self._db,
                account_id,
                clips.NewUpload(
                    fingerprint="0" * 64,
                    name="bench",
                    speaker=None,
                    text=None,
                    suffix="wav",
                    duration_ms=wav_duration_ms(self._clip.stat().st_size),
                ),
                {"original": file, "converted": same},
                now=now(),
            )
        sides = Sides(ours=[], script=[], originate=[])
        async with self._witness.watching(self._url, self._password):
            for number in range(1, count + 1):
                said = f"dial: round {number} of {count}"
                self._ground.report(f"{said}, a script that originates")
                sides.originate.append(await self._bare(originate=True))
                self._ground.report(f"{said}, a script that creates and dials")
                sides.script.append(await self._bare(originate=False))
                self._ground.report(f"{said}, zvonar")
                sides.ours.append(await self._ours(account_id, clip.clip_id))
        return sides

    async def commits(self) -> float:
        """Milliseconds of PostgreSQL's processor for as many commits as a call makes, each the least there is."""
        await self._db.execute(BARE_TABLE)
        await self._db.execute(BARE_COMMIT)
        server = self._ground.postgres()
        before = cpu_of_tree(server)
        for _ in range(CALLS * BARE_COMMITS):
            await self._db.execute(BARE_COMMIT)
        return (cpu_of_tree(server) - before) * 1000 / CALLS

    async def _bare(self, *, originate: bool) -> Round:
        job = Job(
            url=self._url,
            user=ARI_USER,
            password=self._password,
            endpoint=endpoint(str(self._trunk.trunk_id)),
            phones=self._phones(),
            per_second=PER_SECOND,
            media=f"sound:{self._clip.with_suffix('')}",
            originate=originate,
        )
        self._witness.forget()
        before = cpu(self._asterisk)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.bare"),
            cwd=Path(__file__).parent.parent,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_lasts()):
                output, _ = await process.communicate(msgspec.json.encode(job))
        except TimeoutError:
            process.kill()
            raise NotMeasured(
                f"The bare script did not end; {len(self._witness.answered)} answered."
            ) from None
        if process.returncode:
            raise NotMeasured("The bare script failed.")
        did = msgspec.json.decode(output, type=Did)
        return self._round(did.began, did.cpu, cpu(self._asterisk) - before)

    async def _ours(self, account_id: int, clip_id: int) -> Round:
        campaign = await campaigns.add(
            self._db,
            account_id,
            name="bench",
            type=CampaignType.regular,
            settings=CampaignSettings(
                script=plain(Prompt(clip_id=clip_id)), window=ALL_DAY, ring_timeout=10, max_call_time=60
            ),
            status=CampaignStatus.paused,
            now=now(),
        )
        ids = {"account_id": account_id, "campaign_id": campaign.campaign_id}
        new = [NewCall(phone=Phone(e164=phone, country="RU", trial=False)) for phone in self._phones()]
        await phone_lists.load(
            self._db, account_id, campaign.campaign_id, new, name="bench", rejected=0, now=now()
        )
        self._witness.forget()
        server = self._ground.postgres()
        before = cpu(self._dialer), cpu_of_tree(server), cpu(self._asterisk)
        await steering.start(self._db, account_id, campaign.campaign_id, now=now())
        try:
            async with asyncio.timeout(_lasts()):
                while len(self._witness.ended) < CALLS:
                    await asyncio.sleep(0.1)
                    if self._witness.up >= CALLS * 0.97:
                        self.up.append(memory.sample(self._dialer))
                while not await self._recorded(**ids):  # noqa: ASYNC110 - nobody notifies of it
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise NotMeasured(f"Only {len(self._witness.ended)} of {CALLS} calls have ended.") from None
        after = cpu(self._dialer), cpu_of_tree(server), cpu(self._asterisk)
        python, postgres, asterisk = (later - earlier for later, earlier in zip(after, before, strict=True))
        self.postgres.append(postgres * 1000 / CALLS)
        placed = await self._db.rows(_Placed, PLACED, ids)
        return self._round({leg.leg_id: leg.placed_at.timestamp() for leg in placed}, python, asterisk)

    async def _recorded(self, account_id: int, campaign_id: int) -> bool:
        """Whether the last call's result is committed, of which nobody notifies."""
        tallies = await campaigns.tallies(self._db, account_id, campaign_id)
        return tallies.get("state/finished", 0) == CALLS

    def _round(self, began: dict[str, float], python: float, asterisk: float) -> Round:
        seen = self._witness
        if not len(began) == len(seen.answered) == len(seen.heard) == CALLS:
            raise NotMeasured(
                f"Of {CALLS} calls {len(began)} were begun, {len(seen.answered)} answered, {len(seen.heard)} heard."
            )
        return Round(
            setup=[(seen.answered[id] - at - callee.RINGING) * 1000 for id, at in began.items()],
            prompt=[(seen.heard[id] - seen.answered[id]) * 1000 for id in began],
            python=python * 1000 / CALLS,
            asterisk=asterisk * 1000 / CALLS,
        )

    def _phones(self) -> list[str]:
        return [f"+7912{next(self._numbers):07d}" for _ in range(CALLS)]


async def measure(ground: Ground, roles: dict[str, psutil.Process], trunk: Trunk) -> list[Figure]:
    """The rounds, in figures. The callee and the service must be there."""
    async with Database(ground.dsn, size=4) as db:
        bench = Bench(ground, db, trunk, roles)
        sides = await bench.rounds(ROUNDS)
        commits = [await bench.commits() for _ in range(ROUNDS)]
    if not bench.up:
        raise NotMeasured("The calls were never up all at once.")
    return [
        _late("setup", 50, sides.ours, sides.script),
        _late("setup", 95, sides.ours, sides.script, above=15.0),
        _late("setup", 95, sides.script, sides.originate, of="a script's create and dial "),
        _late("prompt", 50, sides.ours, sides.script),
        _late("prompt", 95, sides.ours, sides.script, at_most=120.0),
        _late("prompt", 95, sides.script, sides.originate, of="a script's create and dial "),
        _cost("Python", "python", sides, at_most=4.0),
        figure("dial", "PostgreSQL, a call", bench.postgres, "ms", commits, at_most=4.0),
        _cost("Asterisk", "asterisk", sides),
        *memory.figures("dialer", f"{CALLS} calls up", bench.up, at_most=250.0),
    ]


def _late(
    name: str, percent: int, rounds: list[Round], baseline: list[Round], *, of: str = "", **target: float
) -> Figure:
    ours, bare = ([percentile(getattr(one, name), percent) for one in side] for side in (rounds, baseline))
    return figure("dial", f"{of}{name}, p{percent}", ours, "ms", bare, **target)


def _cost(what: str, name: str, sides: Sides, **target: float) -> Figure:
    ours, bare = ([getattr(one, name) for one in side] for side in (sides.ours, sides.script))
    return figure("dial", f"{what}, a call", ours, "ms", bare, **target)


async def add_trunk(ground: Ground) -> Trunk:
    """The trunk that leads to the callee; the service reads it when it starts."""
    async with Database(ground.dsn, size=2) as db:
        return await trunks.put(
            db,
            NewTrunk(
                name="callee",
                settings={"host": "127.0.0.1", "port": ground.ports.town_sip},
                max_channels=CALLS + 100,
                calls_per_second=Decimal(PER_SECOND),
                caller_ids=["+74950000000"],
            ),
        )


def _lasts() -> float:
    """Seconds that a round may take."""
    return CALLS / PER_SECOND * 2 + OVERLAP + GRACE


def _asterisk(ground: Ground) -> psutil.Process:
    record = msgspec.json.decode((ground.home.run / "gateway.json").read_bytes(), type=Record)
    return psutil.Process(record.pid)


def _speak(clip: Path, seconds: float) -> None:
    """A clip of something: a tone, so that no codec takes it for silence."""
    tone = array(
        "h", (round(8000 * math.sin(2 * math.pi * 440 * n / 8000)) for n in range(int(seconds * 8000)))
    )
    with wave.open(str(clip), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(tone.tobytes())
