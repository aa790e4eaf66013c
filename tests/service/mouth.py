"""How does a subscriber of the town say something when the test wants it? Whispered into his own channel."""

import asyncio
import itertools
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from zvonar.line.asterisk.ari import AriClient, Event
from zvonar.service.home import Home
from zvonar.service.plant import ARI_USER

APP = "mouth"
PATIENCE = 90.0  # seconds for whatever the town has to do
_EVERY = 0.05  # seconds between looks for a channel: the town's dialplan tells nobody of an answer


class Mouth:
    """The town's own controller; use as a context."""

    def __init__(self, home: Path) -> None:
        kept = Home(home)
        ports = kept.known_ports()
        assert ports is not None
        url = f"http://127.0.0.1:{ports.town_ari}"
        self._ari = AriClient(url, user=ARI_USER, password=kept.secret("town-ari"), app=APP)
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> "Mouth":
        await self._ari.__aenter__()
        await self._ari.ready(PATIENCE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ari.__aexit__(kind, exc, trace)

    async def answered(self, phone: str) -> str:
        """Wait until this subscriber has picked up; his channel."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for channel in await self._asked("GET", "channels"):
                    if channel["state"] == "Up" and await self._mailbox(channel["id"]) == phone[5:9]:
                        return str(channel["id"])
                await asyncio.sleep(_EVERY)

    async def say(self, channel: str, sound: Path) -> None:
        """Into his telephone, to the end of the sound."""
        snoop = f"mouth-{next(self._numbers)}"
        events: asyncio.Queue[Event] = asyncio.Queue()
        self._ari.watch(snoop, events.put_nowait)
        try:
            await self._asked("POST", f"channels/{channel}/snoop/{snoop}", whisper="out", app=APP)
            await self._until(events, "StasisStart")
            await self._asked("POST", f"channels/{snoop}/play", media=f"sound:{sound.with_suffix('')}")
            await self._until(events, "PlaybackFinished")
        finally:
            self._ari.unwatch(snoop)
            await self._ari.request("DELETE", f"channels/{snoop}")

    async def _mailbox(self, channel: str) -> str | None:
        """Which subscriber this is; None if he has just left."""
        answer = await self._ari.request("GET", f"channels/{channel}/variable", query={"variable": "MAILBOX"})
        return msgspec.json.decode(answer.body)["value"] if answer.ok else None

    async def _asked(self, method: str, uri: str, **query: str) -> Any:
        answer = await self._ari.request(method, uri, query=query)
        assert answer.ok, answer
        return msgspec.json.decode(answer.body) if answer.body else None

    async def _until(self, events: "asyncio.Queue[Event]", kind: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while (await events.get()).type != kind:
                pass
