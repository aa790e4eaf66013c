"""Into which card does a call belong? The kinds of cards, and the documented rule that chooses one."""

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


class Found(Struct, frozen=True, kw_only=True):
    """Whose number it is, and the deals that go with it."""

    owner: Card  # contact or company
    leads: tuple[int, ...]  # active ones; two are as good as more
    customers: tuple[int, ...]  # two are as good as more


def choose(found: Found) -> Card:
    """The card of a call: the only active lead where there is no customer, the only customer where there is no active
    lead, else whose number it is.
    """
    if len(found.leads) == 1 and not found.customers:
        return Card(kind=Kind.lead, card_id=found.leads[0])
    if len(found.customers) == 1 and not found.leads:
        return Card(kind=Kind.customer, card_id=found.customers[0])
    return found.owner


def tail(phone: str) -> str:
    """What of a number is compared: its last ten digits, all of a shorter one; empty for none. `crm_tail` is the same
    in SQL.
    """
    return _NO_DIGIT.sub("", phone)[-TAIL:]
