"""What is shown of a campaign's calls? Each with all of its attempts, on pages, newest first."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from zvonar.store.db import Database


class AttemptFacts(Struct, frozen=True, kw_only=True):
    """One try."""

    started_at: datetime
    ended_at: datetime | None
    disposition: str | None
    script_result: str | None
    steps: list[dict[str, Any]] | None = None  # what was pressed where


class CallFacts(Struct, frozen=True, kw_only=True):
    """A call as it stands."""

    call_id: int
    campaign_id: int
    phone: str  # E.164
    extra: str | None
    locked: bool  # held back by the client
    state: str
    disposition: str | None  # of the last ended attempt
    script_result: str | None
    recalled_at: datetime | None  # when the subscriber called back
    talk_seconds: int  # of all attempts
    attempts: list[AttemptFacts]  # oldest first
    created_at: datetime
    updated_at: datetime
    overrides: dict[str, Any] | None = None  # what this call says differently


class Which(Struct, frozen=True, kw_only=True):
    """Which calls of a campaign; what is None does not filter."""

    outcomes: Sequence[str] | None = None  # `outcome_key`s
    phone: str | None = None  # E.164
    extra: str | None = None
    locked: bool | None = None
    updated_from: datetime | None = None
    updated_till: datetime | None = None  # not included

    @property
    def everything(self) -> bool:
        """Whether it filters nothing."""
        return self == Which()


class _Row(Struct, frozen=True, kw_only=True):
    facts: dict[str, Any]


# One by one: no planner knows how few attempts a page's calls have.
_FACTS = """to_jsonb(c) || jsonb_build_object('attempts', (
    SELECT coalesce(jsonb_agg(jsonb_build_object('started_at', t.started_at, 'ended_at', t.ended_at,
        'disposition', t.disposition, 'script_result', t.script_result, 'steps', t.steps) ORDER BY t.attempt), '[]')
    FROM attempts t WHERE t.account_id = c.account_id AND t.call_id = c.call_id)) AS facts"""

_OF = "c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s"

# The same key as `outcome_key` makes.
OUTCOME = """CASE WHEN c.recalled_at IS NOT NULL THEN 'recalled/' ELSE '' END
    || coalesce(c.disposition, CASE WHEN c.call_end IS NULL THEN 'open' ELSE 'ended' END) || '/'
    || coalesce(c.script_result, 'none')"""

_WHICH = f"""{_OF}
  AND (%(phone)s::text IS NULL OR c.phone = %(phone)s)
  AND (%(extra)s::text IS NULL OR c.extra = %(extra)s)
  AND (%(locked)s::boolean IS NULL OR c.locked = %(locked)s)
  AND (%(updated_from)s::timestamptz IS NULL OR c.updated_at >= %(updated_from)s)
  AND (%(updated_till)s::timestamptz IS NULL OR c.updated_at < %(updated_till)s)
  AND (%(outcomes)s::text[] IS NULL OR {OUTCOME} = ANY(%(outcomes)s))"""

# A campaign's calls are numbered, so any page is a range of numbers and costs what the first does.
PAGE = f"""
SELECT {_FACTS} FROM calls c WHERE {_OF} AND c.ordinal <= %(newest)s AND c.ordinal > %(newest)s - %(limit)s::bigint
ORDER BY c.ordinal DESC
"""

# A page of those that pass a filter: they are counted off by number alone before any row is built.
FILTERED_PAGE = f"""
SELECT {_FACTS} FROM (
    SELECT c.ordinal FROM calls c WHERE {_WHICH}
    ORDER BY c.ordinal DESC LIMIT %(limit)s::bigint OFFSET %(skipped)s::bigint
) page JOIN calls c ON {_OF} AND c.ordinal = page.ordinal ORDER BY c.ordinal DESC
"""

COUNT = f"SELECT count(*) FROM calls c WHERE {_WHICH}"

# How many numbers a campaign has given to calls.
NUMBERED = """
SELECT next_ordinal FROM campaigns WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
"""

GET = f"SELECT {_FACTS} FROM calls c WHERE {_OF} AND c.call_id = %(call_id)s"

# Hold a call back, or let it go: whoever has leased it and not placed it yet finds it gone.
LOCK = """
UPDATE calls SET locked = %(locked)s, updated_at = %(now)s,
    lease_epoch = CASE WHEN state IN ('queued', 'waiting') THEN NULL ELSE lease_epoch END
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND call_id = %(call_id)s AND call_end IS NULL
"""


def outcome_key(ended: bool, disposition: str | None, script_result: str | None, *, recalled: bool) -> str:
    """What a filter knows an outcome by; `ended` counts only where there was no try."""
    return f"{'recalled/' if recalled else ''}{disposition or ('ended' if ended else 'open')}/{script_result or 'none'}"


async def page(
    db: Database, account_id: int, campaign_id: int, which: Which, *, number: int, size: int
) -> tuple[list[CallFacts], int]:
    """A page (from 1) of a campaign's calls, newest first, and how many there are."""
    params = {
        **_params(account_id, campaign_id, which),
        "skipped": (number - 1) * size,
        "limit": size,
    }
    if which.everything:
        total = int(await db.value(NUMBERED, params) or 0)
        newest = max(0, total - (number - 1) * size)
        return await _calls(db, PAGE, {**params, "newest": newest}), total
    return await _calls(db, FILTERED_PAGE, params), int(await db.value(COUNT, params))


async def get(db: Database, account_id: int, campaign_id: int, call_id: int) -> CallFacts | None:
    """One call of a campaign."""
    params = {"account_id": account_id, "campaign_id": campaign_id, "call_id": call_id}
    found = await _calls(db, GET, params)
    return found[0] if found else None


async def lock(
    db: Database, account_id: int, campaign_id: int, call_id: int, *, locked: bool, now: datetime
) -> bool:
    """Hold a call back, or let it go; False where it has ended."""
    params = {
        "account_id": account_id,
        "campaign_id": campaign_id,
        "call_id": call_id,
        "locked": locked,
        "now": now,
    }
    return await db.execute(LOCK, params) == 1


async def _calls(db: Database, statement: Any, params: Mapping[str, Any]) -> list[CallFacts]:
    found = await db.rows(_Row, statement, params)
    return [msgspec.convert(call.facts, CallFacts, strict=False) for call in found]


def _params(account_id: int, campaign_id: int, which: Which) -> Mapping[str, Any]:
    return {
        "account_id": account_id,
        "campaign_id": campaign_id,
        **msgspec.structs.asdict(which),
        "outcomes": None if which.outcomes is None else list(which.outcomes),
    }
