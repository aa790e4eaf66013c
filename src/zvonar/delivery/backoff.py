"""When is a failed delivery tried again? And when is it dead?"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from msgspec import Struct

_SOONEST, _LATEST = 1.0, 86_400.0  # seconds: what we let a receiver ask for
_INDULGENT = 3  # tries after which a receiver that asks for haste no longer gets it


class Backoff(Struct, frozen=True, kw_only=True):
    """The pauses between tries; the first try is made at once."""

    pauses: tuple[float, ...] = (5, 30, 120, 600, 1800, 7200, 18000, 36000, 36000)  # seconds
    jitter: float = 0.1  # a pause is at most this share longer or shorter

    def next_at(
        self, tries: int, *, now: datetime, roll: float, asked: float | None = None
    ) -> datetime | None:
        """When to try again after `tries` failed ones, or None: dead. `roll`: 0 to 1, spreads the receivers'
        load after an outage. `asked`: seconds that the receiver asked for, which are kept; never cut short, and
        a pause shorter than ours is kept for the first tries only, so that haste does not use them all up.
        """
        if tries > len(self.pauses):
            return None
        pause = self.pauses[tries - 1]
        if asked is not None and (asked >= pause or tries <= _INDULGENT):
            # Later by chance, never earlier.
            return now + timedelta(seconds=asked * (1 + self.jitter * roll))
        return now + timedelta(seconds=max(pause * (1 + self.jitter * (2 * roll - 1)), asked or 0.0))


def asked_pause(value: str | None, *, now: datetime) -> float | None:
    """What a Retry-After header asks for: seconds from now, at least one and at most a day; None without one.

    RFC 9110, 10.2.3: a number of seconds or an HTTP date.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = float(value[:12])
    else:
        try:
            at = parsedate_to_datetime(value)
        except (TypeError, ValueError, OverflowError):
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, _SOONEST), _LATEST)
