"""Do the laws hold whatever happens in whatever order? A seeded walk over everything that changes a call."""

import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from zvonar.core.call import FINAL, CallState, Next
from zvonar.core.campaign import CampaignStatus
from zvonar.core.errors import NoMoney
from zvonar.core.leg import LegId
from zvonar.core.result import CallEnd, Disposition, Outcome
from zvonar.store import calls, campaigns, epochs, legs, phone_lists, steering
from zvonar.store.calls import Leased

pytestmark = pytest.mark.asyncio
World = Any  # conftest's
STEPS = 160

EVENTS = "SELECT event_id, call_id, payload ->> 'state' FROM outbox WHERE kind = 'call' ORDER BY event_id"


class Walk:
    """One dialer, two trunks, one campaign with every limit, and chance."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.leases: dict[int, Leased] = {}
        self.up: dict[LegId, Leased] = {}
        self.states: dict[int, str] = {}
        self.events = 0
        self.limits: dict[str, Any] = {
            "guarded": True,
            "max_channels": 3,
            "held_by_campaign": world.campaign.settings.max_cost is not None,
        }

    def pick(self, among: Any) -> Any:
        return self.chance.choice(sorted(among, key=str)) if among else None

    async def step(self) -> str:
        self.world.tick(self.chance.choice((0, 1, 20)))
        what: Callable[[], Awaitable[None]] = self.chance.choices(
            (
                *(
                    self.add,
                    self.load,
                    self.lease,
                    self.release,
                    self.place,
                    self.next_leg,
                    self.dial,
                    self.answer,
                ),
                *(self.end, self.take_back, self.ask_for_removal, self.fail, self.leave, self.expire),
                *(self.pause_or_start, self.complete, self.replace_dialer),
            ),
            (6, 2, 8, 2, 16, 3, 14, 12, 14, 4, 2, 3, 2, 2, 2, 3, 1),
        )[0]
        await what()
        return what.__name__

    async def add(self) -> None:
        due = {"overrides": None, "label": None}
        try:
            await self.world.add(self.world.new(**due))
        except NoMoney:
            assert self.world.campaign.settings.max_cost is not None

    async def load(self) -> None:
        of = self.world.campaign
        new = [self.world.new() for _ in range(self.chance.randint(0, 4))]
        try:
            await phone_lists.load(
                self.world.db, of.account_id, of.campaign_id, new, name="list", rejected=0, now=self.world.now
            )
        except NoMoney:
            assert of.settings.max_cost is not None

    async def lease(self) -> None:
        self.leases |= {call.call_id: call for call in await self.world.lease(self.chance.randint(1, 3))}

    async def release(self) -> None:
        if call := self.pick(self.leases.values()):
            del self.leases[call.call_id]
            await calls.release(self.world.db, call, epoch=self.world.epoch, due_at=self.world.now)

    async def place(self) -> None:
        if call := self.pick(self.leases.values()):
            hold = Decimal(self.chance.randint(1, 9))
            leg = await self.world.place(call, **{**self.limits, "hold": hold})
            if isinstance(leg, LegId):
                del self.leases[call.call_id]
                self.up[leg] = call

    async def next_leg(self) -> None:
        if leg := self.pick(self.up):
            second = await self.world.place(self.up[leg], **self.limits, next_leg=True)
            if isinstance(second, LegId) and second != leg:
                self.up[second] = self.up[leg]
                await self.world.end(leg, disposition=Disposition.congestion, after=None)
                del self.up[leg]

    async def dial(self) -> None:
        if leg := self.pick(self.up):
            await self.world.dialled(leg)

    async def answer(self) -> None:
        if leg := self.pick(self.up):
            await self.world.answered(leg)

    async def end(self) -> None:
        if leg := self.pick(self.up):
            after = self.chance.choice((CallState.finished, CallState.waiting))
            seconds = self.chance.choice((0, 1, 10, 61))
            ending = self.world.ending(leg, seconds=seconds, after=after)
            assert await legs.end(self.world.db, ending, now=self.world.now)
            assert not await legs.end(self.world.db, ending, now=self.world.now)
            del self.up[leg]

    async def take_back(self) -> None:
        if (leg := self.pick(self.up)) and await self.world.take_back(leg):
            del self.up[leg]

    async def ask_for_removal(self) -> None:
        if leg := self.pick(self.up):
            await self.world.db.execute("UPDATE calls SET removing = true WHERE call_id = %s", [leg.call_id])

    async def fail(self) -> None:
        if call := self.pick(self.leases.values()):
            del self.leases[call.call_id]
            retry = Next(state=CallState.waiting, due_at=self.world.now)
            over = Next(state=CallState.finished, call_end=CallEnd.unsuccessful)
            outcome = Outcome(
                disposition=self.chance.choice((Disposition.no_route, Disposition.synth_failed))
            )
            after = self.chance.choice((retry, over))
            await calls.fail(self.world.db, call, outcome, after, epoch=self.world.epoch, now=self.world.now)

    async def leave(self) -> None:
        if call := self.pick(self.leases.values()):
            del self.leases[call.call_id]
            state, end = self.chance.choice((("removed", "removed"), ("blocked", "stopped")))
            await calls.leave_queue(self.world.db, call, state=state, call_end=end, now=self.world.now)

    async def expire(self) -> None:
        waiting = [call for call, state in self.states.items() if state in ("queued", "waiting")]
        await self.world.db.execute(
            "UPDATE calls SET expires_at = %s WHERE call_id = %s", [self.world.now, self.pick(waiting)]
        )
        await calls.expire(self.world.db, now=self.world.now)

    async def pause_or_start(self) -> None:
        of = self.world.campaign
        current = await campaigns.get(self.world.db, of.account_id, of.campaign_id)
        if current.status is CampaignStatus.running:
            await steering.pause(self.world.db, of.account_id, of.campaign_id, now=self.world.now)
            return
        try:
            await steering.start(self.world.db, of.account_id, of.campaign_id, now=self.world.now)
        except NoMoney:
            assert of.settings.max_cost is not None

    async def complete(self) -> None:
        of = self.world.campaign
        done = await steering.complete_if_done(
            self.world.db, of.account_id, of.campaign_id, now=self.world.now
        )
        assert not (done and set(self.states.values()) - set(FINAL))

    async def replace_dialer(self) -> None:
        """The old one is fenced and the new one settles what it left, as recovery does."""
        self.world.epoch = await epochs.claim(self.world.db, "gateway", now=self.world.now)
        self.leases.clear()
        for live in sorted(await legs.live(self.world.db, "gateway"), key=lambda leg: leg.phase == "placing"):
            leg = LegId.parse(live.leg_id)
            if live.phase == "placing":
                assert await self.world.take_back(leg)
            else:
                await self.world.end(leg, disposition=Disposition.lost)
            del self.up[leg]
        assert await legs.recount(self.world.db, "gateway") == 0

    async def look(self) -> None:
        """Each change of state, and nothing else, is one new event."""
        before, self.states = self.states, dict(await self.world.all("SELECT call_id, state FROM calls"))
        news = (await self.world.all(EVENTS))[self.events :]
        self.events += len(news)
        changed = {c: s for c, s in self.states.items() if before.get(c, "queued") != s}
        assert {call_id: state for _, call_id, state in news} == changed
        assert len(news) == len(changed)
        assert not [c for c, s in before.items() if s in FINAL and self.states[c] != s]
        await self.world.check_laws()


@pytest.mark.parametrize("max_cost", [None, Decimal(40)])
@pytest.mark.parametrize("seed", range(3))
async def test_laws_hold_after_every_step(world: World, seed: int, max_cost: Decimal | None) -> None:
    world.account = await world.new_account("60")
    world.campaign = await world.new_campaign(max_cost=max_cost)
    walk = Walk(world, seed)
    walked = set()
    for number in range(STEPS):
        step = await walk.step()
        walked.add(step)
        try:
            await walk.look()
        except AssertionError as broken:
            raise AssertionError(f"seed {seed}, step {number}, {step}") from broken
    assert len(walked) >= 14
    assert "finished" in walk.states.values()


async def test_a_final_state_cannot_be_left_even_by_hand(world: World) -> None:
    leg = await world.placed(await world.leased())
    await world.rung(leg)
    with pytest.raises(Exception, match="CheckViolation"):
        await world.db.execute("UPDATE calls SET state = 'queued', call_end = NULL")
