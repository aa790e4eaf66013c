"""Which fields has get.calls_report, of what type, and what may be asked of each? Data of the reference, read once."""

from importlib.resources import files
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from zvonar.dialects.uis.requests import comparing
from zvonar.dialects.uis.requests.filters import Rule
from zvonar.reports.fields import FIELDS as STORED
from zvonar.reports.fields import Kind


class Value(Struct, frozen=True, kw_only=True):
    """One word of an enumeration."""

    id: str
    name: str | None


class Field(Struct, frozen=True, kw_only=True):
    """A field of a row; the flags are the vendor's."""

    name: str
    parent: str | None = None  # the array in whose objects it is
    type: Literal["number", "string", "boolean", "iso8601", "enum", "array"]
    values: list[Value] | None = None
    filter: bool
    sort: bool
    default: bool  # whether it is there when no fields are named


def data(name: str, type: Any) -> Any:
    """A file of this dialect."""
    return msgspec.json.decode(files("zvonar.dialects.uis").joinpath(name).read_bytes(), type=type)


# A public client asks for it; the reference has only its extended namesake.
_UNDOCUMENTED: Final = (Field(name="utm_referrer", type="string", filter=True, sort=False, default=False),)
_REFERENCE: Final[list[Field]] = data("get.calls_report.fields.json", list[Field])

NESTED: Final = {(f.parent, f.name): f for f in _REFERENCE if f.parent is not None}
# In the order of the reference's JSON structure, which is the order of keys in a row.
FIELDS: Final[dict[str, Field]] = {
    name: {f.name: f for f in (*_REFERENCE, *_UNDOCUMENTED) if f.parent is None}[name]
    for name in (*data("calls_report.order.json", list[str]), *(f.name for f in _UNDOCUMENTED))
}
DEFAULT: Final = tuple(f.name for f in FIELDS.values() if f.default)
SORTABLE: Final = {f.name: f.sort for f in FIELDS.values()}

# The wire's name of a field is the store's.
SOURCES: Final = {value.id: value.name for value in FIELDS["source"].values or ()}
# Why a session ended, in the words of this report; two have none.
FINISH_REASONS: Final[dict[str, str | None]] = data("finish_reasons.json", dict[str, str | None])
# By whose ids an index finds the objects of an array.
_IDS: Final = {
    "tags": "tag_id",
    "employees": "employee_id",
    "segments": "segment_id",
    "scenario_operations": "id",
}


def _words(field: Field) -> frozenset[str]:
    if field.name == "finish_reason":
        return frozenset(FINISH_REASONS)
    return frozenset(value.id for value in field.values or ())


# What the fields of few values may be.
WORDS: Final = {name: words for name, field in FIELDS.items() if (words := _words(field))}


def _rule(field: Field) -> Rule:
    match field.type:
        case "number":
            return comparing.number(field.name, decimal=STORED[field.name].kind is Kind.decimal)
        case "string":
            return comparing.text(field.name)
        case "boolean":
            return comparing.boolean(field.name)
        case "iso8601":
            return comparing.when(field.name)
        case "enum":
            return comparing.enum(field.name, _words(field))
        case "array":
            return comparing.array(
                field.name,
                values=_words(field) or None,
                ids=_IDS.get(field.name),
                texts=STORED[field.name].kind is Kind.texts,
            )


RULES: Final[dict[str, Rule | None]] = {f.name: _rule(f) if f.filter else None for f in FIELDS.values()}
