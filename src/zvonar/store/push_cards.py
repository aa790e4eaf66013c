"""Which cards were made for numbers that the CRM did not know? Claimed before they are made, so each is made once."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from zvonar.store.db import Database


class Card(Struct, frozen=True, kw_only=True):
    """A contact that we made, or are about to."""

    phone: str
    contact_id: int | None  # None: being made, or nobody knows
    lead_id: int | None
    claimed_at: datetime


# Those of these numbers that nobody had claimed.
CLAIM = """
INSERT INTO push_cards (account_id, phone, claimed_at)
SELECT %(account_id)s, phone, %(now)s FROM unnest(%(phones)s::text[]) AS p (phone) ORDER BY phone
ON CONFLICT DO NOTHING RETURNING phone, contact_id, lead_id, claimed_at
"""

OF = """
SELECT phone, contact_id, lead_id, claimed_at FROM push_cards
WHERE account_id = %(account_id)s AND phone = ANY(%(phones)s)
"""

# Whoever claimed it has not been heard of for long; one of those who see that goes on with it.
TAKE_OVER = """
UPDATE push_cards SET claimed_at = %(now)s
WHERE account_id = %(account_id)s AND phone = %(phone)s AND claimed_at = %(until)s
RETURNING true
"""

MADE = """
UPDATE push_cards c SET contact_id = coalesce(m.contact_id, c.contact_id), lead_id = coalesce(m.lead_id, c.lead_id)
FROM unnest(%(phones)s::text[], %(contact_ids)s::bigint[], %(lead_ids)s::bigint[]) AS m (phone, contact_id, lead_id)
WHERE c.account_id = %(account_id)s AND c.phone = m.phone
"""

# They were surely not made, or are gone.
DROP = "DELETE FROM push_cards WHERE account_id = %(account_id)s AND phone = ANY(%(phones)s)"


async def claim(db: Database, account_id: int, phones: Sequence[str], *, now: datetime) -> list[str]:
    """Those of these numbers whose cards are ours to make."""
    params = {"account_id": account_id, "phones": sorted(set(phones)), "now": now}
    return [card.phone for card in await db.rows(Card, CLAIM, params)]


async def of(db: Database, account_id: int, phones: Sequence[str]) -> dict[str, Card]:
    """By number: those that were claimed."""
    found = await db.rows(Card, OF, {"account_id": account_id, "phones": sorted(set(phones))})
    return {card.phone: card for card in found}


async def take_over(db: Database, account_id: int, card: Card, *, now: datetime) -> bool:
    """Whether an old claim is ours now."""
    params = {"account_id": account_id, "phone": card.phone, "until": card.claimed_at, "now": now}
    return bool(await db.value(TAKE_OVER, params))


async def made(db: Database, account_id: int, cards: Sequence[tuple[str, int | None, int | None]]) -> None:
    """Number, contact and lead, as far as they are known now."""
    params = {
        "account_id": account_id,
        "phones": [phone for phone, _, _ in cards],
        "contact_ids": [contact_id for _, contact_id, _ in cards],
        "lead_ids": [lead_id for _, _, lead_id in cards],
    }
    await db.execute(MADE, params)


async def drop(db: Database, account_id: int, phones: Sequence[str]) -> None:
    """Forget these claims."""
    await db.execute(DROP, {"account_id": account_id, "phones": list(phones)})
