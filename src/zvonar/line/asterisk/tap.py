"""How does the subscriber's sound leave Asterisk? By a snoop beside the channel, bridged to RTP that ends with us."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog

from zvonar.core.leg import Leg
from zvonar.line.asterisk import rtp
from zvonar.line.asterisk.ari import AriClient, Event
from zvonar.line.line import GatewayInDoubt, GatewayLost, GatewayRefused
from zvonar.line.tap import FRAME

log = structlog.get_logger(__name__)

_ENTER: Final = 3.0  # seconds from a channel's creation to its StasisStart
_KEPT: Final = 500  # frames; ten seconds
_LONGEST: Final = 3600  # seconds after which Asterisk ends a media channel whose controller died
_BUFFER: Final = 1 << 16  # bytes of the socket's; a tap has 160 each 20 ms


class _Receiver(asyncio.DatagramProtocol):
    """Takes packets of one stream and makes frames of them."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[bytes] = asyncio.Queue(_KEPT)
        self._last: int | None = None
        self._rest = b""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        packet = rtp.parse(data)
        if packet is None or (self._last is not None and not rtp.follows(packet.sequence, self._last)):
            return
        self._last = packet.sequence
        sound = self._rest + rtp.samples(packet.payload)
        whole = len(sound) // FRAME * FRAME
        self._rest = sound[whole:]
        for start in range(0, whole, FRAME):
            if self.frames.full():
                self.frames.get_nowait()
            self.frames.put_nowait(sound[start : start + FRAME])

    async def frame(self) -> bytes:
        """The next 20 ms."""
        return await self.frames.get()


class Taps:
    """Listens in on channels of one Asterisk."""

    def __init__(self, ari: AriClient, *, app: str) -> None:
        self._ari = ari
        self._app = app
        self._numbers = itertools.count(1)

    @contextlib.asynccontextmanager
    async def tap(self, leg: Leg) -> AsyncIterator[_Receiver]:
        """As `line.tap.Tapping` says."""
        number = next(self._numbers)
        snoop, media, bridge = (f"{leg}-{what}{number}" for what in ("snoop", "media", "listen"))
        loop = asyncio.get_running_loop()
        transport, receiver = await loop.create_datagram_endpoint(_Receiver, local_addr=("127.0.0.1", 0))
        try:
            host, port = transport.get_extra_info("sockname")[:2]
            await self._entered(
                snoop, "POST", f"channels/{leg}/snoop/{snoop}", {"spy": "in", "app": self._app}
            )
            wanted = {
                "channelId": media,
                "app": self._app,
                "external_host": f"{host}:{port}",
                "format": "ulaw",
            }
            bound = {"variables": {"TIMEOUT(absolute)": str(_LONGEST)}}
            await self._entered(media, "POST", "channels/externalMedia", wanted, bound)
            await self._done("POST", "bridges", {"type": "mixing", "bridgeId": bridge})
            await self._done("POST", f"bridges/{bridge}/addChannel", {"channel": f"{snoop},{media}"})
            yield receiver
        finally:
            transport.close()
            # Shielded: whoever stops listening, because the call is over or in a hurry, must leave nothing behind.
            await asyncio.shield(self._leave(snoop, media, bridge))

    async def _entered(
        self, channel: str, method: str, uri: str, query: dict[str, str], body: Any = None
    ) -> None:
        """Make a channel and wait until it is in our application, where it can be bridged."""
        entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def hears(event: Event) -> None:
            if event.type == "StasisStart" and not entered.done():
                entered.set_result(None)

        self._ari.watch(channel, hears)
        try:
            await self._done(method, uri, query, body)
            async with asyncio.timeout(_ENTER):
                await entered
        except TimeoutError:
            raise GatewayInDoubt("Its channel did not enter the application.") from None
        finally:
            self._ari.unwatch(channel)

    async def _done(self, method: str, uri: str, query: dict[str, str], body: Any = None) -> None:
        answer = await self._ari.request(method, uri, query=query, body=body)
        if not answer.ok:
            raise GatewayRefused(f"It would not let us listen: {answer.status}.")

    async def _leave(self, snoop: str, media: str, bridge: str) -> None:
        for uri in (f"channels/{media}", f"channels/{snoop}", f"bridges/{bridge}"):
            # What is not there any more is as gone as it should be; what cannot be asked for now has a bound.
            with contextlib.suppress(GatewayLost, GatewayInDoubt):
                await self._ari.request("DELETE", uri)
