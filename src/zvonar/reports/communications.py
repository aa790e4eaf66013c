"""Which session is a communication? The one with its number, unless somebody else gave it another."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from zvonar.core.errors import Invalid
from zvonar.store.db import Connection, Database, rows

# What uploaded sessions are called elsewhere goes before numbers of our own.
SESSION_OF = """
SELECT session_id FROM told_communications
WHERE account_id = %(account_id)s AND communication_id = %(communication_id)s
"""

# Numbers for these sessions; one that another session has, by being told or as its own, is not taken.
CLAIM = """
INSERT INTO told_communications AS c (account_id, communication_id, session_id)
SELECT %(account_id)s, t.communication_id, t.session_id
FROM unnest(%(communications)s::bigint[], %(sessions)s::bigint[]) AS t (communication_id, session_id)
WHERE NOT EXISTS (SELECT FROM session_starts s
    WHERE s.session_id = t.communication_id AND s.session_id <> t.session_id AND s.account_id = %(account_id)s)
ORDER BY t.communication_id
ON CONFLICT (account_id, communication_id) DO UPDATE SET session_id = c.session_id
    WHERE c.session_id = excluded.session_id
RETURNING communication_id
"""


class CommunicationTaken(Invalid):
    """Another session has this communication."""

    def __init__(self, communication_id: int) -> None:
        super().__init__()
        self.communication_id = communication_id


class _Claimed(Struct, frozen=True, kw_only=True):
    communication_id: int


async def session_of(db: Database, account_id: int, communication_id: int) -> int:
    """The number of the session, whether or not there is such a one."""
    params = {"account_id": account_id, "communication_id": communication_id}
    told = await db.value(SESSION_OF, params)
    return communication_id if told is None else int(told)


async def claim(connection: Connection, account_id: int, told: Sequence[Mapping[str, Any]]) -> None:
    """Remember the numbers that these rows were told with. Raises CommunicationTaken."""
    wanted = {
        row["communication_id"]: row["session_id"]
        for row in told
        if row["communication_id"] != row["session_id"]
    }
    if not wanted:
        return
    params = {"account_id": account_id, "communications": list(wanted), "sessions": list(wanted.values())}
    claimed = {one.communication_id for one in await rows(connection, _Claimed, CLAIM, params)}
    named: set[int] = set()
    for row in told:
        number = row["communication_id"]
        if (number in wanted and number not in claimed) or number in named:
            raise CommunicationTaken(number)
        named.add(number)
