"""What is one channel of Asterisk, as a line? Events in, whoever waits for them woken."""

import asyncio
import contextlib
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, Protocol

import msgspec
import structlog
from msgspec import Struct

from zvonar.core.facts import MachineReport
from zvonar.core.leg import Leg
from zvonar.core.machine import MachineDetection, OnMachine, Verdict
from zvonar.line.asterisk import cel
from zvonar.line.asterisk.ari import Answer, AriClient, Event
from zvonar.line.base import KEY, BaseLine
from zvonar.line.line import GatewayInDoubt, GatewayLost, GatewayRefused, Line, LineEnd

log = structlog.get_logger(__name__)

APP = "zvonar"
# What lines and recordings listen to. A call has three times as many events; the rest stays in Asterisk.
EVENTS = (
    "ApplicationReplaced",
    "ChannelDestroyed",
    "ChannelDtmfReceived",
    "ChannelHangupRequest",
    "ChannelStateChange",
    "Dial",
    "PlaybackFinished",
    "RESTResponse",
    "RecordingFailed",
    "StasisStart",
)
EXIT_BRIDGE = "zvonar-exit"  # through which answered channels leave Asterisk's dial bridge
MACHINE = "machine"  # context of the dialplan, and what a channel brings back from it
INBOUND = "inbound"  # what a channel brings along that came in
_ENTER = 3.0  # seconds from a snoop's creation to its StasisStart
_END_FOLLOWS = 1.0  # seconds from a refusal to the end that explains it
_HANG_UP = 10.0  # seconds for Asterisk to report the end of a channel that we hung up
_LOOK_AGAIN = 30.0  # seconds without Asterisk until a line whose fate nobody can tell is given up
_BACK = 5.0  # seconds that a script waits for Asterisk to come back
_DOUBT = 2.0  # seconds beyond the ring timeout for a channel that may never have been dialled
_PAUSE = 0.1  # seconds between tries to hang up
_LISTENED = 10.0  # seconds beyond all that a detector may listen, until its verdict is given up
_RINGS = ("RINGING", "PROGRESS", "PROCEEDING")  # 180 and 183; some networks never say 180
# ms. Asterisk stretches a key to 80 and the pause after it to 45 (main/channel.c); nobody sends pauses below 30.
_SHORTEST_KEY, _SHORTEST_PAUSE = 80, 30
# What whoever waits for it is stirred by, beside what happens on every line.
_ENTERED, _PLAYED, _VERDICT = "entered", "played", "verdict"
_TIMEOUT = 32  # AST_SOFTHANGUP_TIMEOUT, which a ChannelHangupRequest gives as its cause when time ran out


class Channel(Struct):
    """A channel as Asterisk shows it."""

    id: str
    state: str = ""
    name: str = ""


decode_channel = msgspec.json.Decoder(Channel).decode


class Records(Protocol):
    """What a line needs of its gateway."""

    @property
    def ari(self) -> AriClient:
        """The connection."""

    @property
    def sides(self) -> bool:
        """Whether each side of a call is recorded by itself as well."""

    async def fate(self, leg: Leg) -> cel.ChannelFacts | None:
        """What was written down of a channel that is gone."""

    async def answered_at(self, leg: Leg) -> datetime:
        """When a channel that is up was answered."""

    async def discard(self, leg: Leg) -> None:
        """End a channel that nobody wants."""

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside whoever asked for it."""

    def forget(self, line: "AsteriskLine") -> None:
        """The line has ended."""


class AsteriskLine(BaseLine):
    """One channel. Events arrive by `_on`; whoever waits is woken by what happens."""

    def __init__(self, gateway: Records, leg: Leg) -> None:
        super().__init__()
        self._gateway = gateway
        self._ari = gateway.ari
        self.leg = leg
        self._told: dict[str, tuple[int, datetime]] = {}  # by key, the last that was told once
        self._has_entered = False  # the channel is ours to command
        self._detects = False  # somebody listens for a machine
        self._verdict: list[str] = []
        self._bridge: str | None = None  # in which we have joined it to another
        # What became of playbacks that somebody waits for; an empty text while they play.
        self._playbacks: dict[str, str] = {}
        self._left_dial_bridge = False
        self._started: set[str] = set()  # playbacks that Asterisk has confirmed
        self._played = 0
        self._timed_out = False  # Asterisk ended it for the time that it took
        self._doubtful: asyncio.TimerHandle | None = (
            None  # ends a channel of which we do not know if it rings
        )
        self._gave_up = False  # nothing was heard of it
        self._hanging_up = False
        self._ari.watch(str(leg), self._on)

    # What scripts use.

    async def answered(self) -> datetime:
        answered_at = await super().answered()
        if not self._left_dial_bridge:
            self._left_dial_bridge = True
            await self._leave_dial_bridge()
        return answered_at

    async def answer(self) -> datetime:
        self._check()
        self._left_dial_bridge = True  # it never was in it
        answer = await self._ask("POST", f"channels/{self.leg}/answer")
        if not answer.ok:
            await self._refused(f"It would not answer: {answer.status}.")
        self.answered_since(datetime.now(UTC))
        return await self.answered()

    async def _leave_dial_bridge(self) -> None:
        """Get out of the one bridge in which Asterisk keeps every channel that was created and dialled.

        With hundreds of channels in it, each of its operations waits for all of them. Going through a bridge of
        ours is the way out; where that fails the call goes on inside. Whatever is asked for next comes after it.
        """
        with contextlib.suppress(GatewayLost, GatewayInDoubt):
            query = {"channel": str(self.leg)}
            for what in ("addChannel", "removeChannel"):
                await self._ari.tell("POST", f"bridges/{EXIT_BRIDGE}/{what}", query=query)

    async def play(self, clip: Path, *, interruptible: bool) -> str | None:
        self._check()
        if interruptible and self._keys:
            return self._keys.popleft()
        self._played += 1
        playback = f"{self.leg}-{self._played}"
        self._playbacks[playback] = ""
        try:
            answer = await self._ask(
                "POST",
                f"channels/{self.leg}/play/{playback}",
                query={"media": f"sound:{clip.with_suffix('')}"},
            )
            if not answer.ok:
                await self._refused(f"It would not play: {answer.status}.")
            self._started.add(playback)
            stirs = (_PLAYED, KEY) if interruptible else (_PLAYED,)
            while not self._playbacks[playback] and self.ended is None and not (interruptible and self._keys):
                await self._stirred(None, *stirs)
            if interruptible and self._keys:
                if not self._playbacks[playback] and self.ended is None:
                    await self._stop(playback)
                return self._keys.popleft()
            self._check()
            if self._playbacks[playback] == "failed":
                await self._refused("It could not play the clip.")
            return None
        except asyncio.CancelledError:
            self._gateway.begin(self._stop(playback))
            raise
        finally:
            self._playbacks.pop(playback, None)
            self._started.discard(playback)

    async def _stop(self, playback: str) -> None:
        """Whoever waited for it does so no longer; nobody needs to hear the rest."""
        with contextlib.suppress(GatewayLost, GatewayInDoubt):
            await self._ari.tell("DELETE", f"playbacks/{playback}")

    async def start_recording(self, *, sides: bool = True) -> None:
        self._check()
        await self._record("recording", spy="both", name=str(self.leg))
        if sides and self._gateway.sides:
            for side in ("in", "out"):
                try:
                    await self._record(f"recording-{side}", spy=side, name=f"{self.leg}-{side}")
                except GatewayRefused:
                    # They are for the transcript, which is no reason to end a call.
                    log.warning("line.side_not_recorded", leg=str(self.leg))

    async def _record(self, what: str, *, spy: str, name: str) -> None:
        # A channel plays or records, one at a time; a snoop beside it hears both directions meanwhile. One that
        # is there already goes on from before our controller changed.
        entered = False

        def hears(event: Event) -> None:
            nonlocal entered
            if event.type == "StasisStart":
                entered = True
                self._stir(snoop)
            elif event.type == "RecordingFailed":
                log.warning("line.recording_failed", leg=str(self.leg))

        snoop = f"{self.leg}-{what}"
        self._ari.watch(snoop, hears)
        answer = await self._ask("POST", f"channels/{self.leg}/snoop/{snoop}", query={"spy": spy, "app": APP})
        known = not answer.ok and (await self._ask("GET", f"channels/{snoop}")).ok
        if answer.ok:
            if not entered:
                await self._stirred(_ENTER, snoop)
            self._check()
        if answer.ok or known:
            answer = await self._ask(
                "POST",
                f"channels/{snoop}/record",
                query={"name": name, "format": "wav", "ifExists": "overwrite"},
            )
        if not answer.ok and not (known and answer.status == 409):
            await self._refused(f"It would not record: {answer.status}.")

    async def detect_machine(self, settings: MachineDetection) -> MachineReport:
        self._check()
        beep = settings.on_machine is OnMachine.after_beep
        variables = {"ZVONAR_AMD": settings.arguments}
        if beep:
            variables["ZVONAR_BEEP"] = f"{settings.beep_silence},1,{settings.beep_wait}"
        # In the dialplan the channel is not ours, and would tell us nothing of keys and its end.
        watched = await self._ask(
            "POST", f"applications/{APP}/subscription", query={"eventSource": f"channel:{self.leg}"}
        )
        if not watched.ok:
            await self._refused(f"It would not tell of the channel: {watched.status}.")
        for name, value in variables.items():
            query = {"variable": name, "value": value}
            if not (answer := await self._ask("POST", f"channels/{self.leg}/variable", query=query)).ok:
                await self._refused(f"It would not set a variable: {answer.status}.")
        self._detects, self._verdict = True, []
        try:
            answer = await self._ask(
                "POST", f"channels/{self.leg}/continue", query={"context": MACHINE, "extension": "s"}
            )
            if not answer.ok:
                await self._refused(f"It would not listen: {answer.status}.")
            patience = settings.total_time / 1000 + _LISTENED + (settings.beep_wait if beep else 0)
            back = not self._detects or await self._stirred(patience, _VERDICT)
            self._check()
            if not back:
                raise GatewayRefused("It did not come back from listening.")
            status, cause, *_ = [*self._verdict, "", ""]
        finally:
            self._detects = False
        known = {"HUMAN": Verdict.human, "MACHINE": Verdict.machine}
        return MachineReport(verdict=known.get(status, Verdict.unknown), cause=cause[:80] or None)

    async def tone(self, on: bool) -> None:
        self._check()
        answer = await self._ask("POST" if on else "DELETE", f"channels/{self.leg}/ring")
        if not answer.ok:
            await self._refused(f"It would not ring: {answer.status}.")

    async def join(self, other: Line) -> None:
        self._check()
        self._bridge = f"{self.leg}-bridge"
        answer = await self._ask("POST", f"bridges/{self._bridge}", query={"type": "mixing"})
        if answer.ok:
            both = {"channel": f"{self.leg},{other.leg}"}
            answer = await self._ask("POST", f"bridges/{self._bridge}/addChannel", query=both)
        if not answer.ok:
            await self._refused(f"It would not connect: {answer.status}.")

    async def hang_up(self, *, cause: int = 16) -> LineEnd:
        self._hanging_up = True
        loop = asyncio.get_running_loop()
        until, now = loop.time() + _LOOK_AGAIN, datetime.now(UTC)
        while self.ended is None and loop.time() < until:
            try:
                await self._ari.ready(until - loop.time())
                answer = await self._ari.request(
                    "DELETE", f"channels/{self.leg}", query={"reason_code": str(cause)}
                )
                # Where it is gone, its ChannelDestroyed is on the way, or was lost with a connection.
                await self._stirred(_END_FOLLOWS if answer.status == 404 else _HANG_UP)
                await self.resync()
                break
            except (GatewayLost, GatewayInDoubt):
                # It went away meanwhile; asking again does no harm.
                await self._stirred(_PAUSE)
        if self.ended is None:
            self._vanish(now)
            await self._gateway.discard(self.leg)
        return await self.end()

    # What the gateway tells.

    async def _ask(self, method: str, uri: str, *, query: dict[str, str] | None = None) -> Answer:
        """A request that outlasts a short absence of Asterisk: one that was not sent may be sent again."""
        try:
            return await self._ari.request(method, uri, query=query)
        except GatewayLost:
            await self._ari.ready(_BACK)
            return await self._ari.request(method, uri, query=query)

    async def _refused(self, reason: str) -> NoReturn:
        """A channel that is being hung up refuses first and reports its end a moment later."""
        await self._stirred(_END_FOLLOWS)
        self._check()
        raise GatewayRefused(reason)

    def _on(self, event: Event) -> None:
        match event.type:
            case "StasisStart" if event.args[:1] == [MACHINE]:
                if self._detects:
                    self._detects, self._verdict = False, event.args[1:]
                    self._stir(_VERDICT)
            case "StasisStart":
                self._has_entered = True
                self._stir(_ENTERED)
            case "ChannelDtmfReceived":
                if not self._is_told_again(event):
                    self._press(event.digit)
            case "Dial" if event.dialstatus == "ANSWER":
                self.answered_since(event.at)
            case "PlaybackFinished" if event.playback is not None:
                if event.playback.id in self._playbacks:
                    self._playbacks[event.playback.id] = event.playback.state or "done"
                    self._stir(_PLAYED)
            case "Dial" | "ChannelStateChange":
                self._no_doubt()
                if event.dialstatus in _RINGS or (
                    event.channel is not None and event.channel.state == "Ringing"
                ):
                    self.rings()
            case "ChannelHangupRequest":
                self._timed_out = event.cause == _TIMEOUT
            case "ChannelDestroyed":
                cause = event.cause if isinstance(event.cause, int) else None
                self._finish(
                    LineEnd(
                        at=event.at,
                        answered_at=self.answered_at,
                        hangup_cause=cause,
                        # Asterisk makes one up for a channel that we end before its answer.
                        sip_code=None if self._gave_up or self._hanging_up else event.tech_cause,
                        rang_out=self.answered_at is None and self._timed_out,
                        by_us=self._hanging_up,
                        vanished=self._gave_up,
                    )
                )
            case _:
                pass

    def _is_told_again(self, event: Event) -> bool:
        """Whether Asterisk has told of this key already.

        One that follows another too soon is put off, and told both when it comes and when it counts. The ends of two
        presses of one key that are told once each are a key and a pause apart; what is closer are two tellings of one
        press, or of two that were both put off, whose number is right all the same.
        """
        before = self._told.pop(event.digit, None)
        if before is not None:
            duration, at = before
            apart = timedelta(milliseconds=max(duration, _SHORTEST_KEY) + _SHORTEST_PAUSE)
            if duration == event.duration_ms and event.at - at <= apart:
                return True
        self._told[event.digit] = event.duration_ms, event.at
        return False

    async def entered(self, deadline: float) -> None:
        """Wait until the channel is in our application: before that it would refuse to dial."""
        if not self._has_entered and not await self._stirred(deadline, _ENTERED):
            raise GatewayInDoubt("Its channel did not enter the application.")

    def doubt(self, ring_timeout: float) -> None:
        """Whether it was dialled is not known: if nothing is heard of it, it ends by our own clock."""

        def give_up() -> None:
            if self.answered_at is None and self.ended is None:
                self._gave_up = True
                self._gateway.begin(self._gateway.discard(self.leg))

        if self.answered_at is None and self.ended is None:
            self._doubtful = asyncio.get_running_loop().call_later(ring_timeout + _DOUBT, give_up)

    def _no_doubt(self) -> None:
        if self._doubtful is not None:
            self._doubtful.cancel()
            self._doubtful = None

    def answered_since(self, at: datetime) -> None:
        """The callee answered then."""
        self._no_doubt()
        if self.answered_at is None:
            self._picked_up(at)

    def _vanish(self, at: datetime) -> None:
        """It is gone, and nobody knows how. It was there until `at`, or until Asterisk was lost."""
        lost = self._ari.lost_at
        if lost is not None and self.answered_at is not None and lost > self.answered_at:
            at = min(at, lost)
        self._finish(LineEnd(at=at, answered_at=self.answered_at, by_us=self._hanging_up, vanished=True))

    def _finish(self, end: LineEnd) -> None:
        if self.ended is None:
            self._over(end)
            self._gateway.forget(self)
            if self._bridge is not None:
                self._gateway.begin(self._dissolve(self._bridge))

    async def _dissolve(self, bridge: str) -> None:
        """An empty bridge takes memory until somebody ends it."""
        with contextlib.suppress(GatewayLost, GatewayInDoubt):  # a new Asterisk has no bridges
            await self._ari.request("DELETE", f"bridges/{bridge}")

    async def resync(self) -> None:
        """Look again after a lost connection: what happened meanwhile has sent no event."""
        if self.ended is not None:
            return
        answer = await self._ari.request("GET", f"channels/{self.leg}")
        if answer.status == 404:
            known = await self._gateway.fate(self.leg)
            if known is None or known.ended_at is None:
                self._vanish(datetime.now(UTC))
                return
            self._finish(
                msgspec.structs.replace(
                    end_of(known), answered_at=self.answered_at or known.answered_at, by_us=self._hanging_up
                )
            )
        elif answer.ok:
            state = decode_channel(answer.body).state
            if state == "Up" and self.answered_at is None:
                self.answered_since(await self._gateway.answered_at(self.leg))
            elif state != "Down":
                self._no_doubt()
            for playback in list(self._started):
                over = (await self._ari.request("GET", f"playbacks/{playback}")).status == 404
                if over and self._playbacks.get(playback) == "":
                    self._playbacks[playback] = "done"
                    self._stir(_PLAYED)


def end_of(facts: cel.ChannelFacts) -> LineEnd:
    """The end that was written down."""
    assert facts.ended_at is not None
    return LineEnd(at=facts.ended_at, answered_at=facts.answered_at, hangup_cause=facts.hangup_cause)
