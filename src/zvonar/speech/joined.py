"""How do several sounds become one prompt? One after the other, with silence where a pause was asked for."""

import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct

from zvonar.speech.audio import Samples, Sound
from zvonar.speech.files import ClipNotStored
from zvonar.speech.formats import TELEPHONE_RATE, AudioTooLong

LONGEST: Final = 1800 * TELEPHONE_RATE  # samples of a prompt, as of an upload


class Piece(Struct, frozen=True, kw_only=True):
    """A part of a prompt that is there already: a file, or silence."""

    name: str  # what its content is known by
    path: Path | None = None  # a WAV as the telephone plays it
    silence: float = 0.0  # seconds
    volume: float = 1.0


def joined(pieces: Sequence[Piece]) -> Sound:
    """The sound of all of them. Reads files; call it in a thread. Raises ClipNotStored, AudioTooLong."""
    sounds: list[Samples] = []
    total = 0
    for piece in pieces:
        if piece.path is None:
            samples = np.zeros(round(piece.silence * TELEPHONE_RATE), dtype=np.float32)
        else:
            samples = _read(piece.path) * np.float32(piece.volume)
        total += len(samples)
        if total > LONGEST:
            raise AudioTooLong
        sounds.append(samples)
    return Sound(samples=np.concatenate(sounds), rate=TELEPHONE_RATE)


def _read(path: Path) -> Samples:
    try:
        with wave.open(str(path), "rb") as reader:
            pcm = reader.readframes(reader.getnframes())
    except (OSError, wave.Error, EOFError) as exc:
        raise ClipNotStored(type(exc).__name__) from exc
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(32768)
