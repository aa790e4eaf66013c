"""Which lists of numbers were sent, how far is each worked off, and what became of its rows?

A list is committed with its bytes before anybody hears yes. How it becomes calls is told in `batches`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.errors import NotFound
from zvonar.store import loading
from zvonar.store.calls import NewCall, take_ordinals
from zvonar.store.db import Connection, Database

Enqueue = Callable[
    [Connection, int, int], Awaitable[None]
]  # account and list, in the transaction that accepts it


JOB = "phone_list "  # and its id: the lock by which a job of a list is known


class PhoneListNotFound(NotFound):
    """There is no such phone list in this account."""


class PhoneList(Struct, frozen=True, kw_only=True):
    """A list as it stands."""

    account_id: int
    phone_list_id: int
    campaign_id: int | None
    name: str
    state: str  # accepted, loading, loaded, failed
    total: int  # rows with something in them
    done: int  # of these, calls or rejected by now
    loaded: int
    rejected: int
    deaths: int  # processes that died over its next batch
    error: str | None  # why it failed, one word
    layout: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


class Rejected(Struct, frozen=True, kw_only=True, gc=False):
    """A row that does not become a call."""

    line: int  # of the file, from 1
    reason: str  # one word
    value: str  # the number as typed
    earlier: int | None = None  # the line that a duplicate repeats


class LoadedCall(Struct, frozen=True, kw_only=True, gc=False):
    """One call that came of a list."""

    ordinal: int
    call_id: int
    phone: str
    created_at: datetime


class Run(Struct, frozen=True, kw_only=True):
    """Calls of a list that stand one after the other in their campaign."""

    after_row: int  # rows of the list that were done before
    first_ordinal: int  # one less than that of its first call
    promised: int  # how many calls have their place there


_LIST = """account_id, phone_list_id, campaign_id, name, state, total, done, loaded, rejected, deaths, error, layout,
    created_at, updated_at, finished_at"""

GET = (
    f"SELECT {_LIST} FROM phone_lists WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s"
)

# The command line names a list by its id alone.
GET_ANY = f"SELECT {_LIST} FROM phone_lists WHERE phone_list_id = %(phone_list_id)s"

# A list that was sent and not looked at yet.
ACCEPT = """
INSERT INTO phone_lists (account_id, campaign_id, name, state, total, layout, created_at, updated_at)
VALUES (%(account_id)s, %(campaign_id)s, %(name)s, 'accepted', %(total)s, %(layout)s, %(now)s, %(now)s)
RETURNING phone_list_id
"""

# A list whose calls are in the same transaction.
ADD = """
INSERT INTO phone_lists (account_id, campaign_id, name, total, done, loaded, rejected, created_at, updated_at,
                         finished_at)
VALUES (%(account_id)s, %(campaign_id)s, %(name)s, %(total)s, %(total)s, %(loaded)s, %(rejected)s, %(now)s, %(now)s,
        %(now)s)
RETURNING phone_list_id
"""

COPY_CHUNKS = "COPY phone_list_chunks (account_id, phone_list_id, chunk, bytes) FROM STDIN (FORMAT binary)"

CHUNK = """
SELECT bytes FROM phone_list_chunks
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s AND chunk = %(chunk)s
"""

FORGET_CHUNKS = """
DELETE FROM phone_list_chunks WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s
"""

# A process begins to work, or goes on where another one stopped.
BEGIN = f"""
UPDATE phone_lists SET state = 'loading', updated_at = %(now)s
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s AND state IN ('accepted', 'loading')
RETURNING {_LIST}
"""

# A process that ended without a word, perhaps because of what the list makes it do.
DIED = """
UPDATE phone_lists SET deaths = deaths + 1
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s AND state = 'loading'
"""

# A list that failed is looked for by workers as one that nobody comes on with.
RETRY = """
UPDATE phone_lists SET state = 'loading', error = NULL, deaths = 0, finished_at = NULL, updated_at = 'epoch'
WHERE phone_list_id = %(phone_list_id)s AND state = 'failed'
"""

ADD_RUN = """
INSERT INTO phone_list_runs (account_id, phone_list_id, after_row, first_ordinal, promised, loaded)
VALUES (%(account_id)s, %(phone_list_id)s, %(after)s, %(first_ordinal)s, %(count)s, %(loaded)s)
"""

# What was counted when it came may have been a little more.
FINISH = """
UPDATE phone_lists SET state = %(state)s, error = %(error)s, updated_at = %(now)s, finished_at = %(now)s,
    total = CASE WHEN %(state)s = 'loaded' THEN done ELSE total END
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s AND state IN ('accepted', 'loading')
"""

# Lists that nobody has come on with for a while, and that no job will.
LEFT = f"""
SELECT {_LIST} FROM phone_lists l WHERE state IN ('accepted', 'loading') AND updated_at < %(now)s
  AND NOT EXISTS (SELECT FROM procrastinate_jobs j
                  WHERE j.queueing_lock = '{JOB}' || l.phone_list_id AND j.status IN ('todo', 'doing'))
ORDER BY updated_at LIMIT 100
"""

REJECTS = """
SELECT line, reason, value, earlier FROM phone_list_rejects
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s AND line > %(after)s
ORDER BY line LIMIT %(limit)s
"""

REJECTS_PAGE = """
SELECT line, reason, value, earlier FROM phone_list_rejects
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s
ORDER BY line LIMIT %(limit)s::bigint OFFSET %(skipped)s::bigint
"""

LAST_REJECTED = """
SELECT coalesce(max(line), 0) FROM phone_list_rejects
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s
"""

RUNS = """
SELECT after_row, first_ordinal, loaded AS promised FROM phone_list_runs
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s AND loaded > 0 ORDER BY first_ordinal DESC
"""

# The calls of one run from its end, by the index that orders a campaign's calls.
CALLS = """
SELECT ordinal, call_id, phone, created_at FROM calls
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s AND phone_list_id = %(phone_list_id)s
  AND ordinal > %(after)s AND ordinal <= %(until_ordinal)s ORDER BY ordinal DESC LIMIT %(limit)s
"""

_PAGE = 2000  # rows read at once


async def accept(
    db: Database,
    account_id: int,
    campaign_id: int,
    *,
    name: str,
    layout: dict[str, Any],
    total: int,
    chunks: Iterable[bytes],
    enqueue: Enqueue | None,
    now: datetime,
) -> int:
    """Keep a list as it was sent, and its id. It is committed, and queued for a worker, when this returns."""
    async with db.transaction() as connection:
        await connection.execute(loading.PATIENCE)
        params = {
            "account_id": account_id,
            "campaign_id": campaign_id,
            "name": name,
            "total": total,
            "layout": Jsonb(layout),
            "now": now,
        }
        added = await (await connection.execute(ACCEPT, params)).fetchone()
        assert added is not None
        phone_list_id = int(added[0])
        async with connection.cursor() as cursor, cursor.copy(COPY_CHUNKS) as copying:
            copying.set_types(["int8", "int8", "int4", "bytea"])
            for number, chunk in enumerate(chunks):
                await copying.write_row((account_id, phone_list_id, number, chunk))
        if enqueue is not None:
            await enqueue(connection, account_id, phone_list_id)
    return phone_list_id


async def load(
    db: Database,
    account_id: int,
    campaign_id: int,
    new: Sequence[NewCall],
    *,
    name: str,
    rejected: int,
    now: datetime,
) -> int:
    """Accept a list whose rows are judged already, all of it or nothing, and return its id.

    Raises CampaignNotFound, CampaignClosed, LabelTaken, NoMoney (as calls.add).
    """
    async with db.transaction() as connection:
        await connection.execute(loading.PATIENCE)
        taken = await take_ordinals(connection, account_id, campaign_id, len(new), now)
        params = {
            "account_id": account_id,
            "campaign_id": campaign_id,
            "name": name,
            "total": len(new) + rejected,
            "loaded": len(new),
            "rejected": rejected,
            "now": now,
        }
        added = await (await connection.execute(ADD, params)).fetchone()
        assert added is not None
        run = {"after": 0, "first_ordinal": taken.first_ordinal, "count": len(new)}
        await connection.execute(ADD_RUN, {**params, **run, "phone_list_id": added[0]})
        await loading.copy(
            connection,
            account_id,
            campaign_id,
            added[0],
            new,
            first_ordinal=taken.first_ordinal,
            lifetime=taken.lifetime,
            now=now,
        )
        return int(added[0])


async def get(db: Database, account_id: int, phone_list_id: int) -> PhoneList:
    """A list of this account. Raises PhoneListNotFound."""
    found = await db.row(PhoneList, GET, {"account_id": account_id, "phone_list_id": phone_list_id})
    if found is None:
        raise PhoneListNotFound()
    return found


async def get_any(db: Database, phone_list_id: int) -> PhoneList:
    """A list of whichever account. Raises PhoneListNotFound."""
    found = await db.row(PhoneList, GET_ANY, {"phone_list_id": phone_list_id})
    if found is None:
        raise PhoneListNotFound()
    return found


async def content(db: Database, phone_list: PhoneList) -> AsyncIterator[bytes]:
    """The bytes of a list that is not worked off yet, a chunk at a time."""
    chunk = 0
    while (found := await db.value(CHUNK, {**key_of(phone_list), "chunk": chunk})) is not None:
        yield bytes(found)
        chunk += 1


async def begin(db: Database, account_id: int, phone_list_id: int, *, now: datetime) -> PhoneList | None:
    """Take up the work on a list; None where there is none left to do."""
    params = {"account_id": account_id, "phone_list_id": phone_list_id, "now": now}
    return await db.row(PhoneList, BEGIN, params)


async def finish(db: Database, phone_list: PhoneList, *, error: str | None = None, now: datetime) -> None:
    """Nothing is left to do, and the bytes are forgotten; or nothing can be done, until somebody says `retry`."""
    key = key_of(phone_list)
    async with db.transaction() as connection:
        state = "loaded" if error is None else "failed"
        await connection.execute(FINISH, {**key, "state": state, "error": error, "now": now})
        if error is None:
            await connection.execute(FORGET_CHUNKS, key)


async def died(db: Database, account_id: int, phone_list_id: int) -> None:
    """A process died over this list."""
    await db.execute(DIED, {"account_id": account_id, "phone_list_id": phone_list_id})


async def retry(db: Database, phone_list_id: int) -> bool:
    """Let a list that failed go on where it stopped; False where it has not failed."""
    return await db.execute(RETRY, {"phone_list_id": phone_list_id}) == 1


async def left(db: Database, *, now: datetime, idle: timedelta) -> list[PhoneList]:
    """Lists that are not finished, have not come on for so long, and have no job."""
    return await db.rows(PhoneList, LEFT, {"now": now - idle})


async def rejects(db: Database, phone_list: PhoneList) -> AsyncIterator[list[Rejected]]:
    """The rows that did not become calls, in the order of the file, a page at a time."""
    after = 0
    while found := await db.rows(Rejected, REJECTS, {**key_of(phone_list), "after": after, "limit": _PAGE}):
        yield found
        after = found[-1].line


async def rejects_page(
    db: Database, account_id: int, phone_list_id: int, *, number: int, size: int
) -> list[Rejected]:
    """A page (from 1) of a list's rejected rows."""
    params = {"account_id": account_id, "phone_list_id": phone_list_id}
    return await db.rows(Rejected, REJECTS_PAGE, {**params, "limit": size, "skipped": (number - 1) * size})


async def last_rejected(db: Database, account_id: int, phone_list_id: int) -> int:
    """The highest line of a list that was rejected; 0 where none was."""
    return int(await db.value(LAST_REJECTED, {"account_id": account_id, "phone_list_id": phone_list_id}))


async def calls_of(db: Database, phone_list: PhoneList, campaign_id: int) -> AsyncIterator[list[LoadedCall]]:
    """The calls that came of a list, the newest first, a page at a time."""
    for run in await db.rows(Run, RUNS, key_of(phone_list)):
        until = run.first_ordinal + run.promised
        while until > run.first_ordinal:
            params = {
                **key_of(phone_list),
                "campaign_id": campaign_id,
                "after": run.first_ordinal,
                "until_ordinal": until,
                "limit": _PAGE,
            }
            found = await db.rows(LoadedCall, CALLS, params)
            if not found:
                break
            yield found
            until = found[-1].ordinal - 1


def key_of(phone_list: PhoneList) -> dict[str, int]:
    """The parameters that name a list."""
    return {"account_id": phone_list.account_id, "phone_list_id": phone_list.phone_list_id}


def layout_of(phone_list: PhoneList, kind: type[msgspec.Struct]) -> Any:
    """Which column holds what, as whoever accepted the list has put it."""
    return msgspec.convert(phone_list.layout, kind)
