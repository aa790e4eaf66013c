"""What would the town do? A gateway without a network, exact to the millisecond on a loop with virtual time.

Subscribers behave by their last digit as the town's do, so the dialer's tests run a whole campaign in
milliseconds. It keeps what the callee would have counted: INVITEs per leg.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from zvonar.core.facts import MachineReport
from zvonar.core.leg import InboundLeg, Leg, LegId
from zvonar.core.machine import MachineDetection, OnMachine, Verdict
from zvonar.line.base import BaseLine
from zvonar.line.line import AlreadyExists, Arrival, Dialled, GatewayLost, Line, LineEnd

GREETING_SECONDS = 4.0  # of a machine, its beep included
PROMPT_SECONDS = 2.0  # every clip lasts this long unless `durations` says otherwise


class FakeLine(BaseLine):
    """A channel of the fake gateway."""

    def __init__(self, gateway: "FakeGateway", wanted: Dialled, leg: Leg | None = None) -> None:
        super().__init__()
        self._gateway = gateway
        self.wanted = wanted
        self.leg: Leg = leg or wanted.leg
        self.joined: FakeLine | None = None  # whom it is connected to
        self.tones: list[bool] = []
        self._bound = asyncio.get_running_loop().call_later(
            wanted.max_seconds, lambda: self.finish(LineEnd(at=gateway.now(), hangup_cause=16))
        )
        self.clips: list[Path] = []
        self.recorded = False

    async def answer(self) -> datetime:
        self._check()
        self.pick_up()
        return await self.answered()

    async def detect_machine(self, settings: MachineDetection) -> MachineReport:
        self._check()
        found = self._gateway.machines.get(self.wanted.phone[-1], Verdict.human)
        speaks = found is Verdict.machine and settings.on_machine is OnMachine.after_beep
        await self._stirred(settings.greeting / 1000 + (GREETING_SECONDS if speaks else 0))
        self._check()
        return MachineReport(verdict=found, cause="FAKE")

    async def tone(self, on: bool) -> None:
        self._check()
        self.tones.append(on)

    async def join(self, other: Line) -> None:
        self._check()
        assert isinstance(other, FakeLine)
        self.joined, other.joined = other, self

    async def play(self, clip: Path, *, interruptible: bool) -> str | None:
        self._check()
        if interruptible and self._keys:
            return self._keys.popleft()
        self.clips.append(clip)
        lasts = self._gateway.durations.get(clip.name, PROMPT_SECONDS)
        asyncio.get_running_loop().call_later(lasts, self._gateway.heard, self)
        if interruptible:
            return await self.key(lasts)
        await self._stirred(lasts)
        self._check()
        return None

    async def start_recording(self, *, sides: bool = True) -> None:
        self._check()
        self.recorded = True

    async def hang_up(self, *, cause: int = 16) -> LineEnd:
        self.finish(LineEnd(at=self._gateway.now(), hangup_cause=cause, by_us=True))
        return await self.end()

    def pick_up(self) -> None:
        """The subscriber answers."""
        if self.ended is None and self.answered_at is None:
            self._picked_up(self._gateway.now())

    def press(self, keys: str) -> None:
        """The subscriber presses keys."""
        if self.ended is None:
            for key in keys:
                self._press(key)

    def finish(self, end: LineEnd) -> None:
        """The line ends, from whichever side."""
        if self.ended is None:
            ended = LineEnd(
                at=end.at,
                answered_at=self.answered_at,
                hangup_cause=end.hangup_cause,
                sip_code=end.sip_code,
                rang_out=end.rang_out,
                by_us=end.by_us,
            )
            self._bound.cancel()
            self._over(ended)
            self._gateway.over(self)


class FakeGateway:
    """The town's subscribers, without Asterisk."""

    def __init__(self, *, now: Callable[[], datetime], name: str = "gateway") -> None:
        self.name = name
        self.now = now
        self.invites: Counter[str] = Counter()  # by leg id, as the callee would count them
        self.durations: dict[str, float] = {}  # seconds by clip name
        self.refuse_trunks: set[int] = set()  # these answer 503
        self.reachable = True
        self.peak = 0
        self.machines = {"5": Verdict.machine}  # what a detector finds, by last digit; persons otherwise
        self._lines: dict[Leg, FakeLine] = {}
        self._past: dict[Leg, LineEnd] = {}
        self._receive: Callable[[Arrival], None] | None = None
        self.made: list[FakeLine] = []

    async def create(self, wanted: Dialled) -> FakeLine:
        if not self.reachable:
            raise GatewayLost()
        if wanted.leg in self._lines:
            raise AlreadyExists()
        line = self._lines[wanted.leg] = FakeLine(self, wanted)
        self.made.append(line)
        self.peak = max(self.peak, len(self._lines))
        return line

    async def dial(self, line: Line, *, ring_timeout: int) -> None:
        assert isinstance(line, FakeLine)
        self.invites[str(line.leg)] += 1
        later = asyncio.get_running_loop().call_later
        phone = line.wanted.phone
        digit = phone[-1]
        rings = int(phone[-3:-1]) or 0.3
        if line.wanted.trunk_id in self.refuse_trunks:
            digit = "6"
        if digit not in "246":
            later(0.05, line.rings)
        match digit:
            case "2" | "4" | "6":
                cause, sip = {"2": (17, 486), "4": (1, 404), "6": (34, 503)}[digit]
                later(0.05, lambda: line.finish(LineEnd(at=self.now(), hangup_cause=cause, sip_code=sip)))
            case "3":
                later(
                    ring_timeout,
                    lambda: line.finish(LineEnd(at=self.now(), hangup_cause=19, sip_code=480, rang_out=True)),
                )
            case _ if rings >= ring_timeout:
                later(
                    ring_timeout,
                    lambda: line.finish(LineEnd(at=self.now(), hangup_cause=19, sip_code=480, rang_out=True)),
                )
            case _:
                later(rings, line.pick_up)
                if digit == "7":
                    later(rings + 1, lambda: line.finish(LineEnd(at=self.now(), hangup_cause=0)))

    def on_arrival(self, receive: Callable[[Arrival], None]) -> None:
        self._receive = receive

    def arrive(self, caller: str, called: str, *, trunk_id: int = 1) -> FakeLine:
        """A subscriber calls us."""
        assert self._receive is not None
        leg = InboundLeg(f"fake-{len(self.made)}")
        wanted = Dialled(
            leg=LegId(1, 1, 1),
            phone=caller,
            trunk_id=trunk_id,
            caller_id=called,
            ring_timeout=60,
            max_seconds=900,
        )
        line = self._lines[leg] = FakeLine(self, wanted, leg)
        self.made.append(line)
        self._receive(Arrival(line=line, trunk_id=trunk_id, called=called, caller=caller, at=self.now()))
        return line

    async def adopt(self, leg: LegId, *, rings_for: float | None = None) -> FakeLine | None:
        return self._lines.get(leg)

    async def discard(self, leg: Leg) -> None:
        line = self._lines.get(leg)
        if line is not None:
            await line.hang_up()

    async def alive(self) -> list[Leg]:
        return list(self._lines)

    def past(self, legs: Sequence[Leg]) -> dict[Leg, LineEnd]:
        return {leg: self._past[leg] for leg in legs if leg in self._past}

    def recording(self, leg: Leg) -> str | None:
        return next((f"{leg}.wav" for line in self.made if line.leg == leg and line.recorded), None)

    def heard(self, line: FakeLine) -> None:
        """A clip has come to its end at the subscriber's ear."""
        digit = line.wanted.phone[-1]
        if digit == "1":
            line.press("1")
        elif digit == "9":
            line.press("1234#")

    def over(self, line: FakeLine) -> None:
        """The line has ended."""
        self._lines.pop(line.leg, None)
        if line.ended is not None:
            self._past[line.leg] = line.ended
