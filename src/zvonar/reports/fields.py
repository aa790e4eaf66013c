"""Which fields has a session in reports, and what do they hold? What can be filtered by, ordered by and shown.

The names are the field's own, as report interfaces call them. Phones are digits without the plus, as such interfaces
show and ask for them.
"""

from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    """What a field holds."""

    integer = "integer"  # 64 bits; ids, counts and seconds
    decimal = "decimal"
    text = "text"
    boolean = "boolean"
    moment = "moment"
    date = "date"
    clock = "clock"  # a time of day
    texts = "texts"  # an array of texts
    objects = "objects"  # an array of objects


class Field(Struct, frozen=True, kw_only=True):
    """A field of a session. Every one but the always known may be null."""

    name: str
    kind: Kind
    members: tuple[tuple[str, Kind], ...] = ()  # of each object


_KINDS: dict[Kind, str] = {
    Kind.integer: """
        id communication_id communication_number campaign_id cpn_region_id scenario_id site_id contact_id
        wait_duration total_wait_duration lost_call_processing_duration talk_duration clean_talk_duration
        total_duration postprocess_duration processed_mark_duration
        last_answered_employee_id first_answered_employee_id last_talked_employee_id first_talked_employee_id
        visitor_id person_id visitor_session_id visits_count visitor_first_campaign_id source_id call_api_request_id
        """,
    Kind.decimal: "sale_cost last_answered_employee_rating employee_rating",
    Kind.moment: "start_time finish_time sale_date",
    Kind.date: "start_date",
    Kind.clock: "start_clock",
    Kind.boolean: "is_lost is_transfer is_internal is_coach_handled is_blacklisted visit_other_campaign",
    Kind.text: """
        direction finish_reason source channel communication_type
        contact_phone_number virtual_phone_number operator_phone_number
        cpn_region_name cpn_country_name cpn_country_id properties communication_page_url full_record_file_link
        ua_client_id ym_client_id search_query search_engine referrer_domain referrer entrance_page
        gclid yclid ymclid ef_id
        last_answered_employee_full_name first_answered_employee_full_name
        last_talked_employee_full_name first_talked_employee_full_name
        scenario_name site_domain_name campaign_name auto_call_campaign_name
        visitor_type visitor_first_campaign_name visitor_city visitor_region visitor_country visitor_device
        call_api_external_id contact_full_name
        utm_source utm_medium utm_term utm_content utm_campaign utm_referrer
        openstat_ad openstat_campaign openstat_service openstat_source
        eq_utm_source eq_utm_medium eq_utm_term eq_utm_content eq_utm_campaign eq_utm_referrer eq_utm_expid
        source_name source_new channel_new channel_code ext_id
        communication_comment communication_comment_author received_by
        internal_first_employee internal_second_employee virtual_number_comment
        """,
    # The arrays of records hold the tokens that open them; full_record_file_link is a whole address.
    Kind.texts: "attributes call_records wav_call_records voice_mail_records coaches",
}

_OBJECTS: dict[str, tuple[tuple[str, Kind], ...]] = {
    "scenario_operations": (("name", Kind.text), ("id", Kind.integer)),
    "recognized_text": (
        ("id", Kind.integer),
        ("phrase", Kind.text),
        ("start_time", Kind.moment),
        ("is_operator", Kind.boolean),
        ("edited_phrase", Kind.text),
    ),
    "tags": (
        ("tag_id", Kind.integer),
        ("tag_name", Kind.text),
        ("tag_type", Kind.text),  # auto, manual
        ("tag_change_time", Kind.moment),
        ("tag_user_id", Kind.integer),
        ("tag_user_login", Kind.text),
        ("tag_employee_id", Kind.integer),
        ("tag_employee_full_name", Kind.text),
    ),
    "visitor_custom_properties": (("property_name", Kind.text), ("property_value", Kind.text)),
    "segments": (("segment_id", Kind.integer), ("segment_name", Kind.text)),
    "employees": (
        ("employee_id", Kind.integer),
        ("employee_full_name", Kind.text),
        ("is_answered", Kind.boolean),
        ("is_talked", Kind.boolean),
    ),
}

FIELDS: dict[str, Field] = {
    **{name: Field(name=name, kind=kind) for kind, names in _KINDS.items() for name in names.split()},
    **{name: Field(name=name, kind=Kind.objects, members=members) for name, members in _OBJECTS.items()},
}
