"""How does a leg become a line on Asterisk? Channels by ARI, facts about past ones from its CEL file."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import structlog

from zvonar.core.errors import Invalid
from zvonar.core.leg import InboundLeg, Leg, LegId
from zvonar.line.asterisk import cel
from zvonar.line.asterisk.ari import Answer, AriClient, Event
from zvonar.line.asterisk.channel import (
    APP,
    EVENTS,
    EXIT_BRIDGE,
    INBOUND,
    AsteriskLine,
    Channel,
    decode_channel,
    end_of,
)
from zvonar.line.asterisk.config import endpoint
from zvonar.line.asterisk.tap import Taps
from zvonar.line.line import (
    AlreadyExists,
    Arrival,
    Dialled,
    GatewayInDoubt,
    GatewayLost,
    GatewayRefused,
    Line,
    LineEnd,
)
from zvonar.line.tap import Tap

log = structlog.get_logger(__name__)

__all__ = ["APP", "AsteriskGateway"]

_ENTER = 3.0  # seconds from a channel's creation to its StasisStart
_LOOK_AGAIN = 30.0  # seconds without Asterisk until a line whose fate nobody can tell is given up
_CEL_TRIES = 5  # looks for an end that Asterisk may be writing down this very moment
_CEL_PAUSE = 0.1  # seconds between them

_TARGET = re.compile(r"\+\d{3,15}|[A-Za-z0-9_.~-]{1,64}", re.ASCII)
_TRUNK = re.compile(r"PJSIP/trunk-(\d{1,18})-[0-9a-f]+", re.ASCII)
_NO_CIRCUIT = "34"  # Q.850

_channels = msgspec.json.Decoder(list[Channel]).decode


class AsteriskGateway:
    """Lines of one Asterisk."""

    def __init__(
        self, ari: AriClient, *, name: str, cel_file: Path, recordings: Path, sides: bool = False
    ) -> None:
        """`sides`: whether each side of a recorded call is recorded by itself as well, for transcripts."""
        self.name = name
        self.ari = ari
        self._cel = cel_file
        self._recordings = recordings
        self.sides = sides
        self._lines: dict[Leg, AsteriskLine] = {}
        self._taps = Taps(ari, app=APP)
        self._receive: Callable[[Arrival], None] | None = None
        self._unwanted: set[Leg] = set()  # to be discarded as soon as Asterisk is back
        self._tasks: set[asyncio.Task[None]] = set()
        ari.on_connect = self._on_connect
        ari.on_stranger = self._on_stranger
        if ari.connected:
            self._on_connect()

    @property
    def lines(self) -> int:
        """How many lines are up."""
        return len(self._lines)

    async def create(self, wanted: Dialled) -> AsteriskLine:
        if wanted.leg in self._lines:
            raise AlreadyExists()
        # It stands in a SIP address, and comes from clients: nothing that could end it may come through.
        if not _TARGET.fullmatch(wanted.phone):
            raise GatewayRefused("It is neither a number nor a name.")
        line = self._line(wanted.leg)
        variables = {
            "PJSIP_HEADER(add,X-Zvonar-Leg)": str(wanted.leg),
            "TIMEOUT(absolute)": str(wanted.max_seconds),
        }
        if wanted.caller_id is not None:
            # The callee's display is the connected line of a channel that we create ourselves.
            variables["CALLERID(num)"] = wanted.caller_id
            variables["CONNECTEDLINE(num,i)"] = wanted.caller_id
        try:
            answer = await self.ari.request(
                "POST",
                "channels/create",
                query={
                    "endpoint": f"PJSIP/{wanted.phone}@{endpoint(str(wanted.trunk_id))}",
                    "app": APP,
                    "channelId": str(wanted.leg),
                },
                body={"variables": variables},
            )
        except BaseException:
            self.forget(line)
            raise
        if answer.ok:
            await line.entered(_ENTER)
            return line
        self.forget(line)
        if answer.status == 409:
            raise AlreadyExists()
        raise GatewayRefused(f"It would not create a channel: {answer.status}.")

    async def dial(self, line: Line, *, ring_timeout: int) -> None:
        assert isinstance(line, AsteriskLine)

        async def send() -> Answer:
            query = {"timeout": str(ring_timeout)}
            return await self.ari.request("POST", f"channels/{line.leg}/dial", query=query)

        try:
            try:
                answer = await send()
            except GatewayLost:
                # It was not sent, so this is no repetition.
                await self.ari.ready(_LOOK_AGAIN)
                await line.resync()
                if line.ended is not None:
                    return
                answer = await send()
        except GatewayInDoubt:
            # Whether the INVITE went out is what the channel itself may tell, once Asterisk answers again.
            line.doubt(ring_timeout)
            await self.ari.ready(_LOOK_AGAIN)
            await line.resync()
            return
        if not answer.ok and line.ended is None and answer.status != 409:
            raise GatewayRefused(f"It would not dial: {answer.status}.")

    async def adopt(self, leg: LegId, *, rings_for: float | None = None) -> AsteriskLine | None:
        known = self._lines.get(leg)
        if known is not None:
            return known
        line = self._line(leg)
        try:
            # First the events, then the state: what comes in between is told twice rather than never.
            await self.ari.request(
                "POST", f"applications/{APP}/subscription", query={"eventSource": f"channel:{leg}"}
            )
            answer = await self.ari.request("GET", f"channels/{leg}")
            if answer.status == 404:
                self.forget(line)
                return None
            if not answer.ok:
                raise GatewayRefused(f"It would not show a channel: {answer.status}.")
            state = decode_channel(answer.body).state
            if state == "Up":
                line.answered_since(await self.answered_at(leg))
            elif state == "Ringing":
                line.rings()
            elif state == "Down" and rings_for is not None:
                line.doubt(rings_for)
        except BaseException:
            self.forget(line)
            raise
        return line

    def tap(self, leg: Leg) -> AbstractAsyncContextManager[Tap]:
        """As `line.tap.Tapping` says."""
        return self._taps.tap(leg)

    def on_arrival(self, receive: Callable[[Arrival], None]) -> None:
        self._receive = receive

    def _on_stranger(self, event: Event) -> None:
        """A channel has come in, or one of a recording whose line has just ended."""
        if event.channel is None or event.args[:1] != [INBOUND]:
            return
        trunk = _TRUNK.fullmatch(event.channel.name)
        if trunk is None or self._receive is None:
            # Nobody is there to decide yet: the carrier may try elsewhere, or soon again.
            self.begin(self._refuse(event.channel.id))
            return
        called, caller, *_ = [*event.args[1:], "", ""]
        line = self._line(InboundLeg(event.channel.id))
        arrival = Arrival(line=line, trunk_id=int(trunk[1]), called=called, caller=caller, at=event.at)
        self.begin(self._arrive(arrival, self._receive))

    async def _arrive(self, arrival: Arrival, receive: Callable[[Arrival], None]) -> None:
        """Hand a call over. What came in by the dialplan tells us of its end only where we ask to be told."""
        with contextlib.suppress(GatewayLost, GatewayInDoubt):  # then its end is looked up
            query = {"eventSource": f"channel:{arrival.line.leg}"}
            watched = await self.ari.request("POST", f"applications/{APP}/subscription", query=query)
            if not watched.ok:
                log.warning("gateway.not_told", status=watched.status)
        receive(arrival)

    async def _refuse(self, channel: str) -> None:
        with contextlib.suppress(GatewayLost, GatewayInDoubt):  # its dialplan bounds it
            await self.ari.request("DELETE", f"channels/{channel}", query={"reason_code": _NO_CIRCUIT})

    async def discard(self, leg: Leg) -> None:
        try:
            await self.ari.request("DELETE", f"channels/{leg}")
        except (GatewayLost, GatewayInDoubt):
            self._unwanted.add(leg)

    async def alive(self) -> list[Leg]:
        answer = await self.ari.request("GET", "channels")
        if not answer.ok:
            raise GatewayRefused(f"It would not list its channels: {answer.status}.")
        found: list[Leg] = []
        for channel in _channels(answer.body):
            try:
                found.append(LegId.parse(channel.id))
            except Invalid:
                if _TRUNK.fullmatch(channel.name):  # not a recording's
                    found.append(InboundLeg(channel.id))
        return found

    def past(self, legs: Sequence[Leg]) -> dict[Leg, LineEnd]:
        facts = cel.read(self._cel, channels=[str(leg) for leg in legs])
        return {
            leg: end_of(known)
            for leg in legs
            if (known := facts.get(str(leg))) is not None and known.ended_at is not None
        }

    async def fate(self, leg: Leg) -> cel.ChannelFacts | None:
        """What was written down of a channel that is gone; its end may be written this very moment."""
        for _ in range(_CEL_TRIES):
            known = await self._facts(leg)
            if known is not None and known.ended_at is not None:
                return known
            await asyncio.sleep(_CEL_PAUSE)
        return known

    async def answered_at(self, leg: Leg) -> datetime:
        """When a channel that is up was answered: what was written down, else now."""
        known = await self._facts(leg)
        return (known and known.answered_at) or datetime.now(UTC)

    async def _facts(self, leg: Leg) -> cel.ChannelFacts | None:
        facts = await asyncio.to_thread(cel.read, self._cel, channels=[str(leg)])
        return facts.get(str(leg))

    def recording(self, leg: Leg) -> str | None:
        file = self._recordings / f"{leg}.wav"
        return file.name if file.is_file() else None

    def forget(self, line: AsteriskLine) -> None:
        """The line has ended, or never began."""
        if self._lines.get(line.leg) is line:
            del self._lines[line.leg]
            self.ari.unwatch(str(line.leg))
            for what in ("recording", "recording-in", "recording-out"):
                self.ari.unwatch(f"{line.leg}-{what}")

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside whoever asked for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _line(self, leg: Leg) -> AsteriskLine:
        line = self._lines[leg] = AsteriskLine(self, leg)
        return line

    def _on_connect(self) -> None:
        self.begin(self._set_up())
        if self._lines or self._unwanted:
            self.begin(self._resync())

    async def _set_up(self) -> None:
        """What the application wants of Asterisk; it forgets both when it restarts."""
        wanted = {"allowed": [{"type": event} for event in EVENTS]}
        with contextlib.suppress(GatewayLost, GatewayInDoubt):  # the next connection does it
            filtered = await self.ari.request("PUT", f"applications/{APP}/eventFilter", body=wanted)
            if not filtered.ok:
                # Then everything is told, which costs time and changes nothing.
                log.warning("gateway.no_event_filter", status=filtered.status)
            made = await self.ari.request("POST", f"bridges/{EXIT_BRIDGE}", query={"type": "holding"})
            if not made.ok:
                log.warning("gateway.no_exit_bridge", status=made.status)

    async def _resync(self) -> None:
        unwanted, self._unwanted = self._unwanted, set()
        for leg in unwanted:
            await self.discard(leg)
        for line in list(self._lines.values()):
            try:
                await line.resync()
            except (GatewayLost, GatewayInDoubt):
                return  # the next connection looks again
