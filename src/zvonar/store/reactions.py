"""What was set off by a key or a word, and what became of it? Events in, the state of their deliveries out."""

import msgspec
from psycopg.types.json import Jsonb

from zvonar.core.reaction import Triggered
from zvonar.store.db import Database

KIND = "reaction"  # of events

# A reaction that leaves the line is an event like any other; said again, it is the same one.
TRIGGER = """
INSERT INTO outbox (account_id, campaign_id, call_id, kind, at, payload)
VALUES (%(account_id)s, %(campaign_id)s, %(call_id)s, 'reaction', %(now)s, %(payload)s)
ON CONFLICT DO NOTHING
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
