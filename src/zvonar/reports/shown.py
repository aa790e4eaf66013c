"""How does a row become JSON inside the database? Its fields under their names, as a client reads them."""

from functools import lru_cache
from typing import LiteralString

from zvonar.reports.conditions import column_of
from zvonar.reports.fields import FIELDS, Kind
from zvonar.reports.sql import Sql, joined

# The transaction's time zone is that of the report; a moment is shown as the second in which it was.
_MOMENT: LiteralString = "::timestamp)::text"


@lru_cache(maxsize=256)
def columns(fields: tuple[str, ...], *, link_base: str) -> Sql:
    """What is selected of `r`, a row of the wide table, so that `row_to_json` makes the row that is shown."""
    return joined(", ", [_shown(field, link_base) for field in fields])


def _shown(field: str, link_base: str) -> Sql:
    match field:
        case "start_date":
            return Sql("r.start_time::date::text AS start_date")
        case "start_clock":
            return Sql("r.start_time::time::text AS start_clock")
        case "communication_type":
            return Sql("'call' AS communication_type")
        case "full_record_file_link":
            return Sql(
                "%s || r.communication_id::text || '/' || r.full_record_file_link AS full_record_file_link",
                (link_base + "/",),
            )
        case "id":
            return Sql("r.session_id AS id")
        case "employee_rating":
            return Sql("trim_scale(r.last_answered_employee_rating) AS employee_rating")
    name, _ = column_of(field)
    value: LiteralString = "r." + name
    named: LiteralString = " AS " + name
    match FIELDS[field].kind:
        case Kind.moment:
            return Sql("(" + value + _MOMENT + named)
        case Kind.decimal:
            return Sql("trim_scale(" + value + ")" + named)
        case Kind.texts:
            return Sql("coalesce(" + value + ", '{}')" + named)
        case Kind.objects:
            return _objects(field, value) + Sql(named)
        case _:
            return Sql(value + named)


# Members that are moments are kept in UTC; the others are shown as they were written.
_MEMBERS: dict[str, tuple[LiteralString, LiteralString]] = {
    "tags": (
        "t.tag_id, t.tag_name, t.tag_type, t.tag_change_time::timestamp::text AS tag_change_time, t.tag_user_id,"
        " t.tag_user_login, t.tag_employee_id, t.tag_employee_full_name",
        "tag_id bigint, tag_name text, tag_type text, tag_change_time timestamptz, tag_user_id bigint,"
        " tag_user_login text, tag_employee_id bigint, tag_employee_full_name text",
    ),
    "recognized_text": (
        "t.id, t.phrase, t.start_time::timestamp::text AS start_time, t.is_operator, t.edited_phrase",
        "id bigint, phrase text, start_time timestamptz, is_operator boolean, edited_phrase text",
    ),
}


def _objects(field: str, value: LiteralString) -> Sql:
    if field not in _MEMBERS:
        return Sql("coalesce(" + value + ", '[]')")
    members, types = _MEMBERS[field]
    opened: LiteralString = (
        "CASE WHEN "
        + value
        + " IS NULL THEN '[]'::json ELSE (SELECT coalesce(json_agg(row_to_json(m)), '[]')"
    )
    read: LiteralString = " FROM (SELECT " + members + " FROM json_to_recordset(" + value + ") AS t("
    return Sql(opened + read + types + ")) m) END")
