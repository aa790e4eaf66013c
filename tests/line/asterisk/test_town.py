"""Does every town number do what its last digit says, over real SIP and RTP?"""

import asyncio
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import soundfile

from zvonar.line.asterisk import cel, town
from zvonar.line.asterisk.config import GatewayConfig

if TYPE_CHECKING:
    from conftest import Telephony

APP = "test"
PATIENCE = 60.0  # seconds for anything that must happen
PROMPT = "sound:hello-world"


class Gateway:
    """As little of ARI as these tests need."""

    def __init__(self, config: GatewayConfig, http: aiohttp.ClientSession) -> None:
        self._base = f"http://127.0.0.1:{config.ari_port}/ari"
        self._http = http
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    async def listen(self, ready: asyncio.Event) -> None:
        async with self._http.ws_connect(f"{self._base}/events?app={APP}") as socket:
            ready.set()
            async for message in socket:
                event = json.loads(message.data)
                channel = event.get("peer") or event.get("channel") or {}
                target = (event.get("playback") or event.get("recording") or {}).get("target_uri", "")
                queue = self._queues.get(channel.get("id") or target.removeprefix("channel:"))
                if queue is not None:
                    queue.put_nowait(event)

    async def ask(self, method: str, path: str, body: object = None, **query: str) -> Any:
        async with self._http.request(method, f"{self._base}/{path}", params=query, json=body) as answer:
            assert answer.status < 300, (method, path, answer.status, await answer.text())
            return await answer.json() if answer.status == 200 else None

    async def call(self, leg: str, number: str) -> "Call":
        self._queues[leg] = queue = asyncio.Queue()
        variables = {"PJSIP_HEADER(add,X-Zvonar-Leg)": leg, "TIMEOUT(absolute)": "60"}
        await self.ask(
            "POST",
            "channels/create",
            {"variables": variables},
            endpoint=f"PJSIP/{number}@trunk-town",
            app=APP,
            channelId=leg,
        )
        # Until then ARI may answer 409, "Channel not in Stasis application", though `create` said 200.
        call = Call(self, leg, queue)
        assert await call.until(PATIENCE, "StasisStart") is not None
        await self.ask("POST", f"channels/{leg}/dial", timeout="5")
        return call

    async def snoop(self, leg: str, ear: str) -> "Call":
        self._queues[ear] = queue = asyncio.Queue()
        await self.ask("POST", f"channels/{leg}/snoop/{ear}", spy="in", app=APP)
        call = Call(self, ear, queue)
        assert await call.until(PATIENCE, "StasisStart") is not None
        return call


class Call:
    def __init__(self, gateway: Gateway, leg: str, events: asyncio.Queue[dict[str, Any]]) -> None:
        self._gateway = gateway
        self._leg = leg
        self._events = events
        self.digits = ""
        self.rang = False
        self.end: dict[str, Any] | None = None

    async def until(self, seconds: float, *types: str) -> dict[str, Any] | None:
        """The next event of one of `types`; None when time is up or the call has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.end is None:
                    event = await self._events.get()
                    if event["type"] == "ChannelDtmfReceived":
                        self.digits += event["digit"]
                    if event["type"] == "Dial":
                        self.rang |= event["dialstatus"] == "RINGING"
                        event["type"] = f"Dial {event['dialstatus']}"
                    if event["type"] == "ChannelDestroyed":
                        self.end = event
                    if event["type"] in types:
                        return event
        return None

    async def answered(self) -> bool:
        return await self.until(PATIENCE, "Dial ANSWER") is not None

    async def prompt(self, listen: float) -> None:
        await self._gateway.ask("POST", f"channels/{self._leg}/play", media=PROMPT)
        await self.until(PATIENCE, "PlaybackFinished")
        await self.until(listen, "ChannelDestroyed")

    async def record(self, name: str, seconds: int) -> None:
        """What the callee says, by a snoop: after `dial` an answered channel stays in the bridge that it was
        dialled in, where Asterisk refuses to record it."""
        ear = await self._gateway.snoop(self._leg, f"{self._leg}.ear")
        query = {"name": name, "format": "wav", "maxDurationSeconds": str(seconds), "ifExists": "overwrite"}
        await self._gateway.ask("POST", f"channels/{self._leg}.ear/record", **query)
        assert await ear.until(seconds + PATIENCE, "RecordingFinished") is not None

    async def hang_up(self) -> None:
        await self._gateway.ask("DELETE", f"channels/{self._leg}")
        await self.until(PATIENCE, "ChannelDestroyed")


async def refused(call: Call) -> tuple[int, int | None]:
    assert not await call.answered()
    assert call.end is not None
    return call.end["cause"], call.end.get("tech_cause")


async def listener(call: Call) -> None:
    """Hears the prompt twice, presses nothing, stays on the line."""
    assert await call.answered()
    for _ in range(2):
        await call.prompt(4)
    assert (call.digits, call.end) == ("", None)
    await call.hang_up()


async def presses(call: Call, digits: str) -> None:
    assert await call.answered()
    await call.prompt(0)
    assert call.digits == ""  # nobody presses before the prompt is over
    while call.digits != digits:
        assert await call.until(PATIENCE, "ChannelDtmfReceived") is not None
    await call.until(2, "ChannelDtmfReceived", "ChannelDestroyed")
    assert (call.digits, call.end) == (digits, None)
    await call.hang_up()


async def busy(call: Call) -> None:
    assert await refused(call) == (17, 486)
    assert call.rang


async def rings_out(call: Call) -> None:
    cause, _ = await refused(call)
    assert cause == 19
    assert call.rang


async def no_such_number(call: Call) -> None:
    assert await refused(call) == (1, 404)


async def congestion(call: Call) -> None:
    assert await refused(call) == (34, 503)


async def voicemail(call: Call) -> None:
    assert await call.answered()
    await call.record("voicemail", 5)
    await call.prompt(6)
    assert (call.digits, call.end) == ("", None)
    await call.hang_up()


async def hangs_up(call: Call) -> None:
    assert await call.answered()
    assert await call.until(PATIENCE, "ChannelDestroyed") is not None
    assert call.end is not None
    assert call.end["cause"] in (0, 16)


async def says_yes(call: Call) -> None:
    assert await call.answered()
    await call.prompt(0)
    await call.record("yes", 4)
    await call.prompt(4)
    assert (call.digits, call.end) == ("", None)
    await call.hang_up()


async def presses_1(call: Call) -> None:
    await presses(call, "1")


async def enters_code(call: Call) -> None:
    await presses(call, "1234#")


PEOPLE = {
    0: listener,
    1: presses_1,
    2: busy,
    3: rings_out,
    4: no_such_number,
    5: voicemail,
    6: congestion,
    7: hangs_up,
    8: says_yes,
    9: enters_code,
}


def test_every_last_digit_does_what_the_design_says(telephony: "Telephony") -> None:
    legs = {digit: f"2611220000000{digit:02d}.1.1" for digit in PEOPLE}

    async def everyone() -> None:
        async with aiohttp.ClientSession(headers=_auth(telephony)) as http, asyncio.TaskGroup() as tasks:
            gateway = Gateway(telephony.gateway_config, http)
            ready = asyncio.Event()
            listening = tasks.create_task(gateway.listen(ready))
            await ready.wait()

            async def visit(digit: int) -> None:
                call = await gateway.call(legs[digit], town.number(1000 + digit, 0, digit))
                await PEOPLE[digit](call)

            # One more who rings for two seconds first, and one who does not live in this town.
            async def slow() -> None:
                call = await gateway.call("slow.1.1", town.number(2000, 2, 7))
                begun = asyncio.get_running_loop().time()
                assert await call.answered()
                assert asyncio.get_running_loop().time() - begun > 1.8

            async def stranger() -> None:
                await no_such_number(await gateway.call("stranger.1.1", "+79161234567"))

            async with asyncio.TaskGroup() as visits:
                for digit in PEOPLE:
                    visits.create_task(visit(digit))
                visits.create_task(slow())
                visits.create_task(stranger())
            listening.cancel()

    asyncio.run(asyncio.wait_for(everyone(), 4 * PATIENCE))

    counted = town.invites(telephony.home / "town")
    assert [counted.get(leg) for leg in (*legs.values(), "slow.1.1", "stranger.1.1")] == [1] * 12
    facts = written(telephony, set(legs.values()))
    answered = {digit for digit, leg in legs.items() if leg in facts and facts[leg].answered_at is not None}
    assert answered == {0, 1, 5, 7, 8, 9}
    assert {digit: facts[legs[digit]].hangup_cause for digit in (2, 4, 6)} == {2: 17, 4: 1, 6: 34}
    assert all(facts[leg].ended_at is not None for leg in legs.values())
    for name in ("voicemail", "yes"):
        samples, rate = soundfile.read(telephony.home / "gateway/spool/recording" / f"{name}.wav")
        assert rate == 8000
        assert abs(samples).max() > 0.05, f"nothing to hear in {name}"


def test_sixty_calls_at_once_are_each_counted_once(telephony: "Telephony") -> None:
    legs = {f"parallel{index}.1.1": town.number(index, 0, 2) for index in range(60)}

    async def everyone() -> None:
        async with aiohttp.ClientSession(headers=_auth(telephony)) as http, asyncio.TaskGroup() as tasks:
            gateway = Gateway(telephony.gateway_config, http)
            ready = asyncio.Event()
            listening = tasks.create_task(gateway.listen(ready))
            await ready.wait()

            async def visit(leg: str, number: str) -> None:
                await busy(await gateway.call(leg, number))

            async with asyncio.TaskGroup() as visits:
                for leg, number in legs.items():
                    visits.create_task(visit(leg, number))
            listening.cancel()

    asyncio.run(asyncio.wait_for(everyone(), 4 * PATIENCE))
    counted = town.invites(telephony.home / "town")
    assert {leg: counted.get(leg) for leg in legs} == dict.fromkeys(legs, 1)


@pytest.mark.parametrize("parts", [(10_000, 0, 0), (0, 100, 0), (0, 0, 10), (-1, 0, 0)])
def test_a_number_outside_the_town_is_not_made(parts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no such town number"):
        town.number(*parts)


def written(telephony: "Telephony", legs: set[str]) -> dict[str, cel.ChannelFacts]:
    """What the gateway has on record of these, which it writes down a moment after it has told of it."""
    until = time.monotonic() + PATIENCE
    while True:
        facts = cel.read(cel.path(telephony.home / "gateway"), channels=legs)
        if all(leg in facts and facts[leg].ended_at is not None for leg in legs):
            return facts
        assert time.monotonic() < until, facts
        time.sleep(0.02)


def _auth(telephony: "Telephony") -> dict[str, str]:
    config = telephony.gateway_config
    return {"Authorization": aiohttp.encode_basic_auth(config.ari_user, config.ari_password)}
