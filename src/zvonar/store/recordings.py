"""Of which attempts is there a recording? The names of files; the files are where the gateway writes them."""

from collections.abc import Sequence

from msgspec import Struct

from zvonar.store.db import Database


class Recorded(Struct, frozen=True, kw_only=True):
    """An attempt that was recorded."""

    call_id: int
    attempt: int  # from 1
    recording: str  # file name below the gateway's directory


# The last recording of each of these calls.
LAST_OF = """
SELECT DISTINCT ON (call_id) call_id, attempt, recording FROM attempts
WHERE account_id = %(account_id)s AND call_id = ANY(%(call_ids)s) AND recording IS NOT NULL
ORDER BY call_id, attempt DESC
"""

GET = """
SELECT recording FROM attempts
WHERE account_id = %(account_id)s AND call_id = %(call_id)s AND attempt = %(attempt)s
"""


async def last_of(db: Database, account_id: int, call_ids: Sequence[int]) -> dict[int, Recorded]:
    """By call; calls without a recording are missing."""
    params = {"account_id": account_id, "call_ids": list(call_ids)}
    return {found.call_id: found for found in await db.rows(Recorded, LAST_OF, params)}


async def get(db: Database, account_id: int, call_id: int, attempt: int) -> str | None:
    """The file name of an attempt's recording."""
    params = {"account_id": account_id, "call_id": call_id, "attempt": attempt}
    name = await db.value(GET, params)
    assert name is None or isinstance(name, str)
    return name
