"""What would a campaign do if it ran now? How many it would dial, whom it would skip and why, how long, at which cost.

One look at all of its waiting calls, by kinds: a tariff tells them apart by prefix, and nothing is asked per call that
the database cannot answer for all of them at once.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from math import ceil
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

from msgspec import Struct

from zvonar.core.campaign import CampaignSettings, schedule_of
from zvonar.core.control import Clock
from zvonar.core.errors import NoTariff
from zvonar.core.schedule import Schedule, zone_of
from zvonar.core.zones import zones_for
from zvonar.store import accounts, campaigns
from zvonar.store.accounts import Account
from zvonar.store.db import Connection, Database, row, rows
from zvonar.store.loading import PATIENCE

_RINGING = 15  # seconds that a callee is taken to let it ring, before a campaign has calls to learn from
_TALKING = 30  # seconds that he is taken to listen
_ENOUGH = 50  # attempts from which a campaign's own calls tell
_ZONE_DIGITS = 8  # with the plus: where numbering plans tell zones apart, they do so here
_HORIZON = timedelta(days=366)  # nobody plans a campaign beyond it


class Skip(StrEnum):
    """Why a waiting call would not be dialled."""

    stop_list = "stop_list"  # the account's own
    global_stop_list = "global_stop_list"  # the installation's
    country = "country"  # where this account may not call
    no_tariff = "no_tariff"  # nobody says what it costs
    no_route = "no_route"  # no trunk may carry it
    expired = "expired"  # its lifetime ends before the window opens
    window_over = "window_over"  # the campaign's dates have passed, or its window never opens


class Preflight(Struct, frozen=True, kw_only=True):
    """What a campaign would do."""

    calls: int  # that wait
    would_dial: int
    skipped: dict[Skip, int]  # only reasons that there are; with would_dial they add up to calls
    capped_now: int  # of those to be dialled, callees who were dialled so often lately that they have to wait
    opens_at: datetime | None  # when it could begin; None for never
    seconds: int | None  # of dialling, one attempt a call; None where no trunk is there
    finishes_at: datetime | None  # with what the window takes; None where it does not within a year, or never
    seconds_at_most: int | None  # of dialling, if every attempt were made and lasted to its end
    worst_case: Decimal  # what it can cost at most
    available: Decimal  # of the balance, and of what the campaign holds already
    covered: bool  # whether that is enough


# Waiting calls by what decides about them. No index leads past the campaign's own calls.
KINDS = """
SELECT left(c.phone, %(digits)s) AS prefix, c.country, c.trial, c.attempts,
    (c.overrides ->> 'max_call_time')::integer AS max_call_time, c.overrides ->> 'timezone' AS timezone,
    s.phone IS NOT NULL AS stopped,
    g.phone IS NOT NULL AS globally, c.expires_at <= %(opens_at)s IS TRUE AS expired,
    min(c.phone) AS example, count(*) AS n
FROM calls c
LEFT JOIN stop_list s ON s.account_id = c.account_id AND s.phone = c.phone AND (s.until IS NULL OR s.until > %(now)s)
LEFT JOIN global_stop_list g ON g.phone = c.phone
WHERE c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s AND c.call_end IS NULL
  AND c.state IN ('queued', 'waiting')
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""

# Of the waiting calls, those to callees whom a cap, the campaign's or the account's, keeps from being dialled now.
# Sessions are kept by time; what is up at this very moment is not among them.
CAPPED = """
WITH cap AS (
    SELECT k.attempts, k.seconds FROM accounts a, LATERAL unnest(%(cap_attempts)s::integer[] || a.cap_attempts,
        %(cap_seconds)s::integer[] || a.cap_seconds) AS k (attempts, seconds)
    WHERE a.account_id = %(account_id)s
), tried AS MATERIALIZED (
    SELECT '+' || f.contact_phone_number AS phone, f.start_time FROM report_filters f
    WHERE f.account_id = %(account_id)s AND f.attempt IS NOT NULL
      AND f.start_time > %(now)s::timestamptz - make_interval(secs => (SELECT max(seconds) FROM cap))
    UNION ALL
    -- What has ended and is not in the report yet: a moment's worth.
    SELECT t.phone, t.started_at FROM ended_sessions e JOIN attempts t USING (account_id, call_id, attempt)
    WHERE e.account_id = %(account_id)s
), capped AS MATERIALIZED (
    SELECT DISTINCT phone FROM (
        SELECT tried.phone FROM cap
        JOIN tried ON tried.start_time > %(now)s::timestamptz - make_interval(secs => cap.seconds)
        GROUP BY tried.phone, cap.attempts, cap.seconds HAVING count(*) >= cap.attempts) often
)
SELECT count(*) FROM capped JOIN calls c ON c.account_id = %(account_id)s AND c.campaign_id = %(campaign_id)s
    AND c.phone = capped.phone AND c.call_end IS NULL AND c.state IN ('queued', 'waiting')
"""

# What carries an account's calls: channels and placements a second, of trial trunks and of others.
CAPACITY = """
SELECT trial, sum(max_channels)::bigint AS channels,
    CASE WHEN bool_or(calls_per_second = 0) THEN 0 ELSE sum(calls_per_second) END AS per_second
FROM trunks WHERE enabled AND (account_id IS NULL OR account_id = %(account_id)s) GROUP BY trial
"""

# What is left of a campaign's own hold.
HELD = """
SELECT coalesce(hold - spent, 0)::numeric(16,4) AS left_over, spent FROM campaign_guards
WHERE account_id = %(account_id)s AND campaign_id = %(campaign_id)s
"""


class _Kind(Struct, frozen=True, kw_only=True):
    prefix: str  # with the plus
    country: str
    trial: bool
    attempts: int
    max_call_time: int | None
    timezone: str | None
    stopped: bool
    globally: bool
    expired: bool
    example: str  # one of the numbers
    n: int


class _Held(Struct, frozen=True, kw_only=True):
    left_over: Decimal
    spent: Decimal


class _Capacity(Struct, frozen=True, kw_only=True):
    trial: bool
    channels: int
    per_second: Decimal


async def preflight(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> Preflight:
    """What this campaign would do if it ran from now on, and no other beside it. Raises CampaignNotFound."""
    campaign = await campaigns.get(db, account_id, campaign_id)
    account = await accounts.get(db, account_id)
    tariff = await accounts.tariff_of(db, account)
    settings = campaign.settings
    opens_at = schedule_of(settings, account.timezone).next_opening(now)
    ids = {"account_id": account_id, "campaign_id": campaign_id}
    caps = {
        "cap_attempts": [cap.attempts for cap in settings.caps] or None,
        "cap_seconds": [cap.seconds for cap in settings.caps] or None,
    }
    digits = 1 + max((len(prefix) for prefix in tariff.rates), default=0)
    if settings.clock is not Clock.campaign:
        digits = max(digits, _ZONE_DIGITS)
    async with db.transaction() as connection:
        await connection.execute(PATIENCE)
        kinds = await rows(
            connection, _Kind, KINDS, {**ids, "digits": digits, "opens_at": opens_at or now, "now": now}
        )
        capped = await _number(connection, CAPPED, {**ids, **caps, "now": now})
        capacities = {one.trial: one for one in await rows(connection, _Capacity, CAPACITY, ids)}
        held = await row(connection, _Held, HELD, ids)
        counts = await campaigns.tallies(db, account_id, campaign_id)
    assert held is not None
    home = zone_of(settings.timezone or account.timezone)
    opening = _Openings(settings, home, now)
    skipped: Counter[Skip] = Counter()
    dialled: Counter[bool] = Counter()  # calls, by whether they go over trial trunks
    tries: Counter[bool] = Counter()  # attempts at most
    busy: Counter[bool] = Counter()  # seconds of a channel at most
    worst = Decimal(0)
    for kind in kinds:
        skip = _skip(kind, account, capacities, opens=opens_at is not None and opening.ever(kind))
        try:
            rate = tariff.rate_for(kind.prefix)
        except NoTariff:
            skip = skip or Skip.no_tariff
        if skip is not None:
            skipped[skip] += kind.n
            continue
        longest = kind.max_call_time or settings.max_call_time
        left = max(1, settings.retry.max_attempts - kind.attempts)
        dialled[kind.trial] += kind.n
        tries[kind.trial] += kind.n * left
        busy[kind.trial] += kind.n * left * (settings.ring_timeout + longest)
        worst += kind.n * settings.retry.paid_at_most(left) * rate.worst_case(longest)
    would_dial = dialled.total()
    if settings.max_cost is not None:
        worst = min(worst, max(Decimal(0), settings.max_cost - held.spent))
    available = account.balance - account.held + held.left_over
    usual = _line_seconds(settings, counts)
    seconds = _longest(dialled, {trial: n * usual for trial, n in dialled.items()}, capacities, settings)
    return Preflight(
        calls=would_dial + skipped.total(),
        would_dial=would_dial,
        skipped=dict(skipped),
        capped_now=min(capped, would_dial),
        opens_at=opens_at,
        seconds=seconds,
        finishes_at=_after(Schedule(settings.window, (home,)), opens_at, seconds),
        seconds_at_most=_longest(tries, busy, capacities, settings),
        worst_case=worst,
        available=available,
        covered=available >= worst,
    )


def _skip(kind: _Kind, account: Account, capacities: Mapping[bool, _Capacity], *, opens: bool) -> Skip | None:
    """What keeps calls of this kind from being dialled, as far as the tariff does not."""
    if kind.globally:
        return Skip.global_stop_list
    if kind.stopped:
        return Skip.stop_list
    if not kind.trial and kind.country not in account.countries:
        return Skip.country
    if kind.trial not in capacities:
        return Skip.no_route
    if not opens:
        return Skip.window_over
    return Skip.expired if kind.expired else None


class _Openings:
    """Whether a callee's own window ever opens; asked once for all callees of the same zones."""

    def __init__(self, settings: CampaignSettings, home: ZoneInfo, now: datetime) -> None:
        self._settings = settings
        self._home = home
        self._now = now
        self._known: dict[tuple[ZoneInfo, ...], bool] = {}

    def ever(self, kind: _Kind) -> bool:
        zones = zones_for(
            kind.example, contact=kind.timezone, clock=self._settings.clock, home=self._home, at=self._now
        )
        if zones not in self._known:
            opens = Schedule(self._settings.window, zones).next_opening(self._now)
            self._known[zones] = opens is not None
        return self._known[zones]


def _line_seconds(settings: CampaignSettings, counts: Mapping[str, int]) -> float:
    """How long a call keeps a channel: as the campaign's own did, or as is usual."""
    attempts = counts.get("attempts", 0)
    if attempts >= _ENOUGH:
        return _RINGING + counts.get("seconds", 0) / attempts
    return min(_RINGING, settings.ring_timeout) + min(_TALKING, settings.max_call_time)


def _longest(
    placements: Mapping[bool, int],
    busy: Mapping[bool, float],
    capacities: Mapping[bool, _Capacity],
    settings: CampaignSettings,
) -> int | None:
    """Seconds that so many placements take which keep channels busy for so long; both kinds of trunks side by side."""
    longest = 0.0
    for trial, n in placements.items():
        channels = capacities[trial].channels
        if settings.max_channels:
            channels = min(channels, settings.max_channels)
        paces = [
            float(pace) for pace in (capacities[trial].per_second, settings.calls_per_second) if pace > 0
        ]
        longest = max(longest, busy[trial] / channels, n / min(paces, default=float("inf")))
    return ceil(longest) if capacities else None


def _after(schedule: Schedule, begins: datetime | None, seconds: int | None) -> datetime | None:
    """When so many seconds of an open window have passed; None for not within a year."""
    if begins is None or seconds is None:
        return None
    left = timedelta(seconds=seconds)
    moment = begins
    while (opens := schedule.next_opening(moment)) is not None and opens - begins <= _HORIZON:
        moment = schedule.open_until(opens)
        if moment - opens >= left:
            return opens + left
        left -= moment - opens
    return None


async def _number(connection: Connection, statement: LiteralString, params: Mapping[str, Any]) -> int:
    found = await (await connection.execute(statement, params)).fetchone()
    assert found is not None
    return int(found[0])
