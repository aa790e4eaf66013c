"""How do some rows of a list become calls exactly once? A batch is a transaction that also moves its list on.

A loader that dies has loaded its last batch or it has not, and the list tells the next one which. Ordinals are promised
in a transaction of their own: they come from the campaign's row, for which everybody who adds a single call waits.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from zvonar.core.errors import CampaignNotFound, Refused
from zvonar.store import loading
from zvonar.store.calls import CampaignClosed, NewCall, take_ordinals
from zvonar.store.db import Connection, Database, row
from zvonar.store.phone_lists import ADD_RUN, PhoneList, Rejected, Run, key_of


class Overtaken(Refused):
    """Somebody else has taken up the work on this list."""


class _Open(Struct, frozen=True, kw_only=True):
    done: int


class _Campaign(Struct, frozen=True, kw_only=True):
    first_ordinal: int
    status: str
    lifetime: int | None


# Whoever holds this row works on the list; another one waits here and then sees that it was overtaken.
LOCK = """
SELECT done FROM phone_lists
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s AND state = 'loading' FOR UPDATE
"""

RUN = """
SELECT after_row, first_ordinal, promised FROM phone_list_runs
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s AND after_row = %(after)s
"""

# Ordinals for a batch. A completed campaign is not woken up yet: until the calls are there it would complete again.
PROMISE = """
UPDATE campaigns SET next_ordinal = next_ordinal + %(count)s
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
RETURNING next_ordinal - %(count)s AS first_ordinal, status, waits_for(type, settings) AS lifetime
"""

FILL_RUN = """
UPDATE phone_list_runs SET loaded = %(loaded)s
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s AND after_row = %(after)s
"""

FORGET_RUN = """
DELETE FROM phone_list_runs
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s AND after_row = %(after)s
"""

COPY_REJECTS = """
COPY phone_list_rejects (account_id, phone_list_id, line, reason, value, earlier) FROM STDIN
"""

# One batch more is done.
GO_ON = """
UPDATE phone_lists SET done = %(done)s, loaded = loaded + %(loaded)s, rejected = rejected + %(rejected)s,
    deaths = 0, updated_at = %(now)s
WHERE account_id = %(account_id)s AND phone_list_id = %(phone_list_id)s
"""

# Whoever looks for one call of a campaign that the planner knows nothing of may be given an index that only finds the
# campaign, and read all of it: a label cost 0.1 s in a list of 100,000 that had just been loaded.
LEARN = "ANALYZE calls (account_id, campaign_id, ordinal, phone, label)"


async def learn(db: Database) -> None:
    """Let the planner see what has been loaded."""
    async with db.transaction() as connection:
        await connection.execute(loading.PATIENCE)
        await connection.execute(LEARN)


async def load_batch(
    db: Database,
    phone_list: PhoneList,
    new: Sequence[NewCall],
    rejected: Sequence[Rejected],
    *,
    after: int,
    done: int,
    now: datetime,
) -> None:
    """Make calls of some rows and keep the rejections of others; `after` rows were done before, `done` are then.

    Raises Overtaken where somebody else has done them, CampaignNotFound, CampaignClosed, LabelTaken; then nothing is
    changed.
    """
    assert phone_list.campaign_id is not None
    run, lifetime = await _promise(db, phone_list, len(new), after=after)
    key = key_of(phone_list)
    async with db.transaction() as connection:
        await connection.execute(loading.PATIENCE)
        await _lock(connection, phone_list, after)
        if rejected:
            async with connection.cursor() as cursor, cursor.copy(COPY_REJECTS) as copying:
                for one in rejected:
                    await copying.write_row((*key.values(), one.line, one.reason, one.value, one.earlier))
        counts = {"loaded": len(new), "rejected": len(rejected)}
        await connection.execute(FILL_RUN, {**key, "after": after, "loaded": len(new)})
        await connection.execute(GO_ON, {**key, **counts, "done": done, "now": now})
        # Last, because its triggers lock counters for which every call of the campaign waits.
        await loading.copy(
            connection,
            phone_list.account_id,
            phone_list.campaign_id,
            phone_list.phone_list_id,
            new,
            first_ordinal=run.first_ordinal,
            lifetime=lifetime,
            now=now,
        )


async def _promise(db: Database, phone_list: PhoneList, count: int, *, after: int) -> tuple[Run, int | None]:
    """Ordinals for a batch: those that a loader which died here was promised, if they are as many as now."""
    key = key_of(phone_list)
    async with db.transaction() as connection:
        await _lock(connection, phone_list, after)
        run = await row(connection, Run, RUN, {**key, "after": after})
        if run is not None and run.promised < count:
            # Fewer were good when it died. What it was promised stays empty.
            await connection.execute(FORGET_RUN, {**key, "after": after})
            run = None
        params = {**key, "campaign_id": phone_list.campaign_id, "count": 0 if run else count}
        campaign = await row(connection, _Campaign, PROMISE, params)
        if campaign is None:
            raise CampaignNotFound()
        if campaign.status == "cancelled":
            raise CampaignClosed()
        if run is None:
            run = Run(after_row=after, first_ordinal=campaign.first_ordinal, promised=count)
            added = {"after": after, "first_ordinal": run.first_ordinal, "count": count, "loaded": 0}
            await connection.execute(ADD_RUN, {**key, **added})
        return run, campaign.lifetime


async def _lock(connection: Connection, phone_list: PhoneList, after: int) -> None:
    held = await row(connection, _Open, LOCK, key_of(phone_list))
    if held is None or held.done != after:
        raise Overtaken()


async def wake(db: Database, phone_list: PhoneList, *, now: datetime) -> None:
    """Let a campaign that had completed run again, now that it has calls.

    Raises CampaignNotFound, CampaignClosed, NoMoney.
    """
    assert phone_list.campaign_id is not None
    async with db.transaction() as connection:
        await take_ordinals(connection, phone_list.account_id, phone_list.campaign_id, 0, now)
