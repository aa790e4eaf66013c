"""What shape must sound have before a telephone line may play it?

Asterisk plays a `.wav` of 8 kHz, mono, 16-bit PCM without transcoding to anything but the trunk's own codec.
Everything that the platform plays, spoken or uploaded, leaves here in that shape.
"""

import io
import wave
from collections.abc import Iterator
from typing import BinaryIO, ClassVar, Final

import msgspec
import numpy as np
import soundfile  # type: ignore[import-untyped]
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

from zvonar.speech import SpeechFailed

TELEPHONE_RATE: Final = 8000  # Hz
WAV_HEADER: Final = 44  # bytes before the samples in what `to_wav` writes
PEAK: Final = 10 ** (-3 / 20)  # full scale is 1.0; 3 dB are left for the codec's and the filter's overshoot
MOST_GAIN: Final = 10 ** (30 / 20)  # beyond it a quiet recording's noise would become its loudest part
SILENCE: Final = 10 ** (-60 / 20)  # a peak below it is silence
EDGE: Final = 10 ** (-46 / 20)  # of the peak: where speech is taken to begin and end
EDGE_MS: Final = 100  # silence kept at either end, so that no soft consonant is cut
BLOCK: Final = 16_384  # frames decoded at once: an hour in 8 channels need not fit in memory to be refused
MOST_CHANNELS: Final = 8
SOURCE_RATES: Final = range(4_000, 192_001)  # Hz

Samples = NDArray[np.float32]


class AudioRejected(SpeechFailed):
    """The audio file cannot be used."""

    reason: ClassVar[str] = "rejected"  # for a dialect's error table and for metric labels


class AudioEmpty(AudioRejected):
    """The audio file holds no sound: upload a recording."""

    reason = "empty"


class AudioFormatUnknown(AudioRejected):
    """The file is not audio that the platform reads: save it as WAV, MP3, OGG or FLAC, mono or stereo."""

    reason = "format"


class AudioBroken(AudioRejected):
    """The audio file is damaged: export it again from the original recording."""

    reason = "broken"


class AudioTooShort(AudioRejected):
    """The recording is too short to be heard: record a longer one."""

    reason = "too_short"


class AudioTooLong(AudioRejected):
    """The recording is longer than a call may play: cut it."""

    reason = "too_long"


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
    sound = resampled(sound)
    # Resampling overshoots a loud upload by a little: clip instead of wrapping around.
    pcm = np.clip(np.rint(sound.samples * 32768), -32768, 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(TELEPHONE_RATE)
        writer.writeframes(pcm.tobytes())
    return file.getvalue()


def wav_duration_ms(size: int) -> int:
    """How long a file of `to_wav` lasts, from its size in bytes alone."""
    return round((size - WAV_HEADER) / 2 * 1000 / TELEPHONE_RATE)


def read_upload(file: BinaryIO, *, shortest_ms: int = 100, longest_ms: int = 600_000) -> Sound:
    """A recording (WAV, MP3, OGG or FLAC; any rate; channels are mixed) as the telephone plays it.

    Its silences stay, for they may be meant. Blocking and up to a second of work: call it in a thread.
    Raises a subclass of AudioRejected.
    """
    head = file.read(12)
    file.seek(0)
    if not head:
        raise AudioEmpty
    # libsndfile opens some 25 formats; what an outsider sends meets only the decoders of the four we promise.
    if not _promised(head):
        raise AudioFormatUnknown
    try:
        with soundfile.SoundFile(file) as source:
            if source.channels > MOST_CHANNELS or source.samplerate not in SOURCE_RATES:
                raise AudioFormatUnknown(f"It has {source.channels} channels at {source.samplerate} Hz.")
            samples = _telephone_samples(source, longest_ms * TELEPHONE_RATE // 1000)
    except soundfile.LibsndfileError as error:
        raise AudioBroken(error.error_string) from error
    sound = Sound(samples=samples, rate=TELEPHONE_RATE)
    if not len(samples):
        raise AudioEmpty
    if sound.duration_ms < shortest_ms:
        raise AudioTooShort(f"It has {sound.duration_ms} ms, the least is {shortest_ms}.")
    if sound.duration_ms > longest_ms:
        raise AudioTooLong(f"The most is {longest_ms} ms.")
    return levelled(sound)


def _promised(head: bytes) -> bool:
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return True
    mpeg_frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    return head[:4] in (b"OggS", b"fLaC") or head[:3] == b"ID3" or mpeg_frame


def _telephone_samples(source: soundfile.SoundFile, most: int) -> Samples:
    """The source's samples, mixed and resampled block by block, and no further than just past `most`."""
    stream = soxr.ResampleStream(source.samplerate, TELEPHONE_RATE, 1, dtype="float32")
    parts: list[Samples] = []
    count = 0
    for block in _blocks(source):
        if not np.isfinite(block).all():
            raise AudioBroken("It has samples that are not numbers.")
        parts.append(stream.resample_chunk(block.mean(axis=1, dtype=np.float32)))
        count += len(parts[-1])
        if count > most:
            break
    parts.append(stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
    return np.concatenate(parts)


def _blocks(source: soundfile.SoundFile) -> Iterator[Samples]:
    while True:
        block = source.read(BLOCK, dtype="float32", always_2d=True)
        if not len(block):
            return
        yield block
