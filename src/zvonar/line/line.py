"""What does a script see of a telephone line, and a dialer of a gateway? Two protocols, two engines behind them.

`asterisk/` is the real engine, `fake` the one on virtual time; one test suite holds both to this contract.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from zvonar.core.errors import ZvonarError
from zvonar.core.facts import MachineReport
from zvonar.core.leg import Leg, LegId
from zvonar.core.machine import MachineDetection


class GatewayLost(ZvonarError):
    """The gateway went away before it took the request: nothing has happened there."""


class GatewayInDoubt(ZvonarError):
    """The gateway went away before it answered: nobody knows whether the request took effect. Never repeat it."""


class GatewayRefused(ZvonarError):
    """The gateway took the request and refused it."""


class AlreadyExists(GatewayRefused):
    """A channel with this leg id is alive already."""


class LineEnd(Struct, frozen=True, kw_only=True):
    """How a line ended. Not answered when `answered_at` is None."""

    at: datetime
    answered_at: datetime | None = None
    hangup_cause: int | None = None  # Q.850; 0 or None where the gateway knows none
    sip_code: int | None = None  # final SIP status of the INVITE
    rang_out: bool = False  # our ring timeout ended it
    by_us: bool = False  # our own hang-up ended it
    vanished: bool = False  # it was gone when we looked again; the facts above may be missing


class HungUp(ZvonarError):
    """The line has ended."""

    def __init__(self, end: LineEnd) -> None:
        super().__init__()
        self.end = end


class Dialled(Struct, frozen=True, kw_only=True):
    """What a leg is to be."""

    leg: LegId
    phone: str  # E.164, or the name of somebody behind the trunk
    trunk_id: int
    caller_id: str | None
    ring_timeout: int  # seconds from INVITE to CANCEL
    max_seconds: int  # the gateway's own bound on the channel's life, should its controller die


class Line(Protocol):
    """One leg. Everything that needs the line raises HungUp once it has ended."""

    @property
    def leg(self) -> Leg:
        """Whose line this is."""

    @property
    def ended(self) -> LineEnd | None:
        """How it ended, once it has."""

    @property
    def answered_at(self) -> datetime | None:
        """When it was answered, once it has been."""

    async def ringing(self) -> None:
        """Wait until it rings at the callee, or he has answered without."""

    async def answered(self) -> datetime:
        """Wait for the answer; when it was."""

    async def answer(self) -> datetime:
        """Answer a call that came in; when it was."""

    async def end(self) -> LineEnd:
        """Wait for the end; never raises HungUp."""

    async def play(self, clip: Path, *, interruptible: bool) -> str | None:
        """Play a clip to its end; the key that interrupted it, or None. Keys pressed before count."""

    async def key(self, timeout: float) -> str | None:
        """The next key within `timeout` seconds; None for silence."""

    async def digits(self, *, count: int, timeout: float, between: float, terminator: str = "#") -> str:
        """Up to `count` keys: the first within `timeout`, the others within `between` seconds of each other."""

    async def start_recording(self, *, sides: bool = True) -> None:
        """Record both directions until the end; the file is `recording` of the gateway.

        `sides`: and each by itself, where the gateway does so for transcripts.
        """

    async def detect_machine(self, settings: MachineDetection) -> MachineReport:
        """Listen to who has answered, and let a machine speak to its end where a message is to be left.

        What cannot be told is unknown. Raises GatewayRefused.
        """

    async def tone(self, on: bool) -> None:
        """Let the subscriber hear that it rings elsewhere, or no longer."""

    async def join(self, other: "Line") -> None:
        """Connect two answered lines, until one of them ends."""

    async def hang_up(self, *, cause: int = 16) -> LineEnd:
        """End the line and wait for its end; never raises HungUp. `cause`: Q.850, why a call is not answered."""


class Arrival(Struct, frozen=True, kw_only=True):
    """A call that comes in. It is not answered."""

    line: Line
    trunk_id: int
    called: str  # as the carrier writes it
    caller: str  # likewise; empty where he shows none
    at: datetime


class Gateway(Protocol):
    """Something that turns legs into lines."""

    @property
    def name(self) -> str:
        """As trunks and epochs name it."""

    async def create(self, wanted: Dialled) -> Line:
        """Make the channel; no INVITE yet. Raises AlreadyExists, GatewayRefused, GatewayLost, GatewayInDoubt.

        Safe to repeat.
        """

    async def dial(self, line: Line, *, ring_timeout: int) -> None:
        """Send the INVITE, once. Never call it again for a leg: a gateway would dial a finished channel again.

        Raises GatewayRefused, and GatewayLost or GatewayInDoubt where the channel could not be asked afterwards.
        """

    async def adopt(self, leg: LegId, *, rings_for: float | None = None) -> Line | None:
        """The line of a leg that is alive in the gateway; None where it is not. Raises GatewayLost.

        `rings_for`: seconds that are left of its ring timeout, if it is to have been dialled. Should it never have
        been, it ends then, as vanished.
        """

    async def discard(self, leg: Leg) -> None:
        """End a channel that we do not want, if it is there; at once, or when the gateway is back."""

    def on_arrival(self, receive: Callable[[Arrival], None]) -> None:
        """Tell `receive` of every call that comes in from now on; without it, each is refused."""

    async def alive(self) -> Sequence[Leg]:
        """Every leg that the gateway has a channel for."""

    def past(self, legs: Sequence[Leg]) -> dict[Leg, LineEnd]:
        """What the gateway's own records say of legs that have ended; those it knows nothing of are missing.

        Reads files; call it in a thread.
        """

    def recording(self, leg: Leg) -> str | None:
        """The recording's file name, where there is one."""
