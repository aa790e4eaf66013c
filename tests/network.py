"""Who is at the other end, if it is no Asterisk? SIPp says what is said in SIP, and sockets of ours have the sound.

SIPp is a carrier behind a trunk: `Network` takes every call that the service makes over it, and the first digits of the
number decide what comes of it. `Telephone` sends and hears RTP where SIPp has told the service to find it, packet by
packet.
"""

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .ports import free_port

SCENARIOS = Path(__file__).parent / "line/sipp"
HERE = "127.0.0.5"  # where the carrier is: the town's calls come from 127.0.0.1
PACKET = 160  # samples of 20 ms
ALAW, EVENT = 8, 101  # payload types
KEYS = "0123456789*#"
PAUSE = 0.4  # seconds without sound after which whoever spoke has said all

_LOOK = '<ereg regexp="INVITE sip:\\+7495{prefix}" search_in="msg" assign_to="r{prefix}"/>'
_TURN = '<nop next="refuse{prefix}" test="r{prefix}"/>'
_REFUSAL = """<label id="refuse{prefix}"/>
  <send retrans="500" next="refused"><![CDATA[

SIP/2.0 {code} Refused
[last_Via:]
[last_From:]
[last_To:];tag=[pid]-[call_number]
[last_Call-ID:]
[last_CSeq:]
{reason}Content-Length: 0

]]></send>"""
_REFUSED = '<label id="refused"/>\n  <recv request="ACK" next="over"/>'


class Refusal(NamedTuple):
    """What a network answers to an INVITE."""

    code: int  # SIP
    cause: int = 0  # Q.850 in a Reason header; 0 is none

    @property
    def prefix(self) -> str:
        return f"{self.code}{self.cause:02d}"

    def number(self, subscriber: int) -> str:
        """Whoever calls this is refused so."""
        return f"+7495{self.prefix}{subscriber:02d}"


def scenario(refusals: Sequence[Refusal]) -> str:
    """The network's scenario, with these refusals in it."""
    text = (SCENARIOS / "network.xml").read_text()
    looks = "\n      ".join(_LOOK.format(prefix=one.prefix) for one in refusals)
    turns = "\n  ".join(_TURN.format(prefix=one.prefix) for one in refusals)
    refuse = "\n  ".join(
        _REFUSAL.format(
            prefix=one.prefix,
            code=one.code,
            reason=f"Reason: Q.850;cause={one.cause}\n" if one.cause else "",
        )
        for one in refusals
    )
    if refusals:
        refuse += f"\n  {_REFUSED}"
    for mark, put in (("LOOKS", looks), ("TURNS", turns), ("REFUSALS", refuse)):
        text = text.replace(f"<!-- {mark} -->", put)
    return text


class Network:
    """A SIPp that listens, or calls."""

    def __init__(self, process: "subprocess.Popen[bytes]", messages: Path) -> None:
        self._process = process
        self._messages = messages

    def verdict(self, seconds: float) -> int:
        """Its exit code: 0 where every dialogue went as its scenario says. Waits until it has had all its calls."""
        return self._process.wait(seconds)

    def said(self) -> str:
        """Every message, for whoever wonders."""
        return self._messages.read_text(errors="replace")


@contextlib.contextmanager
def network(
    room: Path, calls: int, refusals: Sequence[Refusal] = (), *, port: int, **keys: int
) -> Iterator[Network]:
    """A carrier that takes so many calls. `keys`: the ports of telephones, by the scenario's names for them."""
    script = room / "network.xml"
    script.write_text(scenario(refusals))
    with _sipp(room, script, port, calls, {"telephone": 9, "agent": 9, **keys}) as made:
        yield made


@contextlib.contextmanager
def calling(room: Path, to: tuple[str, int], **keys: object) -> Iterator[Network]:
    """A carrier whose subscriber calls us once: `caller`, `called`, and the port of his `telephone`."""
    with _sipp(
        room, SCENARIOS / "calls_us.xml", free_port(HERE, socket.SOCK_DGRAM), 1, keys, *map(str, to)
    ) as made:
        yield made


@contextlib.contextmanager
def _sipp(
    room: Path, script: Path, port: int, calls: int, keys: dict[str, object], *to: str
) -> Iterator[Network]:
    command = shutil.which("sipp")
    assert command is not None, "These tests need SIPp: apt-get install sip-tester."
    messages = room / f"messages-{port}.log"
    remote = [":".join(to)] if to else []
    named = [word for name, value in keys.items() for word in ("-key", name, str(value))]
    with (room / f"sipp-{port}.log").open("wb") as output:
        process = subprocess.Popen(
            [
                *(command, *remote, "-sf", str(script), "-i", HERE, "-p", str(port), "-m", str(calls)),
                *("-ci", HERE, "-nostdin", "-trace_msg", "-message_file", str(messages), *named),
            ],
            cwd=room,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        while not to and not _taken(port):
            assert process.poll() is None, (room / f"sipp-{port}.log").read_text()
            time.sleep(0.02)
        yield Network(process, messages)
    finally:
        process.kill()
        process.wait()


def _taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((HERE, port))
        except OSError:
            return True
    return False


class Telephone:
    """Sends one sound from the moment at which it hears anything, and keeps count of what it hears.

    `sound`: the one byte of A-law that it says over and over. `keys`: what it presses, by RFC 4733, when whoever speaks
    first has been silent for a moment.
    """

    def __init__(self, sound: int, keys: str = "") -> None:
        self.sound = bytes([sound]) * PACKET
        self.heard: Counter[bytes] = Counter()  # payloads of A-law
        self._keys = keys
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HERE, 0))
        self._socket.settimeout(0.02)
        self.port = int(self._socket.getsockname()[1])
        self._sequence = self._time = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def __enter__(self) -> "Telephone":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _live(self) -> None:
        peer: tuple[str, int] | None = None
        last = due = time.monotonic()
        pressed = False
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                packet, peer = self._socket.recvfrom(2048)
                if packet[1] & 0x7F == ALAW:
                    self.heard[packet[12:]] += 1
                    last = time.monotonic()
            if peer is None:
                continue
            now = time.monotonic()
            if self._keys and not pressed and now - last > PAUSE:
                pressed = True
                self._press(peer)
                due = time.monotonic()
            elif now >= due:
                due += PACKET / 8000
                self._send(peer, ALAW, self.sound)
                self._time += PACKET

    def _press(self, peer: tuple[str, int]) -> None:
        for key in self._keys:
            for step in range(1, 9):
                # The last three say that the key is up.
                event = struct.pack(
                    ">BBH", KEYS.index(key), 0x8A if step > 5 else 0x0A, min(step, 6) * PACKET
                )
                self._send(peer, EVENT, event, marked=step == 1)
                time.sleep(0.02)
            self._time += 8 * PACKET
            time.sleep(0.1)

    def _send(self, peer: tuple[str, int], kind: int, payload: bytes, *, marked: bool = False) -> None:
        self._sequence += 1
        second = kind | (0x80 if marked else 0)
        head = struct.pack(">BBHLL", 0x80, second, self._sequence & 0xFFFF, self._time, self.port)
        self._socket.sendto(head + payload, peer)
