"""What does get.calls_report ask for?"""

from typing import Any, Final
from zoneinfo import ZoneInfo

from zvonar.dialects.uis import limits
from zvonar.dialects.uis.fields import DEFAULT, FIELDS, RULES, SORTABLE
from zvonar.dialects.uis.requests import filters, values
from zvonar.reports.query import Order, Query

PARAMETERS: Final = frozenset(
    {
        *("access_token", "user_id", "limit", "offset", "filter", "fields", "sort"),
        *("date_from", "date_till", "include_ongoing_calls"),
    }
)


def read(
    params: dict[str, Any], *, account_id: int, zone: ZoneInfo, link_base: str, too_deep: bool = False
) -> Query:
    """The query; RpcError naming the first wrong parameter."""
    values.known(params, PARAMETERS)
    period = values.period(params, zone, months=limits.MAX_MONTHS)
    page = values.page(params)
    ongoing = values.flag(params, "include_ongoing_calls")
    wanted = values.names(params, FIELDS)
    return Query(
        account_id=account_id,
        zone=zone.key,
        since=period.since,
        until=period.until,
        filter=filters.read(params, RULES, zone, too_deep=too_deep),
        order=tuple(Order(field=name, descending=down) for name, down in values.sort(params, SORTABLE)),
        fields=tuple(name for name in FIELDS if name in wanted) if wanted else DEFAULT,
        limit=page.limit,
        offset=page.offset,
        ongoing=ongoing,
        link_base=link_base,
        deadline=limits.DEADLINE,
    )
