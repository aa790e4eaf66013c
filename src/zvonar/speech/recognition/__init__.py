"""Who tells which of a few words was said, and in how many ways can that fail?

A `Recogniser` is real (`pool.Pool` with whisper behind it) or null (`NullRecogniser`, which understands nothing).
"""

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from zvonar.speech import SpeechFailed

# How much better a word has to fit than it fits where nothing is said (see `whisper`), and by how much better than the
# next one. The highest that cost people and human voices nothing on the part of the set of `bench words` that it does
# not measure: a wrong action on a call is worse than a question asked again.
THRESHOLD: Final = 2.3
MARGIN: Final = 0.8

# How a meaning is said. Few words each: every one costs time, and is one more to be mistaken for.
_MEANINGS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "yes": {"ru": ("да",), "en": ("yes",), "uk": ("так",), "kk": ("иә",)},
    "no": {"ru": ("нет",), "en": ("no",), "uk": ("ні",), "kk": ("жоқ",)},
    "next": {"ru": ("дальше", "далее"), "en": ("next",), "uk": ("далі",), "kk": ("келесі",)},
    "back": {"ru": ("назад",), "en": ("back",), "uk": ("назад",), "kk": ("артқа",)},
}


class RecognitionFailed(SpeechFailed):
    """The words could not be recognised."""


class RecogniserBusy(RecognitionFailed):
    """All recognisers were busy for as long as one may wait."""


class RecogniserDied(RecognitionFailed):
    """A recogniser ended or did not answer in time: look at the model and at the machine's load."""


class Recogniser(Protocol):
    async def choose(self, pcm: bytes, words: Collection[str], *, language: str) -> str | None:
        """The word that was said; None for none of them. Raises RecognitionFailed and nothing else.

        `pcm`: one utterance, signed 16-bit little-endian at 8 kHz. `words`: as `line.ears` has them.
        """
        ...


class NullRecogniser:
    """Understands nothing: for laptops without a model."""

    async def choose(self, pcm: bytes, words: Collection[str], *, language: str) -> str | None:
        return None


def phrases(word: str, language: str) -> tuple[str, ...]:
    """How a word is said: itself, or what its meaning is in the language."""
    tag = language.lower().replace("_", "-").partition("-")[0]
    return _MEANINGS.get(word, {}).get(tag) or (word,)


def chosen(scores: Mapping[str, float]) -> str | None:
    """The word that these scores speak for; None where they speak for none, or for two of them."""
    ranked = sorted(scores.items(), key=lambda item: item[1], reverse=True)
    if not ranked or ranked[0][1] < THRESHOLD:
        return None
    if len(ranked) > 1 and ranked[0][1] - ranked[1][1] < MARGIN:
        return None
    return ranked[0][0]
