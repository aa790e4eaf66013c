"""What does every method know? Who asks, for whom, with which parameters."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from litestar.types import ASGIApp
from msgspec import Raw, Struct

from zvonar.dialects.uis import limits
from zvonar.reports.query import ReportStore
from zvonar.reports.writing import Writer
from zvonar.store.accounts import Account
from zvonar.store.db import Database
from zvonar.store.keys import Holder
from zvonar.store.limits import Budget


class Call(Struct, frozen=True, kw_only=True):
    """A request whose sender is known."""

    db: Database
    reports: ReportStore
    writer: Writer  # of the report's rows
    id: Raw
    params: dict[str, Any]
    too_deep: bool  # whether a part of them was nested too deeply to be read
    holder: Holder  # of the key
    account: Account  # whose data is meant: the holder's own, or a customer's
    zone: ZoneInfo  # the account's
    now: datetime
    base: str  # what links begin with
    spent: list[Budget]

    @property
    def limits(self) -> dict[str, int]:
        """For the answer's metadata."""
        return limits.described(self.spent, now=self.now)


Answer: TypeAlias = bytes | ASGIApp
Method: TypeAlias = Callable[[Call], Awaitable[Answer]]
