"""What happened? Facts go together, none is lost, and nobody's is another's to cancel or to spoil."""

import asyncio
from collections.abc import Sequence

import pytest

from zvonar.dialer import engine
from zvonar.dialer.gathering import MOST, Gathering
from zvonar.store.db import StoreUnavailable

from . import virtual


class Store:
    """Keeps what is committed, and cannot have some facts."""

    def __init__(self, *refused: int) -> None:
        self.commits: list[list[int]] = []
        self.refused = set(refused)

    async def commit(self, facts: Sequence[int]) -> Sequence[str]:
        await asyncio.sleep(0.01)
        if self.refused & set(facts):
            raise LookupError
        self.commits.append(list(facts))
        return [str(fact) for fact in facts]

    def gathering(self, seconds: float = 0.1) -> Gathering[int, str]:
        return Gathering(self.commit, seconds=lambda: seconds)


def test_facts_of_one_moment_are_one_commit_and_later_ones_another() -> None:
    store = Store()

    async def work() -> None:
        gathering = store.gathering()
        await asyncio.gather(*(gathering.add(number) for number in range(5)))
        await gathering.add(5)

    virtual.run(work())
    assert store.commits == [[0, 1, 2, 3, 4], [5]]


def test_a_fact_that_comes_during_a_commit_is_in_the_next() -> None:
    store = Store()

    async def work() -> None:
        gathering = store.gathering()
        first = asyncio.create_task(gathering.add(1))
        await asyncio.sleep(0.105)  # the first commit is under way
        await gathering.add(2)
        assert first.done()

    virtual.run(work())
    assert store.commits == [[1], [2]]


def test_facts_of_two_keys_are_two_commits() -> None:
    store = Store()

    async def work() -> None:
        gathering = store.gathering()
        await asyncio.gather(*(gathering.add(number, key=number % 2) for number in range(4)))

    virtual.run(work())
    assert sorted(store.commits) == [[0, 2], [1, 3]]


def test_each_fact_gets_the_answer_that_is_its_own() -> None:
    store = Store()

    async def work() -> None:
        gathering = store.gathering()
        assert await asyncio.gather(*(gathering.add(number) for number in (3, 1, 2))) == ["3", "1", "2"]

    virtual.run(work())


def test_the_last_of_so_many_waits_for_no_other() -> None:
    store = Store()

    async def work() -> None:
        gathering, loop = store.gathering(), asyncio.get_running_loop()
        began = loop.time()
        early = [asyncio.create_task(gathering.add(number, key="a", of=3)) for number in (1, 2)]
        await asyncio.sleep(0.05)
        await gathering.add(3, key="a", of=3)
        assert loop.time() - began == pytest.approx(0.06)
        await asyncio.gather(*early)
        # One of them alone waits for the others no longer than for anybody; and alone by its own word not at all.
        await gathering.add(4, key="b", of=2)
        assert loop.time() - began == pytest.approx(0.17)
        await gathering.add(5, key="c", of=1)
        assert loop.time() - began == pytest.approx(0.18)

    virtual.run(work())
    assert store.commits == [[1, 2, 3], [4], [5]]


def test_without_patience_only_what_comes_at_the_same_moment_goes_together() -> None:
    store = Store()

    async def work() -> None:
        gathering, loop = store.gathering(0.0), asyncio.get_running_loop()
        slot = loop.create_future()

        async def waits(number: int) -> None:
            await asyncio.shield(slot)
            await gathering.add(number)

        waiting = [asyncio.create_task(waits(number)) for number in range(3)]
        await asyncio.sleep(1)
        slot.set_result(None)
        await asyncio.gather(*waiting)
        assert loop.time() == pytest.approx(1.01)
        await gathering.add(3)

    virtual.run(work())
    assert store.commits == [[0, 1, 2], [3]]


def test_one_that_is_given_up_takes_no_other_along() -> None:
    store = Store()

    async def work() -> None:
        gathering = store.gathering()
        given_up = asyncio.create_task(gathering.add(1))
        kept = asyncio.create_task(gathering.add(2))
        await asyncio.sleep(0.02)
        given_up.cancel()
        await kept
        assert given_up.cancelled()

    virtual.run(work())
    assert store.commits == [[1, 2]]


def test_one_that_is_refused_spoils_no_other() -> None:
    store = Store(2)

    async def work() -> None:
        gathering = store.gathering()
        first, refused, third = (asyncio.create_task(gathering.add(number)) for number in (1, 2, 3))
        await asyncio.gather(first, third)
        with pytest.raises(LookupError):
            await refused

    virtual.run(work())
    assert store.commits == [[1], [3]]


def test_a_store_that_is_away_is_asked_once_for_all() -> None:
    asked = 0

    async def away(facts: Sequence[int]) -> Sequence[str]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(10)
        raise StoreUnavailable

    async def work() -> None:
        gathering = Gathering[int, str](away, seconds=lambda: 0.1)
        came = await asyncio.gather(*(gathering.add(number) for number in range(3)), return_exceptions=True)
        assert [type(one) for one in came] == [StoreUnavailable] * 3
        assert asyncio.get_running_loop().time() == pytest.approx(10.1)

    virtual.run(work())
    assert asked == 1


def test_a_wish_of_somebody_who_is_gone_is_none_and_a_fact_remains() -> None:
    store = Store()

    async def work(wishes: bool) -> None:
        gathering = Gathering[int, str](store.commit, seconds=lambda: 0.1, wishes=wishes)
        gone, alone = (asyncio.create_task(gathering.add(number, key=number)) for number in (1, 2))
        stays = asyncio.create_task(gathering.add(3, key=1))
        await asyncio.sleep(0.05)
        gone.cancel()
        alone.cancel()
        await stays
        await asyncio.sleep(0.1)

    virtual.run(work(wishes=True))
    assert store.commits == [[3]]
    virtual.run(work(wishes=False))
    assert sorted(store.commits[1:]) == [[1, 3], [2]]


def test_a_flood_is_committed_in_parts() -> None:
    store = Store()

    async def work() -> None:
        gathering = store.gathering()
        await asyncio.gather(*(gathering.add(number) for number in range(MOST + 1)))

    virtual.run(work())
    assert [len(commit) for commit in store.commits] == [MOST, 1]


def test_a_cancellation_that_was_lost_is_asked_for_again() -> None:
    asked = 0

    async def deaf() -> None:
        nonlocal asked
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                asked += 1
                if asked == 2:
                    raise

    async def work() -> None:
        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        await engine._cancelled({task})
        assert task.cancelled()

    virtual.run(work())
    assert asked == 2
