"""What shape must sound have before a telephone line may play it?

Asterisk plays a `.wav` of 8 kHz, mono, 16-bit PCM without transcoding to anything but the trunk's own codec.
Everything that the platform plays, spoken or uploaded, leaves here in that shape.
"""

import io
import wave
from typing import BinaryIO, Final

import msgspec
import numpy as np
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

from zvonar.speech.formats import TELEPHONE_RATE

PEAK: Final = 10 ** (-3 / 20)  # full scale is 1.0; 3 dB are left for the codec's and the filter's overshoot
MOST_GAIN: Final = 10 ** (30 / 20)  # beyond it a quiet recording's noise would become its loudest part
SILENCE: Final = 10 ** (-60 / 20)  # a peak below it is silence
EDGE: Final = 10 ** (-46 / 20)  # of the peak: where speech is taken to begin and end
EDGE_MS: Final = 100  # silence kept at either end, so that no soft consonant is cut
BLOCK: Final = 16_384  # samples written at once

Samples = NDArray[np.float32]


class Sound(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    samples: Samples  # one channel, full scale is ±1.0
    rate: int  # Hz

    @property
    def duration_ms(self) -> int:
        return round(len(self.samples) * 1000 / self.rate)

    @property
    def peak(self) -> float:
        return float(np.abs(self.samples).max()) if len(self.samples) else 0.0


def from_pcm(pcm: bytes, rate: int) -> Sound:
    """Signed 16-bit little-endian mono, as speech engines give it; an odd last byte is half a sample."""
    whole = np.frombuffer(pcm, dtype="<i2", count=len(pcm) // 2)
    return Sound(samples=whole.astype(np.float32) / np.float32(32768), rate=rate)


def resampled(sound: Sound) -> Sound:
    """The same sound at the telephone's rate."""
    if sound.rate == TELEPHONE_RATE:
        return sound
    samples = soxr.resample(sound.samples, sound.rate, TELEPHONE_RATE)
    return Sound(samples=np.asarray(samples, dtype=np.float32), rate=TELEPHONE_RATE)


def trimmed(sound: Sound) -> Sound:
    """The sound without the silence at its ends, save for `EDGE_MS`; no samples at all if it is silent."""
    peak = sound.peak
    if peak < SILENCE:
        return Sound(samples=sound.samples[:0], rate=sound.rate)
    loud = np.flatnonzero(np.abs(sound.samples) >= peak * EDGE)
    margin = sound.rate * EDGE_MS // 1000
    return Sound(
        samples=sound.samples[max(0, int(loud[0]) - margin) : int(loud[-1]) + 1 + margin], rate=sound.rate
    )


def levelled(sound: Sound) -> Sound:
    """The sound with its peak at -3 dBFS, so that prompts of all origins are equally loud; silence stays."""
    peak = sound.peak
    if peak < SILENCE:
        return sound
    gain = np.float32(min(PEAK / peak, MOST_GAIN))
    return Sound(samples=sound.samples * gain, rate=sound.rate)


def to_wav(sound: Sound) -> bytes:
    """A whole WAV file: 44 bytes of header and 16-bit PCM at the telephone's rate."""
    file = io.BytesIO()
    write_wav(sound, file)
    return file.getvalue()


def write_wav(sound: Sound, file: BinaryIO) -> None:
    """That WAV into a file, block by block: half an hour need not be in memory three times."""
    sound = resampled(sound)
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(TELEPHONE_RATE)
        writer.setnframes(len(sound.samples))
        for start in range(0, len(sound.samples), BLOCK):
            block = sound.samples[start : start + BLOCK]
            # Resampling overshoots a loud upload by a little: clip instead of wrapping around.
            pcm = np.clip(np.rint(block * 32768), -32768, 32767).astype("<i2")
            writer.writeframesraw(pcm.tobytes())
