"""Over which routes may calls go out, and does the same name stay the same trunk?"""

from decimal import Decimal
from typing import Any

import pytest

from zvonar.core.campaign import Voice
from zvonar.store import clips, trunks
from zvonar.store.clips import ClipNotFound
from zvonar.store.trunks import NewTrunk

pytestmark = pytest.mark.asyncio
World = Any  # conftest's


async def test_trunk_of_the_same_name_is_the_same_trunk_with_its_channels_up(world: World) -> None:
    await world.placed(await world.leased())
    new = NewTrunk(
        name=world.trunk.name,
        settings={"host": "другой.пример"},
        max_channels=5,
        calls_per_second=Decimal("2.5"),
        caller_ids=["+74950000001"],
        priority=1,
    )
    stored = await trunks.put(world.db, new)
    assert (stored.trunk_id, stored.in_use) == (world.trunk.trunk_id, 1)
    assert (stored.settings, stored.calls_per_second) == ({"host": "другой.пример"}, Decimal("2.50"))
    later = await world.new_trunk()
    assert [trunk.trunk_id for trunk in await trunks.of_gateway(world.db, "gateway")] == [
        stored.trunk_id,
        later.trunk_id,
    ]


async def test_town_is_there_while_a_trial_trunk_is_enabled(world: World) -> None:
    assert not await trunks.has_trial(world.db)
    await world.new_trunk(trial=True)
    assert await trunks.has_trial(world.db)
    await trunks.disable_trial(world.db)
    assert not await trunks.has_trial(world.db)


async def test_same_words_in_the_same_voice_are_one_clip_of_an_account(world: World) -> None:
    account_id, other = world.account.account_id, (await world.new_account()).account_id
    first = await clips.put_text(world.db, account_id, "Добрый день", Voice(), now=world.now)
    assert await clips.put_text(world.db, account_id, "Добрый день", Voice(), now=world.now) == first
    assert (await clips.put_text(world.db, account_id, "Добрый день!", Voice(), now=world.now)) != first
    assert (
        await clips.put_text(world.db, account_id, "Добрый день", Voice(name="b"), now=world.now)
    ) != first
    assert await clips.get(world.db, account_id, first.clip_id) == first
    with pytest.raises(ClipNotFound):
        await clips.get(world.db, other, first.clip_id)
