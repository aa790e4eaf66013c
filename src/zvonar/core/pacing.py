"""How soon may the next call of a trunk or campaign be placed? GCRA, in one timestamp.

The same arithmetic stands in the statement that guards a trunk's row (`store.legs`); here it paces the
dialer ahead of that guard and is what the property tests hold the statement to.
"""

from msgspec import Struct

# A microsecond is the database clock's unit and more than a float of monotonic seconds forgets. A wait that
# short is none: whoever sleeps for `delay` may place afterwards. It never adds up, as slots stay exact.
_TICK = 1e-6


class Pacer(Struct, kw_only=True):
    """One rate limit. Times are seconds on any monotonic clock."""

    per_second: float  # placements a second; 0 or less is no limit
    burst: int = 1  # placements that may come at once after a silence
    slot: float = float("-inf")  # theoretical arrival time of the next placement

    def delay(self, now: float, *, together: int = 1) -> float:
        """Seconds until a placement is allowed, or as many as may come at once; 0 when that is now."""
        if self.per_second <= 0:
            return 0.0
        tolerance = (self.burst - min(together, self.burst)) / self.per_second
        wait = self.slot - tolerance - now
        return wait if wait > _TICK else 0.0

    def take(self, now: float) -> bool:
        """Take a placement if one is allowed now."""
        if self.delay(now) > 0:
            return False
        if self.per_second > 0:
            self.slot = max(self.slot, now) + 1 / self.per_second
        return True
