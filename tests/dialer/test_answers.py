"""Who has answered? Marks go together, none is lost, and nobody's is another's to cancel."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from zvonar.core.leg import LegId
from zvonar.dialer.answers import Answers
from zvonar.store import legs
from zvonar.store.db import StoreUnavailable
from zvonar.store.legs import Answered

from . import virtual

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Store:
    """Keeps what is committed, and may be away for some commits."""

    def __init__(self, away: int = 0) -> None:
        self.commits: list[list[int]] = []
        self.away = away

    async def mark_answered(self, _db: Any, answered: Sequence[Answered]) -> None:
        await asyncio.sleep(0.01)
        if self.away:
            self.away -= 1
            raise StoreUnavailable()
        self.commits.append([one.leg.call_id for one in answered])

    async def patiently(self, work: Any, *, what: str) -> None:
        while True:
            try:
                return await work()
            except StoreUnavailable:
                await asyncio.sleep(0.1)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(legs, "mark_answered", made.mark_answered)
    return made


def leg(number: int) -> LegId:
    return LegId(number, 1, 1)


def test_answers_of_one_moment_are_one_commit_and_later_ones_another(store: Store) -> None:
    async def work() -> None:
        answers = Answers(store)  # type: ignore[arg-type]
        await asyncio.gather(*(answers.mark(1, leg(number), AT) for number in range(5)))
        await answers.mark(1, leg(5), AT)

    virtual.run(work())
    assert store.commits == [[0, 1, 2, 3, 4], [5]]


def test_a_mark_that_comes_during_a_commit_is_in_the_next(store: Store) -> None:
    async def work() -> None:
        answers = Answers(store)  # type: ignore[arg-type]
        first = asyncio.create_task(answers.mark(1, leg(1), AT))
        await asyncio.sleep(0.105)  # the first commit is under way
        await answers.mark(1, leg(2), AT)
        assert first.done()

    virtual.run(work())
    assert store.commits == [[1], [2]]


def test_a_call_that_is_given_up_takes_no_other_mark_along(store: Store) -> None:
    async def work() -> None:
        answers = Answers(store)  # type: ignore[arg-type]
        given_up = asyncio.create_task(answers.mark(1, leg(1), AT))
        kept = asyncio.create_task(answers.mark(1, leg(2), AT))
        await asyncio.sleep(0.02)
        given_up.cancel()
        await kept
        assert given_up.cancelled()

    virtual.run(work())
    assert store.commits == [[1, 2]]


def test_a_mark_waits_while_the_store_is_away(store: Store) -> None:
    store.away = 3

    async def work() -> None:
        await Answers(store).mark(1, leg(1), AT)  # type: ignore[arg-type]

    virtual.run(work())
    assert store.commits == [[1]]
