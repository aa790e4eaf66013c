"""Is a word heard over a real line, and does nobody wait who may not? The town says "да", and others say nothing."""

import asyncio
import itertools
import wave
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zvonar.core.leg import Leg, LegId
from zvonar.dialer.hearing import Hearing
from zvonar.line.asterisk.gateway import AsteriskGateway
from zvonar.line.asterisk.town import number
from zvonar.line.fake import FakeGateway, FakeLine
from zvonar.line.line import Dialled, GatewayLost, GatewayRefused, HungUp, Line
from zvonar.line.tap import FRAME, Tap
from zvonar.speech.recognition import NullRecogniser, RecogniserBusy, RecogniserDied, RecognitionFailed, model
from zvonar.speech.recognition.model import EngineMissing, ModelMissing
from zvonar.speech.recognition.pool import Pool

from ..plant import CACHE, Plant

pytestmark = pytest.mark.asyncio

PATIENCE = 90.0  # seconds for anything that a test waits for
WORDS = ("yes", "no")
_calls = itertools.count(2_000_000_000_000)  # nobody else's: the town counts INVITEs for as long as it lives


class Played:
    """A tap that plays a sound once, and then waits for ever."""

    def __init__(self, sound: bytes) -> None:
        self._frames = [sound[at : at + FRAME] for at in range(0, len(sound) - FRAME + 1, FRAME)]

    async def frame(self) -> bytes:
        if not self._frames:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return self._frames.pop(0)


class Sounding:
    """Lines that all sound alike."""

    def __init__(self, sound: bytes = b"", *, fails: Exception | None = None) -> None:
        self._sound = sound
        self._fails = fails
        self.open = 0
        self.most = 0

    @asynccontextmanager
    async def tap(self, leg: Leg) -> AsyncIterator[Tap]:
        if self._fails is not None:
            raise self._fails
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            yield Played(self._sound)
        finally:
            self.open -= 1


class Recognises:
    """Takes every utterance for this."""

    def __init__(self, said: str | Exception | None) -> None:
        self.said = said
        self.heard: list[bytes] = []
        self.asked = asyncio.Event()

    async def choose(self, pcm: bytes, words: Collection[str], *, language: str) -> str | None:
        self.heard.append(pcm)
        self.asked.set()
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def spoken(*seconds: float) -> bytes:
    """Utterances of so many seconds, with pauses."""
    time_ = np.arange(8000 * 10) / 8000
    vowel = sum(np.sin(2 * np.pi * 140 * k * time_) / k for k in range(1, 12))
    voice = (np.asarray(vowel) * 6000).astype("<i2").tobytes()
    pause = bytes(8000 * 2)
    return pause + b"".join(voice[: int(one * 8000) * 2] + pause for one in seconds)


def a_line() -> Line:
    gateway = FakeGateway(now=lambda: datetime.now(UTC))
    leg = LegId(call_id=next(_calls), attempt=1, leg=1)
    wanted = Dialled(
        leg=leg, phone=number(1, 0, 8), trunk_id=1, caller_id=None, ring_timeout=9, max_seconds=60
    )
    return FakeLine(gateway, wanted)


async def test_each_utterance_is_heard_in_its_turn() -> None:
    lines = Sounding(spoken(0.5, 0.6))
    hearing = Hearing(lines, Recognises("yes"), lines=1, wait=1.0)
    async with hearing.listening(a_line(), WORDS, language="ru") as ear:
        assert ear is not None
        async with asyncio.timeout(PATIENCE):
            assert [(await ear.heard()).word for _ in range(2)] == ["yes", "yes"]
    assert lines.open == 0


async def test_what_is_not_understood_is_told_as_that() -> None:
    hearing = Hearing(Sounding(spoken(0.5)), NullRecogniser(), lines=1, wait=1.0)
    async with hearing.listening(a_line(), WORDS, language="ru") as ear, asyncio.timeout(PATIENCE):
        assert ear is not None
        assert (await ear.heard()).word is None


async def test_what_comes_back_of_the_prompt_is_nobody_and_what_is_said_meanwhile_is_heard(
    tmp_path: Path,
) -> None:
    prompt = tmp_path / "prompt.wav"
    voice = np.frombuffer(spoken(0.7), dtype="<i2")
    sweep = np.sin(np.cumsum(np.linspace(0.2, 1.5, len(voice)))) * (np.abs(voice) > 0) * 9000
    prompt.write_bytes(bytes(44) + sweep.astype("<i2").tobytes())
    echo = (sweep * 0.1).astype("<i2").tobytes()
    recogniser = Recognises("yes")
    hearing = Hearing(Sounding(echo + spoken(0.5)), recogniser, lines=1, wait=1.0)
    async with hearing.listening(a_line(), WORDS, language="ru", prompt=prompt) as ear:
        assert ear is not None
        async with asyncio.timeout(PATIENCE):
            assert (await ear.heard()).word == "yes"
    assert len(recogniser.heard) == 1


async def test_a_prompt_that_cannot_be_read_stops_nobody_from_being_heard(tmp_path: Path) -> None:
    hearing = Hearing(Sounding(spoken(0.5)), Recognises("yes"), lines=1, wait=1.0)
    missing = tmp_path / "none.wav"
    async with hearing.listening(a_line(), WORDS, language="ru", prompt=missing) as ear:
        assert ear is not None
        async with asyncio.timeout(PATIENCE):
            assert (await ear.heard()).word == "yes"


@pytest.mark.parametrize("error", [RecogniserBusy(), RecogniserDied(), RecognitionFailed()], ids=repr)
async def test_a_recogniser_that_fails_is_noticed_as_nothing_heard(error: RecognitionFailed) -> None:
    failing = Recognises(error)
    hearing = Hearing(Sounding(spoken(0.5)), failing, lines=1, wait=1.0)
    async with hearing.listening(a_line(), WORDS, language="ru") as ear:
        assert ear is not None
        async with asyncio.timeout(PATIENCE):
            await failing.asked.wait()
        waiting = asyncio.create_task(ear.heard())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()


async def test_no_more_lines_are_listened_to_than_configured_and_others_do_with_keys() -> None:
    lines = Sounding()
    hearing = Hearing(lines, NullRecogniser(), lines=2, wait=0.05)
    async with (
        hearing.listening(a_line(), WORDS, language="ru") as first,
        hearing.listening(a_line(), WORDS, language="ru") as second,
        hearing.listening(a_line(), WORDS, language="ru") as third,
    ):
        assert first is not None
        assert second is not None
        assert third is None
    assert (lines.most, lines.open) == (2, 0)
    async with hearing.listening(a_line(), WORDS, language="ru") as later:
        assert later is not None


@pytest.mark.parametrize("error", [GatewayRefused(), GatewayLost(), OSError(24, "no files")], ids=repr)
async def test_a_line_that_cannot_be_listened_to_does_with_keys(error: Exception) -> None:
    hearing = Hearing(Sounding(fails=error), NullRecogniser(), lines=1, wait=1.0)
    for _ in range(3):
        async with hearing.listening(a_line(), WORDS, language="ru") as ear:
            assert ear is None


async def test_whoever_stops_listening_frees_the_place_whatever_happens() -> None:
    lines = Sounding(spoken(0.5))
    hearing = Hearing(lines, NullRecogniser(), lines=1, wait=1.0)
    line = a_line()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with hearing.listening(line, WORDS, language="ru"):
                raise ZeroDivisionError
    assert lines.open == 0


# Over Asterisk.


@asynccontextmanager
async def answered(gateway: AsteriskGateway, digit: int) -> AsyncIterator[Line]:
    """A town subscriber who has picked up."""
    leg = LegId(call_id=next(_calls), attempt=1, leg=1)
    wanted = Dialled(
        leg=leg,
        phone=number(6000, 0, digit),
        trunk_id=1,
        caller_id="+70009990000",
        ring_timeout=10,
        max_seconds=60,
    )
    line = await gateway.create(wanted)
    await gateway.dial(line, ring_timeout=10)
    async with asyncio.timeout(PATIENCE):
        await line.answered()
    try:
        yield line
    finally:
        await line.hang_up()


async def nobody_listens(gateway: AsteriskGateway) -> None:
    """Wait until no channel of a tap is left; Asterisk ends them after it has said that it will."""
    async with asyncio.timeout(PATIENCE):
        while True:
            left = (await gateway.ari.request("GET", "channels")).body
            if b"media" not in left and b"snoop" not in left:
                return
            await asyncio.sleep(0.02)


async def test_what_the_subscriber_says_arrives_and_what_we_say_does_not(plant: Plant) -> None:
    recogniser = Recognises("yes")
    async with plant.client() as ari:
        await ari.ready(PATIENCE)
        gateway = plant.line_gateway(ari)
        hearing = Hearing(gateway, recogniser, lines=1, wait=PATIENCE)
        async with answered(gateway, 8) as line:
            async with hearing.listening(line, WORDS, language="ru") as ear, asyncio.timeout(PATIENCE):
                assert ear is not None
                await line.play(plant.clip(1.5), interruptible=False)
                assert recogniser.heard == []
                assert (await ear.heard()).word == "yes"
            await nobody_listens(gateway)
    seconds = len(recogniser.heard[0]) / 16000
    assert 0.3 < seconds < 2.0


async def test_a_call_that_ends_while_it_is_listened_to_leaves_nothing_behind(plant: Plant) -> None:
    async with plant.client() as ari:
        await ari.ready(PATIENCE)
        gateway = plant.line_gateway(ari)
        hearing = Hearing(gateway, NullRecogniser(), lines=1, wait=PATIENCE)
        async with answered(gateway, 7) as line:  # hangs up after a second
            async with hearing.listening(line, WORDS, language="ru"):
                await line.end()
            with pytest.raises(HungUp):
                await line.key(1.0)
        async with hearing.listening(line, WORDS, language="ru") as ear:
            assert ear is None
        await nobody_listens(gateway)


async def test_the_towns_yes_is_understood_by_the_real_model(plant: Plant, tmp_path: Path) -> None:
    try:
        whisper = model.find(None, cache=CACHE.parent / "models")
    except (ModelMissing, EngineMissing) as exc:
        pytest.skip(str(exc))
    async with (
        plant.client() as ari,
        Pool(model.command(whisper), model.environment(), size=1, wait=60.0, deadline=60.0) as recognisers,
    ):
        await ari.ready(PATIENCE)
        gateway = plant.line_gateway(ari)
        hearing = Hearing(gateway, recognisers, lines=1, wait=PATIENCE)
        async with (
            answered(gateway, 8) as line,
            hearing.listening(line, WORDS, language="ru") as ear,
            asyncio.timeout(90),
        ):
            assert ear is not None
            await line.play(plant.clip(1.0), interruptible=False)
            assert (await ear.heard()).word == "yes"


async def test_each_side_of_a_call_is_recorded_by_itself_where_that_is_wanted(plant: Plant) -> None:
    async with plant.client() as ari:
        await ari.ready(PATIENCE)
        gateway = AsteriskGateway(
            ari, name="gateway", cel_file=plant.cel_file, recordings=plant.recordings, sides=True
        )
        async with answered(gateway, 8) as line:
            await line.start_recording()
            await line.play(plant.clip(1.0), interruptible=False)
            async with asyncio.timeout(PATIENCE):
                await line.key(3.0)  # he says his yes meanwhile
    levels = {}
    for side in ("in", "out"):
        path = plant.recordings / f"{line.leg}-{side}.wav"
        async with asyncio.timeout(PATIENCE):
            while len(samples := _recorded(path)) < 8000:
                await asyncio.sleep(0.02)
        heard = np.flatnonzero(np.abs(samples) > 1000)
        levels[side] = (heard[0] / 8000, len(heard))
    # Ours is the tone, at once; his comes once it is over.
    assert levels["out"][0] < levels["in"][0]
    assert levels["out"][1] > levels["in"][1] > 0


def _recorded(path: Path) -> "np.ndarray[Any, Any]":
    """What is in a recording; nothing until Asterisk has closed it, which it does a moment after the call."""
    try:
        with wave.open(str(path), "rb") as reader:
            return np.frombuffer(reader.readframes(reader.getnframes()), dtype="<i2").astype(float)
    except (FileNotFoundError, EOFError, wave.Error):
        return np.zeros(0)
