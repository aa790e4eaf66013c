"""What does it take to do the same with the least? A script that drives Asterisk by ARI, without a database.

`python -m bench.bare` reads a Job from standard input and writes what it Did to standard output. It sends Asterisk
what the dialer sends, or, with `originate`, what a script sends that need not dial at most once. It has no memory.
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
    originate: bool = False  # one request instead of creating a channel and then dialling it
    keys: int = 0  # of a dialogue: at each of them what plays is stopped and the next is played, at the last we hang up
    flash: float | None = None  # seconds to let it ring, and hang up


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
    peer: _Id | None = None
    dialstatus: str = ""
    playback: _Playback | None = None


class Script:
    """The whole of it."""

    def __init__(self, job: Job, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._job = job
        self._socket = socket
        self._left = len(job.phones)
        self._rss = 0
        self._itself = psutil.Process()
        self._pressed: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

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
            await self._begin(channel, phone)
        await listening
        return Did(began=began, cpu=time.process_time() - before, rss=self._rss)

    async def _begin(self, channel: str, phone: str) -> None:
        aim = {"endpoint": f"PJSIP/{phone}@{self._job.endpoint}", "app": APP, "channelId": channel}
        if self._job.originate:
            await self._ask("POST", "channels", timeout="10", **aim)
            return
        variables = {"PJSIP_HEADER(add,X-Zvonar-Leg)": channel, "TIMEOUT(absolute)": "60"}
        await self._ask("POST", "channels/create", {"variables": variables}, **aim)

    async def _listen(self) -> None:
        decoder = msgspec.json.Decoder(_Event)
        async for message in self._socket:
            event = decoder.decode(message.data)
            match event.type:
                case "StasisStart" if event.channel is not None and not self._job.originate:
                    await self._ask("POST", f"channels/{event.channel.id}/dial", timeout="10")
                case "StasisStart" if event.channel is not None:
                    await self._ask("POST", f"channels/{event.channel.id}/play", media=self._job.media)
                case "Dial" if event.peer is not None and self._job.flash is not None:
                    if event.dialstatus == "RINGING":
                        task = asyncio.create_task(self._cancel(event.peer.id))
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)
                case "ChannelDtmfReceived" if event.channel is not None and self._job.keys:
                    await self._next(event.channel.id)
                case "PlaybackFinished" if self._job.keys:
                    pass
                case "Dial" if event.peer is not None and event.dialstatus == "ANSWER" and self._job.keys:
                    await self._play(event.peer.id)
                case "Dial" if (
                    event.peer is not None and event.dialstatus == "ANSWER" and not self._job.originate
                ):
                    await self._ask("POST", f"channels/{event.peer.id}/play", media=self._job.media)
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

    async def _cancel(self, channel: str) -> None:
        await asyncio.sleep(self._job.flash or 0.0)
        await self._ask("DELETE", f"channels/{channel}")

    async def _play(self, channel: str) -> None:
        number = self._pressed.setdefault(channel, 0)
        await self._ask("POST", f"channels/{channel}/play/{channel}-{number}", media=self._job.media)

    async def _next(self, channel: str) -> None:
        """What plays is stopped, and the next begins."""
        number = self._pressed[channel]
        self._pressed[channel] = number + 1
        if number + 1 == self._job.keys:
            await self._ask("DELETE", f"channels/{channel}")
            return
        await self._ask("DELETE", f"playbacks/{channel}-{number}")
        await self._play(channel)

    async def _ask(
        self, method: str, uri: str, body: dict[str, dict[str, str]] | None = None, /, **query: str
    ) -> None:
        request: dict[str, object] = {
            "type": "RESTRequest",
            "request_id": uri,
            "method": method,
            "uri": uri,
            "query_strings": [{"name": name, "value": value} for name, value in query.items()],
        }
        if body is not None:
            request |= {
                "content_type": "application/json",
                "message_body": msgspec.json.encode(body).decode(),
            }
        await self._socket.send_str(msgspec.json.encode(request).decode())


def authorization(user: str, password: str) -> dict[str, str]:
    """The header that ARI wants."""
    return {"Authorization": aiohttp.encode_basic_auth(user, password)}


async def _main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    async with (
        aiohttp.ClientSession(headers=authorization(job.user, job.password), trust_env=False) as session,
        session.ws_connect(f"{job.url}/ari/events", params={"app": APP}, max_msg_size=0) as socket,
    ):
        did = await Script(job, socket).run()
    sys.stdout.buffer.write(msgspec.json.encode(did))


if __name__ == "__main__":
    uvloop.run(_main())
