"""By whose clocks is a callee's window meant? His own where it is known, else those that the numbering plan allows.

A number of an area has its area's zone. A mobile of a country with several zones may be in any of them; where these
show the same time, they are one.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

from zvonar.core.control import Clock
from zvonar.core.errors import SettingsInvalid
from zvonar.core.phone import is_town
from zvonar.core.schedule import zone_of


def zones_for(
    e164: str, *, contact: str | None, clock: Clock, home: ZoneInfo, at: datetime
) -> tuple[ZoneInfo, ...]:
    """The zones in all of which a callee's window must be open. `home`: the campaign's, else the account's.

    `contact`: what is known of this very callee, an IANA name. `at`: when it is asked, for zones may agree today that
    did not last year.
    """
    if clock is Clock.campaign:
        return (home,)
    if contact is not None:
        try:
            return (zone_of(contact),)
        except SettingsInvalid:
            pass  # a zone database forgets names; one contact must not keep the others from being dialled
    if is_town(e164):
        return (home,)
    possible = _distinct(possible_zones(e164), at)
    if len(possible) == 1 or (possible and clock is Clock.strictest):
        return possible
    return (home,)


def possible_zones(e164: str) -> tuple[str, ...]:
    """IANA names of where an E.164 number may be, by its numbering plan; none where it says nothing."""
    import phonenumbers
    from phonenumbers import timezone

    try:
        number = phonenumbers.parse(e164, None)
    except phonenumbers.NumberParseException:
        return ()
    found = tuple(zone for zone in timezone.time_zones_for_number(number) if zone != "Etc/Unknown")
    if len(found) < 2:
        return found
    # What says several countries' zones speaks of a plan that they share, and not with care: it has Bucharest for
    # Kaliningrad. The number itself may tell its country.
    own = _zones_of_countries().get(phonenumbers.region_code_for_number(number) or "", ())
    return tuple(own) if own and not set(found) <= set(own) else found


def _distinct(names: Iterable[str], at: datetime) -> tuple[ZoneInfo, ...]:
    """One zone for each time that clocks show."""
    by_offset: dict[timedelta | None, ZoneInfo] = {}
    for name in names:
        zone = zone_of(name)
        by_offset.setdefault(at.astimezone(zone).utcoffset(), zone)
    return tuple(by_offset.values())


@cache
def _zones_of_countries() -> dict[str, list[str]]:
    # The IANA's own table: country, coordinates, zone, and perhaps a remark.
    table = (resources.files("tzdata") / "zoneinfo" / "zone.tab").read_text("utf-8")
    found: dict[str, list[str]] = {}
    for line in table.splitlines():
        if line and not line.startswith("#"):
            country, _, zone = line.split("\t")[:3]
            found.setdefault(country, []).append(zone)
    return found
