"""Which moment does a day or a time mean? In the account's time zone."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from zvonar.dialects.autocall.errors import Unprocessable, invalid

_DAY = timedelta(days=1)


def day_begins(text: str | None, zone: ZoneInfo, field: str) -> datetime | None:
    """When a day begins. Raises Unprocessable."""
    if text is None:
        return None
    day = _day(text, field)
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def day_ends(text: str | None, zone: ZoneInfo, field: str) -> datetime | None:
    """When the day after it begins. Raises Unprocessable."""
    if text is None:
        return None
    after = _day(text, field) + _DAY
    return datetime(after.year, after.month, after.day, tzinfo=zone)


def moment(text: str | None, zone: ZoneInfo, field: str) -> datetime | None:
    """`Y-m-d H:i:s`. Raises Unprocessable."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text).replace(tzinfo=zone)
    except ValueError:
        raise Unprocessable({field: [invalid(field, "there is no such moment")]}) from None
    _day(text[:10], field)
    return found


def _day(text: str, field: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise Unprocessable({field: [invalid(field, "there is no such day")]}) from None
    # What PostgreSQL and every time zone can say: no nearer to the calendar's ends.
    if not 1900 <= found.year <= 9000:
        raise Unprocessable({field: [invalid(field, "a year is 1900 to 9000")]})
    return found
