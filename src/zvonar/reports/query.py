"""What can be asked of a report? A period, a filter, an order, a page, and the shape of its rows.

Nothing here knows a database or a dialect: a dialect builds a Query, a store compiles it. Fields are those of
`reports.fields`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, TypeAlias

from msgspec import Raw, Struct

from zvonar.core.errors import ZvonarError
from zvonar.reports.jsquery import Condition


class Part(StrEnum):
    """What of a moment is looked at; days and clocks are those of the query's zone."""

    whole = "whole"
    date = "date"
    clock = "clock"  # time of day


class Op(StrEnum):
    """How a field is compared. A field that is null fits `is_null` and nothing else."""

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
    within = "in"  # the value is a tuple
    not_within = "not_in"
    overlap = "overlap"  # the field is an array of texts, the value a tuple of them
    not_overlap = "not_overlap"
    is_null = "is_null"  # an array is null when it is empty
    not_null = "is_not_null"


# A single value has the Python type of the field's kind. Texts hold neither NUL nor lone surrogates, integers fit
# into 64 bits, moments are aware.
Single: TypeAlias = int | Decimal | str | bool | datetime | date | time
Value: TypeAlias = Single | tuple[Single, ...] | None


class Test(Struct, frozen=True, kw_only=True, tag=True):
    """One comparison."""

    field: str
    op: Op
    value: Value = None
    part: Part = Part.whole  # of a field that is a moment

    __test__ = False  # for pytest, which collects what is called a test


class Match(Struct, frozen=True, kw_only=True, tag=True):
    """A jsquery over a field that holds an array, as JSON; what is null is the JSON array []."""

    field: str
    condition: Condition


class All(Struct, frozen=True, kw_only=True, tag=True):
    """Every one of these; of none, true."""

    of: "tuple[Filter, ...]"


class Any_(Struct, frozen=True, kw_only=True, tag=True):  # noqa: N801  # `Any` is typing's
    """One of these at least; of none, false."""

    of: "tuple[Filter, ...]"


Filter: TypeAlias = Test | Match | All | Any_


class Order(Struct, frozen=True, kw_only=True):
    """One key of a sort. What is null comes last, descending first."""

    field: str
    part: Part = Part.whole
    descending: bool = False
    # Value of a text or boolean ("true", "false") field → what it is sorted as; a dialect sorts by its own words.
    ranks: Mapping[str, str] | None = None


class Plain(Struct, frozen=True, kw_only=True, tag=True):
    """The field as JSON: number, text, true or false, null. Decimals are numbers; arrays of texts arrays."""

    field: str


class At(Struct, frozen=True, kw_only=True, tag=True):
    """A moment in the query's zone, to the second that it was in: YYYY-MM-DD hh:mm:ss, or one half of it."""

    field: str
    part: Part = Part.whole


class Span(Struct, frozen=True, kw_only=True, tag=True):
    """Seconds as hh:mm:ss; of more than 99 hours as many digits as it takes."""

    field: str


class Words(Struct, frozen=True, kw_only=True, tag=True):
    """JSON for each value of a text or boolean field ("true", "false"); null for null."""

    field: str
    words: Mapping[str, Raw]
    otherwise: Raw  # for a value that has no words


class Fixed(Struct, frozen=True, kw_only=True, tag=True):
    """The same JSON in each row."""

    json: Raw


class Object(Struct, frozen=True, kw_only=True, tag=True):
    """An object, its keys in this order. Where `unless_null` names a field that is null, the whole of it is null."""

    members: "tuple[tuple[str, Shown], ...]"
    unless_null: str | None = None


class Items(Struct, frozen=True, kw_only=True, tag=True):
    """An array of objects with some of their members, under other names: (key, member). Moments are shown as At is.

    Of none: [] or null.
    """

    field: str
    members: tuple[tuple[str, str], ...]
    null: bool = False  # whether no items are null


class Names(Struct, frozen=True, kw_only=True, tag=True):
    """An array of one member of each object, or of the texts of an array of texts; of none: [] or null."""

    field: str
    member: str | None = None
    null: bool = False


class Joined(Struct, frozen=True, kw_only=True, tag=True):
    """Texts one after the other: a fixed one or a field's; null when a field is."""

    parts: tuple[tuple[str, bool], ...]  # (text, False) or (field, True)


Shown: TypeAlias = Plain | At | Span | Words | Fixed | Object | Items | Names | Joined


class Query(Struct, frozen=True, kw_only=True):
    """Which rows, in which order, shown how. Equal rows, and all without an order, come by start and then by id."""

    account_id: int
    since: datetime  # inclusive
    until: datetime  # exclusive
    zone: str  # IANA; whose days and clocks the report shows
    filter: Filter | None = None
    order: tuple[Order, ...] = ()
    limit: int
    offset: int = 0
    shape: tuple[tuple[str, Shown], ...]  # keys of a row in their order
    ongoing: bool = False  # whether calls that are up now are rows, too; what they will be known by is null


class Page(Struct, frozen=True, kw_only=True):
    """How many rows there are in all, and those of the page as JSON, both of one moment.

    The chunks joined are JSON objects with commas between them, without brackets: memory stays flat whatever is asked.
    """

    total: int
    chunks: AsyncIterator[bytes]


class BadPattern(ZvonarError):
    """That regular expression cannot be used."""

    def __init__(self, pattern: str) -> None:
        super().__init__()
        self.pattern = pattern


class ReportTooLong(ZvonarError):
    """The report took longer than a report may; it was cancelled. Ask for a shorter period or a simpler filter."""


class ReportsBusy(ZvonarError):
    """The account has as many reports running as it may; ask again when one has ended."""


class ReportStore(Protocol):
    """Whoever keeps sessions in a way that reports can be read from."""

    def page(self, query: Query) -> AbstractAsyncContextManager[Page]:
        """The page that the query asks for, to be read inside the context; leaving it ends the work.

        Entering raises StoreUnavailable, BadPattern, ReportTooLong, ReportsBusy. Reading may raise StoreUnavailable
        and ReportTooLong; what can go wrong is found out by the first chunk.
        """
        ...
