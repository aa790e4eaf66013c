"""Who takes the calls of a benchmark? A CRM that knows every number, thinks for a moment, and remembers what came when.

`python -m bench.crm_sink MILLISECONDS`: prints its port, then obeys lines on standard input: `count` prints how many
calls came, `report` when each request came, in seconds, as the kernel stamped them: how soon this process gets to see
them says nothing about whoever sent them.
"""

import asyncio
import json
import socket
import struct
import sys
import time
from typing import Any

import httptools
import msgspec
import uvloop

THINKS = float(sys.argv[1]) / 1000 if len(sys.argv) > 1 else 0.05
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/hal+json; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
STAMP = 35  # SO_TIMESTAMPNS of Linux
_TIMESPEC = struct.Struct("@ll")
arrived: list[float] = []
uniqs: list[str] = []


class Taker:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._at = 0.0
        asyncio.get_running_loop().add_reader(connection, self._read)

    def _read(self) -> None:
        try:
            data, notes, _, _ = self._connection.recvmsg(1 << 18, 256)
        except BlockingIOError:
            return
        except ConnectionError:
            data, notes = b"", []
        if not data:
            asyncio.get_running_loop().remove_reader(self._connection)
            self._connection.close()
            return
        self._at = time.time()
        for level, kind, value in notes:
            if level == socket.SOL_SOCKET and kind == STAMP:
                seconds, nanoseconds = _TIMESPEC.unpack(value[: _TIMESPEC.size])
                self._at = seconds + nanoseconds / 1e9
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        arrived.append(self._at)
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        asyncio.get_running_loop().call_later(THINKS, self._answer, bytes(self._body))

    def _answer(self, body: bytes) -> None:
        items: list[dict[str, Any]] = msgspec.json.decode(body)
        uniqs.extend(item["uniq"] for item in items)
        calls = [
            {"id": len(uniqs), "entity_id": 1, "entity_type": "contact", "request_id": item["request_id"]}
            for item in items
        ]
        said = msgspec.json.encode({"_total_items": len(calls), "errors": [], "_embedded": {"calls": calls}})
        self._connection.sendall(HEAD % len(said) + said)  # smaller than any socket's buffer


async def take(listener: socket.socket) -> None:
    """Every connection that comes, for ever."""
    while True:
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, STAMP, 1)
        Taker(connection)


async def main() -> None:
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    listener.setsockopt(socket.SOL_SOCKET, STAMP, 1)  # for what comes with a connection
    taking = asyncio.create_task(take(listener))
    print(listener.getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line.strip() == b"count":
            print(json.dumps({"calls": len(uniqs), "different": len(set(uniqs))}), flush=True)
        else:
            print(json.dumps(sorted(arrived)), flush=True)
    taking.cancel()


if __name__ == "__main__":
    uvloop.run(main())
