"""Is a number plainly a good one? A quick yes by a port of the phonenumbers library to Rust, never a no.

The port is young and its data is older: it affirms numbers that are gone by now. So it is asked only for the numbering
plans of which a test compares every range: there a number means the same whether it is asked or not. Whatever it does
not affirm the library itself decides.
"""

from functools import cache
from importlib import import_module
from types import ModuleType

COMPARED = frozenset({7, 375, 380})  # calling codes: Russia and Kazakhstan, Belarus, Ukraine


def valid(written: str, region: str | None) -> tuple[str, str] | None:
    """E.164 and country of a number that is valid without any doubt, read as written in `region`; else None."""
    library = _port()
    if library is None:
        return None
    try:
        number = library.parse(written, region)
    except library.NumberParseException:
        return None
    if number.country_code not in COMPARED or not library.is_valid_number(number):
        return None
    country = library.region_code_for_number(number)
    if country is None:
        return None
    return library.format_number(number, library.PhoneNumberFormat.E164), country


@cache
def _port() -> ModuleType | None:
    try:
        return import_module("rphonenumbers")  # it has no types
    except ImportError:  # there is none for this machine
        return None
