"""Which fields have cards beside their own? PHONE and EMAIL of contacts and companies, with several values each."""

from typing import Any, Final

from msgspec import Struct

from zvonar.core.crm import Kind


class Field(Struct, frozen=True, kw_only=True):
    """A field; its ids are the same in every account."""

    field_id: int
    code: str
    name: str
    sort: int
    enums: dict[str, int]  # by code

    def enum_code(self, enum_id: int) -> str | None:
        return next((code for code, one in self.enums.items() if one == enum_id), None)


PHONE: Final = Field(
    field_id=90001,
    code="PHONE",
    name="Телефон",
    sort=4,
    enums={"WORK": 90011, "WORKDD": 90013, "MOB": 90015, "FAX": 90017, "HOME": 90019, "OTHER": 90021},
)
EMAIL: Final = Field(
    field_id=90003,
    code="EMAIL",
    name="Email",
    sort=6,
    enums={"WORK": 90023, "PRIV": 90025, "OTHER": 90027},
)
DEFAULT_ENUM: Final = "WORK"

FIELDS: Final[dict[Kind, tuple[Field, ...]]] = {
    Kind.contact: (PHONE, EMAIL),
    Kind.company: (PHONE, EMAIL),
    Kind.lead: (),
    Kind.customer: (),
}


def named(kind: Kind, *, code: object = None, field_id: object = None) -> Field | None:
    """The field that a client means by its code or id."""
    for field in FIELDS[kind]:
        if field_id == field.field_id or (field_id is None and code == field.code):
            return field
    return None


def values(kind: Kind, stored: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """What a card has in its fields, as this wire shows it; null for nothing."""
    shown = []
    for one in stored:
        field = named(kind, code=one["code"])
        if field is None or not one["values"]:
            continue
        shown.append(
            {
                "field_id": field.field_id,
                "field_name": field.name,
                "field_code": field.code,
                "field_type": "multitext",
                "values": [
                    {"value": v["value"], "enum_id": field.enums[v["enum"]], "enum_code": v["enum"]}
                    for v in one["values"]
                ],
            }
        )
    return shown or None
