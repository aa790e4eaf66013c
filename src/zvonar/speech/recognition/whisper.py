"""What does whisper make of a sound? `python -m zvonar.speech.recognition.whisper MODEL` is one recogniser.

A closed set is scored, not decoded: each phrase's tokens are aligned with the sound, and their probabilities say how
well it fits. The encoder looks at as much as was said instead of at half a minute, which is what makes it quick.
"""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

from zvonar.speech.numerals import in_digits
from zvonar.speech.recognition import wire
from zvonar.speech.recognition.wire import (
    Answer,
    Failed,
    Ready,
    Request,
    Score,
    Scores,
    Segment,
    Transcribe,
    Transcribed,
)

NICE: Final = 5  # calls that talk go before words
_RATE: Final = 16_000
_HOP: Final = 160  # samples of a frame of features
# How a sound is looked at: as it is and a tenth slower, with so many seconds of near silence on either side. A word
# that begins at once is not heard, one in an unlucky place of the window is not either, and hasty ones are understood
# better slowly. Of two views the better one counts.
_VIEWS: Final = ((1.0, 0.4), (0.9, 0.6))
# How much of what a phrase scores where nothing is said is taken off its score: a phrase that the model expects
# anyway, or one whose last letters follow from its first, fits every sound.
_EXPECTED: Final = 0.8
# What is added to a phrase that the model writes down by itself, asked for nothing: among all the words that there are
# it seldom falls upon one of ours by chance.
_AGREES: Final = 1.5
_WRITES: Final = (
    24  # twice the tokens of what is written at most: CTranslate2 keeps half for what goes before
)
_NOTHING: Final = (0.001, 0.01, 0.05)  # levels of the noise in which nothing is said, of 1
_NOTHING_SECONDS: Final = 1.5
_KNOWN: Final = 4096  # phrases of which that is remembered
_FULL: Final = 3000  # frames that the encoder takes at most
_LEVEL: Final = 0.5  # peak that a sound is raised to


class _Heard(NamedTuple):
    """A sound as the encoder sees it."""

    encoded: Any
    frames: int  # of the encoder, 20 ms each


class Whisper:
    """One model in this process."""

    def __init__(self, model: Path) -> None:
        from faster_whisper import WhisperModel

        self._model: Any = WhisperModel(
            str(model), device="cpu", compute_type="int8", cpu_threads=1, num_workers=1, local_files_only=True
        )
        self._anyway: dict[tuple[int, ...], float] = {}  # by start and ways of a phrase

    def scores(self, request: Score) -> Scores:
        """How well each phrase fits."""
        tokenizer = self._tokenizer(_known(request.language))
        start = list(tokenizer.sot_sequence)
        written = [
            tuple(tokenizer.encode(f" {way}") for way in _ways(phrase, request.language))
            for phrase in request.phrases
        ]
        views = [self._heard(_padded(_sound(request.pcm, pace), pad)) for pace, pad in _VIEWS]
        fits = [max(self._fit(heard, start, ways) for heard in views) for ways in written]
        expected = self._expected(start, written)
        heard = self._written_down(views[0], tokenizer, most=_WRITES)
        return Scores(
            scores=[
                fit - _EXPECTED * anyway + _AGREES * agrees(heard, _ways(phrase, request.language))
                for fit, anyway, phrase in zip(fits, expected, request.phrases, strict=True)
            ]
        )

    def decoded(self, pcm: bytes, language: str) -> str:
        """What somebody who knows of no words would hear: what scoring has to be better than."""
        _, pad = _VIEWS[0]
        return self._written_down(
            self._heard(_padded(_sound(pcm), pad)), self._tokenizer(_known(language)), most=40
        )

    def _written_down(self, heard: _Heard, tokenizer: Any, *, most: int) -> str:
        [found] = self._model.model.generate(
            heard.encoded,
            [[*tokenizer.sot_sequence, tokenizer.no_timestamps]],
            beam_size=1,
            max_length=most,
            no_repeat_ngram_size=3,
        )
        return str(tokenizer.decode(found.sequences_ids[0]))

    def _tokenizer(self, language: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(self._model.hf_tokenizer, multilingual=True, task="transcribe", language=language)

    def _heard(self, sound: NDArray[np.float32]) -> _Heard:
        frames = min(len(sound) // _HOP, _FULL) // 2 * 2
        return _Heard(
            encoded=self._model.encode(self._model.feature_extractor(sound)[:, :frames]), frames=frames // 2
        )

    def _fit(self, heard: _Heard, start: list[int], ways: Sequence[list[int]]) -> float:
        """How probable the tokens are, of the way that fits best.

        Between the sum of their logarithms, which is hard on long words, and the mean, which is on short ones. `align`
        itself adds what stands between `start` and a text, and the end behind it.
        """
        found = -math.inf
        for tokens in ways:
            for fit in self._model.model.align(heard.encoded, start, [tokens], heard.frames):
                logs = np.log(np.array(fit.text_token_probs) + 1e-10)
                found = max(found, float(logs.sum()) / math.sqrt(len(logs)))
        return found

    def _expected(self, start: list[int], written: Sequence[tuple[list[int], ...]]) -> list[float]:
        """What the phrases score where nothing is said; looked for once."""
        keys = [(*start, -1, *(token for way in ways for token in way)) for ways in written]
        missing = {key: ways for key, ways in zip(keys, written, strict=True) if key not in self._anyway}
        if missing:
            nothing = [self._heard(_noise(level, _NOTHING_SECONDS)) for level in _NOTHING]
            if len(self._anyway) + len(missing) > _KNOWN:
                self._anyway.clear()
            for key, ways in missing.items():
                self._anyway[key] = sum(self._fit(heard, start, ways) for heard in nothing) / len(nothing)
        return [self._anyway[key] for key in keys]

    def transcribed(self, request: Transcribe) -> Transcribed:
        """What was said, with its times."""
        segments, _ = self._model.transcribe(
            _sound(request.pcm),
            language=request.language and _known(request.language),
            temperature=0,  # falling back to others takes a minute for ten seconds that nobody understands
            beam_size=1,
            condition_on_previous_text=False,
            vad_filter=True,
            max_new_tokens=200,
        )
        return Transcribed(
            segments=[
                Segment(start=round(one.start, 2), end=round(one.end, 2), text=one.text.strip())
                for one in segments
                if one.text.strip()
            ]
        )


def _known(language: str) -> str:
    return language.lower().replace("_", "-").partition("-")[0]


def _ways(phrase: str, language: str) -> list[str]:
    """How a lone phrase may be written: the model has seen sentences, other words and, for numbers, digits."""
    digits = in_digits(phrase, language)
    return [phrase, phrase.capitalize(), *([digits] if digits is not None else [])]


def agrees(heard: str, ways: Sequence[str]) -> bool:
    """Whether one of these ways, and nothing else, was written down; once or several times."""
    said = _words(heard)
    return any(said == way * (len(said) // len(way)) for way in map(_words, ways) if said and way)


def _words(text: str) -> list[str]:
    plain = text.lower().replace("ё", "е")
    return "".join(letter if letter.isalnum() else " " for letter in plain).split()


def _sound(pcm: bytes, pace: float = 1.0) -> NDArray[np.float32]:
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(32768)
    return np.asarray(soxr.resample(samples, 8000 * pace, _RATE), dtype=np.float32)


def _padded(sound: NDArray[np.float32], pad: float) -> NDArray[np.float32]:
    peak = float(np.abs(sound).max()) if len(sound) else 0.0
    quiet = _noise(0.001, pad)
    raised = sound * np.float32(_LEVEL / peak) if peak > 1e-3 else sound
    return np.concatenate([quiet, raised, quiet])


def _noise(level: float, seconds: float) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, level, int(seconds * _RATE)).astype(np.float32)


def answer(whisper: Whisper, request: Request) -> Answer:
    """What a request gets, whatever the model makes of it."""
    try:
        if isinstance(request, Score):
            return whisper.scores(request)
        return whisper.transcribed(request)
    except (
        Exception
    ) as exc:  # one sound that it chokes on must not cost the process, which takes seconds to load
        return Failed(error=type(exc).__name__)


def serve(model: Path, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more requests."""
    whisper = Whisper(model)
    answers.write(wire.framed(Ready()))
    answers.flush()
    while head := requests.read(wire.HEAD):
        request = wire.decode_request(requests.read(wire.length(head)))
        answers.write(wire.framed(answer(whisper, request)))
        answers.flush()


def main() -> None:
    """Serve this process's standard streams; what libraries print goes to standard error."""
    os.nice(NICE)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(Path(sys.argv[1]), sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
