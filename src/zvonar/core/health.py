"""Has too much of a campaign failed lately? A circuit breaker over a sliding window of attempts."""

from collections import Counter, deque
from datetime import datetime, timedelta

from msgspec import Struct

from zvonar.core.control import Breaker
from zvonar.core.result import Outcome
from zvonar.core.retry import rule_name

MAX_NAMED = 100  # calls


class Trip(Struct, frozen=True, kw_only=True):
    """Why a campaign was stopped."""

    failed: int  # attempts in the window
    of: int  # attempts in the window
    window: int  # seconds
    outcomes: dict[str, int]  # of those that failed
    calls: list[int]  # ids of those that failed, latest first; not more than are of use


class Health:
    """The latest attempts of one campaign."""

    def __init__(self) -> None:
        self._ended: deque[tuple[datetime, int, str | None]] = deque()  # when, which call, how it failed
        self._failed: Counter[str] = Counter()

    def heard(self, breaker: Breaker, call_id: int, outcome: Outcome, *, at: datetime) -> Trip | None:
        """An attempt has ended; a Trip where that was too much. It is forgotten what led to it."""
        name = rule_name(outcome)
        failure = name if name in breaker.outcomes else None
        self._ended.append((at, call_id, failure))
        if failure is not None:
            self._failed[failure] += 1
        self._forget(at - timedelta(seconds=breaker.window))
        failed, of = self._failed.total(), len(self._ended)
        # Only a failure trips: a success that makes the attempts enough is no reason to stop.
        if failure is None or of < breaker.at_least or failed * 100 <= breaker.above * of:
            return None
        calls = dict.fromkeys(call_id for _, call_id, how in reversed(self._ended) if how is not None)
        trip = Trip(
            failed=failed,
            of=of,
            window=breaker.window,
            outcomes=dict(sorted(self._failed.items())),
            calls=list(calls)[:MAX_NAMED],
        )
        self._ended.clear()
        self._failed.clear()
        return trip

    def _forget(self, before: datetime) -> None:
        while self._ended and self._ended[0][0] <= before:
            _, _, failure = self._ended.popleft()
            if failure is not None:
                self._failed[failure] -= 1
                self._failed += Counter()  # drops what is zero
