"""Is there a month to put the next session into? The sessions themselves are written by the end of their leg."""

from datetime import UTC, datetime, timedelta

from zvonar.store.db import Database

# A month of the narrow table, and of the wide one: each a transaction of its own.
ENSURE_FILTERS = "SELECT ensure_report_month('report_filters', %(at)s)"
ENSURE_ROWS = "SELECT ensure_report_month('report_rows', %(at)s)"


async def ensure_months(db: Database, *, now: datetime) -> None:
    """Make this month's partitions and the next one's; cheap where they exist."""
    for at in (now, now.astimezone(UTC).replace(day=1) + timedelta(days=32)):
        await ensure_month(db, at)


async def ensure_month(db: Database, at: datetime) -> None:
    """Make the partitions of the UTC month of a moment; cheap where they exist."""
    for statement in (ENSURE_FILTERS, ENSURE_ROWS):
        await db.execute(statement, {"at": at})
