"""How long is a call under test? As long as it says, in no time: a loop whose clock jumps to its next timer."""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

Result = TypeVar("Result")
BEGINNING = datetime(2026, 3, 2, 12, tzinfo=UTC)


class NothingWillHappen(Exception):
    """Everybody waits, and no timer runs: this test would never end."""


class _Jump(selectors.DefaultSelector):
    """Never sleeps: where a selector would, time passes."""

    def __init__(self, late: float) -> None:
        super().__init__()
        self.seconds = 0.0
        self._late = late

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise NothingWillHappen()
            self.seconds += timeout + self._late if timeout > 0 else 0.0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, from zero; all its timers are late by as much."""

    def __init__(self, late: float = 0.0) -> None:
        self._jump = _Jump(late)
        super().__init__(self._jump)

    def time(self) -> float:
        # To the microsecond, as the wall clock has it; sums of floats would be a little off.
        return round(self._jump.seconds, 6)


def now() -> datetime:
    """The wall clock of the running virtual loop."""
    return BEGINNING + timedelta(seconds=asyncio.get_running_loop().time())


def run(work: Coroutine[Any, Any, Result], *, late: float = 0.0) -> Result:
    """Run a coroutine on virtual time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(late)) as runner:
        return runner.run(work)
