"""What can be asked of a report? A period, an order and a page of one account's sessions."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct


class Column(StrEnum):
    """What a report can be ordered by: columns of the narrow table."""

    start_time = "start_time"
    direction = "direction"
    is_lost = "is_lost"
    own_phone = "own_phone"
    country = "country"
    campaign = "campaign"  # by name
    outcome = "outcome"  # disposition and script result as "busy/none"


class Order(Struct, frozen=True, kw_only=True):
    """One key of a sort."""

    column: Column
    descending: bool = False
    # Value of the column → what it is sorted as; a dialect sorts by its own words for a thing.
    ranks: Mapping[str, str] | None = None


class Query(Struct, frozen=True, kw_only=True):
    """Which rows, in which order. Equal rows, and all without an order, come by start and then by id."""

    account_id: int
    since: datetime  # inclusive
    until: datetime  # exclusive
    order: tuple[Order, ...] = ()
    limit: int
    offset: int = 0


class Session(Struct, frozen=True, kw_only=True):
    """What happened on the line, once: an attempt of a call, an inbound call or an upload."""

    account_id: int
    session_id: int
    start_time: datetime
    finish_time: datetime
    direction: str  # out, in
    is_lost: bool
    disposition: str
    script_result: str
    campaign_id: int | None
    call_id: int | None
    attempt: int | None
    contact_phone: str  # E.164
    own_phone: str | None  # our caller ID, or the number that was called
    country: str | None  # ISO 3166-1 alpha-2 of the contact's number
    wait_seconds: int  # from start to answer, or to the end
    talk_seconds: int
    total_seconds: int
    details: dict[str, Any]  # what is shown and never asked by


class Page(Struct, frozen=True, kw_only=True):
    """The rows of a page and how many there are in all, both of one moment."""

    total: int
    rows: list[Session]


class ReportStore(Protocol):
    """Whoever keeps sessions in a way that reports can be read from."""

    async def page(self, query: Query) -> Page:
        """The page that the query asks for. Raises StoreUnavailable."""
        ...
