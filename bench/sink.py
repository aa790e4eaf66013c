"""Who takes the posts of a benchmark? A process that answers 200 to whatever comes, and remembers when.

`python -m bench.sink`: prints its ports as JSON, then obeys lines on standard input: `report` prints when each event
came first, by its header, and forgets it.
"""

import asyncio
import json
import sys
import time
from typing import cast

import httptools
import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
arrived: dict[int, float] = {}  # event id → time of its first arrival
posts = 0


class Taker(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.parser = httptools.HttpRequestParser(self)
        self.event = 0

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"Zvonar-Event-Id":
            self.event = int(value)

    def on_message_complete(self) -> None:
        global posts
        posts += 1
        arrived.setdefault(self.event, time.time())
        self.transport.write(ANSWER)


class Hole(asyncio.Protocol):
    """Takes a connection and never says anything."""


async def main() -> None:
    loop = asyncio.get_running_loop()
    takers = [await loop.create_server(Taker, "127.0.0.1", 0) for _ in range(10)]
    hole = await loop.create_server(Hole, "127.0.0.1", 0)
    ports = [server.sockets[0].getsockname()[1] for server in takers]
    print(json.dumps({"ports": ports, "hole": hole.sockets[0].getsockname()[1]}), flush=True)
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line.strip() == b"count":
            print(len(arrived), flush=True)
        else:
            print(json.dumps(arrived), flush=True)
            arrived.clear()


if __name__ == "__main__":
    uvloop.run(main())
