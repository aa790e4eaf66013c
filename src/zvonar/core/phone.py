"""Which number is meant, and may it be called? E.164 by the phonenumbers library, safety by us.

A town number (`+7000` AAAA RR D) is known here before phonenumbers sees it, because that library calls
such numbers possible but not valid. What is possible may be asked for; what may be dialled is another question, and
there the answer is no on doubt.
"""

import re
from collections.abc import Collection
from functools import cache
from types import ModuleType

from msgspec import Struct

from zvonar.core import phone_fast
from zvonar.core.errors import DestinationRefused, PhoneInvalid

_TOWN = re.compile(r"\+7000\d{7}", re.ASCII)
_TOWN_BARE = re.compile(r"(?:007|[78])?(000\d{7})", re.ASCII)
# Only blanks that stand inside one line: a line break in a number is more likely two numbers.
_WRITTEN = re.compile(r"\+?[\d \t().\-\u00a0]+", re.ASCII)
_SEPARATORS = re.compile(r"[ \t().\-\u00a0]+")

# Country calling codes that belong to no country: satellite, universal and premium services (ITU-T E.164).
_SUPRANATIONAL = frozenset({800, 808, 870, 878, 881, 882, 883, 888, 979})
# Ranges that the library takes for mobile: Russian satellite telephones, and Kazakhstan's non-geographic
# services, satellite networks among them.
_CLOSED_RANGES = ("+7954", "+775", "+776")


class Phone(Struct, frozen=True, kw_only=True):
    """A number that could exist, by its length. Whether it may be dialled is what `check_destination` says."""

    e164: str  # with the plus
    country: str  # ISO 3166-1 alpha-2; the account's own for a town number
    trial: bool = False  # a subscriber of the trial phone network


def is_town(e164: str) -> bool:
    """Whether the number belongs to the trial phone network."""
    return _TOWN.fullmatch(e164) is not None


def parse(text: str, *, country: str, trial: bool) -> Phone:
    """The number that somebody wrote, or PhoneInvalid; DestinationRefused for an emergency number.

    Accepts `+7 916 …`, `7916…`, `8916…`, `007916…`, a bare national number and the usual separators.
    `country` is the account's, for national forms. `trial`: whether a trial trunk exists, so that town
    numbers count.
    """
    text = text.strip()
    # The bound comes before any pattern: E.164 has 15 digits, the rest are separators.
    if len(text) > 40 or not _WRITTEN.fullmatch(text):
        raise PhoneInvalid()
    compact = _SEPARATORS.sub("", text)
    bare = _TOWN_BARE.fullmatch(compact)
    town = f"+7{bare[1]}" if bare else compact
    if is_town(town):
        if not trial:
            raise PhoneInvalid("It belongs to the trial phone network, which is not connected.")
        return Phone(e164=town, country=country, trial=True)
    if compact.startswith("00"):
        compact = f"+{compact[2:]}"
    library = _phonenumbers()
    possible: Phone | None = None
    for written, region in _readings(compact, country):
        if quick := phone_fast.valid(written, region):
            return Phone(e164=quick[0], country=quick[1])
        try:
            number = library.parse(written, region)
        except library.NumberParseException:
            continue
        e164 = library.format_number(number, library.PhoneNumberFormat.E164)
        if library.is_valid_number(number):
            return Phone(e164=e164, country=library.region_code_for_number(number) or "001")
        if possible is None and library.is_possible_number(number):
            # Numbering plans change sooner than libraries, and examples of numbers are made up.
            main_region = library.region_code_for_country_code(number.country_code)
            possible = Phone(e164=e164, country=main_region)
    if possible is not None:
        return possible
    calling_code = str(library.country_code_for_region(country))
    digits = compact.removeprefix("+")
    if _is_emergency(digits, country) or _is_emergency(digits.removeprefix(calling_code), country):
        raise DestinationRefused()
    raise PhoneInvalid()


def check_destination(phone: Phone, *, countries: Collection[str]) -> None:
    """Raise DestinationRefused unless an account that allows `countries` may call this number.

    The number speaks for itself: neither its stored country nor that it was valid once is taken on trust.
    """
    if phone.trial and is_town(phone.e164):
        return
    library = _phonenumbers()
    try:
        number = library.parse(phone.e164, None)
    except library.NumberParseException as exc:
        raise DestinationRefused() from exc
    region = library.region_code_for_number(number) or "001"
    kinds = library.PhoneNumberType
    if (
        number.country_code in _SUPRANATIONAL
        or phone.e164.startswith(_CLOSED_RANGES)
        or library.number_type(number)
        not in (
            kinds.FIXED_LINE,
            kinds.MOBILE,
            kinds.FIXED_LINE_OR_MOBILE,
            kinds.VOIP,
            kinds.TOLL_FREE,
        )
        or region not in countries
        or _is_emergency(str(number.national_number), region)
    ):
        raise DestinationRefused()


def _readings(compact: str, country: str) -> list[tuple[str, str | None]]:
    national, international = (compact, country), (f"+{compact}", None)
    if compact.startswith("+"):
        return [(compact, None)]
    # 49171… in a German account is +49171…, although 0491 is a town there: who leaves out the trunk prefix
    # writes the country.
    if compact.startswith(str(_phonenumbers().country_code_for_region(country))):
        return [international, national]
    return [national, international]


def _is_emergency(digits: str, country: str) -> bool:
    if len(digits) > 6:
        return False
    from phonenumbers import shortnumberinfo

    return bool(shortnumberinfo.connects_to_emergency_number(digits, country)) or digits in ("112", "911")


@cache
def _phonenumbers() -> ModuleType:
    # A process that never parses a number does without the library's 20 MB.
    import phonenumbers

    return phonenumbers
