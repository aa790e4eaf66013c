"""What happened? Facts go together, none is lost, and nobody's is another's to cancel or to spoil."""

import asyncio
from collections.abc import Sequence

import pytest

from zvonar.dialer import engine
from zvonar.dialer.gathering import MOST, Gathering

from . import virtual


class Store:
    """Keeps what is committed, and cannot have some facts."""

    def __init__(self, *refused: int) -> None:
        self.commits: list[list[int]] = []
        self.refused = set(refused)

    async def commit(self, facts: Sequence[int]) -> None:
        await asyncio.sleep(0.01)
        if self.refused & set(facts):
            raise LookupError
        self.commits.append(list(facts))

    def gathering(self) -> Gathering[int]:
        return Gathering(self.commit, seconds=0.1)


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
