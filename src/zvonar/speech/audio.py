"""What shape must sound have before a telephone line may play it?

Asterisk plays a `.wav` of 8 kHz, mono, 16-bit PCM without transcoding to anything but the trunk's own codec.
Everything that the platform plays, spoken or uploaded, leaves here in that shape.
"""

import io
import wave
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec
import numpy as np
import soundfile  # type: ignore[import-untyped]
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

from zvonar.speech.formats import (
    LONGEST_MS,
    TELEPHONE_RATE,
    AudioBroken,
    AudioEmpty,
    AudioFormatUnknown,
    AudioTooCostly,
    AudioTooLong,
    AudioTooShort,
    suffix_of,
)

PEAK: Final = 10 ** (-3 / 20)  # full scale is 1.0; 3 dB are left for the codec's and the filter's overshoot
MOST_GAIN: Final = 10 ** (30 / 20)  # beyond it a quiet recording's noise would become its loudest part
SILENCE: Final = 10 ** (-60 / 20)  # a peak below it is silence
EDGE: Final = 10 ** (-46 / 20)  # of the peak: where speech is taken to begin and end
EDGE_MS: Final = 100  # silence kept at either end, so that no soft consonant is cut
BLOCK: Final = 16_384  # frames decoded at once: an hour in 8 channels need not fit in memory to be refused
LOUDEST: Final = 1e10  # full scale is 1.0, but some programs write 32-bit integers as floating-point numbers
MOST_CHANNELS: Final = 8
SOURCE_RATES: Final = range(4_000, 192_001)  # Hz
MOST_SAMPLES: Final = 2 * 48_000 * LONGEST_MS // 1000  # of all channels: the longest upload in 48 kHz stereo
TAGGED: Final = 1 << 18  # bytes within which an MP3 has its encoder's count, behind any picture of its tags
COUNTED_LEAST: Final = 0.98  # of the counted samples must be there
WAV_SLACK: Final = 64  # bytes by which writers miscount
SLACK_MS: Final = 100  # MP3 and OGG pad to whole frames

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


def read_upload(file: BinaryIO, *, shortest_ms: int = 100, longest_ms: int = LONGEST_MS) -> Sound:
    """A recording (WAV, MP3, OGG or FLAC; any rate; channels are mixed) as the telephone plays it.

    Its silences stay, for they may be meant. Blocking, and seconds of work for a long one: `converter` has a process
    for it. Raises a subclass of AudioRejected.
    """
    head = file.read(TAGGED)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if not head:
        raise AudioEmpty
    # libsndfile opens some 25 formats; what an outsider sends meets only the decoders of the four we promise.
    suffix = suffix_of(head)
    if suffix is None:
        raise AudioFormatUnknown
    # What is cut off plays all the same, up to the middle of a sentence. OGG has no length to check.
    if suffix == "wav" and _cut_off(head, size):
        raise AudioBroken("It is cut off.")
    counted = suffix == "mp3" and (b"Xing" in head or b"Info" in head)
    try:
        with soundfile.SoundFile(file) as source:
            if source.channels > MOST_CHANNELS or source.samplerate not in SOURCE_RATES:
                raise AudioFormatUnknown(f"It has {source.channels} channels at {source.samplerate} Hz.")
            # By what the header says, before anything is decoded: hours of silence fit into a small file.
            if source.frames * 1000 > (longest_ms + SLACK_MS) * source.samplerate:
                raise AudioTooLong(f"The most is {longest_ms} ms.")
            if source.frames * source.channels > MOST_SAMPLES:
                raise AudioTooCostly
            samples = _telephone_samples(source, longest_ms * TELEPHONE_RATE // 1000, counted=counted)
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


def _cut_off(head: bytes, size: int) -> bool:
    """Whether a WAV says that it is longer than it is; who wrote it into a pipe could not know, and says 0 or most."""
    said = int.from_bytes(head[4:8], "little")
    return 0 < said < 0x7FFFFFF0 and said + 8 > size + WAV_SLACK


def _telephone_samples(source: soundfile.SoundFile, most: int, *, counted: bool) -> Samples:
    """The source's samples, mixed and resampled block by block, and no further than just past `most`.

    `counted`: whether the source's own number of frames was counted by its encoder, rather than estimated.
    """
    stream = soxr.ResampleStream(source.samplerate, TELEPHONE_RATE, 1, dtype="float32")
    parts: list[Samples] = []
    count = decoded = 0
    for block in _blocks(source):
        if not np.abs(block).max() < LOUDEST:  # not a number is not below it, either
            raise AudioBroken("It has samples that are no sound.")
        decoded += block.size
        if decoded > MOST_SAMPLES:
            raise AudioTooCostly
        parts.append(stream.resample_chunk(block.mean(axis=1, dtype=np.float32)))
        count += len(parts[-1])
        if count > most:
            raise AudioTooLong(f"The most is {most * 1000 // TELEPHONE_RATE} ms.")
    parts.append(stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
    if counted and decoded < source.frames * source.channels * COUNTED_LEAST:
        raise AudioBroken("It is cut off.")
    return np.concatenate(parts)


def _blocks(source: soundfile.SoundFile) -> Iterator[Samples]:
    while True:
        block = source.read(BLOCK, dtype="float32", always_2d=True)
        if not len(block):
            return
        yield block
