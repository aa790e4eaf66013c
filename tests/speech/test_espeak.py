"""Does espeak-ng speak, and does nothing that a text or the engine does get past a typed error?"""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import uvloop

from zvonar.speech.audio import levelled, resampled, trimmed
from zvonar.speech.synthesis import (
    EngineDied,
    NothingToSay,
    SynthesisFailed,
    SynthesisTimedOut,
    TextTooLong,
    UnsupportedVoice,
    Voice,
    espeak,
    spoken_text,
)
from zvonar.speech.synthesis.espeak import EspeakEngine

RU = Voice(language="ru")
EN = Voice(language="en")
EngineScript = Callable[[str], list[str]]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("ru", "Здравствуйте! Ваш заказ номер 4512 готов."),
        ("en", "Hello! Your order number 4512 is ready."),
        ("uk", "Добрий день! Ваше замовлення готове."),
        ("kk", "Сәлеметсіз бе! Тапсырысыңыз дайын."),
        ("ru-RU", "Здравствуйте! Ваш заказ номер 4512 готов."),
        ("pt_BR", "Bom dia! O seu pedido está pronto."),
    ],
)
async def test_a_sentence_lasts_as_long_as_a_sentence(espeak: EspeakEngine, language: str, text: str) -> None:
    sound = await espeak.speak(text, Voice(language=language))
    assert sound.rate == 22_050
    assert 1_000 < sound.duration_ms < 8_000
    loudness = float(np.sqrt(np.mean(np.square(levelled(trimmed(resampled(sound))).samples))))
    assert loudness > 0.03


@pytest.mark.asyncio
async def test_rate_pitch_and_speaker_change_the_sound(espeak: EspeakEngine) -> None:
    usual = await espeak.speak("Проверка связи.", RU)
    fast = await espeak.speak("Проверка связи.", Voice(language="ru", rate=200))
    assert fast.duration_ms < usual.duration_ms * 0.7
    for voice in (Voice(language="ru", pitch=150), Voice(language="ru", name="f3")):
        other = await espeak.speak("Проверка связи.", voice)
        assert not np.array_equal(other.samples, usual.samples)


@pytest.mark.asyncio
async def test_the_four_languages_are_listed(espeak: EspeakEngine) -> None:
    assert {"ru", "en", "kk", "uk"} <= await espeak.languages()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "voice",
    [
        Voice(language="xx"),
        Voice(language="xx-RU"),
        Voice(language="ru", name="nobody"),
        Voice(language="ru", name="../../etc/passwd"),
        Voice(language="ru", name="--help"),
        Voice(language="ru", engine="festival"),
    ],
)
async def test_an_unknown_voice_never_reaches_the_engine(espeak: EspeakEngine, voice: Voice) -> None:
    with pytest.raises(UnsupportedVoice):
        await espeak.speak("Да", voice)


@pytest.mark.parametrize("language", ["", "-v", "ru;ls", "../ru", "русский", "ru\0", "ru\n", "r" * 100])
def test_a_language_is_a_tag(language: str) -> None:
    with pytest.raises(UnsupportedVoice):
        Voice(language=language)


@pytest.mark.parametrize("bad", [{"rate": 49}, {"rate": 201}, {"pitch": -1}, {"pitch": 201}])
def test_rate_and_pitch_have_ranges(bad: dict[str, int]) -> None:
    with pytest.raises(UnsupportedVoice):
        Voice(language="ru", rate=bad.get("rate", 100), pitch=bad.get("pitch", 100))


HOSTILE = {
    "nothing": "",
    "white space": " \t\r\n\u00a0\u2003",
    "NUL": "\0",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "embedded commands": "\x01100S \x015R \x01F да",
    "lone surrogates": "\ud800 да \udfff",
    "markup": "<speak><audio src='/etc/passwd'/>да</speak> & &lt; &#0; <!-- ",
    "phonemes": "[[h@l'oU]] [[[[ ]] [[",
    "options": "-v en --path=/etc -f /etc/passwd",
    "dashes": "----",
    "only dots": "... ... …",
    "a bracket": "[",
    "not this alphabet": "日本語 العربية 👨‍👩‍👧 𝕬",
    "combining marks": "а" + "\u0301" * 500,
    "private and unassigned": "\ue000\uf8ff\uffff\U0010ffff",
    "directions": "\u202eад\u202c\ufeff",
    "one endless word": "ъ" * 4000,
    "digits": "7" * 4000,
    "emoji": "👨‍👩‍👧" * 800,
    "punctuation": "!?.,;:" * 600,
    "format": "%s%n%x {0} $HOME `id` $(id) ; rm -rf",
    "too long": "да " * 1400,
    "far too long": "да" * 1_000_000,
}


@pytest.mark.asyncio
@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_text_is_audio_or_a_typed_error(
    espeak: EspeakEngine, text: str, language: str
) -> None:
    try:
        sound = await espeak.speak(text, Voice(language=language))
    except (NothingToSay, TextTooLong) as error:
        assert not text or text not in str(error)
    else:
        assert 0 < sound.duration_ms < 600_000


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("hostile", "plain"),
    [
        ("да\0нет", "да нет"),
        ("да\ud800нет", "да нет"),
        ("\x0180S да", "80S да"),
        ("да­\u202e", "да"),
        ("и\u0306", "й"),
        ("  да \r\n нет ", "да нет"),
    ],
)
async def test_what_cannot_be_spoken_only_separates_words(
    espeak: EspeakEngine, hostile: str, plain: str
) -> None:
    heard, expected = await espeak.speak(hostile, RU), await espeak.speak(plain, RU)
    assert np.array_equal(heard.samples, expected.samples)
    assert spoken_text(spoken_text(hostile)) == spoken_text(hostile)


@pytest.mark.asyncio
async def test_markup_and_phonemes_are_read_out_as_they_are_written(espeak: EspeakEngine) -> None:
    for hostile, obeyed in (("[[h@l'oU]]", "hello"), ("a <break time='9s'/> b", "a b")):
        literal, command = await espeak.speak(hostile, EN), await espeak.speak(obeyed, EN)
        assert literal.duration_ms > command.duration_ms * 1.5
        assert literal.duration_ms < 8_000


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)  # another process's end gives no event


@pytest.mark.asyncio
async def test_the_deadline_kills_the_engine_and_its_children(
    engine_script: EngineScript, tmp_path: Path
) -> None:
    slow = EspeakEngine(engine_script("sleep 60 & echo $$ $! >pids; wait"), os.environ, "1", deadline=3.0)
    with pytest.raises(SynthesisTimedOut):
        await slow.speak("да", RU)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    await wait_until(lambda: all(map(gone, pids)))


@pytest.mark.asyncio
async def test_a_cancelled_call_kills_the_engine_and_frees_its_slot(
    engine_script: EngineScript, tmp_path: Path
) -> None:
    command = engine_script("test -e pids && exit 0; sleep 60 & echo $$ $! >new; mv new pids; wait")
    slow = EspeakEngine(command, os.environ, "1", parallel=1)
    call = asyncio.create_task(slow.speak("да", RU))
    await wait_until((tmp_path / "pids").exists)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await wait_until(lambda: all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split()))
    with pytest.raises(NothingToSay):
        await slow.speak("нет", RU)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("speak", "error"),
    [
        ("kill -SEGV $$", EngineDied),
        ("exit 3", EngineDied),
        ("echo rubbish", EngineDied),
        ("head -c 100 /dev/zero", EngineDied),
        ("cat >/dev/null", NothingToSay),
        ("exec yes", TextTooLong),
    ],
)
async def test_an_engine_that_misbehaves_is_a_typed_error(
    engine_script: EngineScript,
    monkeypatch: pytest.MonkeyPatch,
    speak: str,
    error: type[SynthesisFailed],
) -> None:
    monkeypatch.setattr(espeak, "MOST_OUTPUT", 1 << 20)
    with pytest.raises(error):
        await EspeakEngine(engine_script(speak), os.environ, "1").speak("да", RU)


@pytest.mark.asyncio
@pytest.mark.parametrize("command", [["/nowhere/espeak-ng"], ["/bin/false"], ["/bin/true"], ["/dev/null"]])
async def test_a_missing_or_broken_engine_names_the_remedy(command: list[str]) -> None:
    with pytest.raises(EngineDied, match="zvonar doctor"):
        await EspeakEngine(command, os.environ, "1").speak("да", RU)


@pytest.mark.asyncio
async def test_the_text_is_in_no_argument_and_in_no_log(
    engine_script: EngineScript, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    command = engine_script('printf "%s\\n" "$@" >arguments; cat >text')
    with pytest.raises(NothingToSay):
        await EspeakEngine(command, os.environ, "1").speak("--help Иван [[ должен", RU)
    assert (tmp_path / "text").read_text() == "--help Иван [ [ должен\n"
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments == ["-b", "1", "-v", "ru", "-s", "160", "-p", "50", "--stdin", "--stdout"]
    assert "Иван" not in caplog.text


@pytest.mark.asyncio
async def test_memory_is_bounded_before_the_text_arrives(engine_script: EngineScript, tmp_path: Path) -> None:
    with pytest.raises(NothingToSay):
        await EspeakEngine(
            engine_script("cat >/dev/null; (ulimit -v; ulimit -c) >limits"), os.environ, "1"
        ).speak("да", RU)
    assert (tmp_path / "limits").read_text().split() == [str(espeak.MOST_MEMORY >> 10), "0"]


@pytest.mark.asyncio
async def test_no_more_engines_run_at_once_than_allowed(engine_script: EngineScript) -> None:
    command = engine_script("mkdir busy || exit 9; cat >/dev/null; rmdir busy")
    engine = EspeakEngine(command, os.environ, "1", parallel=1)
    results = await asyncio.gather(
        *(engine.speak(f"слово {number}", RU) for number in range(8)), return_exceptions=True
    )
    assert [type(result) for result in results] == [NothingToSay] * 8


def test_an_engine_that_ends_before_it_has_read_is_judged_by_what_it_said(
    engine_script: EngineScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the loop of the service, which refuses to write into a pipe that nobody reads any more."""
    start = asyncio.create_subprocess_exec

    async def late(*argv: str, **options: Any) -> asyncio.subprocess.Process:
        process = await start(*argv, **options)
        while process.stdin is not None and not process.stdin.transport.is_closing():
            await asyncio.sleep(0.001)
        return process

    async def languages_and_a_word() -> frozenset[str]:
        engine = EspeakEngine(engine_script("exit 3"), os.environ, "1")
        known = await engine.languages()
        with pytest.raises(EngineDied, match="3"):
            await engine.speak("да", RU)
        return known

    monkeypatch.setattr(asyncio, "create_subprocess_exec", late)
    assert "ru" in uvloop.run(languages_and_a_word())
