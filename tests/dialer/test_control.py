"""Does the dialer keep to what operators expect of a campaign: callees' clocks, caps, weights, breaker, reasons?"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest

from zvonar.core.campaign import CallOverrides, CampaignStatus, NoMoneyPolicy, Voice
from zvonar.core.control import Breaker, Cap
from zvonar.core.control import Clock as Whose
from zvonar.core.errors import SettingsInvalid
from zvonar.core.phone import Phone
from zvonar.core.retry import RetryPolicy, RetryRule
from zvonar.core.schedule import Window, zone_of
from zvonar.core.script import Prompt
from zvonar.dialer.engine import Dialer
from zvonar.line.fake import FakeGateway, FakeLine
from zvonar.line.line import Dialled, Line
from zvonar.store import accounts, calls, campaigns, steering
from zvonar.store.calls import NewCall
from zvonar.store.db import Database

from .world import DEADLINE, OneClip, World, dialling, now, town, until

pytestmark = pytest.mark.asyncio


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


class Watched(FakeGateway):
    """Remembers when each number was rung."""

    def __init__(self, clock: Any = now) -> None:
        super().__init__(now=clock)
        self.durations["clip.wav"] = 0.05
        self.rung: list[tuple[str, datetime]] = []

    async def dial(self, line: Line, *, ring_timeout: int) -> None:
        assert isinstance(line, FakeLine)
        self.rung.append((line.wanted.phone, self.now()))
        await super().dial(line, ring_timeout=ring_timeout)


def iana() -> list[str]:
    found = []
    for name in sorted(available_timezones()):
        try:
            zone_of(name)
        except SettingsInvalid:
            continue
        found.append(name)
    return found


async def contact(world: World, phone: str, zone: str | None, at: datetime) -> None:
    of = world.campaigns[-1]
    new = NewCall(
        phone=Phone(e164=phone, country="RU", trial=True),
        overrides=CallOverrides(timezone=zone) if zone else None,
    )
    await calls.add(world.db, of.account_id, of.campaign_id, new, now=at)


@pytest.mark.parametrize(
    "edge",
    [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)],
    ids=["forward", "back"],
)
async def test_a_day_of_contacts_in_every_zone_of_the_world_rings_nobody_outside_his_window(
    db: Database, edge: datetime
) -> None:
    """Virtual time goes on only when the dialer has done all that it may do by then."""
    clock = Clock(edge - timedelta(hours=20))
    gateway, world = Watched(clock), await World(db).settle(balance="100000", max_channels=1000)
    await db.execute("UPDATE accounts SET attempts_per_minute = 1000000")
    window = Window(start=time(9, 30), end=time(11))
    # Busy, and due again in 40 minutes: three tries in a window, and the rest on the next day.
    retry = RetryPolicy(max_attempts=5, rules={"busy": RetryRule(interval=2400)})
    await world.campaign([], window=window, clock=Whose.callee, retry=retry)
    whose = {}
    async with dialling(db, gateway, clock=clock) as dialer:
        for name in iana():
            phone = town(2)
            whose[phone] = ZoneInfo(name)
            await contact(world, phone, name, clock.at)
        still_due = """SELECT count(*) = 0 FROM calls
            WHERE call_end IS NULL AND (due_at <= %(now)s OR state NOT IN ('queued', 'waiting'))"""

        async def quiet() -> bool:
            done = await db.value(still_due, {"now": clock.at})
            return bool(done) and dialer.in_hand == 0

        for _ in range(48):
            await db.execute("NOTIFY zvonar_calls")
            await until(quiet)
            clock.at += timedelta(minutes=50)
    assert len(gateway.rung) > 3 * len(whose)
    for phone, at in gateway.rung:
        local = at.astimezone(whose[phone]).time()
        assert window.start <= local < window.end, (whose[phone], at)
    # Nobody was left out either: each zone had its window in that time.
    assert {phone for phone, _ in gateway.rung} == set(whose)


async def test_a_window_that_closes_while_the_channel_is_made_sends_no_invite(db: Database) -> None:
    evening = now().replace(hour=19, minute=59, second=50, microsecond=0)
    clock = Clock(evening)

    class Slow(Watched):
        async def create(self, wanted: Dialled) -> FakeLine:
            line = await super().create(wanted)
            clock.at = evening + timedelta(seconds=11)
            return line

    gateway, world = Slow(clock), await World(db).settle()
    await world.campaign([], window=Window(start=time(9), end=time(20)), timezone="UTC")
    async with dialling(db, gateway, clock=clock) as dialer:
        await world.add(town(1), at=evening)
        await until(lambda: world.holds("SELECT count(*) = 1 FROM legs WHERE disposition = 'cancelled'"))
        await until(lambda: _idle(dialer))
    (call,) = await world.calls()
    assert (call.state, call.attempts) == ("queued", 0)
    assert not gateway.invites
    assert await world.leased() == 0


async def _idle(dialer: Dialer) -> bool:
    return dialer.in_hand == 0


async def test_who_may_not_be_dialled_again_yet_waits_for_exactly_that_long(db: Database) -> None:
    gateway, world = Watched(), await World(db).settle()
    phone, other = town(2), town(2)
    await world.campaign([phone, other])
    async with dialling(db, gateway):
        await world.completed()
        (first, _) = await world.calls()
        capped = await world.campaign([phone, town(2)], caps=(Cap(attempts=1, seconds=3600),))

        async def settled() -> bool:
            """The one is put off, and the other has had its attempt."""
            first, second = await world.calls(capped)
            return first.due_at > now() + timedelta(minutes=30) and second.call_end is not None

        await until(settled)
    began = await db.value(
        "SELECT started_at FROM attempts WHERE call_id = %(call_id)s", {"call_id": first.call_id}
    )
    waiting, rung = await world.calls(capped)
    assert (waiting.state, waiting.attempts) == ("queued", 0)
    assert waiting.due_at == began + timedelta(hours=1)
    assert rung.attempts == 1
    assert Counter(phone for phone, _ in gateway.rung)[phone] == 1


@pytest.mark.parametrize("limit", ["its lifetime", "its campaign's dates"])
async def test_who_is_free_again_only_when_it_is_too_late_has_no_attempt_left(
    db: Database, limit: str
) -> None:
    gateway, world = Watched(), await World(db).settle()
    phone, other = town(2), town(2)
    await world.campaign([phone])
    limits: dict[str, Any] = {"lifetime": 86400}
    if limit == "its campaign's dates":
        tomorrow = now().date() + timedelta(days=1)
        limits = {"window": Window(start=time(0), end=time(0), date_till=tomorrow), "timezone": "UTC"}
    async with dialling(db, gateway):
        await world.completed()
        capped = await world.campaign([phone, other], **limits, caps=(Cap(attempts=1, seconds=3 * 86400),))
        await world.completed()
    spent, rung = await world.calls(capped)
    assert (spent.state, spent.call_end, spent.attempts, spent.disposition) == (
        "finished",
        "attempts_exhausted",
        0,
        None,
    )
    assert (rung.attempts, rung.disposition) == (1, "busy")
    assert Counter(phone for phone, _ in gateway.rung)[phone] == 1


async def test_callees_who_sleep_do_not_keep_others_waiting(db: Database) -> None:
    clock = Clock(datetime(2026, 6, 1, 7, tzinfo=UTC))
    gateway, world = Watched(clock), await World(db).settle(max_channels=2)
    await world.campaign([], clock=Whose.callee, window=Window(start=time(9), end=time(20)))
    for _ in range(400):
        await contact(world, town(2), "America/New_York", clock.at - timedelta(seconds=1))
    awake = [town(2) for _ in range(3)]
    for phone in awake:
        await contact(world, phone, None, clock.at)
    async with dialling(db, gateway, clock=clock):
        await until(lambda: _all_rung(gateway, awake))
        await until(lambda: _none_due(db, clock.at))
    assert {phone for phone, _ in gateway.rung} == set(awake)
    due = await db.value("SELECT array_agg(DISTINCT due_at) FROM calls WHERE call_end IS NULL")
    assert due == [datetime(2026, 6, 1, 13, tzinfo=UTC)]


async def test_a_contact_whose_zone_nobody_knows_any_more_is_dialled_by_the_account_s_clock(
    db: Database,
) -> None:
    gateway, world = Watched(), await World(db).settle()
    await world.campaign([town(2)], clock=Whose.callee)
    await world.add(town(2))
    await db.execute("""UPDATE calls SET overrides = '{"timezone": "Atlantis/Capital"}' WHERE ordinal = 1""")
    async with dialling(db, gateway):
        await world.completed()
    assert len(gateway.rung) == 2


async def _all_rung(gateway: Watched, phones: Iterable[str]) -> bool:
    return set(phones) <= {phone for phone, _ in gateway.rung}


async def _none_due(db: Database, at: datetime) -> bool:
    waiting = "SELECT count(*) FROM calls WHERE call_end IS NULL AND due_at <= %(at)s"
    return bool(await db.value(waiting, {"at": at}) == 0)


@pytest.mark.parametrize("limit", [{"calls_per_second": Decimal(40)}, {"max_channels": 8}])
async def test_campaigns_share_a_trunk_by_their_weights(db: Database, limit: dict[str, Any]) -> None:
    gateway, world = Watched(), await World(db).settle(**limit)
    many = 160
    heavy = await world.campaign([town(2) for _ in range(many)], weight=3, running=False)
    light = await world.campaign([town(2) for _ in range(many)], weight=1, running=False)
    for campaign in (heavy, light):
        await steering.start(db, campaign.account_id, campaign.campaign_id, now=now())
    async with dialling(db, gateway):
        await until(lambda: world.holds("SELECT count(*) >= 120 FROM legs"))
    # Three to one, but for what a few leases may be off; later the heavy one runs out of calls.
    placed = [await _legs_of(world, campaign.campaign_id, among=120) for campaign in (heavy, light)]
    assert 2.2 <= placed[0] / placed[1] <= 4.2, placed


async def _legs_of(world: World, campaign_id: int, *, among: int | None = None) -> int:
    """How many legs the campaign has placed. `among`: of the first so many of all."""
    statement = """SELECT count(*) FROM (SELECT * FROM legs ORDER BY placed_at LIMIT %(among)s) AS l
        JOIN calls USING (account_id, call_id) WHERE campaign_id = %(campaign_id)s"""
    return int(await world.db.value(statement, {"campaign_id": campaign_id, "among": among}))


async def test_a_campaign_whose_trunk_begins_to_fail_is_paused_and_names_the_calls(db: Database) -> None:
    gateway, world = Watched(), await World(db).settle(calls_per_second=Decimal(20))
    breaker = Breaker(above=Decimal(50), at_least=10, window=60)
    campaign = await world.campaign([town(2) for _ in range(10)], breaker=breaker)
    other = await world.campaign([town(2) for _ in range(3)])
    async with dialling(db, gateway):
        await until(lambda: world.holds("SELECT count(*) >= 10 FROM calls WHERE call_end IS NOT NULL"))
        gateway.refuse_trunks = {world.trunks[0].trunk_id}
        for _ in range(60):
            await world.add(town(2), campaign)
        await until(lambda: _is(world, campaign, CampaignStatus.paused))
        await world.completed(other)
        stands = await campaigns.get(db, campaign.account_id, campaign.campaign_id)
        placed = await _legs_of(world, campaign.campaign_id)
    assert stands.reason == "breaker"
    details = stands.reason_details
    assert details is not None
    assert details["failed"] * 100 > 50 * details["of"]
    assert details["outcomes"] == {"congestion": details["failed"]}
    failed = {call.call_id for call in await world.calls(campaign) if call.disposition == "congestion"}
    assert set(details["calls"]) <= failed
    assert len(details["calls"]) == details["failed"]
    # Nothing more went out, but for what was on its way.
    assert await _legs_of(world, campaign.campaign_id) - placed <= 2
    assert placed < 50


async def _is(world: World, campaign: campaigns.Campaign, status: CampaignStatus) -> bool:
    return await world.status(campaign) is status


async def test_a_campaign_that_may_pauses_when_the_money_is_gone_and_goes_on_with_more(db: Database) -> None:
    # 30 s at 1.80 a minute is a hold of 0.90; what is left of it pays for no other.
    gateway, world = Watched(), await World(db).settle(balance="0.95")
    campaign = await world.campaign([town(1) for _ in range(4)], no_money=NoMoneyPolicy.pause)
    async with dialling(db, gateway):
        await until(lambda: _is(world, campaign, CampaignStatus.paused))
        stands = await campaigns.get(db, campaign.account_id, campaign.campaign_id)
        assert stands.reason == "no_money"
        await accounts.top_up(db, campaign.account_id, Decimal(10), note="more", now=now())
        await steering.start(db, campaign.account_id, campaign.campaign_id, now=now())
        await world.completed()
    await world.check_laws(dict(gateway.invites))
    assert {call.disposition for call in await world.calls()} == {"answered"}


async def test_a_campaign_that_has_reached_its_max_cost_says_so(db: Database) -> None:
    gateway, world = Watched(), await World(db).settle()
    cap = Decimal("0.95")  # one hold of 0.90, and what two short calls cost
    ended = await world.campaign([town(1) for _ in range(4)], max_cost=cap)
    paused = await world.campaign([town(1) for _ in range(4)], max_cost=cap, no_money=NoMoneyPolicy.pause)
    async with dialling(db, gateway):
        await world.completed(ended)
        await until(lambda: _is(world, paused, CampaignStatus.paused))
    for campaign in (ended, paused):
        assert (await campaigns.get(db, campaign.account_id, campaign.campaign_id)).reason == "max_cost"
    assert {call.call_end for call in await world.calls(ended)} == {"success", "no_money"}
    assert {call.state for call in await world.calls(paused)} == {"queued", "finished"}


async def test_the_dialer_says_when_a_campaign_s_window_closes_and_opens(db: Database) -> None:
    clock = Clock(datetime(2026, 6, 1, 8, tzinfo=UTC))
    gateway, world = Watched(clock), await World(db).settle()
    campaign = await world.campaign([], window=Window(start=time(9), end=time(20)), timezone="UTC")

    async def said(*waits: str | None) -> bool:
        statement = """SELECT array_agg(payload ->> 'waits' ORDER BY event_id) FROM outbox
            WHERE kind = 'campaign' AND payload ->> 'status' = 'running'"""
        return bool(await db.value(statement) == list(waits))

    # The world starts its campaigns by the wall clock; the dialer goes by its own.
    await db.execute("DELETE FROM outbox")
    await db.execute("UPDATE campaigns SET waits = NULL, reason = NULL")
    await db.execute("DELETE FROM outbox")
    async with dialling(db, gateway, clock=clock):
        await until(lambda: said("awaiting"))
        clock.at += timedelta(hours=1)
        await until(lambda: said("awaiting", None))
        clock.at += timedelta(hours=11)
        await until(lambda: said("awaiting", None, "awaiting"))
    found = await campaigns.get(db, campaign.account_id, campaign.campaign_id)
    assert found.reason == "window_closed"


async def test_a_cancelled_campaign_is_emptied_and_dials_no_more(db: Database) -> None:
    gateway, world = Watched(), await World(db).settle(max_channels=2)
    gateway.durations["clip.wav"] = 3.0
    campaign = await world.campaign([town(1) for _ in range(30)], max_cost=Decimal(100))
    async with dialling(db, gateway):
        await until(lambda: world.holds("SELECT count(*) > 0 FROM calls WHERE state = 'talking'"))
        await steering.cancel(db, campaign.account_id, campaign.campaign_id, now=now())
        await until(lambda: world.holds("SELECT count(*) = 0 FROM campaigns WHERE emptying"))
    await world.check_laws(dict(gateway.invites))
    ends = Counter(call.call_end for call in await world.calls())
    assert ends["stopped"] >= 20
    assert len(gateway.rung) <= 4


async def test_a_campaign_of_two_thousand_calls_whose_dates_pass_ends_soon(db: Database) -> None:
    clock = Clock(datetime(2026, 6, 1, 12, tzinfo=UTC))
    gateway, world = Watched(clock), await World(db).settle(trunks=0)
    window = Window(start=time(9), end=time(20), date_till=clock.at.date())
    campaign = await world.campaign([], window=window, timezone="UTC", running=False)
    await db.execute(
        """INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, trial, due_at, created_at,
                              updated_at)
        SELECT account_id, new_call_id(now()), campaign_id, n, '+7000' || (1000000 + n), 'RU', true,
            %(at)s, %(at)s, %(at)s FROM campaigns, generate_series(1, 2500) AS n""",
        {"at": clock.at + timedelta(days=1)},
    )
    await db.execute("UPDATE campaigns SET next_ordinal = 2500")
    await steering.start(db, campaign.account_id, campaign.campaign_id, now=clock.at)
    async with dialling(db, gateway, clock=clock):
        clock.at += timedelta(days=1)
        await world.completed()
    found = await campaigns.get(db, campaign.account_id, campaign.campaign_id)
    assert found.reason == "window_closed"
    tallies = await campaigns.tallies(db, campaign.account_id, campaign.campaign_id)
    assert tallies["end/expired"] == 2500


class Hook(OneClip):
    """Does something between the lease of a call and its placement."""

    def __init__(self, what: Any) -> None:
        super().__init__(Path("clip.wav"))
        self._what = what

    async def files(self, account_id: int, voice: Voice, prompts: Iterable[Prompt]) -> dict[Prompt, Path]:
        await self._what()
        return await super().files(account_id, voice, prompts)


async def test_a_cap_that_is_reached_between_the_lease_and_the_placement_holds(db: Database) -> None:
    gateway, world = Watched(), await World(db).settle()
    phone = town(2)
    both = asyncio.Barrier(2)

    async def together() -> None:
        async with asyncio.timeout(DEADLINE):
            await both.wait()

    cap = (Cap(attempts=1, seconds=3600),)
    await world.campaign([phone], caps=cap)
    await world.campaign([phone], caps=cap)
    async with dialling(db, gateway, prompts=Hook(together)):
        await until(lambda: world.holds("SELECT count(*) = 1 FROM calls WHERE call_end IS NOT NULL"))
        await until(
            lambda: world.holds("SELECT count(*) = 1 FROM calls WHERE due_at > now() + interval '50 minutes'")
        )
    assert len(gateway.rung) == 1
