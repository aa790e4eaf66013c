"""What is lost, and who is called twice, when a dialer is killed at any step of a call? Nothing, and nobody."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from zvonar.core.campaign import LostPolicy
from zvonar.store import steering
from zvonar.store.calls import Call
from zvonar.store.db import Database

from ..plant import USER, Plant
from .victim import FENCED, Orders
from .world import DEADLINE, World, dialling, now, town

TESTS = Path(__file__).parents[1]
CHOICE = "answered/choice"
# Whatever the callee presses while no dialer is there is heard by nobody.
TALKED = f"{CHOICE} answered/no_input"
# Where it dies, and what may become of the call whose step it was.
STEPS = {
    "before place": CHOICE,
    "after place": CHOICE,
    "before create": CHOICE,
    "after create": CHOICE,
    "before mark_dialled": CHOICE,
    # Committed as dialled, and no INVITE sent: the channel is alive and was never told to dial.
    "after mark_dialled": "lost/none",
    "before dial": "lost/none",
    "at dial request": CHOICE,
    "after dial": CHOICE,
    "at ringing": CHOICE,
    "before mark_answered": TALKED,
    "after mark_answered": TALKED,
    "at prompt": TALKED,
    "before end": "answered/error",  # the line was over; the script's own memory died with its dialer
    "after end": CHOICE,
}


@asynccontextmanager
async def dialer(
    plant: Plant, dsn: str, *, step: str | None = None, call_id: int = 0
) -> AsyncIterator[asyncio.subprocess.Process]:
    orders = Orders(
        dsn=dsn,
        url=plant.ari_url,
        user=USER,
        password=plant.ari_password,
        cel_file=str(plant.cel_file),
        recordings=str(plant.recordings),
        clip=str(plant.clip(0.8)),
        step=step,
        call_id=call_id,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dialer.victim", msgspec.json.encode(orders).decode()),
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(DEADLINE):
        return await process.wait()


async def finish(plant: Plant, world: World) -> None:
    """A new dialer takes over and brings everything to its end."""
    async with plant.client() as ari, dialling(world.db, plant.line_gateway(ari), plant.clip(0.8)):
        await world.completed()
    await world.check_laws(plant.invites())


@pytest.mark.asyncio
@pytest.mark.parametrize("step", STEPS)
async def test_whatever_step_it_dies_at_each_call_ends_and_rings_once(
    step: str, plant: Plant, dsn: str, db: Database
) -> None:
    world = await World(db).settle()
    await world.campaign(running=False)
    chosen = await world.add(town(1, ring=1))
    others = [await world.add(town(digit)) for digit in (1, 2, 7)]
    await steering.start(db, world.account.account_id, world.campaigns[0].campaign_id, now=now())
    async with dialer(plant, dsn, step=step, call_id=chosen) as victim:
        assert await ended(victim) == -signal.SIGKILL
    await finish(plant, world)
    found = {call.call_id: call for call in await world.calls()}
    assert said(found[chosen]) in STEPS[step].split()
    assert said(found[others[1]]) in ("busy/none", "lost/none")
    assert {call.attempts for call in found.values()} == {1}
    rung = {leg.call_id: plant.invites().get(leg.leg_id, 0) for leg in await world.legs() if leg.dialled_at}
    # The others were killed at steps of their own; lost are only those of which no INVITE was sent.
    assert rung == {call_id: int(call.disposition != "lost") for call_id, call in found.items()}


def said(call: Call) -> str:
    return f"{call.disposition}/{call.script_result}"


@pytest.mark.asyncio
@pytest.mark.parametrize("policy", LostPolicy)
async def test_when_asterisk_dies_too_what_it_wrote_down_is_settled_and_the_rest_is_lost(
    policy: LostPolicy, plant: Plant, dsn: str, db: Database
) -> None:
    world = await World(db).settle()
    await world.campaign(running=False, lost=policy, ring_timeout=10)
    brief, talking = await world.add(town(7)), await world.add(town(1, ring=5))
    await steering.start(db, world.account.account_id, world.campaigns[0].campaign_id, now=now())
    async with dialer(plant, dsn, step="at prompt", call_id=talking) as victim:
        assert await ended(victim) == -signal.SIGKILL
    first = {leg.call_id: leg.leg_id for leg in await world.legs()}
    plant.kill_gateway()
    plant.gateway.ensure(DEADLINE)
    await finish(plant, world)
    found = {call.call_id: call for call in await world.calls()}
    # Its callee had hung up, which Asterisk wrote down as it happened, whether a dialer saw it or not.
    assert found[brief].disposition == "answered"
    legs = {leg.leg_id: leg for leg in await world.legs()}
    assert legs[first[talking]].disposition == "lost"
    assert legs[first[talking]].cost == 0
    if policy is LostPolicy.redial:
        assert (said(found[talking]), found[talking].attempts) == ("answered/choice", 2)
    else:
        assert (said(found[talking]), found[talking].attempts) == ("lost/none", 1)


@pytest.mark.asyncio
async def test_of_two_dialers_that_start_at_once_one_is_fenced_and_no_call_notices(
    plant: Plant, dsn: str, db: Database
) -> None:
    world = await World(db).settle()
    await world.campaign([town(digit) for digit in (1, 1, 1, 2, 7)])
    async with dialer(plant, dsn) as one, dialer(plant, dsn) as other:
        ends = {asyncio.create_task(ended(process)): process for process in (one, other)}
        done, left = await asyncio.wait(ends, timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [FENCED]
        (last,) = left
        await world.completed()
        ends[last].send_signal(signal.SIGTERM)
        assert await last == 0
    await world.check_laws(plant.invites())
    # What the fenced one had up, the other went on with, or settled; lost is at most what the fenced one was about to
    # dial.
    rung = {leg_id for leg_id, invites in plant.invites().items() if invites}
    lost = [leg for leg in await world.legs() if leg.disposition == "lost"]
    assert not {leg.leg_id for leg in lost} & rung
    found = {call.call_id: (call.phone[-1], call.disposition) for call in await world.calls()}
    expected = {
        call_id: (digit, "busy" if digit == "2" else "answered") for call_id, (digit, _) in found.items()
    }
    assert found == expected | {leg.call_id: (found[leg.call_id][0], "lost") for leg in lost}
