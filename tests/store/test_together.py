"""Are calls that go out at the same moment placed as if they had come one by one?"""

import random
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, LiteralString

import msgspec
import pytest

from zvonar.core.control import Cap
from zvonar.core.leg import LegId
from zvonar.store import db as store
from zvonar.store import epochs, legs
from zvonar.store.calls import Leased
from zvonar.store.legs import Marked, Placement, Refusal

pytestmark = pytest.mark.asyncio
World = Any  # conftest's

# Everything that a placement changes, whichever shard of a counter it went to.
CHANGED: tuple[LiteralString, ...] = (
    "SELECT trunk_id, in_use, slot_at::text FROM trunks ORDER BY 1",
    "SELECT account_id, balance, held, at_risk, attempt_slot_at::text FROM accounts ORDER BY 1",
    "SELECT campaign_id, in_use, slot_at::text, spent, leg_held FROM campaign_guards ORDER BY 1",
    "SELECT call_id, state, attempts, last_attempt_at, updated_at, lease_epoch FROM calls ORDER BY 1",
    "SELECT call_id, attempt, phone, started_at, caller_id, ended_at FROM attempts ORDER BY 1, 2",
    "SELECT leg_id, phase, trunk_id, epoch, hold, held_by, guarded, rate, caller_id, placed_at FROM legs ORDER BY 1",
    "SELECT campaign_id, key, sum(n) FROM campaign_tallies GROUP BY 1, 2 HAVING sum(n) <> 0 ORDER BY 1, 2",
    "SELECT call_id, kind, payload FROM outbox ORDER BY call_id, event_id",
)


class OneConnection:
    """A database whose statements are all of one transaction, which is rolled back."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, kind: Any, statement: LiteralString, params: Any) -> Any:
        return await store.rows(self._connection, kind, statement, params)

    async def value(self, statement: LiteralString, params: Any) -> Any:
        found = await (await self._connection.execute(statement, params)).fetchone()
        return found[0] if found else None

    def quiet(self) -> str:
        return "on"

    def ring_later(self, quiet: str) -> None:
        """Nobody is rung."""


async def tried(world: World, batches: Sequence[Sequence[Placement]]) -> tuple[list[Any], list[Any]]:
    """What is said to these placements, batch by batch, and what the store then holds; all of it is undone."""
    async with world.db.connection() as connection, connection.transaction(force_rollback=True):
        said: list[Any] = []
        for batch in batches:
            said += await legs.place_all(OneConnection(connection), batch, now=world.now)  # type: ignore[arg-type]
        held = [await (await connection.execute(select)).fetchall() for select in CHANGED]
        return said, held


@pytest.mark.parametrize("seed", range(40))
async def test_several_at_once_come_to_the_same_as_one_after_the_other(world: World, seed: int) -> None:
    chance = random.Random(seed)
    world.trunk = await world.new_trunk(
        max_channels=chance.choice([1, 2, 3, 100]), calls_per_second=Decimal(chance.choice([0, 1, 10]))
    )
    by_campaign = chance.random() < 0.5
    limits = {
        "max_channels": chance.choice([0, 0, 2]),
        "calls_per_second": Decimal(chance.choice([0, 0, 2])),
    }
    world.campaign = await world.new_campaign(
        **limits, **({"max_cost": Decimal(chance.choice([7, 13, 100]))} if by_campaign else {})
    )
    await world.all(
        "UPDATE accounts SET balance = %s, calls_per_callee_day = %s, attempts_per_minute = %s, spend_per_day = %s"
        " WHERE account_id = %s RETURNING 1",
        [
            *(chance.choice([7, 13, 1000]), chance.choice([1, 2, 100]), chance.choice([1, 2, 600])),
            *(chance.choice([13, 1000]), world.account.account_id),
        ],
    )
    numbers = [world.number() for _ in range(3)]
    found: list[Leased] = [
        await world.leased(phone=chance.choice(numbers), trial=chance.random() < 0.1)
        for _ in range(chance.randint(2, 6))
    ]
    if chance.random() < 0.3:  # one that nobody finds any more
        await world.all(
            "UPDATE calls SET removing = true WHERE call_id = %s RETURNING 1", [chance.choice(found).call_id]
        )
    wanted = [
        world.wanted(
            call,
            held_by_campaign=by_campaign,
            guarded=bool(limits["max_channels"] or limits["calls_per_second"]),
            **limits,
            hold=Decimal(chance.choice([3, 6])),
            caller_id=chance.choice([None, "+74950000000"]),
            open_until=chance.choice([None, world.now, world.now + timedelta(hours=1)]),
            caps=chance.choice([(), (Cap(attempts=1, seconds=60),)]) if seed % 3 else (),
        )
        for call in sorted(found, key=lambda call: call.call_id)
    ]
    # Whatever differs beside the calls themselves is not placed together.
    first = wanted[0]
    wanted = [msgspec.structs.replace(one, caps=first.caps) for one in wanted]
    assert {one.in_common for one in wanted} == {first.in_common}
    one_by_one = await tried(world, [[one] for one in wanted])
    shuffled = chance.sample(wanted, len(wanted))
    said, held = await tried(world, [shuffled])
    by_call = dict(zip((one.call_id for one in shuffled), said, strict=True))
    assert [by_call[one.call_id] for one in wanted] == one_by_one[0]
    assert held == one_by_one[1]


async def test_nobody_of_a_fenced_dialer_is_placed_however_many_ask(world: World) -> None:
    found = [await world.leased() for _ in range(3)]
    await epochs.claim(world.db, "gateway", now=world.now)
    said = await legs.place_all(world.db, [world.wanted(call) for call in found], now=world.now)
    assert said == [Refusal.fenced] * 3
    await world.check_laws()


async def test_asked_again_together_each_finds_the_leg_that_it_has(world: World) -> None:
    found = [await world.leased() for _ in range(3)]
    wanted = [world.wanted(call) for call in found]
    said = await legs.place_all(world.db, wanted, now=world.now)
    assert said == [LegId(call.call_id, 1, 1) for call in found]
    before = await world.dump()
    assert await legs.place_all(world.db, wanted, now=world.now) == said
    assert await world.dump() == before
    # One of them beside one that is new.
    fresh = await world.leased()
    both = [world.wanted(fresh), wanted[1]]
    assert await legs.place_all(world.db, both, now=world.now) == [LegId(fresh.call_id, 1, 1), said[1]]
    await world.check_laws()


async def test_next_legs_go_together_as_well(world: World) -> None:
    found = [await world.leased() for _ in range(2)]
    first = await legs.place_all(world.db, [world.wanted(call) for call in found], now=world.now)
    other = await world.new_trunk(name="other")
    for leg in first:
        assert await world.dialled(leg)
    wanted = [world.wanted(call, next_leg=True, trunk_id=other.trunk_id) for call in found]
    said = await legs.place_all(world.db, wanted, now=world.now)
    assert said == [LegId(call.call_id, 1, 2) for call in found]
    await world.check_laws()


async def test_legs_marked_together_are_each_told_whether_they_may_ring(world: World) -> None:
    account_id = world.account.account_id
    placed = [await world.placed(await world.leased()) for _ in range(4)]
    assert await world.take_back(placed[1])
    unknown = LegId(placed[0].call_id, 7, 1)
    closed, open_later = world.now, world.now + timedelta(seconds=1)
    wanted = [
        Marked(account_id, placed[0], open_later),
        Marked(account_id, placed[1], None),  # taken back
        Marked(account_id, placed[2], closed),
        Marked(account_id, placed[3], None),
        Marked(account_id, unknown, None),
    ]
    epoch = world.epoch
    assert await legs.mark_all_dialled(world.db, wanted, epoch=epoch, now=world.now) == [
        *(True, False, False, True, False)
    ]
    await epochs.claim(world.db, "gateway", now=world.now)
    assert await legs.mark_all_dialled(world.db, wanted, epoch=epoch, now=world.now) == [False] * 5
    await world.check_laws()


async def test_what_a_statement_changes_of_a_campaign_is_one_addition(world: World) -> None:
    found = [await world.leased() for _ in range(8)]  # of as many shards
    said = await legs.place_all(world.db, [world.wanted(call) for call in found], now=world.now)
    assert all(isinstance(one, LegId) for one in said)
    assert await world.all("SELECT dialing FROM campaign_counts WHERE dialing <> 0") == [(8,)]
    assert (await world.tallies()) == {"state/dialing": 8, "attempts": 8}
    await world.check_laws()


MANY = 3000
# What an account has after a while, written down at once.
HISTORY: tuple[LiteralString, ...] = (
    """INSERT INTO calls SELECT (jsonb_populate_record(c, jsonb_build_object('call_id', c.call_id + 1000 + n,
        'ordinal', 1000 + n))).*
    FROM calls c, generate_series(1, %(many)s) n WHERE c.call_id = %(call_id)s""",
    """INSERT INTO attempts SELECT (jsonb_populate_record(a, jsonb_build_object('call_id', a.call_id + 1000 + n))).*
    FROM attempts a, generate_series(1, %(many)s) n WHERE a.call_id = %(call_id)s""",
    """INSERT INTO legs SELECT (jsonb_populate_record(l, jsonb_build_object('call_id', l.call_id + 1000 + n,
        'leg_id', (l.call_id + 1000 + n) || '.1.1'))).*
    FROM legs l, generate_series(1, %(many)s) n WHERE l.call_id = %(call_id)s""",
)
READ = """
SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
WHERE relname IN ('calls', 'attempts', 'legs') ORDER BY 1
"""


async def test_a_plan_for_small_tables_does_not_read_large_ones(world: World) -> None:
    first, *others = [await world.leased() for _ in range(4)]
    async with world.db.connection() as connection:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        try:
            one = OneConnection(connection)
            (leg,) = await legs.place_all(one, [world.wanted(first)], now=world.now)  # type: ignore[arg-type]
            assert await legs.end_all(one, [world.ending(leg)], now=world.now) == [str(leg)]  # type: ignore[arg-type]
            for statement in HISTORY:
                await connection.execute(statement, {"many": MANY, "call_id": first.call_id})
            await connection.execute("SELECT pg_stat_force_next_flush()")  # of what was read until now
            async with connection.transaction():
                wanted = [world.wanted(call) for call in others]
                placed = await legs.place_all(one, wanted, now=world.now)  # type: ignore[arg-type]
                ended = [world.ending(leg) for leg in placed]
                assert len(await legs.end_all(one, ended, now=world.now)) == 3  # type: ignore[arg-type]
                read = dict(await (await connection.execute(READ)).fetchall())
        finally:
            await connection.execute("RESET plan_cache_mode")
    assert read.keys() == {"calls", "attempts", "legs"}
    assert max(read.values()) < 100, read
