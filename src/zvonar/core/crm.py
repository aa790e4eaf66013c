"""Whom does a number lead to? The kinds of cards, and what of a number is compared."""

import re
from enum import StrEnum
from typing import Final

from msgspec import Struct

TAIL: Final = 10  # digits of a number that are compared

WON, LOST = 142, 143  # the statuses of closed leads, in every pipeline
CLOSED: Final = (WON, LOST)
ROBOT: Final = 0  # who did what no user did

_NO_DIGIT = re.compile(r"[^0-9]")


class Kind(StrEnum):
    """What a card is about; in this order somebody is looked for by a number."""

    contact = "contact"
    company = "company"
    lead = "lead"
    customer = "customer"


class Card(Struct, frozen=True, kw_only=True):
    """Which card."""

    kind: Kind
    card_id: int


def tail(phone: str) -> str:
    """What of a number is compared: its last ten digits, all of a shorter one; empty for none. `crm_tail` is the same
    in SQL.
    """
    return _NO_DIGIT.sub("", phone)[-TAIL:]
