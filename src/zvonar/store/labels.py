"""Which labels do a campaign's calls bear already? A label names one call of a campaign."""

from collections.abc import Sequence

from zvonar.store.db import Database

# Labels of these that are taken; the unique index answers. Planned at every use: a plan that was made while the
# campaign had no calls would go on taking another index and reading all of them.
TAKEN = """
SELECT coalesce(array_agg(label), '{}') FROM calls
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND label = ANY(%(labels)s)
"""

_BATCH = 10_000  # labels asked for at once


async def taken(db: Database, account_id: int, campaign_id: int, labels: Sequence[str]) -> set[str]:
    """Those of the labels that calls of this campaign bear."""
    found: set[str] = set()
    for start in range(0, len(labels), _BATCH):
        asked = {
            "account_id": account_id,
            "campaign_id": campaign_id,
            "labels": list(labels[start : start + _BATCH]),
        }
        async with db.connection() as connection:
            (taken,) = await (await connection.execute(TAKEN, asked, prepare=False)).fetchone() or ((),)
        found.update(taken)
    return found
