"""What do operators hold a campaign to beyond its window and its retries? Whose clock, how often, in which share.

These are settings only; `core.schedule`, `core.share` and `core.health` act upon them, and so does the placing
statement.
"""

import re
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from zvonar.core.errors import SettingsInvalid
from zvonar.core.retry import RULE_NAMES

MAX_CAPS = 8
MAX_CAP_ATTEMPTS = 1000
MAX_CAP_SECONDS = 92 * 86400
MAX_WEIGHT = 1000
_CAP = re.compile(r"(\d{1,6})/(\d{1,9})([smhd]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Clock(StrEnum):
    """In whose time zone a campaign's window is meant."""

    campaign = "campaign"  # everybody's in the campaign's own time zone, else the account's
    callee = "callee"  # the contact's, else the numbering plan's where it is one, else as above
    strictest = "strictest"  # as `callee`, but where the plan says several, all of them must be open


class Cap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often one callee may be dialled, counted over all campaigns of the account."""

    attempts: int  # at most so many
    seconds: int  # in any stretch of so many seconds

    def checked(self) -> "Cap":
        """Self, or SettingsInvalid."""
        if not 1 <= self.attempts <= MAX_CAP_ATTEMPTS or not 1 <= self.seconds <= MAX_CAP_SECONDS:
            raise SettingsInvalid(
                f"a cap is 1 to {MAX_CAP_ATTEMPTS} attempts in 1 to {MAX_CAP_SECONDS} seconds."
            )
        return self


def checked_caps(caps: tuple[Cap, ...]) -> tuple[Cap, ...]:
    """The caps, or SettingsInvalid."""
    if len(caps) > MAX_CAPS:
        raise SettingsInvalid(f"there are at most {MAX_CAPS} caps.")
    for cap in caps:
        cap.checked()
    return caps


def parse_caps(text: str) -> tuple[Cap, ...]:
    """`1/1d,2/7d` as caps: so many attempts in so many seconds, m, h or d. Nothing is no caps; SettingsInvalid."""
    caps = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        found = _CAP.fullmatch(part)
        if found is None:
            raise SettingsInvalid(f"a cap is written like 2/7d, not {part[:60]!r}.")
        caps.append(Cap(attempts=int(found[1]), seconds=int(found[2]) * _UNITS[found[3]]))
    return checked_caps(tuple(caps))


class Breaker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When does a campaign stop by itself? Too large a part of its latest attempts has failed."""

    above: Decimal = Decimal(50)  # per cent of the attempts in the window; more than this trips
    window: int = 300  # seconds back from now
    at_least: int = 20  # attempts in the window before anything is concluded
    outcomes: tuple[str, ...] = (
        "congestion",
        "failed",
        "lost",
        "no_route",
        "synth_failed",
    )  # what is a failure

    def checked(self) -> "Breaker":
        """Self, or SettingsInvalid naming the setting."""
        if not (self.above.is_finite() and 0 <= self.above < 100):
            raise SettingsInvalid("a breaker's above is 0 to less than 100 per cent.")
        if not 1 <= self.window <= 86400:
            raise SettingsInvalid("a breaker's window is 1 to 86400 seconds.")
        if not 1 <= self.at_least <= 10_000:
            raise SettingsInvalid("a breaker's at_least is 1 to 10000 attempts.")
        if not self.outcomes:
            raise SettingsInvalid("a breaker's outcomes are at least one.")
        for name in self.outcomes:
            if name not in RULE_NAMES:
                raise SettingsInvalid(f"there is no outcome {name!r} to break a campaign.")
        return self
