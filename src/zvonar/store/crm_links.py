"""Which cards belong together?"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from zvonar.core.crm import Card, Kind
from zvonar.store.db import Connection, rows

# Which kinds may be linked, either way.
PAIRS = frozenset(
    frozenset(pair)
    for pair in (
        (Kind.contact, Kind.lead),
        (Kind.contact, Kind.customer),
        (Kind.contact, Kind.company),
        (Kind.company, Kind.lead),
        (Kind.company, Kind.customer),
    )
)
# Of whom a card has at most one company.
ONE_COMPANY = (Kind.contact, Kind.lead, Kind.customer)


class Link(Struct, frozen=True, kw_only=True):
    """That two cards belong together, seen from one of them."""

    from_id: int
    to_kind: Kind
    to_id: int
    is_main: bool = False  # a lead's main contact


# Both sides at once. What is linked already takes the new word on whether it is the main one.
ADD = """
INSERT INTO crm_links AS l (account_id, from_id, from_kind, to_id, to_kind, is_main)
SELECT %(account_id)s, s.* FROM unnest(%(from_ids)s::bigint[], %(from_kinds)s::crm_kind[], %(to_ids)s::bigint[],
    %(to_kinds)s::crm_kind[], %(mains)s::boolean[]) AS g (a, a_kind, b, b_kind, main)
CROSS JOIN LATERAL (VALUES (a, a_kind, b, b_kind, main), (b, b_kind, a, a_kind, main)) AS s
ORDER BY 2, 5, 4
ON CONFLICT (account_id, from_id, to_kind, to_id) DO UPDATE SET is_main = l.is_main OR excluded.is_main
"""

REMOVE = """
DELETE FROM crm_links l
USING unnest(%(from_ids)s::bigint[], %(to_ids)s::bigint[]) AS g (a, b)
WHERE l.account_id = %(account_id)s AND (l.from_id, l.to_id) IN ((g.a, g.b), (g.b, g.a))
RETURNING l.from_id, l.to_id
"""

# Somebody else becomes the main contact of these leads.
DEMOTE = """
UPDATE crm_links SET is_main = false
WHERE account_id = %(account_id)s AND is_main
  AND (from_id = ANY(%(card_ids)s::bigint[]) AND to_kind = 'contact'
       OR to_id = ANY(%(card_ids)s::bigint[]) AND from_kind = 'contact')
"""

# Of each of these cards, at most so many of a kind: a page shows what belongs to its cards.
OF_CARDS = """
SELECT l.from_id, l.to_kind::text AS to_kind, l.to_id, l.is_main
FROM unnest(%(card_ids)s::bigint[]) AS c (card_id)
CROSS JOIN unnest(%(card_kinds)s::crm_kind[]) AS k (kind)
CROSS JOIN LATERAL (
    SELECT * FROM crm_links l
    WHERE l.account_id = %(account_id)s AND l.from_id = c.card_id AND l.to_kind = k.kind
    ORDER BY l.to_id LIMIT %(limit)s) l
ORDER BY l.from_id, l.to_kind, l.is_main DESC, l.to_id
"""


async def add(connection: Connection, account_id: int, links: Iterable[tuple[Card, Card, bool]]) -> None:
    """Link pairs of cards; the third says whether the contact is the lead's main one."""
    # A pair that is named twice would touch one row twice in one statement.
    pairs = {frozenset((a.card_id, b.card_id)): (a, b, main) for a, b, main in links}
    if not pairs:
        return
    params = {
        "account_id": account_id,
        "from_ids": [a.card_id for a, _, _ in pairs.values()],
        "from_kinds": [a.kind for a, _, _ in pairs.values()],
        "to_ids": [b.card_id for _, b, _ in pairs.values()],
        "to_kinds": [b.kind for _, b, _ in pairs.values()],
        "mains": [main for _, _, main in pairs.values()],
    }
    await connection.execute(ADD, params)


async def demote(connection: Connection, account_id: int, leads: Sequence[int]) -> None:
    """These leads have no main contact any more."""
    await connection.execute(DEMOTE, {"account_id": account_id, "card_ids": list(leads)})


async def remove(connection: Connection, account_id: int, pairs: Sequence[tuple[int, int]]) -> bool:
    """Unlink pairs of cards; whether any of them was linked."""
    params = {
        "account_id": account_id,
        "from_ids": [a for a, _ in pairs],
        "to_ids": [b for _, b in pairs],
    }
    return bool((await connection.execute(REMOVE, params)).rowcount)


async def of_cards(
    connection: Connection, account_id: int, card_ids: Sequence[int], kinds: Sequence[Kind], *, limit: int
) -> dict[int, list[Link]]:
    """What is linked with these cards, of these kinds: by card."""
    found: dict[int, list[Link]] = {card_id: [] for card_id in card_ids}
    if not card_ids or not kinds:
        return found
    params = {
        "account_id": account_id,
        "card_ids": list(card_ids),
        "card_kinds": list(kinds),
        "limit": limit,
    }
    for link in await rows(connection, Link, OF_CARDS, params):
        found[link.from_id].append(link)
    return found
