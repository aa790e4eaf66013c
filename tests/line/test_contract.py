"""Is the fake line a line, and is Asterisk's? One suite for both; what only a real gateway can suffer comes after."""

import asyncio
import itertools
import json
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio

from zvonar.core.leg import LegId
from zvonar.line.asterisk.ari import AriClient
from zvonar.line.asterisk.channel import APP, EVENTS
from zvonar.line.asterisk.gateway import AsteriskGateway
from zvonar.line.asterisk.town import number
from zvonar.line.fake import FakeGateway
from zvonar.line.line import (
    AlreadyExists,
    Dialled,
    Gateway,
    GatewayInDoubt,
    GatewayLost,
    HungUp,
    Line,
    LineEnd,
)

from ..plant import STRANGER_TRUNK, Plant
from .proxy import Proxy

pytestmark = pytest.mark.asyncio
PATIENCE = 60.0  # seconds for anything that a test waits for
CLOSE = 0.5  # seconds between Asterisk's event and its own record of the same
_calls = itertools.count(1_000_000_000_000)  # nobody else's: the town counts INVITEs for as long as it lives
_subscribers = itertools.count(5000)


class Exchange(Protocol):
    """A gateway under test, and what lies around it."""

    @property
    def gateway(self) -> Gateway:
        """The one under test."""

    def clip(self, seconds: float) -> Path:
        """Something to play."""

    def invites(self, leg: LegId) -> int:
        """How many arrived at the callee."""

    async def another(self) -> Gateway:
        """The same gateway for a controller that comes after this one."""


class Fake:
    def __init__(self) -> None:
        self.gateway = FakeGateway(now=lambda: datetime.now(UTC))

    def clip(self, seconds: float) -> Path:
        self.gateway.durations[f"{seconds}.wav"] = seconds
        return Path(f"{seconds}.wav")

    def invites(self, leg: LegId) -> int:
        return self.gateway.invites[str(leg)]

    async def another(self) -> Gateway:
        return self.gateway


class Real:
    def __init__(self, plant: Plant, stack: AsyncExitStack) -> None:
        self.plant = plant
        self._stack = stack
        self.gateway: AsteriskGateway
        self.ari: AriClient
        self.wire: Proxy

    async def connect(self) -> "Real":
        self.wire = await self._stack.enter_async_context(Proxy(self.plant.ari_port))
        self.ari = await self.client(f"http://127.0.0.1:{self.wire.port}")
        self.gateway = self.plant.line_gateway(self.ari)
        return self

    async def client(self, url: str | None = None) -> AriClient:
        ari = await self._stack.enter_async_context(self.plant.client(url))
        await ari.ready(PATIENCE)
        return ari

    def clip(self, seconds: float) -> Path:
        return self.plant.clip(seconds)

    def invites(self, leg: LegId) -> int:
        return self.plant.invites().get(str(leg), 0)

    async def another(self) -> AsteriskGateway:
        return self.plant.line_gateway(await self.client())


@pytest_asyncio.fixture
async def real(plant: Plant) -> AsyncIterator[Real]:
    async with AsyncExitStack() as stack:
        yield await Real(plant, stack).connect()


@pytest_asyncio.fixture(params=["fake", "asterisk"])
async def exchange(request: pytest.FixtureRequest) -> AsyncIterator[Exchange]:
    if request.param == "fake":
        yield Fake()
    else:
        async with AsyncExitStack() as stack:
            yield await Real(request.getfixturevalue("plant"), stack).connect()


def wanted(digit: int, *, ring: int = 0, rings_for: int = 5, trunk: int = 1) -> Dialled:
    return Dialled(
        leg=LegId(next(_calls), 1, 1),
        phone=number(next(_subscribers) % 10000, ring, digit),
        trunk_id=trunk,
        caller_id="+70009991234",
        ring_timeout=rings_for,
        max_seconds=40,
    )


async def dialled(at: Exchange, digit: int, *, ring: int = 0, rings_for: int = 5) -> Line:
    line = await at.gateway.create(wanted(digit, ring=ring, rings_for=rings_for))
    await at.gateway.dial(line, ring_timeout=rings_for)
    return line


async def answered(at: Exchange, digit: int) -> Line:
    line = await dialled(at, digit)
    async with asyncio.timeout(PATIENCE):
        await line.answered()
    return line


async def end(line: Line) -> LineEnd:
    async with asyncio.timeout(PATIENCE):
        return await line.end()


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await what():
            await asyncio.sleep(0.02)


# What holds for both.


async def test_a_channel_that_is_created_rings_nobody_and_creating_it_again_says_so(
    exchange: Exchange,
) -> None:
    asked = wanted(1)
    line = await exchange.gateway.create(asked)
    with pytest.raises(AlreadyExists):
        await exchange.gateway.create(asked)
    assert asked.leg in await exchange.gateway.alive()
    assert exchange.invites(asked.leg) == 0
    await exchange.gateway.discard(asked.leg)
    assert (await end(line)).answered_at is None
    assert asked.leg not in await exchange.gateway.alive()
    assert exchange.invites(asked.leg) == 0


async def test_dialling_sends_one_invite_and_the_callee_answers(exchange: Exchange) -> None:
    line = await dialled(exchange, 0)
    async with asyncio.timeout(PATIENCE):
        at = await line.answered()
    assert 0 <= (datetime.now(UTC) - at).total_seconds() < PATIENCE
    assert await line.answered() == at
    assert exchange.invites(line.leg) == 1
    ended = await line.hang_up()
    assert (ended.answered_at, ended.by_us, ended.vanished) == (at, True, False)
    assert ended.at >= at
    assert await line.hang_up() == ended == line.ended == await line.end()
    assert exchange.invites(line.leg) == 1


@pytest.mark.parametrize(("digit", "cause", "code"), [(2, 17, 486), (4, 1, 404), (6, 34, 503)])
async def test_a_refusal_keeps_the_cause_and_the_sip_code(
    exchange: Exchange, digit: int, cause: int, code: int
) -> None:
    line = await dialled(exchange, digit)
    with pytest.raises(HungUp) as caught:
        async with asyncio.timeout(PATIENCE):
            await line.answered()
    ended = caught.value.end
    assert (ended.hangup_cause, ended.sip_code, ended.answered_at) == (cause, code, None)
    assert (ended.rang_out, ended.by_us, ended.vanished) == (False, False, False)


async def test_nobody_answers_and_our_ring_timeout_ends_it(exchange: Exchange) -> None:
    began = time.monotonic()
    ended = await end(await dialled(exchange, 3, rings_for=1))
    assert ended.rang_out
    assert (ended.by_us, ended.answered_at) == (False, None)
    assert time.monotonic() - began > 0.9


async def test_a_callee_who_hangs_up_ends_whatever_the_line_was_doing(exchange: Exchange) -> None:
    line = await answered(exchange, 7)
    with pytest.raises(HungUp) as caught:
        await line.play(exchange.clip(8), interruptible=True)
    assert caught.value.end.answered_at is not None
    assert not caught.value.end.by_us
    for late in (line.play(exchange.clip(1), interruptible=False), line.key(5), line.start_recording()):
        with pytest.raises(HungUp):
            await late
    assert await line.hang_up() == caught.value.end


async def test_a_clip_plays_to_its_end_and_then_a_key_is_heard(exchange: Exchange) -> None:
    line = await answered(exchange, 1)
    began = time.monotonic()
    assert await line.play(exchange.clip(1), interruptible=False) is None
    assert time.monotonic() - began > 0.9
    assert await line.key(5) == "1"
    await line.hang_up()


async def test_a_callee_who_presses_nothing_is_silence(exchange: Exchange) -> None:
    line = await answered(exchange, 0)
    assert await line.key(0.3) is None
    await line.hang_up()


async def test_a_key_interrupts_a_clip_and_one_pressed_before_counts(exchange: Exchange) -> None:
    line = await answered(exchange, 9)
    assert await line.play(exchange.clip(0.8), interruptible=False) is None
    assert await line.key(5) == "1"
    assert await line.play(exchange.clip(9), interruptible=True) == "2"
    assert await line.digits(count=4, timeout=3, between=2) == "34"
    await line.hang_up()


async def test_digits_stop_at_their_number(exchange: Exchange) -> None:
    line = await answered(exchange, 9)
    await line.play(exchange.clip(0.8), interruptible=False)
    assert await line.digits(count=3, timeout=5, between=2) == "123"
    assert await line.digits(count=3, timeout=2, between=1) == "4"
    await line.hang_up()


async def test_another_controller_adopts_a_ringing_and_a_talking_line(exchange: Exchange) -> None:
    talking, ringing = await answered(exchange, 1), await dialled(exchange, 7, ring=3, rings_for=10)
    heir = await exchange.another()
    assert {talking.leg, ringing.leg} <= set(await heir.alive())
    assert await heir.adopt(LegId(next(_calls), 1, 1)) is None
    adopted = await heir.adopt(talking.leg)
    assert adopted is not None
    assert abs((await adopted.answered() - await talking.answered()).total_seconds()) < CLOSE
    also = await heir.adopt(ringing.leg, rings_for=9)
    assert also is not None
    await adopted.play(exchange.clip(1), interruptible=False)
    assert await adopted.key(5) == "1"
    assert await adopted.key(0.5) is None  # heard once, though the line was subscribed to twice
    assert (await adopted.hang_up()).by_us
    assert (await end(also)).answered_at is not None
    assert (exchange.invites(talking.leg), exchange.invites(ringing.leg)) == (1, 1)


async def test_the_past_of_a_line_is_on_record(exchange: Exchange) -> None:
    talked, busy = await answered(exchange, 7), await dialled(exchange, 2)
    ends = {line.leg: await end(line) for line in (talked, busy)}
    strange = LegId(next(_calls), 1, 1)

    async def written() -> bool:
        return set(exchange.gateway.past([*ends, strange])) == set(ends)

    await until(written)
    past = exchange.gateway.past([*ends])
    assert past[busy.leg].hangup_cause == 17
    assert past[busy.leg].answered_at is None
    told, seen = past[talked.leg], ends[talked.leg]
    assert told.answered_at is not None
    assert seen.answered_at is not None
    assert abs((told.answered_at - seen.answered_at).total_seconds()) < CLOSE
    assert abs((told.at - seen.at).total_seconds()) < CLOSE


async def test_both_directions_are_recorded_until_the_end(exchange: Exchange) -> None:
    line = await answered(exchange, 0)
    assert exchange.gateway.recording(line.leg) is None
    await line.start_recording()
    await line.start_recording()  # a controller that comes later asks again
    await line.play(exchange.clip(1), interruptible=False)
    await line.hang_up()
    name = exchange.gateway.recording(line.leg)
    assert name is not None
    if isinstance(exchange, Real):
        await until(lambda: _has_sound(exchange.plant.recordings / name))
        await until(lambda: _gone(exchange.ari, line.leg))  # and its recorder


async def _gone(ari: AriClient, leg: LegId) -> bool:
    return str(leg).encode() not in (await ari.request("GET", "channels")).body


async def _has_sound(file: Path) -> bool:
    try:
        with wave.open(str(file)) as clip:
            samples = clip.readframes(clip.getnframes())
    except (FileNotFoundError, EOFError, wave.Error):
        return False  # Asterisk has not written its header yet
    return len(samples) > 8000 and sum(sample not in (0, 255) for sample in samples[1::2]) > 1000


async def test_discarding_what_is_not_there_is_no_error(exchange: Exchange) -> None:
    await exchange.gateway.discard(LegId(next(_calls), 1, 1))


# What only a gateway with a wire can suffer.


async def test_the_callee_sees_our_number_and_the_leg(real: Real) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    class Stranger(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport

        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            if data.startswith(b"INVITE") and not heard.done():
                heard.set_result(data)
                told = dict(line.split(": ", 1) for line in data.decode().split("\r\n") if ": " in line)
                keep = [f"{name}: {told[name]}" for name in ("Via", "From", "Call-ID", "CSeq")]
                keep.append(f"To: {told['To']};tag=stranger")
                answer = "\r\n".join(["SIP/2.0 603 Decline", *keep, "Content-Length: 0", "", ""])
                self.transport.sendto(answer.encode(), address)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        Stranger, local_addr=("127.0.0.1", real.plant.stranger_port)
    )
    try:
        asked = wanted(1, trunk=STRANGER_TRUNK)
        line = await real.gateway.create(asked)
        await real.gateway.dial(line, ring_timeout=5)
        ended = await end(line)
        invite = (await heard).decode()
    finally:
        transport.close()
    assert (ended.sip_code, ended.hangup_cause) == (603, 21)
    headers = dict(line.split(": ", 1) for line in invite.split("\r\n\r\n")[0].split("\r\n")[1:])
    assert headers["From"].startswith("<sip:+70009991234@")
    assert headers["P-Asserted-Identity"].startswith("<sip:+70009991234@")
    assert headers["X-Zvonar-Leg"] == str(asked.leg)


async def lost(real: Real) -> None:
    real.wire.cut()

    async def noticed() -> bool:
        return not real.ari.connected

    await until(noticed)


async def test_a_call_that_was_answered_while_the_wire_was_cut_is_answered(real: Real) -> None:
    line = await dialled(real, 1, ring=1)
    await lost(real)
    with pytest.raises(GatewayLost):
        await real.gateway.alive()
    seen = await real.client()  # somebody else sees when it is answered, without the application's events
    await until(lambda: _is(seen, line.leg, b'"Up"'))
    real.wire.mend()
    async with asyncio.timeout(PATIENCE):
        at = await line.answered()
    assert (datetime.now(UTC) - at).total_seconds() > 0  # by the record, not by our return
    await line.hang_up()

    async def written() -> bool:
        return line.leg in real.gateway.past([line.leg])

    await until(written)
    known = real.gateway.past([line.leg])[line.leg]
    assert known.answered_at is not None
    assert abs((known.answered_at - at).total_seconds()) < CLOSE
    assert real.invites(line.leg) == 1


async def _is(ari: AriClient, leg: LegId, state: bytes) -> bool:
    return state in (await ari.request("GET", f"channels/{leg}")).body


async def test_a_call_that_ended_while_the_wire_was_cut_has_its_end(real: Real) -> None:
    line, busy = await answered(real, 7), await dialled(real, 3, rings_for=1)
    await lost(real)

    async def over() -> bool:
        return len(real.gateway.past([line.leg, busy.leg])) == 2

    await until(over)
    real.wire.mend()
    ended, rung = await end(line), await end(busy)
    assert ended.answered_at is not None
    assert (ended.vanished, rung.vanished) == (False, False)
    assert 0.5 < (ended.at - ended.answered_at).total_seconds() < PATIENCE
    assert rung.hangup_cause == 19


async def test_a_clip_that_ended_while_the_wire_was_cut_is_over(real: Real) -> None:
    line = await answered(real, 0)
    playing = asyncio.create_task(line.play(real.clip(1.5), interruptible=True))

    async def heard() -> bool:
        return bool(line._started)  # type: ignore[attr-defined]

    await until(heard)
    await lost(real)
    await asyncio.sleep(2)  # the clip plays on; nobody is there to be told of its end
    real.wire.mend()
    async with asyncio.timeout(PATIENCE):
        assert await playing is None
    await line.hang_up()


async def test_a_line_hangs_up_though_the_wire_is_cut(real: Real) -> None:
    line = await answered(real, 0)
    await lost(real)
    hanging = asyncio.create_task(line.hang_up())
    await asyncio.sleep(0)
    real.wire.mend()
    async with asyncio.timeout(PATIENCE):
        ended = await hanging
    assert ended.answered_at is not None
    assert not ended.vanished
    assert line.leg not in await real.gateway.alive()


async def test_what_could_not_be_discarded_is_discarded_later(real: Real) -> None:
    line = await real.gateway.create(wanted(1))
    await lost(real)
    await real.gateway.discard(line.leg)
    real.wire.mend()
    await end(line)
    assert line.leg not in await real.gateway.alive()


async def test_a_request_has_a_deadline_and_its_answer_may_come_too_late(real: Real) -> None:
    real.wire.deafen()
    with pytest.raises(GatewayInDoubt):
        await real.ari.request("GET", "asterisk/ping", deadline=0.3)
    real.wire.mend()
    assert (await real.ari.request("GET", "asterisk/ping")).ok


async def test_a_dial_in_doubt_is_asked_about_and_never_repeated(real: Real) -> None:
    line = await real.gateway.create(wanted(1, ring=1))
    real.wire.deafen()
    dialling = asyncio.create_task(real.gateway.dial(line, ring_timeout=5))

    async def rung() -> bool:
        return real.invites(line.leg) == 1

    await until(rung)
    await lost(real)
    real.wire.mend()
    await dialling
    async with asyncio.timeout(PATIENCE):
        await line.answered()
    await line.hang_up()
    assert real.invites(line.leg) == 1


async def test_a_dial_that_was_not_sent_is_sent_once_the_wire_is_back(real: Real) -> None:
    line = await real.gateway.create(wanted(1))
    await lost(real)
    dialling = asyncio.create_task(real.gateway.dial(line, ring_timeout=5))
    await asyncio.sleep(0)
    real.wire.mend()
    await dialling
    async with asyncio.timeout(PATIENCE):
        await line.answered()
    await line.hang_up()
    assert real.invites(line.leg) == 1


async def test_a_channel_that_was_never_dialled_ends_as_vanished(real: Real) -> None:
    asked = wanted(1)
    await real.gateway.create(asked)
    heir = await real.another()
    line = await heir.adopt(asked.leg, rings_for=0.2)
    assert line is not None
    assert (await end(line)).vanished
    assert real.invites(asked.leg) == 0


async def test_a_second_controller_has_the_application_until_it_goes(real: Real) -> None:
    line = await answered(real, 1)
    async with real.plant.client() as stranger:
        await stranger.ready(PATIENCE)

        async def replaced() -> bool:
            return not real.ari.connected

        await until(replaced)
    await real.ari.ready(PATIENCE)
    await line.play(real.clip(0.8), interruptible=False)
    assert await line.key(5) == "1"
    assert (await line.hang_up()).by_us


async def test_a_gateway_that_is_killed_ends_its_lines(real: Real) -> None:
    line = await answered(real, 0)
    await asyncio.to_thread(real.plant.kill_gateway)
    await asyncio.to_thread(real.plant.gateway.ensure, PATIENCE)
    back = datetime.now(UTC)
    ended = await end(line)
    assert ended.vanished
    assert ended.answered_at is not None
    assert ended.answered_at <= ended.at < back  # not when it had come back


async def test_asterisk_tells_us_nothing_that_nobody_listens_to(real: Real) -> None:
    told: set[str] = set()
    async with asyncio.timeout(PATIENCE):
        while not told:  # until the gateway has set its application up
            answer = await real.ari.request("GET", f"applications/{APP}")
            told = {event["type"] for event in json.loads(answer.body)["events_allowed"]}
    assert told == set(EVENTS)
