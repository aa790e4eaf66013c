"""What is said to the recogniser, by whom, over what line, and what of it counts? The labelled set of `words`.

It is generated: the same voices, words and seeds make the same sounds. What thresholds were chosen on (CALIBRATION)
shares neither words of its own nor, the Russian festival aside, a voice with what is measured (MEASURED).
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct

from bench.speech import RATE, Speaker, recorded, said, speakers, telephone
from zvonar.line.asterisk.install import AsteriskInstall, Espeak
from zvonar.speech.recognition import phrases
from zvonar.speech.recognition.endpoint import FRAME_MS, Endpointer

FRAME: Final = RATE * FRAME_MS // 1000 * 2
NOISE_DB: Final = (25.0, 15.0)  # below the voice
_ECHO: Final = 0.1  # of the robot's own level: 20 dB
_LEVELS: Final = (300.0, 1500.0, 4000.0)  # of noises without anybody, of 32768


class Part(Struct, frozen=True, kw_only=True):
    """A half of the set, by language."""

    voices: tuple[Speaker, ...]
    words: dict[str, tuple[str, ...]]  # listened for
    others: dict[str, tuple[str, ...]]  # said instead
    people: dict[str, dict[str, str]]  # words listened for that people have recorded → files
    people_else: tuple[str, ...]  # files of what they say instead
    seed: int


class Said(Struct, frozen=True, kw_only=True):
    """One utterance, as the endpointer cuts it."""

    language: str
    voice: str
    kind: str  # people, voices, robots; of what nobody says: echo, noise, silence
    noise: float  # dB below the voice
    word: str | None  # as the script has it; None: none of those that count
    text: str
    listened: tuple[str, ...]  # the closed set
    cuts: tuple[bytes, ...]  # s16le; a line without speech has none, a word should have one
    prompt: bytes | None = None  # s16le: what we were saying, where its echo is heard


_PROMPT: Final = {
    "ru": "Здравствуйте! Это компания Ромашка. Скажите да или нет.",
    "en": "Hello! This is the Daisy company. Please say yes or no.",
}
NUMBERS: Final = {
    "ru": ("ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять"),
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
}
_DAYS: Final = {
    "ru": ("воскресенье", "понедельник", "вторник", "среда", "четверг", "пятница", "суббота"),
    "en": ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"),
}


def _filed(words: dict[str, tuple[str, ...]], name: str) -> dict[str, dict[str, str]]:
    """By language: each word and its file, which ends in its place."""
    return {
        language: {word: f"{name}{place}" for place, word in enumerate(said)}
        for language, said in words.items()
    }


def _robots(language: str, *names: str) -> tuple[Speaker, ...]:
    return tuple(Speaker(language=language, engine="espeak-ng", name=name) for name in names)


def _flite(*names: str) -> tuple[Speaker, ...]:
    return tuple(Speaker(language="en", engine="flite", name=name) for name in names)


_FESTIVAL: Final = Speaker(language="ru", engine="festival", name="voice_msu_ru_nsh_clunits")

MEASURED: Final = Part(
    voices=(
        _FESTIVAL,
        *_robots("ru", "ru-lv", "ru-lv+m2", "ru-lv+m8", "ru-lv+f2", "ru+m7"),
        *_flite("slt", "awb", "rms", "kal16"),
        *_robots("en", "en-us", "en-gb+m3"),
    ),
    words={
        "ru": ("yes", "no", "next", "back", "оператор", "повторите"),
        "en": ("yes", "no", "next", "back", "operator", "repeat"),
    },
    others={
        "ru": ("спасибо", "хорошо", "алло", "перезвоните завтра", "сколько", "вода"),
        "en": ("thank you", "hello", "call me tomorrow", "maybe", "how much", "water"),
    },
    people=_filed(NUMBERS, ""),
    people_else=tuple(f"mon-{month}" for month in range(6)),
    seed=3,
)
CALIBRATION: Final = Part(
    voices=(
        _FESTIVAL,
        *_robots("ru", "ru", "ru+m3", "ru-lv+m4", "ru+f3"),
        *_flite("kal"),
        *_robots("en", "en-us+f3", "en-gb", "en-us+m5"),
    ),
    words={
        "ru": ("yes", "no", "next", "back", "менеджер", "отмена", "подробнее", "согласен"),
        "en": ("yes", "no", "next", "back", "agent", "cancel", "details", "agree"),
    },
    others={
        "ru": ("привет", "кто это", "подождите", "не знаю", "я занят", "два", "надо", "пока", "свет"),
        "en": (
            "hi there",
            "who is this",
            "wait",
            "i don't know",
            "i am busy",
            "two",
            "know it",
            "now",
            "bag",
        ),
    },
    people=_filed(_DAYS, "day-"),
    people_else=tuple(f"mon-{month}" for month in range(6, 12)),
    seed=4,
)


def utterances(
    part: Part, install: AsteriskInstall, espeak: Espeak, *, voices: int, words: int, noises: int
) -> Iterator[Said]:
    """The set, at most so many voices a language, of each list at most so many words, and so many noises."""
    with tempfile.TemporaryDirectory() as room:
        for language in ("ru", "en"):
            there = [voice for voice in speakers(part.voices) if voice.language == language]
            for number, voice in enumerate(_spread(there, voices)):
                kind = "robots" if voice.engine == "espeak-ng" else "voices"
                listened = part.words[language]
                known = [(word, phrases(word, language)[0]) for word in listened[:words]]
                for word, text in [*known, *((None, text) for text in part.others[language][:words])]:
                    sound = said(voice, text, espeak, Path(room))
                    for noise in NOISE_DB[:noises]:
                        yield _cut(
                            telephone(sound, noise_db=noise, seed=part.seed * 100 + number),
                            language=language,
                            voice=f"{voice.engine} {voice.name}",
                            kind=kind,
                            noise=noise,
                            word=word,
                            text=text,
                            listened=listened,
                        )
                heard = said(voice, _PROMPT[language], espeak, Path(room))
                for noise in NOISE_DB[:noises]:
                    loud = np.frombuffer(telephone(heard, noise_db=noise, seed=part.seed), dtype="<i2")
                    played = np.clip(heard / np.abs(heard).max() * 0.4, -1, 1) * 32767
                    yield _cut(
                        (loud * _ECHO).astype("<i2").tobytes(),
                        language=language,
                        voice=f"{voice.engine} {voice.name}",
                        kind="echo",
                        noise=noise,
                        word=None,
                        text=_PROMPT[language],
                        listened=listened,
                        prompt=played.astype("<i2").tobytes(),
                    )
            yield from _people(part, install, language, words=words, noises=noises)
            yield from _nobody(part, language, few=words < len(part.words[language]))


def _spread(voices: Sequence[Speaker], count: int) -> list[Speaker]:
    """So many of them, from the first to the last."""
    step = max(1, -(-len(voices) // count))
    return list(voices[::step])


def _people(
    part: Part, install: AsteriskInstall, language: str, *, words: int, noises: int
) -> Iterator[Said]:
    """One woman a language, who recorded Asterisk's prompts."""
    directory = install.sounds.get(language)
    if directory is None:
        return
    known = part.people[language]
    for word, name in [
        *list(known.items())[: 2 * words],
        *((None, name) for name in part.people_else[:words]),
    ]:
        sound = recorded(directory / "digits" / f"{name}.wav")
        for noise in NOISE_DB[:noises]:
            yield _cut(
                telephone(sound, noise_db=noise, seed=part.seed),
                language=language,
                voice=directory.name,
                kind="people",
                noise=noise,
                word=word,
                text=word or name,
                listened=tuple(known),
            )


def _nobody(part: Part, language: str, *, few: bool) -> Iterator[Said]:
    """Lines on which nobody says anything."""
    rng = np.random.default_rng(part.seed)
    time = np.arange(RATE * 4) / RATE
    white = rng.normal(0, 1, len(time))
    sounds = {
        "silence": np.zeros(len(time)),
        "hiss": white,
        "breath": white * np.clip(np.sin(2 * np.pi * 0.7 * time), 0, 1),
        "hum": np.sin(2 * np.pi * 150 * time) + 0.5 * np.sin(2 * np.pi * 450 * time),
        "clicks": (rng.random(len(time)) < 0.0005) * 6.0,
        "ringback": np.sin(2 * np.pi * 425 * time) * (np.sin(2 * np.pi * 0.8 * time) > 0),
    }
    for name, sound in sounds.items():
        for level in _LEVELS[:1] if few else _LEVELS:
            yield _cut(
                np.clip(sound * level, -32767, 32767).astype("<i2").tobytes(),
                language=language,
                voice=name,
                kind="silence" if name == "silence" else "noise",
                noise=0.0,
                word=None,
                text=name,
                listened=part.words[language],
            )


def _cut(
    pcm: bytes,
    *,
    language: str,
    voice: str,
    kind: str,
    noise: float,
    word: str | None,
    text: str,
    listened: tuple[str, ...],
    prompt: bytes | None = None,
) -> Said:
    """As on a line."""
    cutter = Endpointer()
    cuts = (cutter.feed(pcm[at : at + FRAME]) for at in range(0, len(pcm) - FRAME + 1, FRAME))
    return Said(
        language=language,
        voice=voice,
        kind=kind,
        noise=noise,
        word=word,
        text=text,
        listened=listened,
        cuts=tuple(cut for cut in cuts if cut is not None),
        prompt=prompt,
    )
