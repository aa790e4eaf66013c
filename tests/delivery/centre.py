"""What does a short-message centre say? A small SMPP 3.4 server that reads the bytes by itself, not by our library."""

import asyncio
import struct
from collections.abc import Awaitable, Callable

from msgspec import Struct

from .listener import Listener
from .receiver import DEADLINE

BIND_TRANSMITTER, SUBMIT_SM, UNBIND, ENQUIRE_LINK_RESP = 0x2, 0x4, 0x6, 0x80000015
THROTTLED, BAD_ADDRESS, BAD_PASSWORD = 0x58, 0x0B, 0x0E

Behaviour = Callable[["Message"], Awaitable[int | bytes]]


class Message(Struct, frozen=True, kw_only=True):
    """A submit_sm as it came."""

    source: str
    destination: str
    esm_class: int
    coding: int
    body: bytes

    @property
    def text(self) -> str:
        body = self.body[6:] if self.esm_class & 0x40 else self.body
        return body.decode("utf-16-be") if self.coding == 8 else body.decode("ascii")


async def take(_: Message) -> int:
    return 0


class Centre:
    """Listens on a port of its own. `behave`: the status of each answer, or raw bytes to send instead."""

    def __init__(self, behave: Behaviour = take, *, bind_status: int = 0, port: int = 0) -> None:
        self.behave = behave
        self.bind_status = bind_status
        self.messages: list[Message] = []
        self.binds: list[tuple[str, str]] = []
        self.sessions = 0
        self.alive_answers = 0
        self.asks_alive = False
        self._changed = asyncio.Condition()
        self._listener = Listener(self._serve, port=port)

    @property
    def port(self) -> int:
        return self._listener.port

    async def __aenter__(self) -> "Centre":
        await self._listener.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.__aexit__(None, None, None)

    async def until(self, what: Callable[["Centre"], bool]) -> None:
        async with asyncio.timeout(DEADLINE), self._changed:
            await self._changed.wait_for(lambda: what(self))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        while await self._one(reader, writer):
            pass

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        length, command, _, sequence = struct.unpack(">LLLL", await reader.readexactly(16))
        body = await reader.readexactly(length - 16)
        match command:
            case 0x2:
                system_id, password, _ = body.split(b"\0", 2)
                self.binds.append((system_id.decode(), password.decode()))
                writer.write(_pdu(0x80000002, self.bind_status, sequence, b"centre\0"))
                if self.asks_alive:
                    writer.write(_pdu(0x15, 0, 77, b""))
            case 0x4:
                message = _message(body)
                self.messages.append(message)
                said = await self.behave(message)
                if isinstance(said, bytes):
                    writer.write(said)
                    return said != b""
                writer.write(_pdu(0x80000004, said, sequence, b"id-1\0" if said == 0 else b""))
            case 0x80000015:
                self.alive_answers += 1
            case 0x6:
                writer.write(_pdu(0x80000006, 0, sequence, b""))
                return False
        await writer.drain()
        async with self._changed:
            self._changed.notify_all()
        return True


def _pdu(command: int, status: int, sequence: int, body: bytes) -> bytes:
    return struct.pack(">LLLL", 16 + len(body), command, status, sequence) + body


def _message(body: bytes) -> Message:
    service, rest = body.split(b"\0", 1)
    assert service == b""
    source, rest = rest[2:].split(b"\0", 1)
    ton, npi = rest[0], rest[1]
    assert (ton, npi) == (1, 1)
    destination, rest = rest[2:].split(b"\0", 1)
    esm_class = rest[0]
    rest = rest[3:]  # protocol, priority
    schedule, rest = rest.split(b"\0", 1)
    validity, rest = rest.split(b"\0", 1)
    assert (schedule, validity) == (b"", b"")
    _, _, coding, _, size = rest[:5]
    assert len(rest) == 5 + size
    return Message(
        source=source.decode(),
        destination=destination.decode(),
        esm_class=esm_class,
        coding=coding,
        body=rest[5:],
    )
