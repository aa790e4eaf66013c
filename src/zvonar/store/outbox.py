"""Which facts have not been told yet? Events become deliveries, each rendered once, in their order."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import psycopg
from msgspec import Struct

from zvonar.store.db import Connection, Database, rows


class Event(Struct, frozen=True, kw_only=True):
    """A fact, as things were when it became one."""

    event_id: int
    account_id: int
    campaign_id: int | None
    call_id: int | None
    kind: str  # campaign, call, mail
    at: datetime
    payload: dict[str, Any]


class Rendered(Struct, frozen=True, kw_only=True):
    """One event in the bytes that one address will get, whatever happens to the account meanwhile."""

    kind: str  # which renderer made it
    address: str  # the receiver: http(s) URL, its template, or mailto:
    order_key: str  # deliveries of one key to one address keep the order of their events
    content_type: str
    body: bytes  # UTF-8 text, because it is signed as text
    method: Literal["POST", "GET"] = "POST"
    url: str | None = None  # what is asked for, where that is not the address itself


Renderer = Callable[[Event], Sequence[Rendered]]
# Keeps what events mean to the house itself, in the transaction of their fan-out: once for each event.
Recorder = Callable[[Connection, Sequence[Event]], Awaitable[None]]
# Makes a renderer for a batch of events, with what it has to look up for them in the transaction of their fan-out.
Look = Callable[[Connection, Sequence[Event]], Awaitable[Renderer]]


class Unrendered(Struct, frozen=True, kw_only=True):
    """An event that stepped aside."""

    event_id: int
    error: str  # class of the exception; HELD for one that waits behind another of its call
    tries: int
    next_at: datetime | None  # None: given up until somebody asks for it


class _Pending(Event, frozen=True, kw_only=True):
    render_tries: int
    behind: (
        datetime | None
    )  # when an earlier event of its call or campaign, which stands aside, is tried again


HELD = "held"  # the error of an event that waits behind one that cannot be rendered

# Only one process fans out at a time, so events of one call become deliveries in their order. What a crash of
# PostgreSQL forgets of it is done again with the same bytes, so its commit need not wait for the disk.
FAN_OUT_LOCK = """
SELECT pg_try_advisory_xact_lock(1515605070), set_config('synchronous_commit', 'off', true)
"""

# Events that stepped aside and whose time has come stand in the queue again, at their old places.
UNPARK = """
UPDATE outbox SET render_error = NULL
WHERE fanned_out_at IS NULL AND render_error IS NOT NULL AND render_at <= %(now)s
"""

PENDING = """
SELECT event_id, account_id, campaign_id, call_id, kind, at, payload, render_tries,
    (SELECT max(p.render_at) FROM outbox p
     WHERE p.fanned_out_at IS NULL AND p.render_error IS NOT NULL AND p.account_id = o.account_id
       AND p.campaign_id = o.campaign_id AND coalesce(p.call_id, 0) = coalesce(o.call_id, 0)
       AND p.event_id < o.event_id) AS behind
FROM outbox o
WHERE fanned_out_at IS NULL AND render_error IS NULL ORDER BY event_id LIMIT %(limit)s
"""

# What is for a disabled receiver is kept for the day on which it is enabled again; what is behind one that failed is
# due with it.
ADD_DELIVERIES = """
INSERT INTO deliveries (account_id, event_id, event_at, kind, address, method, url, order_key, content_type, body,
    state, next_at, created_at)
SELECT d.account_id, d.event_id, d.event_at, d.kind, d.address, d.method, d.url, d.order_key, d.content_type, d.body,
    CASE WHEN EXISTS (SELECT FROM receivers r WHERE r.account_id = d.account_id AND r.address = d.address
                      AND r.disabled_at IS NOT NULL) THEN 'disabled' ELSE 'pending' END,
    greatest(%(now)s, (SELECT max(e.next_at) FROM deliveries e
                       WHERE e.order_key = d.order_key AND e.event_id < d.event_id AND e.state = 'pending'
                         AND e.account_id IS NOT DISTINCT FROM d.account_id
                         AND e.address IS NOT DISTINCT FROM d.address)), %(now)s
FROM unnest(%(account_ids)s::bigint[], %(event_ids)s::bigint[], %(event_ats)s::timestamptz[], %(kinds)s::text[],
            %(addresses)s::text[], %(methods)s::text[], %(urls)s::text[], %(order_keys)s::text[],
            %(content_types)s::text[], %(bodies)b::bytea[])
    AS d (account_id, event_id, event_at, kind, address, method, url, order_key, content_type, body)
ON CONFLICT DO NOTHING
"""

FANNED_OUT = """
UPDATE outbox SET fanned_out_at = %(now)s, render_at = NULL WHERE event_id = ANY(%(event_ids)s)
"""

PARK = """
UPDATE outbox o SET render_error = p.error, render_tries = p.tries, render_at = p.next_at
FROM unnest(%(event_ids)s::bigint[], %(errors)s::text[], %(render_tries)s::int[], %(next_ats)s::timestamptz[])
    AS p (event_id, error, tries, next_at)
WHERE o.event_id = p.event_id
"""

# A message to a person is an event like any other, so that it is delivered like any other.
ADD_MAIL = """
INSERT INTO outbox (account_id, kind, at, payload) VALUES (%(account_id)s, 'mail', %(now)s, %(payload)s)
"""

# Fanned-out events that are old enough to be forgotten, of one stretch of the table; how far the stretch went, and
# whether anything in it is too young.
SWEEP = """
WITH stretch AS (
    SELECT event_id, fanned_out_at, at FROM outbox WHERE event_id > %(after)s ORDER BY event_id LIMIT %(limit)s
), swept AS (
    DELETE FROM outbox WHERE event_id IN (SELECT event_id FROM stretch WHERE fanned_out_at < %(before)s)
)
SELECT max(event_id) AS upto, coalesce(bool_or(at >= %(before)s), true) AS young FROM stretch
"""

# How far behind the deliveries are, for /metrics and the demo's end.
LAG = """
SELECT (SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL AND render_error IS NULL) AS events,
    (SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL AND render_error IS NOT NULL) AS unrendered,
    (SELECT count(*) FROM deliveries WHERE state IN ('dead', 'disabled') AND state = 'dead') AS dead,
    (SELECT count(*) FROM deliveries WHERE state IN ('dead', 'disabled') AND state = 'disabled') AS disabled,
    count(*) AS pending, coalesce(extract(epoch FROM %(now)s - min(event_at)), 0)::float8 AS oldest
FROM deliveries WHERE state = 'pending'
"""


class Lag(Struct, frozen=True, kw_only=True):
    """What has not been told yet."""

    events: int  # not fanned out
    unrendered: int  # that stepped aside
    pending: int
    disabled: int  # that wait for their receiver to be enabled
    dead: int
    oldest: float  # seconds since the event of the oldest pending delivery


class Swept(Struct, frozen=True, kw_only=True):
    """How far a sweep has come."""

    upto: int | None  # id of the last row looked at; None: there are no more
    young: bool  # whether what follows is too young


class Batch(Struct, frozen=True, kw_only=True):
    """What one fan-out did."""

    events: int  # looked at
    deliveries: int
    parked: tuple[Unrendered, ...]  # stepped aside, without those that are merely held


class NextTry(Protocol):
    """When an event that could not be rendered so often is tried again; None: not by itself."""

    def __call__(self, tries: int) -> datetime | None: ...


async def fan_out(
    db: Database,
    render: Renderer,
    *,
    now: datetime,
    next_try: NextTry,
    limit: int = 500,
    record: Recorder | None = None,
    look: Look | None = None,
) -> Batch:
    """Turn pending events into deliveries, each rendered once. Nothing where another process is at it.

    An event that cannot be rendered or recorded steps aside until `next_try`, and later ones of its call or campaign
    with it.
    """
    async with db.transaction() as connection:
        mine = await (await connection.execute(FAN_OUT_LOCK)).fetchone()
        if mine is None or not mine[0]:
            return Batch(events=0, deliveries=0, parked=())
        await connection.execute(UNPARK, {"now": now})
        events = await rows(connection, _Pending, PENDING, {"limit": limit})
        if not events:
            return Batch(events=0, deliveries=0, parked=())
        renderers = [render] if look is None else [render, await look(connection, events)]
        made: list[tuple[Event, Rendered]] = []
        done: list[int] = []
        aside: list[Unrendered] = []
        waits: dict[tuple[int, int | None, int | None], datetime] = {}
        for event in events:
            subject = (event.account_id, event.campaign_id, event.call_id)
            behind = waits.get(subject) or event.behind
            if behind is not None and behind > now:
                aside.append(
                    Unrendered(event_id=event.event_id, error=HELD, tries=event.render_tries, next_at=behind)
                )
                continue
            try:
                rendered = [_sound(one) for made_by in renderers for one in made_by(event)]
            except Exception as exc:  # whatever a dialect stumbles over; others' events must go on
                tries = event.render_tries + 1
                failed = Unrendered(
                    event_id=event.event_id,
                    error=type(exc).__name__,
                    tries=tries,
                    next_at=next_try(tries),
                )
                aside.append(failed)
                if event.campaign_id is not None and failed.next_at is not None:
                    waits[subject] = failed.next_at
            else:
                done.append(event.event_id)
                made += [(event, one) for one in rendered]
        if record is not None:
            fine = set(done)
            unkept = await _keep(connection, record, [event for event in events if event.event_id in fine])
            for event, error in unkept:
                tries = event.render_tries + 1
                aside.append(
                    Unrendered(event_id=event.event_id, error=error, tries=tries, next_at=next_try(tries))
                )
            not_kept = {event.event_id for event, _ in unkept}
            made = [(event, rendered) for event, rendered in made if event.event_id not in not_kept]
            done = [event_id for event_id in done if event_id not in not_kept]
        await _record(connection, made, done, aside, now)
    parked = tuple(one for one in aside if one.error != HELD)
    return Batch(events=len(events), deliveries=len(made), parked=parked)


async def _keep(
    connection: Connection, record: Recorder, events: Sequence[_Pending]
) -> list[tuple[_Pending, str]]:
    """Have events recorded: all at once, or, where that fails, one by one; those that cannot be, and why."""
    try:
        async with connection.transaction():
            await record(connection, events)
    except (psycopg.OperationalError, psycopg.InterfaceError):
        raise  # the database is away
    except Exception as exc:  # one event must not keep the others from going on
        if len(events) == 1:
            return [(events[0], type(exc).__name__)]
        found = [await _keep(connection, record, [event]) for event in events]
        return [one for some in found for one in some]
    return []


def _sound(rendered: Rendered) -> Rendered:
    rendered.body.decode()  # a signature is over text
    return rendered


async def _record(
    connection: Connection,
    made: Sequence[tuple[Event, Rendered]],
    done: Sequence[int],
    aside: Sequence[Unrendered],
    now: datetime,
) -> None:
    if made:
        await connection.execute(
            ADD_DELIVERIES,
            {
                "account_ids": [event.account_id for event, _ in made],
                "event_ids": [event.event_id for event, _ in made],
                "event_ats": [event.at for event, _ in made],
                "kinds": [rendered.kind for _, rendered in made],
                "addresses": [rendered.address for _, rendered in made],
                "methods": [rendered.method for _, rendered in made],
                "urls": [rendered.url for _, rendered in made],
                "order_keys": [rendered.order_key for _, rendered in made],
                "content_types": [rendered.content_type for _, rendered in made],
                "bodies": [rendered.body for _, rendered in made],
                "now": now,
            },
        )
    if done:
        await connection.execute(FANNED_OUT, {"event_ids": done, "now": now})
    if aside:
        await connection.execute(
            PARK,
            {
                "event_ids": [one.event_id for one in aside],
                "errors": [one.error for one in aside],
                "render_tries": [one.tries for one in aside],
                "next_ats": [one.next_at for one in aside],
            },
        )


async def lag(db: Database, *, now: datetime) -> Lag:
    """How far behind deliveries are."""
    found = await db.row(Lag, LAG, {"now": now})
    assert found is not None
    return found


async def sweep(db: Database, *, before: datetime, after: int, limit: int) -> Swept:
    """Forget what was fanned out before then, in the `limit` events after `after`."""
    found = await db.row(Swept, SWEEP, {"before": before, "after": after, "limit": limit})
    assert found is not None
    return found
