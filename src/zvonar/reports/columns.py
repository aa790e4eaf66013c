"""Where in PostgreSQL is each field of a report? In the wide row, and where it is asked by, in the narrow one too.

The wide table shows, the narrow one filters and sorts: numbers as they are, texts as codes of a dictionary, ids of
nested values as arrays. A narrow row is made of a wide one and of nothing else.
"""

from enum import StrEnum
from typing import LiteralString

from msgspec import Struct


class Kept(StrEnum):
    """How the narrow table knows a field."""

    no = "no"  # shown only
    itself = "itself"  # the same value under the same name
    word = "word"  # the code of its text in the account's dictionary
    ids = "ids"  # an array of what names the nested values, in `ids`


class Column(Struct, frozen=True, kw_only=True):
    """A field's column."""

    type: LiteralString  # SQL's, in the wide table
    kept: Kept = Kept.no
    ids: LiteralString | None = None  # the narrow array of a nested value
    id_key: str | None = None  # which key of a nested object goes there; None: the elements themselves


def _of(type: LiteralString, kept: Kept, *names: LiteralString) -> dict[LiteralString, Column]:
    return {name: Column(type=type, kept=kept) for name in names}


COLUMNS: dict[LiteralString, Column] = {
    **_of("bigint", Kept.itself, "account_id", "session_id"),
    **_of("timestamptz", Kept.itself, "start_time", "finish_time"),
    # Ours, for whoever looks for the session of a call.
    **_of("bigint", Kept.itself, "call_id", "dial_campaign_id"),
    **_of("integer", Kept.itself, "attempt"),
    **_of("text", Kept.no, "disposition", "script_result", "cause"),
    **_of("integer", Kept.no, "hangup_cause", "sip_code"),
    # What a report has of every session.
    **_of("bigint", Kept.itself, "communication_id", "cpn_region_id", "communication_number"),
    **_of("text", Kept.word, "finish_reason", "direction", "source", "channel"),
    **_of("text", Kept.word, "cpn_region_name", "cpn_country_name", "cpn_country_id"),
    **_of("text", Kept.word, "virtual_phone_number", "operator_phone_number"),
    **_of("text", Kept.itself, "contact_phone_number"),
    **_of("boolean", Kept.itself, "is_lost", "is_transfer"),
    **_of(
        "integer",
        Kept.itself,
        *("wait_duration", "total_wait_duration", "lost_call_processing_duration", "talk_duration"),
        *("clean_talk_duration", "total_duration", "postprocess_duration"),
    ),
    **_of("text[]", Kept.no, "call_records", "wav_call_records", "voice_mail_records"),
    **_of("text", Kept.no, "communication_page_url", "full_record_file_link", "properties"),
    **_of("text", Kept.no, "ua_client_id", "ym_client_id", "ymclid"),
    **_of("json", Kept.no, "recognized_text"),
    # Sale, search and advertisement.
    **_of("timestamptz", Kept.itself, "sale_date"),
    **_of("numeric", Kept.itself, "sale_cost"),
    **_of(
        "text",
        Kept.word,
        *("search_query", "search_engine", "referrer_domain", "referrer", "entrance_page"),
        *("gclid", "yclid", "ef_id"),
        *("utm_source", "utm_medium", "utm_term", "utm_content", "utm_campaign", "utm_referrer"),
        *("openstat_ad", "openstat_campaign", "openstat_service", "openstat_source"),
        *("eq_utm_source", "eq_utm_medium", "eq_utm_term", "eq_utm_content", "eq_utm_campaign"),
        *("eq_utm_referrer", "eq_utm_expid"),
        *("source_name", "source_new", "channel_new", "channel_code", "ext_id", "call_api_external_id"),
    ),
    **_of("bigint", Kept.itself, "source_id", "call_api_request_id"),
    # Employees.
    **_of(
        "bigint",
        Kept.itself,
        *("last_answered_employee_id", "first_answered_employee_id"),
        *("last_talked_employee_id", "first_talked_employee_id"),
    ),
    **_of(
        "text",
        Kept.word,
        *("last_answered_employee_full_name", "first_answered_employee_full_name"),
        *("last_talked_employee_full_name", "first_talked_employee_full_name"),
    ),
    **_of("numeric", Kept.itself, "last_answered_employee_rating"),
    # Scenario, site, campaign, contact, visitor.
    **_of("bigint", Kept.itself, "scenario_id", "site_id", "campaign_id", "contact_id"),
    **_of(
        "text",
        Kept.word,
        *(
            "scenario_name",
            "site_domain_name",
            "campaign_name",
            "auto_call_campaign_name",
            "contact_full_name",
        ),
    ),
    **_of("boolean", Kept.no, "visit_other_campaign"),
    **_of(
        "bigint",
        Kept.itself,
        *("visitor_id", "person_id", "visitor_session_id", "visits_count", "visitor_first_campaign_id"),
    ),
    **_of(
        "text",
        Kept.word,
        *("visitor_type", "visitor_device", "visitor_first_campaign_name"),
        *("visitor_city", "visitor_region", "visitor_country"),
    ),
    # Nested values: whole beside the row, by their ids in the narrow one.
    "scenario_operations": Column(type="json", kept=Kept.ids, ids="scenario_operation_ids", id_key="id"),
    "tags": Column(type="json", kept=Kept.ids, ids="tag_ids", id_key="tag_id"),
    "employees": Column(type="json", kept=Kept.ids, ids="employee_ids", id_key="employee_id"),
    "segments": Column(type="json", kept=Kept.ids, ids="segment_ids", id_key="segment_id"),
    "attributes": Column(type="text[]", kept=Kept.ids, ids="attributes"),
    "visitor_custom_properties": Column(type="json"),
    # What the reports of managers have beside.
    **_of(
        "text",
        Kept.word,
        *(
            "communication_comment",
            "communication_comment_author",
            "received_by",
            "internal_first_employee",
            "internal_second_employee",
        ),
        "virtual_number_comment",
    ),
    "coaches": Column(type="text[]", kept=Kept.ids, ids="coaches"),
    **_of("boolean", Kept.itself, "is_internal", "is_coach_handled", "is_blacklisted"),
    **_of("integer", Kept.itself, "processed_mark_duration"),
}

# The number by which the dictionary knows a field. A number is never used again, so new fields come last.
WORDS: dict[str, int] = {
    name: number
    for number, name in enumerate((n for n, c in COLUMNS.items() if c.kept is Kept.word), start=1)
}

KEY = ("account_id", "start_time", "session_id")

# Names of nested arrays in the narrow table, and what they are an array of.
ID_ARRAYS: dict[LiteralString, LiteralString] = {
    column.ids: "bigint[]" if column.id_key else "text[]"
    for column in COLUMNS.values()
    if column.ids is not None
}


def narrow_columns() -> dict[LiteralString, LiteralString]:
    """The narrow table's columns and their types, wide ones first so that no space is lost between them."""
    found: dict[LiteralString, LiteralString] = {}
    for name, column in COLUMNS.items():
        if column.kept is Kept.itself:
            found[name] = column.type
        elif column.kept is Kept.word:
            found[name] = "bigint"
    found.update(ID_ARRAYS)
    order = {"bigint": 0, "timestamptz": 0, "integer": 1, "boolean": 2, "text": 3, "numeric": 4}
    return dict(sorted(found.items(), key=lambda item: order.get(item[1], 5)))
