"""What may somebody upload? Sound in every format that we promise, and files that only look like it."""

import io

import numpy as np
import soundfile  # type: ignore[import-untyped]
from numpy.typing import NDArray


def sine(seconds: float, rate: int = 8000, level: float = 0.5) -> NDArray[np.float32]:
    """A tone of 440 Hz."""
    time = np.arange(round(rate * seconds), dtype=np.float32) / np.float32(rate)
    return np.sin(time * np.float32(2 * np.pi * 440)) * np.float32(level)


def sound(
    seconds: float = 1.0,
    *,
    rate: int = 8000,
    channels: int = 1,
    container: str = "WAV",
    subtype: str | None = None,
    samples: NDArray[np.float32] | None = None,
) -> bytes:
    """A file with a tone, or with these samples."""
    mono = sine(seconds, rate) if samples is None else samples
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, channels, format=container, subtype=subtype) as writing:
        # In small blocks: libsndfile's Vorbis encoder crashes on large ones.
        for start in range(0, len(mono), 4096):
            writing.write(np.repeat(mono[start : start + 4096, None], channels, axis=1))
    return file.getvalue()


def silence(seconds: int, *, rate: int = 8000, channels: int = 1) -> bytes:
    """Much time in few bytes: a FLAC of nothing."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, channels, format="FLAC") as writing:
        second = np.zeros((rate, channels), dtype=np.int16)
        for _ in range(seconds):
            writing.write(second)
    return file.getvalue()
