"""Who turns text into speech, and in how many ways can that fail?

A `Synthesiser` is real (`espeak.EspeakEngine`) or null (`NullSynthesiser`, a tone as long as the text).
"""

import re
import unicodedata
from typing import Final, Protocol

import msgspec
import numpy as np

from zvonar.core.script import MAX_TEXT
from zvonar.speech import SpeechFailed
from zvonar.speech.audio import Sound

_TAG: Final = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,4}")
_JOINERS: Final = "\u200c\u200d"  # invisible, yet they are spelling in Persian and in the Indian scripts


class SynthesisFailed(SpeechFailed):
    """The text could not be spoken."""


class NothingToSay(SynthesisFailed):
    """The text holds nothing that can be pronounced: write words or digits."""


class TextTooLong(SynthesisFailed):
    """The text is too long for one prompt: shorten it or split it."""


class MarkupUnplayable(SynthesisFailed):
    """The text's markup cannot be played: correct it, or the clips that it names."""


class UnsupportedVoice(SynthesisFailed, ValueError):
    """No engine speaks with this voice: choose a language and a voice that the engine lists."""


class SynthesisTimedOut(SynthesisFailed):
    """The speech engine did not finish before its deadline and was killed: look at the machine's load."""


class EngineDied(SynthesisFailed):
    """The speech engine did not start or ended by itself: run `zvonar doctor`."""


# What no second try makes better: the text or its voice is at fault, not the engine.
UNSPEAKABLE: Final = (NothingToSay, TextTooLong, UnsupportedVoice, MarkupUnplayable)


class Voice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a text is to sound. Raises UnsupportedVoice where a value is outside its range."""

    language: str  # BCP 47 tag: ru, en, kk, uk, pt-BR
    engine: str = "espeak-ng"  # which synthesiser speaks
    name: str | None = None  # the engine's own name of a speaker; its default for the language unless given
    rate: int = 100  # percent of the engine's usual speed, 50 to 200
    pitch: int = 100  # percent of the voice's own pitch setting, 0 to 200

    def __post_init__(self) -> None:
        if not _TAG.fullmatch(self.language):
            raise UnsupportedVoice("The language is not a tag like ru or pt-BR.")
        if not 50 <= self.rate <= 200:
            raise UnsupportedVoice(f"The rate is 50 to 200, not {self.rate}.")
        if not 0 <= self.pitch <= 200:
            raise UnsupportedVoice(f"The pitch is 0 to 200, not {self.pitch}.")


class Synthesiser(Protocol):
    def identity(self, voice: Voice) -> str:
        """Engine and version that would speak: when it changes, what was spoken before is stale."""
        ...

    async def languages(self) -> frozenset[str]:
        """Lower-case tags that it speaks."""
        ...

    async def speak(self, text: str, voice: Voice) -> Sound:
        """The text, literally, as speech. Raises SynthesisFailed and nothing else."""
        ...


class NullSynthesiser:
    """Speaks each language as a tone of 60 ms a character: for tests, and for laptops without a voice."""

    def identity(self, voice: Voice) -> str:
        return "null 1"

    async def languages(self) -> frozenset[str]:
        return frozenset({"ru", "en", "kk", "uk"})

    async def speak(self, text: str, voice: Voice) -> Sound:
        seconds = 0.06 * len(spoken_text(text)) * 100 / voice.rate
        time = np.arange(int(8000 * seconds), dtype=np.float32) / np.float32(8000)
        return Sound(samples=np.sin(time * np.float32(2 * np.pi * 440)) / np.float32(2), rate=8000)


def spoken_text(text: str) -> str:
    """The text as engines get it and the cache keys it: composed, one space where there was white space.

    Control characters (some are commands to an engine), lone surrogates and private characters separate
    words; invisible formatting (soft hyphens, directions) vanishes. Raises TextTooLong, NothingToSay.
    """
    if len(text) > MAX_TEXT:
        raise TextTooLong(f"It has {len(text)} characters, the most is {MAX_TEXT}.")
    visible = "".join(map(_visible, text))
    folded = " ".join(unicodedata.normalize("NFC", visible).split())
    if not folded:
        raise NothingToSay
    return folded


def _visible(character: str) -> str:
    match unicodedata.category(character):
        case "Cc" | "Cs" | "Co":
            return " "
        case "Cf":
            return character if character in _JOINERS else ""
        case _:
            return character
