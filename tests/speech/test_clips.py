"""Is each text said once, and is what stands on disk always whole?"""

import asyncio
import errno
import gc
import os
import signal
import sys
import time
import unicodedata
import wave
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zvonar.speech import clips
from zvonar.speech.audio import Sound
from zvonar.speech.clips import ClipCache, ClipCacheClosed
from zvonar.speech.files import ClipNotStored, ClipStorageFull
from zvonar.speech.synthesis import (
    EngineDied,
    NothingToSay,
    NullSynthesiser,
    TextTooLong,
    UnsupportedVoice,
    Voice,
    spoken_text,
)
from zvonar.speech.synthesis.espeak import EspeakEngine

RU = Voice(language="ru")


class Gated(NullSynthesiser):
    """Counts its runs; each waits at the gate and then meets the next of the failures, if one is left."""

    def __init__(self, *failures: Exception) -> None:
        self.runs = 0
        self.version = "1"
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.failures = list(failures)

    def identity(self, voice: Voice) -> str:
        return f"gated {self.version}"

    async def speak(self, text: str, voice: Voice) -> Sound:
        self.runs += 1
        self.entered.set()
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        return await super().speak(text, voice)


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("language", "text"), [("ru", "Нажмите один, если вы согласны."), ("en", "Press one if you agree.")]
)
async def test_a_clip_is_telephone_audio_with_speech_in_it(
    espeak: EspeakEngine, tmp_path: Path, language: str, text: str
) -> None:
    clip = await ClipCache(tmp_path / "clips", espeak).spoken(text, Voice(language=language))
    with wave.open(str(clip.path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    assert clip.duration_ms == round(len(pcm) / 8)
    assert 1_000 < clip.duration_ms < 5_000
    assert 0.69 < np.abs(pcm.astype(int)).max() / 32768 < 0.72
    assert clip.path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "clips").stat().st_mode & 0o077 == 0
    assert clip.path.relative_to(tmp_path / "clips").parts == (clip.key[:2], clip.key[2:4], f"{clip.key}.wav")


@pytest.mark.asyncio
async def test_what_was_said_is_not_said_again_not_even_after_a_restart(tmp_path: Path) -> None:
    engine = Gated()
    cache = ClipCache(tmp_path, engine)
    first = await cache.spoken("Добрый  день\n", RU)
    assert await cache.spoken(" Добрый день", RU) == first
    assert await ClipCache(tmp_path, engine).spoken("Добрый день", RU) == first
    assert engine.runs == 1
    engine.version = "2"
    assert (await cache.spoken("Добрый день", RU)).path != first.path
    assert engine.runs == 2


@pytest.mark.asyncio
async def test_fifty_at_once_are_one_run(tmp_path: Path) -> None:
    engine = Gated()
    cache = ClipCache(tmp_path, engine)
    said = await asyncio.gather(*(cache.spoken("Добрый день", RU) for _ in range(50)))
    assert engine.runs == 1
    assert len(set(said)) == 1
    assert files(tmp_path) == [said[0].path]


@pytest.mark.asyncio
async def test_a_caller_that_gives_up_does_not_take_the_others_prompt_along(tmp_path: Path) -> None:
    engine = Gated()
    engine.gate.clear()
    cache = ClipCache(tmp_path, engine)
    first = asyncio.create_task(cache.spoken("да", RU))
    await engine.entered.wait()
    second = asyncio.create_task(cache.spoken("да", RU))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    engine.gate.set()
    assert (await second).path.exists()
    assert engine.runs == 1


@pytest.mark.asyncio
async def test_a_failure_reaches_every_waiter_and_is_forgotten(tmp_path: Path) -> None:
    engine = Gated(EngineDied())
    cache = ClipCache(tmp_path, engine)
    said = await asyncio.gather(*(cache.spoken("да", RU) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in said] == [EngineDied] * 3
    assert (await cache.spoken("да", RU)).duration_ms > 0
    assert engine.runs == 2


@pytest.mark.asyncio
async def test_a_failure_that_nobody_waits_for_any_more_is_quiet(tmp_path: Path) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    engine = Gated(EngineDied())
    engine.gate.clear()
    cache = ClipCache(tmp_path, engine)
    only = asyncio.create_task(cache.spoken("да", RU))
    await engine.entered.wait()
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    engine.gate.set()
    assert (await cache.spoken("нет", RU)).duration_ms > 0  # by then the other flight has failed
    assert engine.failures == []
    gc.collect()
    assert complaints == []


@pytest.mark.asyncio
async def test_closing_ends_what_is_being_spoken(tmp_path: Path) -> None:
    engine = Gated()
    engine.gate.clear()
    cache = ClipCache(tmp_path, engine)
    waiting = asyncio.create_task(cache.spoken("да", RU))
    await engine.entered.wait()
    await cache.aclose()
    for attempt in (waiting, cache.spoken("нет", RU)):
        with pytest.raises(ClipCacheClosed):
            await attempt
    assert files(tmp_path) == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, ClipStorageFull),
        (errno.EDQUOT, ClipStorageFull),
        (errno.EIO, ClipNotStored),
        (errno.EROFS, ClipNotStored),
    ],
)
async def test_a_write_that_fails_leaves_no_file_and_the_next_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[ClipNotStored]
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    cache = ClipCache(tmp_path, NullSynthesiser())
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(error) as caught:
            await cache.spoken("да", RU)
    assert type(caught.value) is error
    assert files(tmp_path) == []
    assert (await cache.spoken("да", RU)).path.exists()


@pytest.mark.asyncio
async def test_a_directory_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ClipNotStored):
        await ClipCache(tmp_path / "file" / "clips", NullSynthesiser()).spoken("да", RU)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from zvonar.speech.clips import ClipCache
from zvonar.speech.synthesis import NullSynthesiser, Voice
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(ClipCache(Path(sys.argv[1]), NullSynthesiser()).spoken("да", Voice(language="ru")))
"""


@pytest.mark.asyncio
async def test_a_process_killed_in_mid_write_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(tmp_path))
    async with asyncio.timeout(90):
        assert await killed.wait() == -signal.SIGKILL
    (part,) = files(tmp_path)
    assert part.suffix == ".part"
    cache = ClipCache(tmp_path, NullSynthesiser())
    clip = await cache.spoken("да", RU)
    assert clip.duration_ms > 0
    os.utime(part, (0, 0))
    await cache.prune(1 << 30)
    assert files(tmp_path) == [clip.path]


@pytest.mark.asyncio
async def test_an_empty_file_under_the_name_is_said_again(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path, NullSynthesiser())
    path = (await cache.spoken("да", RU)).path
    path.write_bytes(b"")
    assert (await cache.spoken("да", RU)).duration_ms > 0
    assert path.stat().st_size > 44


@pytest.mark.asyncio
async def test_pruning_deletes_what_was_unused_for_longest_and_spares_what_may_be_playing(
    tmp_path: Path,
) -> None:
    cache = ClipCache(tmp_path, NullSynthesiser())
    said = [await cache.spoken(f"слово {number}", RU) for number in range(5)]
    size = said[0].path.stat().st_size
    for age, clip in enumerate(said):
        os.utime(clip.path, (time.time() - 7200 - age,) * 2)
    await cache.spoken("слово 4", RU)  # the oldest is used again
    assert await cache.prune(3 * size) == 2 * size
    assert [clip.path.exists() for clip in said] == [True, True, False, False, True]
    assert await cache.prune(0) == 2 * size
    assert [clip.path.exists() for clip in said] == [False, False, False, False, True]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "error"), [("", NothingToSay), ("\0\ud800", NothingToSay), ("да" * 3000, TextTooLong)]
)
async def test_what_cannot_be_said_leaves_no_file(tmp_path: Path, text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await ClipCache(tmp_path, NullSynthesiser()).spoken(text, RU)
    assert files(tmp_path) == []


@pytest.mark.asyncio
async def test_a_silent_answer_of_the_engine_is_nothing_to_say(tmp_path: Path) -> None:
    class Mute(NullSynthesiser):
        async def speak(self, text: str, voice: Voice) -> Sound:
            return Sound(samples=np.zeros(8000, dtype=np.float32), rate=8000)

    with pytest.raises(NothingToSay):
        await ClipCache(tmp_path, Mute()).spoken("...", RU)
    assert files(tmp_path) == []


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"])
def test_only_a_key_has_a_path(key: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        ClipCache(Path("/clips"), NullSynthesiser()).path_for(key)


@pytest.mark.asyncio
async def test_an_unsupported_voice_passes_through(espeak: EspeakEngine, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedVoice):
        await ClipCache(tmp_path, espeak).spoken("да", Voice(language="xx"))


voices = st.builds(
    Voice,
    language=st.sampled_from(["ru", "en", "en-us", "kk"]),
    engine=st.sampled_from(["espeak-ng", "festival"]),
    name=st.none() | st.sampled_from(["", "f1", "f3"]),
    rate=st.integers(50, 200),
    pitch=st.integers(0, 200),
)
texts = st.text(max_size=60).map(lambda text: "да " + text)
keys = ClipCache(Path("/clips"), NullSynthesiser())


@given(texts, voices)
def test_the_key_is_of_what_is_heard_and_not_of_how_it_was_typed(text: str, voice: Voice) -> None:
    key = keys.key(text, voice)
    assert key == keys.key(spoken_text(text), voice)
    assert key == keys.key(f"\n {unicodedata.normalize('NFD', text)}\t", voice)
    assert key == keys.key(text, msgspec.json.decode(msgspec.json.encode(voice), type=Voice))
    assert keys.path_for(key).stem == key


@given(texts, voices, texts, voices)
def test_whatever_sounds_different_has_another_key(
    text: str, voice: Voice, other_text: str, other_voice: Voice
) -> None:
    assume((spoken_text(text), voice) != (spoken_text(other_text), other_voice))
    assert keys.key(text, voice) != keys.key(other_text, other_voice)


@given(voices, st.data())
def test_every_parameter_of_the_voice_is_in_the_key(voice: Voice, data: st.DataObject) -> None:
    other = data.draw(voices)
    for field in Voice.__struct_fields__:
        if getattr(voice, field) != getattr(other, field):
            changed = msgspec.structs.replace(voice, **{field: getattr(other, field)})
            assert keys.key("да", changed) != keys.key("да", voice)


def test_the_key_does_not_change_by_accident() -> None:
    # A changed key makes every prompt be said again after an upgrade: that takes a reason.
    assert clips.PROCESSING == 1
    known = "951fb34a2600c3e38a576a7518330b83de45978ef7fb6dad980afabbe6e70418"
    assert keys.key("Добрый день", RU) == known
