"""What was set off by a key or a word, and what became of it? Events in, the state of their deliveries out."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.reaction import Triggered
from zvonar.store.db import Database

KIND = "reaction"  # of events


class ReactionDelivery(Struct, frozen=True, kw_only=True):
    """One message of a reaction, and how far it has come."""

    call_id: int
    attempt: int  # from 1
    number: int  # from 1 within the attempt, as Triggered has it
    kind: str  # reaction.sms, reaction.email, reaction.webhook
    state: str  # pending, delivered, dead, disabled
    tries: int
    error: str | None  # of the last try
    updated_at: datetime


# A reaction that leaves the line is an event like any other; said again, it is the same one.
TRIGGER = """
INSERT INTO outbox (account_id, campaign_id, call_id, kind, at, payload)
VALUES (%(account_id)s, %(campaign_id)s, %(call_id)s, 'reaction', %(now)s, %(payload)s)
ON CONFLICT DO NOTHING
"""

# Of some calls, in the order in which they were set off.
OF_CALLS = """
SELECT call_id, attempt, number, kind, state, tries, error, updated_at FROM reaction_deliveries
WHERE account_id = %(account_id)s AND call_id = ANY(%(call_ids)s)
ORDER BY call_id, attempt, number, kind
"""


async def trigger(db: Database, triggered: Triggered) -> None:
    """Commit that a subscriber has set this off. Safe to repeat."""
    params = {
        "account_id": triggered.account_id,
        "campaign_id": triggered.campaign_id,
        "call_id": triggered.call_id,
        "now": triggered.at,
        "payload": Jsonb(msgspec.to_builtins(triggered)),
    }
    await db.execute(TRIGGER, params)


async def of_calls(db: Database, account_id: int, call_ids: Sequence[int]) -> list[ReactionDelivery]:
    """What is known of the messages of these calls; those that no worker has seen yet are missing."""
    params = {"account_id": account_id, "call_ids": list(call_ids)}
    return await db.rows(ReactionDelivery, OF_CALLS, params)
