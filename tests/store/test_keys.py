"""Which keys are there at all? What ran out long ago is forgotten, and nothing else."""

from datetime import timedelta
from typing import Any

import pytest

from zvonar.store import keys

pytestmark = pytest.mark.asyncio
World = Any  # conftest's


async def test_only_keys_of_the_kind_that_ended_before_are_forgotten(world: World) -> None:
    account_id = world.account.account_id
    day = timedelta(days=1)
    for kind, ends in (
        ("session", -2 * day),
        ("session", day),
        ("session", None),
        ("other", -2 * day),
        ("session", -day / 2),
    ):
        expires_at = None if ends is None else world.now + ends
        await keys.issue(world.db, account_id, kind=kind, expires_at=expires_at)
    assert await keys.sweep(world.db, ["session"], before=world.now - day) == 1
    assert await keys.sweep(world.db, ["session"], before=world.now - day) == 0
    left = await world.all("SELECT kind FROM keys WHERE kind IN ('session', 'other') ORDER BY 1")
    assert [kind for (kind,) in left] == ["other", "session", "session", "session"]
