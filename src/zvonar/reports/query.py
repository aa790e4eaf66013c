"""What can be asked of a report? A period, a filter, an order and a page of one account's sessions.

Nothing here knows a database or a dialect: a dialect builds a Query, a store compiles it. Fields are those of
`reports.fields`.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, TypeAlias

from msgspec import Struct

from zvonar.core.errors import ZvonarError


class Op(StrEnum):
    """How a field is compared. A field that is null fits `= null` and `is_null`, and nothing else."""

    eq = "="
    ne = "!="
    lt = "<"
    gt = ">"
    le = "<="
    ge = ">="
    like = "like"  # %, _ and \ as PostgreSQL's LIKE
    ilike = "ilike"
    not_like = "not_like"
    not_ilike = "not_ilike"
    regexp = "regexp"  # POSIX extended, matches anywhere
    in_ = "in"  # the value is a tuple
    not_in = "not_in"
    overlap = "overlap"  # the field is an array of texts, the value a tuple of them
    not_overlap = "not_overlap"
    is_null = "is_null"  # an array is null when it is empty
    is_not_null = "is_not_null"


# A single value has the Python type of the field's kind. Texts hold neither NUL nor lone surrogates, integers fit
# into 64 bits, moments are aware.
Single: TypeAlias = int | Decimal | str | bool | datetime | date | time
Value: TypeAlias = Single | tuple[Single, ...] | None


class Compare(Struct, frozen=True, kw_only=True, tag=True):
    """One comparison. Of an array, `like` and its kin, `regexp`, `=` and `!=` look for any element (its name)."""

    field: str
    op: Op
    value: Value = None  # None with `=` and `!=` asks for null


class JsonMatch(Struct, frozen=True, kw_only=True, tag=True):
    """A condition on a field that holds an array; one that is null is asked as []."""

    field: str
    path: str  # an SQL/JSON path predicate, strict and never unknown
    # Where the condition implies that one of these ids is in the array: what an index can find. Else None.
    ids: tuple[int, ...] | None = None
    exact: bool = False  # the condition is the very same as that one of `ids` is in the array


class Tree(Struct, frozen=True, kw_only=True, tag=True):
    """Every one of these, or one at least. An empty tree is true."""

    all: bool  # "and"
    of: "tuple[Filter, ...]"


Filter: TypeAlias = Compare | JsonMatch | Tree


class Order(Struct, frozen=True, kw_only=True):
    """One key of a sort. What is null comes last in both directions."""

    field: str
    descending: bool = False


class Query(Struct, frozen=True, kw_only=True):
    """Which rows, in which order, with which fields. Equal rows, and all without an order, come by start, then id."""

    account_id: int
    zone: str  # IANA; in which moments are shown, and whose days and clocks count
    since: datetime  # inclusive
    until: datetime  # exclusive
    filter: Filter | None = None
    order: tuple[Order, ...] = ()
    fields: tuple[str, ...]  # keys of a row, in their order
    limit: int
    offset: int = 0
    ongoing: bool = False  # whether calls that are up now are rows, too
    link_base: str = ""  # what links begin with: scheme and host
    deadline: float = 30.0  # seconds in which the report is there or is cancelled


class Report(Struct, frozen=True, kw_only=True):
    """How many rows there are in all, and those of the page, both of one moment.

    Each of the bytes is one row as a JSON object: moments as YYYY-MM-DD hh:mm:ss in the zone, durations as seconds,
    empty arrays as []. They come in chunks, so that memory stays flat whatever is asked.
    """

    total: int
    rows: AsyncIterator[list[bytes]]


class InvalidFilter(ZvonarError):
    """The database cannot use that value in a filter."""

    def __init__(self, field: str) -> None:
        super().__init__()
        self.field = field  # whose value it is


class ReportTooSlow(ZvonarError):
    """The report would have taken too long and was cancelled: ask for a shorter period or a simpler filter."""


class ReportBusy(ZvonarError):
    """Too many reports of this account are running: ask again when one of them is there."""


class ReportStore(Protocol):
    """Whoever keeps sessions in a way that reports can be read from."""

    def report(self, query: Query) -> AbstractAsyncContextManager[Report]:
        """What the query asks for, to be read inside the context; leaving it ends the work.

        Entering raises StoreUnavailable, InvalidFilter, ReportTooSlow and ReportBusy; reading may raise
        StoreUnavailable and ReportTooSlow.
        """
        ...
