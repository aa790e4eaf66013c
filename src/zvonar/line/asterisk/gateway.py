"""How does a leg become a line on Asterisk? Channels by ARI, facts about past ones from its CEL file."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import structlog
from msgspec import Struct

from zvonar.core.errors import Invalid
from zvonar.core.leg import LegId
from zvonar.line.asterisk import cel
from zvonar.line.asterisk.ari import AriClient, Event
from zvonar.line.asterisk.config import endpoint
from zvonar.line.line import (
    AlreadyExists,
    Dialled,
    GatewayInDoubt,
    GatewayLost,
    GatewayRefused,
    HungUp,
    Line,
    LineEnd,
)

log = structlog.get_logger(__name__)

APP = "zvonar"
_ENTER = 3.0  # seconds from a channel's creation to its StasisStart
_END_FOLLOWS = 1.0  # seconds from a refusal to the end that explains it
_HANG_UP = 10.0  # seconds for Asterisk to report the end of a channel that we hung up
_LOOK_AGAIN = 30.0  # seconds without Asterisk until a line whose fate nobody can tell is given up


class _Channel(Struct):
    id: str
    state: str = ""
    creationtime: str = ""


_channel = msgspec.json.Decoder(_Channel)
_channels = msgspec.json.Decoder(list[_Channel])


class AsteriskLine:
    """One channel. Events arrive by `_on`; whoever waits is woken by futures and the key queue."""

    def __init__(self, gateway: "AsteriskGateway", leg: LegId) -> None:
        self._gateway = gateway
        self._ari = gateway.ari
        self.leg = leg
        self.ended: LineEnd | None = None
        self.answered_at: datetime | None = None
        loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[datetime] = loop.create_future()
        self._end: asyncio.Future[LineEnd] = loop.create_future()
        self._entered: asyncio.Future[None] = loop.create_future()  # the channel is ours to command
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._playbacks: dict[str, asyncio.Future[str]] = {}
        self._played = 0
        self._rings_until: float | None = None
        self._hanging_up = False
        self._ari.watch(str(leg), self._on)

    # What scripts use.

    async def answered(self) -> datetime:
        either: set[asyncio.Future[Any]] = {self._answer, self._end}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._answer.done():
            return self._answer.result()
        raise HungUp(self._end.result())

    async def end(self) -> LineEnd:
        return await asyncio.shield(self._end)

    async def play(self, clip: Path, *, interruptible: bool) -> str | None:
        self._check()
        if interruptible and not self._keys.empty():
            return self._keys.get_nowait()
        self._played += 1
        playback = f"{self.leg}-{self._played}"
        finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._playbacks[playback] = finished
        key: asyncio.Task[str] | None = None
        try:
            answer = await self._ari.request(
                "POST",
                f"channels/{self.leg}/play/{playback}",
                query={"media": f"sound:{clip.with_suffix('')}"},
            )
            if not answer.ok:
                await self._refused(f"It would not play: {answer.status}.")
            waits: set[asyncio.Future[Any]] = {finished, self._end}
            if interruptible:
                key = asyncio.create_task(self._keys.get())
                waits.add(key)
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if key is not None and key.done():
                pressed = key.result()
                if not finished.done() and not self._end.done():
                    await self._ari.request("DELETE", f"playbacks/{playback}")
                return pressed
            self._check()
            if finished.result() == "failed":
                await self._refused("It could not play the clip.")
            return None
        finally:
            self._playbacks.pop(playback, None)
            if key is not None and not key.done():
                key.cancel()

    async def key(self, timeout: float) -> str | None:
        if not self._keys.empty():
            return self._keys.get_nowait()
        self._check()
        pressed = asyncio.create_task(self._keys.get())
        try:
            either: set[asyncio.Future[Any]] = {pressed, self._end}
            await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if pressed.done():
                return pressed.result()
            self._check()
            return None
        finally:
            pressed.cancel()

    async def digits(self, *, count: int, timeout: float, between: float, terminator: str = "#") -> str:
        collected = ""
        while len(collected) < count:
            key = await self.key(between if collected else timeout)
            if key is None or key == terminator:
                break
            collected += key
        return collected

    async def start_recording(self) -> None:
        self._check()
        # A channel plays or records, one at a time; a snoop beside it hears both directions meanwhile.
        snoop = f"{self.leg}-recording"
        answer = await self._ari.request(
            "POST", f"channels/{self.leg}/snoop/{snoop}", query={"spy": "both", "app": APP}
        )
        if answer.ok:
            answer = await self._ari.request(
                "POST",
                f"channels/{snoop}/record",
                query={"name": str(self.leg), "format": "wav", "ifExists": "overwrite"},
            )
        if not answer.ok:
            await self._refused(f"It would not record: {answer.status}.")

    async def hang_up(self) -> LineEnd:
        if self.ended is not None:
            return self.ended
        self._hanging_up = True
        try:
            answer = await self._ari.request("DELETE", f"channels/{self.leg}", query={"reason_code": "16"})
            if answer.status == 404 and self.ended is None:
                # Its ChannelDestroyed is on the way, or was lost with a connection.
                await asyncio.wait({self._end}, timeout=1.0)
                if self.ended is None:
                    self._vanish()
            await asyncio.wait({self._end}, timeout=_HANG_UP)
        except (GatewayLost, GatewayInDoubt):
            # The gateway's resync finds out once it is back.
            await asyncio.wait({self._end}, timeout=_LOOK_AGAIN)
        if self.ended is None:
            self._vanish()
        return self._end.result()

    # What the gateway tells.

    async def _refused(self, reason: str) -> NoReturn:
        """A channel that is being hung up refuses first and reports its end a moment later."""
        await asyncio.wait({self._end}, timeout=_END_FOLLOWS)
        self._check()
        raise GatewayRefused(reason)

    def _check(self) -> None:
        if self.ended is not None:
            raise HungUp(self.ended)

    def _on(self, event: Event) -> None:
        match event.type:
            case "StasisStart" if not self._entered.done():
                self._entered.set_result(None)
            case "ChannelDtmfReceived":
                self._keys.put_nowait(event.digit)
            case "Dial" if event.dialstatus == "ANSWER":
                self._answered(event.at)
            case "PlaybackFinished" if event.playback is not None:
                finished = self._playbacks.get(event.playback.id)
                if finished is not None and not finished.done():
                    finished.set_result(event.playback.state)
            case "RecordingFailed":
                log.warning("line.recording_failed", leg=str(self.leg))
            case "ChannelDestroyed":
                cause = event.cause if isinstance(event.cause, int) else None
                self._finish(
                    LineEnd(
                        at=event.at,
                        answered_at=self.answered_at,
                        hangup_cause=cause,
                        sip_code=event.tech_cause,
                        rang_out=self.answered_at is None and self._has_rung_out(),
                        by_us=self._hanging_up,
                    )
                )
            case _:
                pass

    async def entered(self, deadline: float) -> None:
        """Wait until the channel is in our application: before that it would refuse to dial."""
        either: set[asyncio.Future[Any]] = {self._entered, self._end}
        await asyncio.wait(either, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
        if not self._entered.done() and self.ended is None:
            raise GatewayInDoubt("Its channel did not enter the application.")

    def ringing(self, ring_timeout: int) -> None:
        """The INVITE is about to be sent."""
        self._rings_until = asyncio.get_running_loop().time() + ring_timeout

    def _has_rung_out(self) -> bool:
        # Asterisk's own clock may be a little ahead of ours; no SIP answer comes at this very moment by chance.
        return self._rings_until is not None and asyncio.get_running_loop().time() >= self._rings_until - 0.25

    def _answered(self, at: datetime) -> None:
        if self.answered_at is None:
            self.answered_at = at
            self._answer.set_result(at)

    def _vanish(self) -> None:
        self._finish(
            LineEnd(at=datetime.now(UTC), answered_at=self.answered_at, by_us=self._hanging_up, vanished=True)
        )

    def _finish(self, end: LineEnd) -> None:
        if self.ended is None:
            self.ended = end
            self._end.set_result(end)
            self._gateway.forget(self)

    async def resync(self) -> None:
        """Look again after a lost connection: what happened meanwhile has sent no event."""
        answer = await self._ari.request("GET", f"channels/{self.leg}")
        if answer.status == 404:
            known = await asyncio.to_thread(self._gateway.past, [self.leg])
            end = known.get(self.leg)
            if end is None:
                self._vanish()
            else:
                self._finish(msgspec.structs.replace(end, by_us=self._hanging_up))
        elif answer.ok and _channel.decode(answer.body).state == "Up":
            self._answered(datetime.now(UTC))


class AsteriskGateway:
    """Lines of one Asterisk."""

    def __init__(self, ari: AriClient, *, name: str, cel_file: Path, recordings: Path) -> None:
        self.name = name
        self.ari = ari
        self._cel = cel_file
        self._recordings = recordings
        self._lines: dict[LegId, AsteriskLine] = {}
        self._resyncs: set[asyncio.Task[None]] = set()
        ari.on_connect = self._on_connect

    @property
    def lines(self) -> int:
        """How many lines are up."""
        return len(self._lines)

    async def create(self, wanted: Dialled) -> AsteriskLine:
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
        line.ringing(ring_timeout)
        try:
            answer = await self.ari.request(
                "POST", f"channels/{line.leg}/dial", query={"timeout": str(ring_timeout)}
            )
        except (GatewayLost, GatewayInDoubt):
            # Whether the INVITE went out is what the channel itself can tell, once Asterisk answers again.
            await self.ari.ready(_LOOK_AGAIN)
            await line.resync()
            return
        if not answer.ok and line.ended is None and answer.status != 409:
            raise GatewayRefused(f"It would not dial: {answer.status}.")

    async def adopt(self, leg: LegId) -> AsteriskLine | None:
        known = self._lines.get(leg)
        if known is not None:
            return known
        line = self._line(leg)
        try:
            answer = await self.ari.request("GET", f"channels/{leg}")
            if answer.status == 404:
                self.forget(line)
                return None
            if _channel.decode(answer.body).state == "Up":
                # Subscribing again makes Asterisk send this channel's events to the new connection.
                past = (await asyncio.to_thread(cel.read, self._cel, channels=[str(leg)])).get(str(leg))
                line._answered(past.answered_at if past and past.answered_at else datetime.now(UTC))
            await self.ari.request(
                "POST", f"applications/{APP}/subscription", query={"eventSource": f"channel:{leg}"}
            )
        except BaseException:
            self.forget(line)
            raise
        return line

    async def discard(self, leg: LegId) -> None:
        await self.ari.request("DELETE", f"channels/{leg}")

    async def alive(self) -> list[LegId]:
        answer = await self.ari.request("GET", "channels")
        if not answer.ok:
            raise GatewayRefused(f"It would not list its channels: {answer.status}.")
        found = []
        for channel in _channels.decode(answer.body):
            try:
                found.append(LegId.parse(channel.id))
            except Invalid:
                continue
        return found

    def past(self, legs: Sequence[LegId]) -> dict[LegId, LineEnd]:
        facts = cel.read(self._cel, channels=[str(leg) for leg in legs])
        ends = {}
        for leg in legs:
            known = facts.get(str(leg))
            if known is not None and known.ended_at is not None:
                ends[leg] = LineEnd(
                    at=known.ended_at, answered_at=known.answered_at, hangup_cause=known.hangup_cause
                )
        return ends

    def recording(self, leg: LegId) -> str | None:
        file = self._recordings / f"{leg}.wav"
        return file.name if file.is_file() else None

    def forget(self, line: AsteriskLine) -> None:
        """The line has ended, or never began."""
        if self._lines.get(line.leg) is line:
            del self._lines[line.leg]
            self.ari.unwatch(str(line.leg))

    def _line(self, leg: LegId) -> AsteriskLine:
        line = self._lines[leg] = AsteriskLine(self, leg)
        return line

    def _on_connect(self) -> None:
        if self._lines:
            task = asyncio.create_task(self._resync(), name="resync")
            self._resyncs.add(task)
            task.add_done_callback(self._resyncs.discard)

    async def _resync(self) -> None:
        for line in list(self._lines.values()):
            try:
                await line.resync()
            except (GatewayLost, GatewayInDoubt):
                return  # the next connection looks again
