"""Is a subscriber put through as he should be, whoever hangs up and whatever is killed? On a real gateway and town."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import pytest

from zvonar.core.reaction import Reaction, Transfer
from zvonar.core.script import Node, Script
from zvonar.store import steering
from zvonar.store.db import Database

from ..plant import Plant
from .test_killed import dialer, ended, said
from .world import ASK, World, dialling, now, town, until

pytestmark = pytest.mark.asyncio
TRANSFERRED = "answered/transferred"


def asking(target: str) -> Script:
    one = Reaction(transfer=Transfer(phone=target, ring_timeout=20), status_name="through")
    return Script(nodes={"1": Node(prompt=ASK, keys={"1": one}, timeout=3.0, repeats=0)})


@asynccontextmanager
async def taken_over(plant: Plant, world: World) -> AsyncIterator[None]:
    """A dialer at the end of which everything has ended, and all laws hold."""
    async with plant.client() as ari, dialling(world.db, plant.line_gateway(ari), plant.clip(0.8)):
        yield
        await world.completed()
    await world.check_laws(plant.invites())
    await until(lambda: quiet(plant))


async def story(db: Database, attempt: str) -> tuple[Any, Any]:
    """The first step of an attempt, and its transfer."""
    call_id = int(attempt.partition(".")[0])
    statement: LiteralString = (
        "SELECT jsonb_build_array(steps, facts) FROM attempts WHERE call_id = %(call_id)s"
    )
    steps, facts = await db.value(statement, {"call_id": call_id})
    return steps[0], facts["transfers"][0]


async def results(world: World) -> list[str]:
    """What each campaign's call came to."""
    return [said(call) for made in world.campaigns for call in await world.calls(made)]


async def joined(plant: Plant, *legs: str) -> bool:
    bridges = await plant.asterisk("GET", "bridges")
    return any({*legs} <= {*bridge["channels"]} for bridge in bridges)


async def quiet(plant: Plant) -> bool:
    """Whether no channel is left; those that recorded end a moment after the call."""
    return bool(await plant.asterisk("GET", "channels") == [])


async def rings(plant: Plant, leg: str) -> bool:
    channel = await plant.asterisk("GET", f"channels/{leg}")
    return channel is not None and channel["state"] == "Ringing"


async def gone(plant: Plant, leg: str) -> bool:
    return await plant.asterisk("GET", f"channels/{leg}") is None


async def killed(
    plant: Plant, dsn: str, db: Database, step: str, *targets: str, **settings: Any
) -> tuple[World, list[str]]:
    """A dialer has died at a step of the last of these transfers; the calls' ids, and their attempt's."""
    world = await World(db).settle()
    calls = []
    for target in targets:
        await world.campaign(running=False, script=asking(target), record=True, **settings)
        # The last is put through when all the others long have been.
        calls.append(await world.add(town(1, ring=4 if 0 < len(calls) == len(targets) - 1 else 0)))
    for made in world.campaigns:
        await steering.start(db, made.account_id, made.campaign_id, now=now())
    async with dialer(plant, dsn, step=step, call_id=calls[-1]) as victim:
        assert await ended(victim) == -signal.SIGKILL
    return world, [f"{call_id}.1" for call_id in calls]


@pytest.mark.parametrize("step", ["after join", "at second answer"])
async def test_a_conversation_goes_on_when_its_dialer_is_killed(
    plant: Plant, dsn: str, db: Database, step: str
) -> None:
    world, [call] = await killed(plant, dsn, db, step, town(0))
    second = f"{call}.2"
    async with taken_over(plant, world):
        await until(lambda: joined(plant, f"{call}.1", second))
        await plant.hang_up_in_town(second)
    assert await results(world) == [TRANSFERRED]
    asked, told = await story(db, call)
    assert (asked["node"], asked["key"], asked["status_name"], asked["transfer"]) == (
        "1",
        "1",
        "through",
        told,
    )
    assert (told["disposition"], told["leg"]) == ("answered", second)
    assert told["began"] < told["answered"] <= told["ended"]
    assert (plant.recordings / told["recording"]).is_file()
    assert plant.invites()[second] == 1


async def test_what_became_of_conversations_without_a_dialer_is_told_all_the_same(
    plant: Plant, dsn: str, db: Database
) -> None:
    targets = town(0), town(0), town(0), town(3), town(0, ring=18)
    world, calls = await killed(plant, dsn, db, "at second ringing", *targets, max_call_time=60)
    caller, callee, both, ringing, late = calls
    legs = f"{caller}.1", f"{callee}.2", f"{both}.1", f"{both}.2"
    await plant.hang_up_in_town(*legs)
    for leg in legs:
        await until(lambda leg=leg: gone(plant, leg))  # type: ignore[misc]
    async with taken_over(plant, world):
        pass
    ends = dict(zip(calls, await results(world), strict=True))
    assert {ends[call] for call in (caller, callee, both)} == {TRANSFERRED}
    for call in (caller, callee, both):
        _, told = await story(db, call)
        assert (told["disposition"], told["talk_seconds"] >= 1) == ("answered", True)
    # Whoever had not been reached yet is given up, and the script begins anew: the key had been pressed before.
    assert {ends[call] for call in (ringing, late)} == {"answered/no_input"}
    cancelled = {leg.leg_id for leg in await world.legs() if leg.disposition == "cancelled"}
    assert cancelled == {f"{ringing}.2", f"{late}.2"}


async def test_who_hangs_up_in_mid_transfer_takes_the_other_along(plant: Plant, db: Database) -> None:
    world = await World(db).settle()
    for target in (town(0), town(0), town(0), town(3)):
        await world.campaign([town(1)], script=asking(target), record=True)
    calls = [f"{call.call_id}.1" for made in world.campaigns for call in await world.calls(made)]
    caller, callee, both, ringing = calls
    async with taken_over(plant, world):
        for call in (caller, callee, both):
            await until(lambda call=call: joined(plant, f"{call}.1", f"{call}.2"))  # type: ignore[misc]
        await until(lambda: rings(plant, f"{ringing}.2"))
        await plant.hang_up_in_town(f"{caller}.1", f"{callee}.2", f"{both}.1", f"{both}.2", f"{ringing}.1")
    assert await results(world) == [TRANSFERRED, TRANSFERRED, TRANSFERRED, "answered/choice"]
    _, told = await story(db, ringing)
    assert told["disposition"] == "cancelled"
