"""What does get.mgf_calls ask for?"""

from typing import Any, Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from zvonar.dialects.uis import limits
from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.mgf_fields import DOCUMENTED, MADE, RULES, SORTABLE, in_order
from zvonar.dialects.uis.requests import filters, values
from zvonar.reports.query import Order, Query

LEVELS: Final = 2  # of trees in a filter
PARAMETERS: Final = frozenset(
    {
        *("access_token", "user_id", "report_id", "limit", "offset", "filter", "fields", "sort"),
        *("date_from", "date_till"),
    }
)


class Asked(Struct, frozen=True, kw_only=True):
    """A query, and which of this report's fields are made of its rows."""

    query: Query
    fields: tuple[str, ...]  # in the order of a row


def read(
    params: dict[str, Any], *, account_id: int, zone: ZoneInfo, link_base: str, too_deep: bool = False
) -> Asked:
    """The query; RpcError naming the first wrong parameter.

    Any report_id does: a report is the account's, and clients bring the numbers that they know.
    """
    values.known(params, PARAMETERS)
    values.number(params, "report_id", default=None, low=1)
    period = values.period(params, zone, days=limits.MAX_DAYS)
    page = values.page(params)
    wanted = values.names(params, DOCUMENTED)
    if wanted is None:
        raise RpcError("required_parameter_missed", field="fields")
    fields = in_order(wanted)
    order = tuple(
        Order(field=MADE[name].order, descending=down) for name, down in values.sort(params, SORTABLE)
    )
    return Asked(
        query=Query(
            account_id=account_id,
            zone=zone.key,
            since=period.since,
            until=period.until,
            filter=filters.read(params, RULES, zone, levels=LEVELS, too_deep=too_deep),
            order=order,
            fields=tuple(dict.fromkeys(of for name in fields for of in MADE[name].of)) or ("id",),
            limit=page.limit,
            offset=page.offset,
            link_base=link_base,
            deadline=limits.DEADLINE,
        ),
        fields=fields,
    )
