"""What does whisper make of a sound? `python -m zvonar.speech.recognition.whisper MODEL` is one recogniser.

A closed set is scored, not decoded: each phrase's tokens are aligned with the sound, and their probabilities say how
well it fits. The encoder looks at as much as was said instead of at half a minute, which is what makes it quick.
"""

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

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
_PAD: Final = 0.4  # seconds of near silence on either side: a word that begins at once is not heard
_FULL: Final = 3000  # frames that the encoder takes at most
_LEVEL: Final = 0.5  # peak that a sound is raised to


class Whisper:
    """One model in this process."""

    def __init__(self, model: Path) -> None:
        from faster_whisper import WhisperModel

        self._model: Any = WhisperModel(
            str(model), device="cpu", compute_type="int8", cpu_threads=1, num_workers=1, local_files_only=True
        )

    def scores(self, request: Score, *, free: bool = False) -> Scores:
        """How well each phrase fits. `free`: decode as well, for comparison."""
        from faster_whisper.tokenizer import Tokenizer

        sound = _padded(_sound(request.pcm))
        tokenizer = Tokenizer(
            self._model.hf_tokenizer, multilingual=True, task="transcribe", language=_known(request.language)
        )
        start = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        frames = min(len(sound) // _HOP, _FULL) // 2 * 2
        encoded = self._model.encode(self._model.feature_extractor(sound)[:, :frames])
        found = []
        for phrase in request.phrases:
            # A lone word is written in two ways; the model has seen both.
            written = [tokenizer.encode(f" {phrase}"), tokenizer.encode(f" {phrase.capitalize()}.")]
            found.append(
                max(
                    float(np.log(np.array(fit.text_token_probs) + 1e-10).mean())
                    for tokens in written
                    for fit in self._model.model.align(encoded, start, [tokens], frames // 2)
                )
            )
        heard = ""
        if free:
            decoded = self._model.model.generate(
                encoded, [start], beam_size=1, max_length=40, no_repeat_ngram_size=3
            )
            heard = tokenizer.decode(decoded[0].sequences_ids[0])
        return Scores(scores=found, heard=heard)

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


def _sound(pcm: bytes) -> NDArray[np.float32]:
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(32768)
    return np.asarray(soxr.resample(samples, 8000, _RATE), dtype=np.float32)


def _padded(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    peak = float(np.abs(sound).max()) if len(sound) else 0.0
    quiet = np.random.default_rng(0).normal(0, 0.001, int(_PAD * _RATE)).astype(np.float32)
    raised = sound * np.float32(_LEVEL / peak) if peak > 1e-3 else sound
    return np.concatenate([quiet, raised, quiet])


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
