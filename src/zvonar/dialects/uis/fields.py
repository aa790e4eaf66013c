"""Which fields has get.calls_report, of what type, and which of them may be sorted by?"""

from importlib.resources import files
from typing import Literal

import msgspec
from msgspec import Struct

from zvonar.dialects.uis import outcomes
from zvonar.reports.query import Column, Order


class Field(Struct, frozen=True, kw_only=True):
    """A top-level field of a row; the flags are the vendor's."""

    name: str
    type: Literal["number", "string", "boolean", "iso8601", "enum", "array"]
    filter: bool
    sort: bool
    default: bool  # whether it is there when no fields are named


def _data(name: str) -> bytes:
    return files("zvonar.dialects.uis").joinpath(name).read_bytes()


# In the order of the reference's JSON structure, which is the order of keys in a row.
FIELDS = {f.name: f for f in msgspec.json.decode(_data("calls_report.json"), type=list[Field])}
DEFAULT = tuple(f.name for f in FIELDS.values() if f.default)

# Russian names of countries, for cpn_country_name; a country that is not here has none.
COUNTRIES = msgspec.json.decode(_data("countries.json"), type=dict[str, str])

# Sortable fields that have values. The others are always empty here, so they put nothing in order.
ORDERS = {
    "start_time": Order(column=Column.start_time),
    "finish_reason": Order(column=Column.outcome, ranks=outcomes.FINISH_REASONS),
    "direction": Order(column=Column.direction),
    "cpn_country_id": Order(column=Column.country),
    "cpn_country_name": Order(column=Column.country, ranks=COUNTRIES),
    "source": Order(column=Column.direction, ranks=outcomes.SOURCES),
    "is_lost": Order(column=Column.is_lost),
    "virtual_phone_number": Order(column=Column.own_phone),
    "is_transfer": Order(column=Column.outcome, ranks=outcomes.TRANSFERS),
    "auto_call_campaign_name": Order(column=Column.campaign),
}
