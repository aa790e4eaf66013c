"""When is a failed delivery tried again? And when is it dead?"""

from datetime import datetime, timedelta

from msgspec import Struct


class Backoff(Struct, frozen=True, kw_only=True):
    """The pauses between tries; the first try is made at once."""

    pauses: tuple[float, ...] = (5, 30, 120, 600, 1800, 7200, 18000, 36000, 36000)  # seconds
    jitter: float = 0.1  # a pause is at most this share longer or shorter

    def next_at(self, tries: int, *, now: datetime, roll: float) -> datetime | None:
        """When to try again after `tries` failed ones, or None: dead. `roll`: 0 to 1, spreads the receivers'
        load after an outage.
        """
        if tries > len(self.pauses):
            return None
        return now + timedelta(seconds=self.pauses[tries - 1] * (1 + self.jitter * (2 * roll - 1)))
