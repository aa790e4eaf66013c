"""What came of calls? Each with what is shown of its last attempt, by whatever a client remembers it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString

from msgspec import Struct
from psycopg.rows import args_row

from zvonar.store.db import Database


class Result(Struct, frozen=True):
    """A call and its last attempt. By position, as the statements select: a page has a thousand of them.

    Moments are UTC, as text whose first 23 characters are `2017-09-22 16:53:12.267`: to make them moments only to write
    them down again would cost as much as finding them.
    """

    call_id: int
    campaign_id: int
    phone: str
    state: str
    call_end: str | None
    attempts: int  # how many were made
    disposition: str | None  # of the last attempt, as are the next eight
    script_result: str | None
    choice: str | None
    status_name: str | None
    cause: str | None
    steps: list[dict[str, Any]] | None
    recording: str | None
    transcript: list[dict[str, Any]] | None  # of it: channel, start, end, text; by the start
    sent: list[dict[str, Any]] | None  # messages that it set off: number, kind, state, error
    talk_seconds: int  # of all attempts
    cost: str  # of all attempts; four decimals
    label: str | None
    clip_id: int | None
    created_at: str
    updated_at: str
    completed_at: str | None


class Filter(Struct, frozen=True, kw_only=True):
    """Which of a campaign's calls. Ranges are half-open; what is None does not filter."""

    created_from: datetime | None = None
    created_till: datetime | None = None
    updated_from: datetime | None = None
    updated_till: datetime | None = None
    outcomes: Sequence[str] | None = None  # `outcome_key`s
    choice: str | None = None  # the key or word that decided, or its name

    @property
    def everything(self) -> bool:
        """Whether it filters nothing."""
        return self == Filter()


class Counted(Struct, frozen=True, kw_only=True):
    """How many calls have come to the same."""

    state: str
    call_end: str | None
    attempts: bool  # whether any was made
    disposition: str | None
    script_result: str | None
    cause: str | None
    choice: str | None
    status_name: str | None
    n: int


# The microsecond keeps the zeros of a round second.
_MOMENT = "(date_trunc('milliseconds', {} AT TIME ZONE 'UTC') + interval '1 microsecond')::text"

_RESULT = f"""c.call_id, c.campaign_id, c.phone, c.state, c.call_end, c.attempts, c.disposition, c.script_result,
    c.choice, c.status_name, t.cause, t.steps, t.recording, t.transcript, t.sent, c.talk_seconds, c.cost::text,
    c.label, c.clip_id,
    {_MOMENT.format("c.created_at")}, {_MOMENT.format("c.updated_at")}, {_MOMENT.format("c.completed_at")}"""

# One by one: no planner knows how few they are, and one that guesses wrong reads all attempts there ever were.
_LAST_ATTEMPT = """LEFT JOIN LATERAL (
    SELECT cause, steps, recording,
        CASE WHEN recording IS NOT NULL THEN (
            SELECT x.segments FROM transcripts x
            WHERE x.account_id = c.account_id AND x.call_id = c.call_id AND x.attempt = c.attempts) END AS transcript,
        CASE WHEN steps IS NOT NULL THEN (
            SELECT jsonb_agg(jsonb_build_object('number', r.number, 'kind', r.kind, 'state', r.state, 'error', r.error)
                             ORDER BY r.number, r.kind)
            FROM reaction_deliveries r
            WHERE r.account_id = c.account_id AND r.call_id = c.call_id AND r.attempt = c.attempts) END AS sent
    FROM attempts
    WHERE account_id = c.account_id AND call_id = c.call_id AND attempt = c.attempts LIMIT 1) t ON true"""

# The same key as `outcome_key` makes.
_OUTCOME = (
    "coalesce(c.call_end, '') || '/' || coalesce(c.disposition, '') || '/' || coalesce(c.script_result, '')"
)

_FILTERS = f"""(%(created_from)s::timestamptz IS NULL OR c.created_at >= %(created_from)s)
  AND (%(created_till)s::timestamptz IS NULL OR c.created_at < %(created_till)s)
  AND (%(updated_from)s::timestamptz IS NULL OR c.updated_at >= %(updated_from)s)
  AND (%(updated_till)s::timestamptz IS NULL OR c.updated_at < %(updated_till)s)
  AND (%(outcomes)s::text[] IS NULL OR {_OUTCOME} = ANY(%(outcomes)s))
  AND (%(choice)s::text IS NULL OR c.choice = %(choice)s OR lower(c.status_name) = lower(%(choice)s))"""

# Calls of one account by id.
BY_IDS = f"""
SELECT {_RESULT} FROM calls c {_LAST_ATTEMPT}
WHERE c.account_id = %(account_id)s AND c.call_id = ANY(%(call_ids)s)
"""

# Every call of a campaign to some numbers, newest first.
BY_PHONES = f"""
SELECT {_RESULT} FROM calls c {_LAST_ATTEMPT}
WHERE c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s AND c.phone = ANY(%(phones)s) AND {_FILTERS}
ORDER BY c.ordinal DESC
"""

# The calls of a campaign that bear some labels.
BY_LABELS = f"""
SELECT {_RESULT} FROM calls c {_LAST_ATTEMPT}
WHERE c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s AND c.label = ANY(%(labels)s)
"""

# A campaign's calls are numbered without a gap, so any page is a range of numbers and costs what the first does.
PAGE = f"""
SELECT {_RESULT} FROM (
    SELECT last.next_ordinal - %(skipped)s::bigint AS newest FROM campaigns last
    WHERE last.account_id = %(account_id)s AND last.campaign_id = %(campaign_id)s
) page JOIN calls c ON c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s
    AND c.ordinal <= page.newest AND c.ordinal > page.newest - %(limit)s::bigint {_LAST_ATTEMPT}
ORDER BY c.ordinal DESC
"""

# A page of those that pass a filter: they are counted off by number alone before any row is built.
FILTERED_PAGE = f"""
SELECT {_RESULT} FROM (
    SELECT c.ordinal FROM calls c
    WHERE c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s AND {_FILTERS}
    ORDER BY c.ordinal DESC LIMIT %(limit)s::bigint OFFSET %(skipped)s::bigint
) page JOIN calls c ON c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s AND c.ordinal = page.ordinal
    {_LAST_ATTEMPT}
ORDER BY c.ordinal DESC
"""

# Calls, not attempts, so that every count adds up to the number of calls. Few attempts have a cause: an index of those.
COUNT = """
SELECT c.state, c.call_end, c.attempts > 0 AS attempts, c.disposition, c.script_result, t.cause, c.choice,
    c.status_name, count(*) AS n
FROM calls c
LEFT JOIN (
    SELECT call_id, attempt, cause FROM attempts
    WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND cause IS NOT NULL
) t ON t.call_id = c.call_id AND t.attempt = c.attempts
WHERE c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s
  AND c.created_at >= %(created_from)s AND c.created_at < %(created_till)s
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""


async def _results(db: Database, statement: LiteralString, params: Mapping[str, Any]) -> list[Result]:
    async with db.connection() as connection, connection.cursor(row_factory=args_row(Result)) as cursor:
        await cursor.execute(statement, params)
        return await cursor.fetchall()


def outcome_key(call_end: str | None, disposition: str | None, script_result: str | None) -> str:
    """What a filter knows an outcome by."""
    return f"{call_end or ''}/{disposition or ''}/{script_result or ''}"


async def by_ids(db: Database, account_id: int, call_ids: Sequence[int]) -> list[Result]:
    """The account's calls of these ids, in the order asked; unknown ids are left out."""
    found = await _results(db, BY_IDS, {"account_id": account_id, "call_ids": list(call_ids)})
    by_id = {result.call_id: result for result in found}
    return [by_id[call_id] for call_id in dict.fromkeys(call_ids) if call_id in by_id]


async def by_phones(
    db: Database, account_id: int, campaign_id: int, phones: Sequence[str], which: Filter
) -> list[Result]:
    """All calls of a campaign to these E.164 numbers, newest first."""
    params = {**_params(account_id, campaign_id, which), "phones": list(phones)}
    return await _results(db, BY_PHONES, params)


async def by_labels(db: Database, account_id: int, campaign_id: int, labels: Sequence[str]) -> list[Result]:
    """The calls of a campaign that bear these labels, in the order asked; unknown ones are left out."""
    params = {"account_id": account_id, "campaign_id": campaign_id, "labels": list(labels)}
    found = {result.label: result for result in await _results(db, BY_LABELS, params)}
    return [found[label] for label in dict.fromkeys(labels) if label in found]


async def page(
    db: Database, account_id: int, campaign_id: int, which: Filter, *, number: int, size: int
) -> list[Result]:
    """A page (from 1) of a campaign's calls, newest first; none beyond the last."""
    params = {**_params(account_id, campaign_id, which), "skipped": (number - 1) * size, "limit": size}
    return await _results(db, PAGE if which.everything else FILTERED_PAGE, params)


async def count(
    db: Database, account_id: int, campaign_id: int, *, created_from: datetime, created_till: datetime
) -> list[Counted]:
    """What has come of the calls of a campaign that were created in a half-open range."""
    params = {
        "account_id": account_id,
        "campaign_id": campaign_id,
        "created_from": created_from,
        "created_till": created_till,
    }
    return await db.rows(Counted, COUNT, params)


def _params(account_id: int, campaign_id: int, which: Filter) -> Mapping[str, Any]:
    return {
        "account_id": account_id,
        "campaign_id": campaign_id,
        "created_from": which.created_from,
        "created_till": which.created_till,
        "updated_from": which.updated_from,
        "updated_till": which.updated_till,
        "outcomes": None if which.outcomes is None else list(which.outcomes),
        "choice": which.choice,
    }
