"""What is one INVITE called? Leg id = Asterisk channel id = `<call_id>.<attempt>.<leg>`."""

import re

from msgspec import Struct

from zvonar.core.errors import Invalid

# Canonical only, so that one leg has one name; the bounds are those of bigint and integer columns.
_LEG_ID = re.compile(r"([1-9]\d{0,17})\.([1-9]\d{0,8})\.([1-9]\d{0,8})", re.ASCII)


class LegId(Struct, frozen=True, order=True):
    """Names one leg everywhere: in the store, on the channel, in the callee's X-Zvonar-Leg header."""

    call_id: int
    attempt: int  # from 1
    leg: int  # from 1 within the attempt

    def __str__(self) -> str:
        return f"{self.call_id}.{self.attempt}.{self.leg}"

    @classmethod
    def parse(cls, text: str) -> "LegId":
        """The leg that a channel id names, or Invalid."""
        parts = _LEG_ID.fullmatch(text)
        if parts is None:
            raise Invalid(f"{text[:60]!r} is not a leg id.")
        return cls(*map(int, parts.groups()))


class InboundLeg(Struct, frozen=True, order=True):
    """Names a leg that came in: Asterisk has named its channel, and nobody can rename it."""

    channel: str

    def __str__(self) -> str:
        return self.channel


Leg = LegId | InboundLeg
