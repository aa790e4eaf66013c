"""How do sessions come into the report that were not on our lines? As they are told; told again they are changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from zvonar.reports import communications, known, rules
from zvonar.reports.columns import KEY
from zvonar.reports.writing import Change, Row, Touched, Writer
from zvonar.store.db import Connection, rows

# Ids for sessions, by the ids that they have elsewhere; those that were here before keep theirs.
CLAIM = """
INSERT INTO uploaded_sessions AS u (account_id, ext_id, session_id)
SELECT %(account_id)s, e, nextval('session_ids') FROM unnest(%(ext_ids)s::text[]) AS t (e) ORDER BY e
ON CONFLICT (account_id, ext_id) DO UPDATE SET ext_id = excluded.ext_id
RETURNING ext_id, session_id
"""

IDS = "SELECT nextval('session_ids') AS session_id FROM generate_series(1, %(count)s)"


class _Claimed(Struct, frozen=True, kw_only=True):
    ext_id: str | None = None
    session_id: int


async def upload(
    writer: Writer, account_id: int, told: Sequence[Mapping[str, Any]], *, now: datetime
) -> list[int]:
    """Put in these sessions, or change those that came before under the same ext_id; their ids, in order.

    All of them or none. A session's start never changes: it is what the report finds it by. Raises CommunicationTaken.
    """
    await writer.prepare(one["start_time"] for one in told)
    async with writer.db.transaction() as connection:
        ids = await _ids(connection, account_id, told)
        # The last word of one session counts.
        by_id: dict[int, Row] = {}
        for session_id, one in zip(ids, told, strict=True):
            row = {"communication_id": session_id, **one}
            by_id[session_id] = {**row, "account_id": account_id, "session_id": session_id}
        await communications.claim(connection, account_id, list(by_id.values()))
        await known.contacts(connection, list(by_id.values()))
        new = [dict(row) for row in by_id.values()]
        await rules.tag(connection, new, now=now)
        touched: set[Touched] = set()
        fresh = await writer.put(connection, new, again=True, touched=touched)
        before = by_id.keys() - {row["session_id"] for row in fresh}
        changes = [
            Change(account_id=account_id, session_id=session_id, patch=_patch(by_id[session_id]))
            for session_id in sorted(before)
        ]
        if changes:
            await writer.change(connection, await rules.late(connection, changes, now=now), touched=touched)
        await writer.revise(connection, touched)
    return ids


def _patch(row: Row) -> Any:
    changed = {name: value for name, value in row.items() if name not in KEY}
    return lambda _: changed


async def _ids(connection: Connection, account_id: int, told: Sequence[Mapping[str, Any]]) -> list[int]:
    named = sorted({one["ext_id"] for one in told if one.get("ext_id")})
    unnamed = sum(not one.get("ext_id") for one in told)
    claimed = {}
    if named:
        asked = {"account_id": account_id, "ext_ids": named}
        claimed = {one.ext_id: one.session_id for one in await rows(connection, _Claimed, CLAIM, asked)}
    others = iter([one.session_id for one in await rows(connection, _Claimed, IDS, {"count": unnamed})])
    return [claimed[one["ext_id"]] if one.get("ext_id") else next(others) for one in told]
