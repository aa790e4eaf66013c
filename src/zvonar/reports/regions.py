"""In which region is a Russian number? By the area code that the numbering plan gives to a region.

The plan is the phonenumbers library's, which knows no regions of mobile numbers: they have none. The library has its
texts in 98 MB for all countries and languages, so they are read once and let go, but for the few hundred that count.
"""

import asyncio
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Final

import msgspec
from msgspec import Struct


class Region(Struct, frozen=True):
    """A subject of the Russian federation."""

    id: int  # the code that the tax service has for it
    name: str


# By the names that the library has for them.
_BY_NAME: Final = msgspec.json.decode(
    files("zvonar.reports").joinpath("regions.json").read_bytes(), type=dict[str, Region]
)
# The library's Russian texts have these two the wrong way round; its English ones, and the numbering plan, do not.
CORRECTED: Final[Mapping[str, str]] = {"7495": "г. Москва", "7496": "Московская обл."}
_LIBRARY: Final = "phonenumbers.geodata"


async def prepare() -> None:
    """Read the plan, in a thread, where that was not done yet."""
    if not _prefixes.cache_info().currsize:
        await asyncio.to_thread(_prefixes)


def region_of(digits: str) -> Region | None:
    """The region of a number in digits; None for mobile and foreign ones. Reads the plan where it was not read."""
    if not digits.startswith("7") or len(digits) != 11:
        return None
    known = _prefixes()
    return next((found for n in range(8, 1, -1) if (found := known.get(digits[:n]))), None)


@cache
def _prefixes() -> Mapping[str, Region]:
    here = _LIBRARY in sys.modules
    texts: Mapping[str, Mapping[str, str]] = import_module(_LIBRARY).GEOCODE_DATA
    found = {
        prefix: _BY_NAME[names["ru"]]
        for prefix, names in texts.items()
        if prefix.startswith("7") and names.get("ru") in _BY_NAME
    } | {prefix: _BY_NAME[name] for prefix, name in CORRECTED.items()}
    if not here:  # nobody else has asked for it
        for name in [name for name in sys.modules if name.startswith(_LIBRARY)]:
            del sys.modules[name]
        vars(import_module("phonenumbers")).pop("geodata", None)
    return found
