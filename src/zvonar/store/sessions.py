"""Is there a month to put the next session into? The sessions themselves are written by the end of their leg."""

from datetime import UTC, datetime, timedelta

from zvonar.store.db import Database

ENSURE_MONTH = "SELECT ensure_session_month(%(at)s)"


async def ensure_months(db: Database, *, now: datetime) -> None:
    """Make this month's partitions and the next one's; cheap where they exist."""
    for at in (now, now.astimezone(UTC).replace(day=1) + timedelta(days=32)):
        await db.execute(ENSURE_MONTH, {"at": at})
