"""Are there never more recognisers than configured, does nobody wait longer than he may, and what of one that hangs?"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from zvonar.speech.recognition import (
    MARGIN,
    THRESHOLD,
    RecogniserBusy,
    RecogniserDied,
    RecognitionFailed,
    chosen,
    phrases,
    wire,
)
from zvonar.speech.recognition.pool import Pool

ROOT = Path(__file__).parents[3]
WORDS = ("yes", "no", "перезвоните")


def pool(behaviour: str = "fine", *, size: int = 1, wait: float = 30.0, deadline: float = 30.0) -> Pool:
    command = [sys.executable, "-m", "tests.speech.recognition.fake", behaviour]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return Pool(command, env, size=size, wait=wait, deadline=deadline)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("said", "language", "word"),
    [
        ("да", "ru", "yes"),
        ("no", "en-US", "no"),
        ("перезвоните", "ru", "перезвоните"),
        ("да", "en", None),
        ("что-то", "ru", None),
    ],
)
async def test_the_word_that_fits_is_chosen(said: str, language: str, word: str | None) -> None:
    async with pool() as recognisers:
        assert await recognisers.choose(said.encode(), WORDS, language=language) == word


@pytest.mark.asyncio
async def test_one_that_hangs_is_killed_and_the_next_one_works() -> None:
    async with pool() as recognisers:
        await recognisers.choose("да".encode(), WORDS, language="ru")  # so that it is loaded
        recognisers._deadline = 0.3
        with pytest.raises(RecogniserDied):
            await recognisers.choose(b"hang", WORDS, language="ru")
        recognisers._deadline = 30.0
        assert await recognisers.choose("да".encode(), WORDS, language="ru") == "yes"


@pytest.mark.asyncio
@pytest.mark.parametrize("said", [b"die", b"babble"])
async def test_one_that_dies_or_babbles_is_replaced(said: bytes) -> None:
    async with pool() as recognisers:
        with pytest.raises(RecogniserDied):
            await recognisers.choose(said, WORDS, language="ru")
        assert await recognisers.choose("да".encode(), WORDS, language="ru") == "yes"


@pytest.mark.asyncio
async def test_one_that_chokes_on_a_sound_lives_on() -> None:
    async with pool() as recognisers:
        with pytest.raises(RecognitionFailed):
            await recognisers.choose(b"fail", WORDS, language="ru")
        assert await recognisers.choose("да".encode(), WORDS, language="ru") == "yes"


@pytest.mark.asyncio
@pytest.mark.parametrize("command", [["/nowhere/python"], [sys.executable, "-c", "print('hi')"]])
async def test_one_that_does_not_start_is_an_error_with_a_name(command: Sequence[str]) -> None:
    async with Pool(command, os.environ, wait=30.0, deadline=30.0) as recognisers:
        with pytest.raises(RecogniserDied):
            await recognisers.choose(b"x", WORDS, language="ru")


@pytest.mark.asyncio
async def test_whoever_finds_all_of_them_busy_waits_no_longer_than_he_may() -> None:
    async with pool(wait=0.1, deadline=60.0) as recognisers:
        first = asyncio.create_task(recognisers.choose(b"hang", WORDS, language="ru"))
        await asyncio.sleep(0)
        with pytest.raises(RecogniserBusy):
            await recognisers.choose("да".encode(), WORDS, language="ru")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        recognisers._wait = 30.0
        assert await recognisers.choose("да".encode(), WORDS, language="ru") == "yes"


@pytest.mark.asyncio
async def test_there_are_never_more_processes_than_configured() -> None:
    async with pool(size=2) as recognisers:
        request = wire.Score(pcm=b"x", language="ru", phrases=["who are you"])
        answers = await asyncio.gather(*(recognisers._ask(request, 30.0) for _ in range(40)))
    pids = {answer.scores[0] for answer in answers if isinstance(answer, wire.Scores)}
    assert 1 <= len(pids) <= 2


def test_scores_that_are_low_or_close_choose_nothing() -> None:
    assert chosen({}) is None
    assert chosen({"да": 4.5, "нет": -4.0}) == "да"
    assert chosen({"да": THRESHOLD - 0.01, "нет": -4.0}) is None
    assert chosen({"да": 4.5, "нет": 4.51 - MARGIN}) is None
    assert chosen({"да": 4.5, "нет": 4.49 - MARGIN}) == "да"
    assert chosen({"да": 4.5}) == "да"


def test_a_meaning_is_said_in_the_language_and_other_words_as_they_are() -> None:
    assert phrases("yes", "ru-RU") == ("да",)
    assert phrases("yes", "de") == ("yes",)
    assert phrases("оператор", "ru") == ("оператор",)


@pytest.mark.asyncio
async def test_what_was_warmed_answers_without_being_loaded_again() -> None:
    async with pool(size=2) as recognisers:
        await recognisers.warm()
        before = {process._process.pid for process in recognisers._all if process._process}
        request = wire.Score(pcm=b"x", language="ru", phrases=["who are you"])
        answers = await asyncio.gather(*(recognisers._ask(request, 30.0) for _ in range(4)))
    assert len(before) == 2
    assert {int(answer.scores[0]) for answer in answers if isinstance(answer, wire.Scores)} <= before


@pytest.mark.asyncio
async def test_what_cannot_be_warmed_is_told_to_whoever_asks() -> None:
    async with Pool(["/nowhere/python"], os.environ, wait=30.0, deadline=30.0) as recognisers:
        await recognisers.warm()
        with pytest.raises(RecogniserDied):
            await recognisers.choose(b"x", WORDS, language="ru")
