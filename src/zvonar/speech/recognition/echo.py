"""Has the subscriber spoken, or does our own prompt come back to us? By how well the one fits into the other.

Where nobody cancels it, a line returns part of what we say. A prompt says the words that it asks for, so its echo would
choose one of them.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zvonar.speech.formats import TELEPHONE_RATE, WAV_HEADER

# Correlation with the best fitting place of the prompt, 0 to 1. An echo has more, even with noise 10 dB below it;
# people have less than 0.5, and the prompt's own voice hardly more unless it says one of the same words.
_ECHO: Final = 0.75
_BAND: Final = (300.0, 3400.0)  # Hz that a line returns
_LONGEST: Final = 120 * TELEPHONE_RATE  # samples of a prompt that are looked through
_FEWEST: Final = 800  # samples that tell anything: 100 ms


class Prompt:
    """What we are saying, as it may come back."""

    def __init__(self, pcm: bytes) -> None:
        self._sound = _sound(pcm)

    @classmethod
    def read(cls, clip: Path) -> "Prompt":
        """From a clip: WAV of 8 kHz, mono, 16 bits. Raises OSError."""
        with clip.open("rb") as file:
            return cls(file.read(WAV_HEADER + 2 * _LONGEST)[WAV_HEADER:])

    def echoed(self, pcm: bytes) -> bool:
        """Whether this utterance, s16le at 8 kHz, is a part of it."""
        heard = _trimmed(_sound(pcm))
        if len(heard) < _FEWEST or len(self._sound) < _FEWEST:
            return False
        return _likeness(heard, self._sound) >= _ECHO


def _likeness(part: NDArray[np.float64], whole: NDArray[np.float64]) -> float:
    """The largest correlation of `part` with any place of `whole`, silence around that included; 0 to 1."""
    around = np.pad(whole, len(part))
    size = 1 << (len(around) + len(part)).bit_length()
    spectrum = np.fft.rfft(around, size) * np.conj(np.fft.rfft(part, size))
    product = np.fft.irfft(spectrum, size)[: len(around) - len(part) + 1]
    summed = np.concatenate([[0.0], np.cumsum(around * around)])
    power = summed[len(part) :] - summed[: -len(part)]
    # A place that is nearly silent fits nothing, however it correlates.
    least = 1e-3 * power.max()
    if least <= 0:
        return 0.0
    fits = np.abs(product) / np.sqrt(np.maximum(power, least) * max(float(part @ part), 1e-9))
    return float(fits.max())


def _sound(pcm: bytes) -> NDArray[np.float64]:
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float64)
    if not len(samples):
        return samples
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1 / TELEPHONE_RATE)
    spectrum[(frequency < _BAND[0]) | (frequency > _BAND[1])] = 0
    return np.fft.irfft(spectrum, len(samples))


def _trimmed(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """From where it is loud to where it is not any more: what stands around an utterance is the line's own noise."""
    if not len(sound):
        return sound
    loud = np.flatnonzero(np.abs(sound) > 0.2 * np.abs(sound).max())
    return sound[loud[0] : loud[-1] + 1] if len(loud) else sound[:0]
