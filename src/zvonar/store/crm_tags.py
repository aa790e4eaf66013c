"""How are cards marked? Tags of each kind of card, by name."""

from collections.abc import Collection, Sequence

from msgspec import Struct

from zvonar.core.crm import Kind
from zvonar.store.db import Connection, Database, rows


class Tag(Struct, frozen=True, kw_only=True):
    """A tag."""

    tag_id: int
    name: str
    color: str | None


BY_IDS = """
SELECT tag_id, name, color FROM crm_tags
WHERE account_id = %(account_id)s AND kind = %(kind)s::crm_kind AND tag_id = ANY(%(tag_ids)s::bigint[])
"""

# One whose name is there already, in any case of letters, is that one.
PUT = """
INSERT INTO crm_tags AS t (account_id, kind, name, color)
SELECT %(account_id)s, %(kind)s::crm_kind, name, color
FROM unnest(%(names)s::text[], %(colors)s::text[]) AS g (name, color)
ON CONFLICT (account_id, kind, lower(name)) DO UPDATE SET color = coalesce(excluded.color, t.color)
RETURNING tag_id, name, color
"""

PAGE = """
SELECT tag_id, name, color FROM crm_tags
WHERE account_id = %(account_id)s AND kind = %(kind)s::crm_kind AND name ILIKE %(pattern)s
ORDER BY tag_id LIMIT %(limit)s OFFSET %(skipped)s
"""


async def by_ids(
    connection: Connection, account_id: int, kind: Kind, tag_ids: Collection[int]
) -> dict[int, Tag]:
    """Those of these tags that there are."""
    if not tag_ids:
        return {}
    params = {"account_id": account_id, "kind": kind, "tag_ids": list(tag_ids)}
    return {tag.tag_id: tag for tag in await rows(connection, Tag, BY_IDS, params)}


async def put(
    connection: Connection, account_id: int, kind: Kind, wanted: Sequence[tuple[str, str | None]]
) -> list[Tag]:
    """Tags of these names and colours, made where there are none; in the order of the names."""
    # In the order of a key, so that two of these never wait for each other in a ring.
    first = {name.lower(): (name, color) for name, color in reversed(wanted)}
    if not first:
        return []
    keys = sorted(first)
    params = {
        "account_id": account_id,
        "kind": kind,
        "names": [first[key][0] for key in keys],
        "colors": [first[key][1] for key in keys],
    }
    made = dict(zip(keys, await rows(connection, Tag, PUT, params), strict=True))
    return [made[name.lower()] for name, _ in wanted]


async def page(
    db: Database, account_id: int, kind: Kind, *, pattern: str, limit: int, skipped: int
) -> list[Tag]:
    """One more tag than was asked for, where there is another page."""
    params = {
        "account_id": account_id,
        "kind": kind,
        "pattern": pattern,
        "limit": limit + 1,
        "skipped": skipped,
    }
    return await db.rows(Tag, PAGE, params)
