"""What does a script see of a telephone line, and a dialer of a gateway? Two protocols, two engines behind them.

`asterisk/` is the real engine, `fake` the one on virtual time; one test suite holds both to this contract.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from zvonar.core.errors import ZvonarError
from zvonar.core.leg import LegId


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
    phone: str  # E.164
    trunk_id: int
    caller_id: str | None
    ring_timeout: int  # seconds from INVITE to CANCEL
    max_seconds: int  # the gateway's own bound on the channel's life, should its controller die


class Line(Protocol):
    """One leg. Everything that needs the line raises HungUp once it has ended."""

    @property
    def leg(self) -> LegId:
        """Whose line this is."""

    @property
    def ended(self) -> LineEnd | None:
        """How it ended, once it has."""

    async def answered(self) -> datetime:
        """Wait for the answer; when it was."""

    async def end(self) -> LineEnd:
        """Wait for the end; never raises HungUp."""

    async def play(self, clip: Path, *, interruptible: bool) -> str | None:
        """Play a clip to its end; the key that interrupted it, or None. Keys pressed before count."""

    async def key(self, timeout: float) -> str | None:
        """The next key within `timeout` seconds; None for silence."""

    async def digits(self, *, count: int, timeout: float, between: float, terminator: str = "#") -> str:
        """Up to `count` keys: the first within `timeout`, the others within `between` seconds of each other."""

    async def start_recording(self) -> None:
        """Record both directions until the end; the file is `recording` of the gateway."""

    async def hang_up(self) -> LineEnd:
        """End the line and wait for its end; never raises HungUp."""


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

    async def discard(self, leg: LegId) -> None:
        """End a channel that we do not want, if it is there; at once, or when the gateway is back."""

    async def alive(self) -> Sequence[LegId]:
        """Every leg that the gateway has a channel for."""

    def past(self, legs: Sequence[LegId]) -> dict[LegId, LineEnd]:
        """What the gateway's own records say of legs that have ended; those it knows nothing of are missing.

        Reads files; call it in a thread.
        """

    def recording(self, leg: LegId) -> str | None:
        """The recording's file name, where there is one."""
