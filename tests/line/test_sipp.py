"""Does an independent SIP peer agree? SIPp checks the dialogue from its side, message by message.

It answers on the stranger's trunk of the session's gateway. Its exit code is 0 only if every message that its
scenario awaits came, in order.
"""

import asyncio
import contextlib
import shutil
import socket
import struct
from collections.abc import AsyncIterator
from itertools import count, groupby
from pathlib import Path

import msgspec
import pytest

from zvonar.core.leg import LegId
from zvonar.core.result import Disposition, disposition_of
from zvonar.line.asterisk.gateway import AsteriskGateway
from zvonar.line.line import Dialled, HungUp

from ..plant import STRANGER_TRUNK, Plant

pytestmark = pytest.mark.asyncio

SCENARIOS = Path(__file__).with_name("sipp")
DEADLINE = 90.0  # seconds for anything here; a whole call takes two
OUR_NUMBER = "+74950000001"
THEIR_NUMBER = "+12025550123"
_call_ids = count(990000000000000)


class Peer:
    """One SIPp that takes one call."""

    def __init__(self, process: asyncio.subprocess.Process, messages: Path) -> None:
        self._process = process
        self._messages = messages

    async def verdict(self) -> int:
        """Its exit code: 0 when the dialogue went as its scenario says."""
        return await asyncio.wait_for(self._process.wait(), DEADLINE)

    def invites(self) -> list[str]:
        """Every INVITE that arrived, retransmissions included."""
        heard = self._messages.read_text(encoding="utf-8", errors="replace").split("-----------------------")
        return [text for text in heard if "message received" in text and "\nINVITE sip:" in text]


@contextlib.asynccontextmanager
async def peer(plant: Plant, tmp_path: Path, scenario: str, *, status: str = "") -> AsyncIterator[Peer]:
    command = shutil.which("sipp")
    assert command is not None, "These tests need SIPp: apt-get install sip-tester."
    messages, script = tmp_path / "messages.log", tmp_path / "scenario.xml"
    script.write_text((SCENARIOS / f"{scenario}.xml").read_text().replace("STATUS", status))
    process = await asyncio.create_subprocess_exec(
        command,
        *("-sf", str(script), "-i", "127.0.0.1", "-p", str(plant.stranger_port)),
        *("-mi", "127.0.0.1", "-mp", str(plant.stranger_port + 4), "-rtp_echo", "-ci", "127.0.0.1"),
        *("-m", "1", "-nostdin", "-trace_msg", "-message_file", str(messages)),
        cwd=tmp_path,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            while not _taken(plant.stranger_port):
                assert process.returncode is None, "SIPp ended before its call."
                await asyncio.sleep(0.02)
        yield Peer(process, messages)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def wanted() -> Dialled:
    return Dialled(
        leg=LegId(next(_call_ids), 1, 1),
        phone=THEIR_NUMBER,
        trunk_id=STRANGER_TRUNK,
        caller_id=OUR_NUMBER,
        ring_timeout=10,
        max_seconds=30,
    )


@contextlib.asynccontextmanager
async def gateway_of(plant: Plant) -> AsyncIterator[AsteriskGateway]:
    async with plant.client() as ari:
        await ari.ready(DEADLINE)
        yield plant.line_gateway(ari)


async def test_an_answered_call_has_audio_both_ways_a_digit_and_a_proper_end(
    plant: Plant, tmp_path: Path
) -> None:
    async with (
        gateway_of(plant) as gateway,
        peer(plant, tmp_path, "answers") as sipp,
        asyncio.timeout(DEADLINE),
    ):
        call = wanted()
        line = await gateway.create(call)
        await gateway.dial(line, ring_timeout=call.ring_timeout)
        await line.answered()
        assert await line.play(plant.clip(3.0), interruptible=True) == "5"
        media = await gateway.ari.request("GET", f"channels/{call.leg}/rtp_statistics")
        statistics = msgspec.json.decode(media.body)
        assert statistics["txcount"] > 20, "packets to the callee"
        assert statistics["rxcount"] > 20, "packets from the callee"
        end = await line.hang_up()
        assert end.by_us
        assert await sipp.verdict() == 0


async def test_the_callee_sees_one_invite_with_the_leg_and_our_number(plant: Plant, tmp_path: Path) -> None:
    async with (
        gateway_of(plant) as gateway,
        peer(plant, tmp_path, "answers") as sipp,
        asyncio.timeout(DEADLINE),
    ):
        call = wanted()
        line = await gateway.create(call)
        assert sipp.invites() == [], "nothing is sent before dial"
        await gateway.dial(line, ring_timeout=call.ring_timeout)
        await line.answered()
        assert await line.key(DEADLINE) == "5"
        await line.hang_up()
        assert await sipp.verdict() == 0
        [invite] = sipp.invites()
        assert f"INVITE sip:{THEIR_NUMBER}@" in invite
        assert f"X-Zvonar-Leg: {call.leg}" in invite
        sender = next(text for text in invite.splitlines() if text.startswith("From:"))
        assert f"sip:{OUR_NUMBER}@" in sender
        assert f"P-Asserted-Identity: <sip:{OUR_NUMBER}@" in invite.replace('"" ', "")


async def test_a_callee_who_hangs_up_ends_the_line(plant: Plant, tmp_path: Path) -> None:
    async with (
        gateway_of(plant) as gateway,
        peer(plant, tmp_path, "hangs_up") as sipp,
        asyncio.timeout(DEADLINE),
    ):
        call = wanted()
        line = await gateway.create(call)
        await gateway.dial(line, ring_timeout=call.ring_timeout)
        await line.answered()
        with pytest.raises(HungUp) as caught:
            await line.play(plant.clip(5.0), interruptible=False)
        assert not caught.value.end.by_us
        assert caught.value.end.answered_at is not None
        assert await sipp.verdict() == 0


@pytest.mark.parametrize(
    ("status", "disposition"),
    [
        ("404 Not Found", Disposition.invalid_number),
        ("410 Gone", Disposition.invalid_number),
        ("480 Temporarily Unavailable", Disposition.unreachable),
        ("484 Address Incomplete", Disposition.invalid_number),
        ("486 Busy Here", Disposition.busy),
        ("500 Server Internal Error", Disposition.congestion),
        ("503 Service Unavailable", Disposition.congestion),
        ("600 Busy Everywhere", Disposition.busy),
        ("603 Decline", Disposition.declined),
    ],
)
async def test_each_final_answer_of_the_network_has_its_disposition(
    plant: Plant, tmp_path: Path, status: str, disposition: Disposition
) -> None:
    async with (
        gateway_of(plant) as gateway,
        peer(plant, tmp_path, "refuses", status=status) as sipp,
        asyncio.timeout(DEADLINE),
    ):
        call = wanted()
        line = await gateway.create(call)
        await gateway.dial(line, ring_timeout=call.ring_timeout)
        with pytest.raises(HungUp) as caught:
            await line.answered()
        end = caught.value.end
        assert end.sip_code == int(status.split()[0])
        found = disposition_of(sip_code=end.sip_code, hangup_cause=end.hangup_cause, rang_out=end.rang_out)
        assert found is disposition
        assert await sipp.verdict() == 0


def typed(path: Path, keys: str, *, every: float) -> Path:
    """A file of packets in which each key is pressed for most of `every` seconds, as RFC 4733 has it.

    A start, a middle and an end that is sent three times; the sum of a frame's UDP is none of SIPp's business.
    """
    step = int(every * 8000)
    packets: list[tuple[float, bytes]] = []
    for number, key in enumerate(keys):
        begun = number * every
        parts = (
            (0.0, 0, step // 4),
            (every / 2, 0, step // 2),
            *(((every * 0.75), 0x80, step * 3 // 4),) * 3,
        )
        for sequence, (after, end, duration) in enumerate(parts, start=number * len(parts)):
            marker = 0x80 if after == 0 else 0
            rtp = struct.pack("!BBHII", 0x80, 101 | marker, sequence, 1000 + number * step, 7)
            event = struct.pack("!BBH", "0123456789*#ABCD".index(key), end | 10, duration)
            packets.append((begun + after, rtp + event))
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for at, payload in packets:
            udp = struct.pack("!HHHH", 4000, 4000, 8 + len(payload), 0) + payload
            ip = (
                struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes(4), bytes(4))
                + udp
            )
            frame = bytes(12) + b"\x08\x00" + ip
            file.write(struct.pack("<IIII", int(at), int(at % 1 * 1e6), len(frame), len(frame)) + frame)
    return path


async def heard(plant: Plant, tmp_path: Path, keys: str, *, every: float, count: int) -> str:
    """Which of these keys the line has heard within a few seconds."""
    packets = typed(tmp_path / "keys.pcap", keys, every=every)
    async with (
        gateway_of(plant) as gateway,
        peer(plant, tmp_path, "types", status=str(packets)) as sipp,
        asyncio.timeout(DEADLINE),
    ):
        call = wanted()
        line = await gateway.create(call)
        await gateway.dial(line, ring_timeout=call.ring_timeout)
        await line.answered()
        found = ""
        while len(found) < count and (key := await line.key(10.0)) is not None:
            found += key
        assert (await line.hang_up()).by_us
        assert await sipp.verdict() == 0
    return found


@pytest.mark.parametrize(("keys", "pause"), [("0123456789*#ABCD", 0.06), ("112233#", 0.04)])
async def test_every_key_of_rfc_4733_arrives_once_and_in_order(
    plant: Plant, tmp_path: Path, keys: str, pause: float
) -> None:
    # Asterisk puts off what follows within 45 ms of another key.
    assert await heard(plant, tmp_path, keys, every=4 * pause, count=len(keys)) == keys


async def test_of_a_hundred_keys_in_a_second_none_is_out_of_turn(plant: Plant, tmp_path: Path) -> None:
    keys = "0123456789*#ABCD" * 6 + "0123"
    # Nobody presses so fast: Asterisk makes each last as long as a key of a person does, and may tell of it twice.
    found = await heard(plant, tmp_path, keys, every=0.01, count=24)
    once = "".join(key for key, _ in groupby(found))
    assert len(once) >= 12
    assert once == keys[: len(once)]
