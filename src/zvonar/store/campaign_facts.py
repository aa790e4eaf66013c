"""What is shown of campaigns? Each with its lists and counters in one look, and pages of them.

Counters are read from their own few rows, never from the calls, so a look costs the same however many calls there are.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from zvonar.core.campaign import CampaignSettings
from zvonar.core.errors import CampaignNotFound
from zvonar.store.db import Database


class Facts(Struct, frozen=True, kw_only=True):
    """A campaign as it stands."""

    account_id: int
    campaign_id: int
    name: str
    type: str
    status: str
    waits: str | None  # what it still waits for: a part of its status
    reason: str | None  # why it has that status
    reason_details: dict[str, Any] | None
    settings: CampaignSettings
    timezone: str  # the account's, IANA
    phone_lists: list[int]  # ids
    tallies: dict[str, int]  # state/…, end/…, result/…, attempts, seconds, cost in 0.0001
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    archived_at: datetime | None
    purpose: str | None  # None: the client's own


class Which(Struct, frozen=True, kw_only=True):
    """Which campaigns; what is None does not filter."""

    statuses: Sequence[str] | None = None  # `standing_key`s
    name: str | None = None  # part of it
    client_id: str | None = None
    created_from: datetime | None = None
    created_till: datetime | None = None  # not included
    archived: bool = False


class _Row(Struct, frozen=True, kw_only=True):
    facts: dict[str, Any]


_FACTS = """to_jsonb(c) || jsonb_build_object('timezone', a.timezone,
    'phone_lists', campaign_list_ids(c.account_id, c.campaign_id),
    'tallies', (
        SELECT jsonb_object_agg(t.key, t.n) FROM (
            SELECT k.key, k.n FROM (
                SELECT sum(queued) AS queued, sum(dialing) AS dialing, sum(talking) AS talking, sum(waiting) AS waiting,
                    sum(finished) AS finished, sum(removed) AS removed, sum(blocked) AS blocked,
                    sum(expired) AS expired, sum(attempts) AS attempts, sum(seconds) AS seconds, sum(cost) AS cost
                FROM campaign_counts WHERE account_id = c.account_id AND campaign_id = c.campaign_id) s,
            LATERAL (VALUES ('state/queued', s.queued), ('state/dialing', s.dialing), ('state/talking', s.talking),
                ('state/waiting', s.waiting), ('state/finished', s.finished), ('state/removed', s.removed),
                ('state/blocked', s.blocked), ('state/expired', s.expired), ('attempts', s.attempts),
                ('seconds', s.seconds), ('cost', s.cost)) AS k (key, n)
            WHERE k.n IS NOT NULL
            UNION ALL
            SELECT 'result/' || disposition || '/' || script_result, sum(n) FROM campaign_ends
            WHERE account_id = c.account_id AND campaign_id = c.campaign_id AND disposition <> ''
            GROUP BY disposition, script_result
            UNION ALL
            SELECT 'recalled/' || disposition || '/' || script_result, n FROM campaign_recalls
            WHERE account_id = c.account_id AND campaign_id = c.campaign_id) t)) AS facts"""

# One campaign of an account, by its key, with the few rows that count it.
GET = f"""
SELECT {_FACTS} FROM campaigns c JOIN accounts a USING (account_id)
WHERE c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s
"""

_WHICH = """c.account_id = %(account_id)s AND c.purpose IS NULL
  AND (c.archived_at IS NOT NULL) = %(archived)s
  AND (%(statuses)s::text[] IS NULL OR c.status || '/' || coalesce(c.waits, '') = ANY(%(statuses)s))
  AND (%(name)s::text IS NULL OR position(lower(%(name)s) IN lower(c.name)) > 0)
  AND (%(client_id)s::text IS NULL OR coalesce(c.settings ->> 'client_id', c.account_id::text) = %(client_id)s)
  AND (%(created_from)s::timestamptz IS NULL OR c.created_at >= %(created_from)s)
  AND (%(created_till)s::timestamptz IS NULL OR c.created_at < %(created_till)s)"""

# A page of an account's campaigns, newest first; only what is on it is counted.
PAGE = f"""
SELECT {_FACTS} FROM (
    SELECT c.campaign_id FROM campaigns c WHERE {_WHICH}
    ORDER BY c.campaign_id DESC LIMIT %(limit)s::bigint OFFSET %(skipped)s::bigint
) page JOIN campaigns c ON c.account_id = %(account_id)s AND c.campaign_id = page.campaign_id
JOIN accounts a USING (account_id)
ORDER BY c.campaign_id DESC
"""

COUNT = f"SELECT count(*) FROM campaigns c WHERE {_WHICH}"

# A campaign whose row nobody else changes until this transaction ends.
LOCK = """
SELECT true FROM campaigns
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND purpose IS NULL FOR NO KEY UPDATE
"""

COMMITTED = """
SELECT spent + leg_held FROM campaign_guards WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
"""

# Out of sight, or back in sight.
ARCHIVE = """
UPDATE campaigns SET archived_at = %(at)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
"""

# One more list that calls of a campaign came of; the same one twice is one.
ADD_LIST = """
INSERT INTO campaign_lists (account_id, campaign_id, place, phone_list_id)
SELECT %(account_id)s, %(campaign_id)s, coalesce(max(place), 0) + 1, %(phone_list_id)s FROM campaign_lists
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
HAVING count(*) FILTER (WHERE phone_list_id = %(phone_list_id)s) = 0
"""


def standing_key(status: str, waits: str | None) -> str:
    """What a filter knows a status by."""
    return f"{status}/{waits or ''}"


async def committed(db: Database, account_id: int, campaign_id: int) -> Decimal:
    """What a campaign's legs have cost and may still cost, as far as it holds money for them."""
    found = await db.value(COMMITTED, {"account_id": account_id, "campaign_id": campaign_id})
    assert isinstance(found, Decimal)
    return found


async def get(db: Database, account_id: int, campaign_id: int) -> Facts:
    """The account's campaign, or CampaignNotFound."""
    found = await db.row(_Row, GET, {"account_id": account_id, "campaign_id": campaign_id})
    if found is None:
        raise CampaignNotFound(str(campaign_id))
    return _facts(found)


async def page(db: Database, account_id: int, which: Which, *, number: int, size: int) -> list[Facts]:
    """A page (from 1) of an account's campaigns, newest first; none beyond the last."""
    params = {**_params(account_id, which), "skipped": (number - 1) * size, "limit": size}
    return [_facts(found) for found in await db.rows(_Row, PAGE, params)]


async def count(db: Database, account_id: int, which: Which) -> int:
    """How many of an account's campaigns these are."""
    return int(await db.value(COUNT, _params(account_id, which)))


async def lock(db: Database, account_id: int, campaign_id: int) -> None:
    """Let nobody else change a campaign until the transaction ends. Raises CampaignNotFound."""
    if await db.value(LOCK, {"account_id": account_id, "campaign_id": campaign_id}) is None:
        raise CampaignNotFound(str(campaign_id))


async def archive(db: Database, account_id: int, campaign_id: int, *, at: datetime | None) -> None:
    """Put a campaign out of sight; `at` None: back."""
    await db.execute(ARCHIVE, {"account_id": account_id, "campaign_id": campaign_id, "at": at})


async def add_lists(db: Database, account_id: int, campaign_id: int, phone_list_ids: Sequence[int]) -> None:
    """Remember which lists a campaign was given, in their order."""
    for phone_list_id in phone_list_ids:
        await db.execute(
            ADD_LIST,
            {"account_id": account_id, "campaign_id": campaign_id, "phone_list_id": phone_list_id},
        )


def _facts(found: _Row) -> Facts:
    return msgspec.convert({**found.facts, "tallies": found.facts["tallies"] or {}}, Facts, strict=False)


def _params(account_id: int, which: Which) -> Mapping[str, Any]:
    return {
        "account_id": account_id,
        "archived": which.archived,
        "statuses": None if which.statuses is None else list(which.statuses),
        "name": which.name,
        "client_id": which.client_id,
        "created_from": which.created_from,
        "created_till": which.created_till,
    }
