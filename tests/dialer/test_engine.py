"""Does the dialer keep every limit, and bring every call to its end? On the fake gateway and a real PostgreSQL."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import LiteralString

import pytest

from zvonar.core.campaign import CampaignStatus, CampaignType, Voice
from zvonar.core.leg import LegId
from zvonar.core.retry import RetryPolicy, RetryRule
from zvonar.core.schedule import Window
from zvonar.core.script import Prompt, plain
from zvonar.dialer import attempt
from zvonar.dialer.engine import Dialer
from zvonar.line.fake import FakeGateway, FakeLine
from zvonar.line.line import Dialled, GatewayLost
from zvonar.speech import SpeechFailed
from zvonar.store import steering
from zvonar.store.db import Database
from zvonar.store.epochs import Fenced
from zvonar.store.server import PostgresServer

from .world import DEADLINE, OneClip, World, dialling, now, town, until

pytestmark = pytest.mark.asyncio
SHORT = 0.3  # seconds of a prompt


def exchange() -> FakeGateway:
    gateway = FakeGateway(now=now)
    gateway.durations["clip.wav"] = SHORT
    return gateway


async def finished(world: World, gateway: FakeGateway) -> None:
    """Every campaign has completed, and all laws hold."""
    await world.completed()
    await world.check_laws(dict(gateway.invites))


async def up(gateway: FakeGateway, lines: int) -> None:
    async def so() -> bool:
        return len(await gateway.alive()) == lines

    await until(so)


def answered_lines(gateway: FakeGateway) -> int:
    return sum(line.answered_at is not None for line in gateway.made)


async def test_each_last_digit_has_its_result(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    await world.campaign([town(digit) for digit in range(10)])
    async with dialling(db, gateway):
        await finished(world, gateway)
    assert await world.results() == {
        0: "answered/no_input",
        1: "answered/choice",
        2: "busy/none",
        3: "no_answer/none",
        4: "invalid_number/none",
        5: "answered/no_input",
        6: "congestion/none",
        7: "answered/no_input",  # heard the short question before hanging up
        8: "answered/no_input",
        9: "answered/choice",
    }


async def test_a_busy_number_is_tried_again_and_each_attempt_is_told(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    retry = RetryPolicy(max_attempts=3, interval=3600, rules={"busy": RetryRule(interval=0)})
    await world.campaign([town(2)], retry=retry)
    async with dialling(db, gateway):
        await finished(world, gateway)
    (call,) = await world.calls()
    assert (call.attempts, call.call_end) == (3, "attempts_exhausted")
    assert [leg.attempt for leg in await world.legs()] == [1, 2, 3]
    states = await db.value(
        "SELECT array_agg(payload ->> 'state' ORDER BY event_id) FROM outbox WHERE kind = 'call'"
    )
    assert states == ["dialing", "waiting", "dialing", "waiting", "dialing", "finished"]


async def test_a_trunk_without_a_circuit_burns_no_attempt(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle(trunks=3)
    gateway.refuse_trunks = {trunk.trunk_id for trunk in world.trunks[:2]}
    await world.campaign([town(1), town(1)])
    async with dialling(db, gateway):
        await finished(world, gateway)
    assert {call.attempts for call in await world.calls()} == {1}
    assert {call.disposition for call in await world.calls()} == {"answered"}
    tried = Counter((leg.trunk_id, leg.disposition) for leg in await world.legs())
    first, second, third = (trunk.trunk_id for trunk in world.trunks)
    assert tried == {(first, "congestion"): 2, (second, "congestion"): 2, (third, "answered"): 2}


async def test_when_every_trunk_has_failed_the_attempt_has(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle(trunks=2)
    gateway.refuse_trunks = {trunk.trunk_id for trunk in world.trunks}
    await world.campaign([town(1)])
    async with dialling(db, gateway):
        await finished(world, gateway)
    (call,) = await world.calls()
    assert (call.disposition, call.attempts) == ("congestion", 1)
    assert len(await world.legs()) == 2


async def test_without_a_trunk_for_it_a_call_ends_as_no_route(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle(trunks=0)
    await world.trunk(trial=False)
    await world.campaign([town(1)])
    async with dialling(db, gateway):
        await finished(world, gateway)
    assert await world.results() == {1: "no_route/none"}
    assert not gateway.invites


@pytest.mark.parametrize(
    "phone", ["+380671234567", "+12025550123", "+79542000000", "+78095000000", "+71121234567", "+7112"]
)
async def test_a_closed_destination_is_not_rung_and_says_why(db: Database, phone: str) -> None:
    gateway, world = exchange(), await World(db).settle(trunks=0)
    await world.trunk(trial=False)
    await world.campaign([phone])
    async with dialling(db, gateway):
        await finished(world, gateway)
    (call,) = await world.calls()
    assert (call.state, call.disposition, call.call_end) == ("blocked", "blocked", "stopped")
    assert await world.causes() == ["destination"]
    assert not gateway.invites


async def test_a_destination_without_a_price_says_why(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    await db.execute("DELETE FROM tariff_rates")
    await world.campaign([town(1)])
    async with dialling(db, gateway):
        await finished(world, gateway)
    assert await world.results() == {1: "no_route/none"}
    assert await world.causes() == ["no_tariff"]


async def test_whoever_is_to_call_us_is_not_dialled(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    waiting = await world.campaign([town(0), town(1)], type=CampaignType.pincode_incoming)
    spoken = await world.campaign([town(1)])
    async with dialling(db, gateway):
        await world.completed(spoken)
        assert await world.status(waiting) is CampaignStatus.running
    calls = await world.calls(waiting)
    assert [(call.state, call.attempts) for call in calls] == [("queued", 0)] * 2
    assert await world.leased() == 0
    assert len(gateway.invites) == 1


async def test_without_money_a_call_ends_and_nobody_is_rung(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle(balance="0.5")
    await world.campaign([town(1)])
    async with dialling(db, gateway):
        await finished(world, gateway)
    (call,) = await world.calls()
    assert (call.disposition, call.call_end) == ("no_money", "no_money")
    assert not gateway.invites


async def test_money_that_others_hold_is_waited_for(db: Database) -> None:
    # 30 s at 1.80 a minute is a hold of 0.90: two calls fit into 1.90, the third waits for what they leave.
    gateway, world = exchange(), await World(db).settle(balance="1.9")
    await world.campaign([town(1, ring=1) for _ in range(3)])
    async with dialling(db, gateway):
        await finished(world, gateway)
    assert gateway.peak == 2
    assert {call.disposition for call in await world.calls()} == {"answered"}


class Hook(OneClip):
    """Does something between the lease of a call and its placement."""

    def __init__(self, what: Callable[[], Awaitable[None]]) -> None:
        super().__init__(Path("clip.wav"))
        self._what = what

    async def files(self, account_id: int, voice: Voice, prompts: Iterable[Prompt]) -> dict[Prompt, Path]:
        await self._what()
        return await super().files(account_id, voice, prompts)


@pytest.mark.parametrize(("fault", "result"), [(SpeechFailed, "synth_failed"), (RuntimeError, "failed")])
async def test_a_call_whose_prompt_cannot_be_had_ends(
    db: Database, fault: type[Exception], result: str
) -> None:
    async def fail() -> None:
        raise fault("no voice")

    gateway, world = exchange(), await World(db).settle()
    await world.campaign([town(1)])
    async with dialling(db, gateway, prompts=Hook(fail)):
        await finished(world, gateway)
    assert await world.results() == {1: f"{result}/none"}
    assert await world.causes() == [None if fault is SpeechFailed else "internal"]
    assert not gateway.invites


async def test_a_script_that_breaks_ends_its_call_and_not_the_dialer(db: Database) -> None:
    class Broken(FakeLine):
        async def play(self, *_: object, **__: object) -> str | None:
            raise RuntimeError("a defect")

    class BrokenGateway(FakeGateway):
        async def create(self, wanted: Dialled) -> FakeLine:
            line = await super().create(wanted)
            if wanted.phone.endswith("1"):
                line.__class__ = Broken
            return line

    gateway, world = BrokenGateway(now=now), await World(db).settle()
    gateway.durations["clip.wav"] = SHORT
    await world.campaign([town(1), town(0)], script=plain(Prompt(text="news")))
    async with dialling(db, gateway):
        await finished(world, gateway)
    assert await world.results() == {0: "answered/completed", 1: "answered/error"}


class Clock:
    """A clock that a test may set."""

    def __init__(self, at: datetime) -> None:
        self.ahead = at - now()

    def __call__(self) -> datetime:
        return now() + self.ahead


NINE_TO_EIGHT = Window(start=time(9), end=time(20))


async def test_a_window_that_closes_before_the_placement_keeps_the_call_for_tomorrow(db: Database) -> None:
    evening = now().replace(hour=19, minute=59, second=0, microsecond=0)
    clock, gateway, world = Clock(evening), exchange(), await World(db).settle()
    gateway.now = clock

    async def close() -> None:
        clock.ahead += timedelta(hours=1)

    await world.campaign([], window=NINE_TO_EIGHT, timezone="UTC")
    async with dialling(db, gateway, prompts=Hook(close), clock=clock):
        await world.add(town(1), at=evening)

        async def given_back() -> bool:
            (call,) = await world.calls()
            return call.due_at > evening

        await until(given_back)
    (call,) = await world.calls()
    assert (call.state, call.attempts) == ("queued", 0)
    assert call.due_at == (evening + timedelta(days=1)).replace(hour=9, minute=0)
    assert not gateway.invites
    assert await world.leased() == 0


async def test_a_campaign_whose_last_day_has_passed_ends_with_its_calls_expired(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    yesterday = (now() - timedelta(days=1)).date()
    await world.campaign([town(1)], window=Window(start=time(0), end=time(0), date_till=yesterday))
    async with dialling(db, gateway):
        await finished(world, gateway)
    assert [call.call_end for call in await world.calls()] == ["expired"]


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        (
            """INSERT INTO stop_list (account_id, phone, created_at) VALUES (%(account)s, %(phone)s, now())
            ON CONFLICT DO NOTHING""",
            "stop_list",
        ),
        (
            "INSERT INTO global_stop_list (phone, created_at) VALUES (%(phone)s, now()) ON CONFLICT DO NOTHING",
            "global_stop_list",
        ),
    ],
)
async def test_a_number_that_is_stopped_before_the_placement_is_not_rung(
    db: Database, statement: LiteralString, cause: str
) -> None:
    gateway, world = exchange(), await World(db).settle()
    stopped = town(1)

    async def stop() -> None:
        await db.execute(statement, {"account": world.account.account_id, "phone": stopped})

    await world.campaign([stopped, town(0)])
    async with dialling(db, gateway, prompts=Hook(stop)):
        await finished(world, gateway)
    assert sorted((call.state, call.call_end) for call in await world.calls()) == [
        ("blocked", "stopped"),
        ("finished", "success"),
    ]
    assert await world.causes() == [None, cause]
    assert len(gateway.invites) == 1


async def test_a_call_that_is_removed_while_it_talks_is_not_tried_again(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    gateway.durations["clip.wav"] = 2.0
    always = RetryPolicy(max_attempts=5, interval=0, rules={"answered/hung_up": RetryRule(interval=0)})
    await world.campaign([town(7)], retry=always)
    async with dialling(db, gateway):
        await until(lambda: world.holds("SELECT count(*) FROM calls WHERE state = 'talking'"))
        await db.execute("UPDATE calls SET removing = true")
        await finished(world, gateway)
    (call,) = await world.calls()
    assert (call.call_end, call.attempts) == ("removed", 1)


async def test_a_campaign_has_no_more_channels_up_than_it_may(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    await world.campaign([town(1) for _ in range(12)], max_channels=3)
    async with dialling(db, gateway):
        await finished(world, gateway)
    assert gateway.peak == 3


async def test_a_trunk_carries_no_more_channels_than_it_may(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle(max_channels=4)
    await world.campaign([town(1) for _ in range(8)])
    await world.campaign([town(1) for _ in range(8)])
    async with dialling(db, gateway):
        await finished(world, gateway)
    assert gateway.peak == 4


def gaps(placed: list[datetime]) -> list[float]:
    return [(after - before).total_seconds() for before, after in pairwise(sorted(placed))]


def paced(apart: list[float], *, rate: float) -> bool:
    """Whether no stretch of placements is faster than the rate and the guard's tolerance of 0.25 s allow."""
    return all(
        len(apart[first:last]) <= rate * (sum(apart[first:last]) + 0.25) + 1e-6
        for first in range(len(apart))
        for last in range(first + 1, len(apart) + 1)
    )


async def test_a_campaign_goes_at_its_own_pace_and_no_faster(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    await world.campaign([town(2) for _ in range(30)], calls_per_second=Decimal(10))
    async with dialling(db, gateway):
        await finished(world, gateway)
    apart = gaps([leg.placed_at for leg in await world.legs()])
    assert paced(apart, rate=10)


async def test_a_trunk_goes_at_its_own_pace_and_no_faster(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle(calls_per_second=Decimal(20))
    await world.campaign([town(2) for _ in range(30)])
    await world.campaign([town(2) for _ in range(30)])
    async with dialling(db, gateway):
        await finished(world, gateway)
    apart = gaps([leg.placed_at for leg in await world.legs()])
    assert paced(apart, rate=20)


async def test_two_campaigns_share_what_there_is_though_one_came_first_with_many(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle(max_channels=4)
    many = await world.campaign([town(1) for _ in range(30)])
    few = await world.campaign([town(1) for _ in range(4)], running=False)
    async with dialling(db, gateway):
        await until(lambda: world.holds("SELECT count(*) >= 8 FROM legs"))
        await steering.start(db, few.account_id, few.campaign_id, now=now())
        await world.completed(few)
        left = [call for call in await world.calls(many) if call.completed_at is None]
        # While the few had their turn, about as many of the many did.
        assert len(left) > 10
        await finished(world, gateway)


async def test_a_campaign_on_a_slow_trunk_does_not_hold_up_another(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle(trunks=0)
    await world.trunk(trial=True, max_channels=1)
    await world.trunk(trial=False, max_channels=20)
    # Three minutes of ringing, one after the other.
    slow = await world.campaign([town(1, ring=4) for _ in range(40)])
    quick = await world.campaign()
    for n in range(8):
        await world.add(f"+79120{n:03d}001", quick)
    async with dialling(db, gateway):
        await world.completed(quick)
        assert await world.status(slow) is CampaignStatus.running


async def test_of_two_dialers_the_older_is_fenced_though_it_has_nothing_to_dial(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    await world.campaign([town(1, ring=2)], open_ended=True)
    with pytest.raises(Fenced):
        async with dialling(db, gateway) as older:
            await up(gateway, 1)
            async with dialling(db, gateway):
                await until(lambda: _true(older.in_hand == 0))
                await world.add(town(1))
                await until(lambda: world.holds("SELECT count(*) = 2 FROM calls WHERE call_end = 'success'"))
    assert max(gateway.invites.values()) == 1
    assert await world.leased() == 0


async def _true(what: bool) -> bool:
    return what


async def test_a_drain_places_nothing_more_and_lets_the_callees_finish(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle(max_channels=3)
    gateway.durations["clip.wav"] = 3.0
    await world.campaign([town(1) for _ in range(20)])
    async with dialling(db, gateway):
        await up(gateway, 3)
        placed = len(await world.legs())
    assert len(await world.legs()) <= placed + 1  # one may have been on its way
    assert all(leg.disposition == "answered" for leg in await world.legs())
    assert await world.leased() == 0
    assert await gateway.alive() == []


async def test_what_a_drain_cannot_wait_for_is_left_to_the_next_dialer(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    gateway.durations["clip.wav"] = 3.0
    await world.campaign([town(1), town(0, ring=4)])
    async with dialling(db, gateway, drain=0.1):
        await until(lambda: _true(answered_lines(gateway) == 1))
    assert len(await gateway.alive()) == 2
    async with dialling(db, gateway):
        await finished(world, gateway)
    assert await world.results() == {0: "answered/no_input", 1: "answered/choice"}


async def test_a_drain_is_broken_off_when_the_dialer_is_told_to_abandon(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    await world.campaign([town(1, ring=99)], ring_timeout=120)
    dialer = Dialer(db, gateway, OneClip(Path("clip.wav")), now=now, drain=3600.0)
    stop = asyncio.Event()
    running = asyncio.create_task(dialer.run(stop))
    await up(gateway, 1)
    stop.set()
    await asyncio.sleep(0)
    dialer.abandon()
    async with asyncio.timeout(DEADLINE):
        await running
    assert len(await gateway.alive()) == 1


async def test_a_stop_is_heard_though_the_gateway_is_away(db: Database) -> None:
    class Away(FakeGateway):
        async def alive(self) -> list[LegId]:
            raise GatewayLost()

    stop = asyncio.Event()
    dialer = Dialer(db, Away(now=now), OneClip(Path("clip.wav")), now=now)
    running = asyncio.create_task(dialer.run(stop))
    await until(lambda: _epoch(db))
    stop.set()
    async with asyncio.timeout(DEADLINE):
        await running


async def _epoch(db: Database) -> bool:
    return bool(await db.value("SELECT count(*) FROM dialer_epochs"))


async def test_a_placed_leg_whose_channel_cannot_be_made_is_taken_back(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "_WITHOUT_GATEWAY", 0.3)
    gateway, world = exchange(), await World(db).settle()
    gateway.reachable = False
    await world.campaign([town(1)])
    async with dialling(db, gateway):
        await until(lambda: world.holds("SELECT count(*) >= 2 FROM legs WHERE disposition = 'cancelled'"))
        gateway.reachable = True
        await finished(world, gateway)
    (call,) = await world.calls()
    assert (call.disposition, call.attempts) == ("answered", 1)
    assert sum(gateway.invites.values()) == 1


async def test_a_campaign_outlives_a_restart_of_the_database(db: Database, server: PostgresServer) -> None:
    gateway, world = exchange(), await World(db).settle(max_channels=5)
    await world.campaign([town(digit) for digit in (1, 2, 7) for _ in range(8)])
    async with dialling(db, gateway):
        for placed in (4, 12):
            await until(lambda n=placed: world.holds(f"SELECT count(*) >= {n} FROM legs"))  # type: ignore[misc]
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.ensure)
        await finished(world, gateway)
    found = Counter(call.disposition for call in await world.calls())
    assert found == {"answered": 16, "busy": 8}


async def test_a_dialer_leaves_no_task_behind(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    before = asyncio.all_tasks()
    await world.campaign([town(digit) for digit in range(10)])
    async with dialling(db, gateway):
        await finished(world, gateway)
    assert {task for task in asyncio.all_tasks() - before if "pool" not in task.get_name()} == set()


async def test_a_paused_campaign_stops_and_goes_on(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle(max_channels=2)
    gateway.durations["clip.wav"] = 3.0
    campaign = await world.campaign([town(1) for _ in range(10)])
    async with dialling(db, gateway) as dialer:
        await up(gateway, 2)
        await steering.pause(db, campaign.account_id, campaign.campaign_id, now=now())
        await until(lambda: _true(dialer.in_hand == 0))
        assert await world.leased() == 0
        assert len(await world.legs()) < 10
        gateway.durations["clip.wav"] = SHORT
        await steering.start(db, campaign.account_id, campaign.campaign_id, now=now())
        await finished(world, gateway)
