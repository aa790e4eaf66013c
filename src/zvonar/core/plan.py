"""What does the numbering plan say of a number beyond its country? Code, operator, time zone, kind.

By the phonenumbers library. Its descriptions of places cost 98 MB and are left alone; operators cost 11 MB and are
read at the first question.
"""

from datetime import datetime

from msgspec import Struct

from zvonar.core.schedule import zone_of

_CODE = 3  # digits of an area or operator code in the plan of +7


class Home(Struct, frozen=True, kw_only=True):
    """What is known of a number; None where the plan says nothing, or more than one thing."""

    code: str | None  # the area or operator code
    operator: str | None  # whom the number was given to; it may have been ported since
    timezone: str | None  # IANA
    offset: str | None  # of that zone at that moment: +03:00
    kind: str | None  # "def", mobile; "abc", geographic


def home_of(e164: str, *, language: str, at: datetime) -> Home:
    """What is known of an E.164 number. `at`: when the zone's offset is asked for."""
    import phonenumbers
    from phonenumbers import carrier, timezone

    number = phonenumbers.parse(e164, None)
    kinds = phonenumbers.PhoneNumberType
    kind = {kinds.MOBILE: "def", kinds.FIXED_LINE: "abc"}.get(phonenumbers.number_type(number))
    zones = [zone for zone in timezone.time_zones_for_number(number) if zone != "Etc/Unknown"]
    zone = zones[0] if len(zones) == 1 else None
    offset = None
    if zone is not None:
        minutes = int((at.astimezone(zone_of(zone)).utcoffset() or at - at).total_seconds()) // 60
        offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    return Home(
        code=str(number.national_number)[:_CODE] if number.country_code == 7 and kind else None,
        operator=carrier.name_for_number(number, language) or None,
        timezone=zone,
        offset=offset,
        kind=kind,
    )
