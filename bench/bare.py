"""What does it take to do the same with the least? A script that drives Asterisk by ARI, without a database.

`python -m bench.bare` reads a Job from standard input and writes what it Did to standard output. It does what a
script does that nobody has to rely on: one request to originate, one to play, one to hang up, no memory.
"""

import asyncio
import sys
import time

import aiohttp
import msgspec
import psutil
import uvloop
from msgspec import Struct

APP = "bare"


class Job(Struct, frozen=True, kw_only=True):
    """What to dial, and how fast."""

    url: str  # of the ARI
    user: str
    password: str
    endpoint: str  # of the trunk
    phones: list[str]
    per_second: float
    media: str  # what to play, as ARI names it


class Did(Struct, frozen=True, kw_only=True):
    """What it did."""

    began: dict[str, float]  # Unix seconds at which each channel was asked for
    cpu: float  # seconds, from the first call to the last one's end
    rss: int  # bytes, at the most


class _Id(Struct):
    id: str


class _Playback(Struct):
    target_uri: str


class _Event(Struct):
    type: str
    channel: _Id | None = None
    playback: _Playback | None = None


class Script:
    """The whole of it."""

    def __init__(self, job: Job, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._job = job
        self._socket = socket
        self._left = len(job.phones)
        self._rss = 0
        self._itself = psutil.Process()

    async def run(self) -> Did:
        """Dial them all, and wait for the last one's end."""
        before = time.process_time()
        listening = asyncio.create_task(self._listen())
        began: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        first = loop.time()
        for number, phone in enumerate(self._job.phones):
            await asyncio.sleep(max(0.0, first + number / self._job.per_second - loop.time()))
            channel = f"bare-{number}-{phone.removeprefix('+')}"
            began[channel] = time.time()
            await self._ask(
                "POST",
                "channels",
                endpoint=f"PJSIP/{phone}@{self._job.endpoint}",
                app=APP,
                channelId=channel,
                timeout="10",
            )
        await listening
        return Did(began=began, cpu=time.process_time() - before, rss=self._rss)

    async def _listen(self) -> None:
        decoder = msgspec.json.Decoder(_Event)
        async for message in self._socket:
            event = decoder.decode(message.data)
            match event.type:
                case "StasisStart" if event.channel is not None:
                    await self._ask("POST", f"channels/{event.channel.id}/play", media=self._job.media)
                case "PlaybackFinished" if event.playback is not None:
                    await self._ask(
                        "DELETE", f"channels/{event.playback.target_uri.removeprefix('channel:')}"
                    )
                case "ChannelDestroyed":
                    if self._left == len(self._job.phones):  # the most are up now
                        self._rss = self._itself.memory_info().rss
                    self._left -= 1
                    if self._left == 0:
                        return

    async def _ask(self, method: str, uri: str, **query: str) -> None:
        request = {
            "type": "RESTRequest",
            "request_id": uri,
            "method": method,
            "uri": uri,
            "query_strings": [{"name": name, "value": value} for name, value in query.items()],
        }
        await self._socket.send_str(msgspec.json.encode(request).decode())


async def _main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    auth = aiohttp.BasicAuth(job.user, job.password)
    async with (
        aiohttp.ClientSession(auth=auth, trust_env=False) as session,
        session.ws_connect(f"{job.url}/ari/events", params={"app": APP}, max_msg_size=0) as socket,
    ):
        did = await Script(job, socket).run()
    sys.stdout.buffer.write(msgspec.json.encode(did))


if __name__ == "__main__":
    uvloop.run(_main())
