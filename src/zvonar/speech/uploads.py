"""How does a recording that somebody brought sound on the telephone? Decoded within bounds, or rejected by name."""

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import BinaryIO, Final

import numpy as np
import soundfile  # type: ignore[import-untyped]
import soxr  # type: ignore[import-untyped]

from zvonar.speech.audio import Samples, Sound, levelled
from zvonar.speech.formats import (
    HEAD,
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

BLOCK: Final = 16_384  # frames decoded at once: an hour in 8 channels need not fit in memory to be refused
LOUDEST: Final = 1e10  # full scale is 1.0, but some programs write 32-bit integers as floating-point numbers
MOST_CHANNELS: Final = 8
SOURCE_RATES: Final = range(4_000, 192_001)  # Hz
MOST_SAMPLES: Final = 2 * 48_000 * LONGEST_MS // 1000  # of all channels: the longest upload in 48 kHz stereo
SLACK_MS: Final = 100  # MP3 and OGG pad to whole frames
COUNTED_LEAST: Final = 0.98  # of the frames that an encoder counted must be there
WAV_SLACK: Final = 64  # bytes by which writers of WAV miscount

_UNKNOWN: Final = 1 << 62  # libsndfile's number of frames where a file does not say
_PIECE: Final = 1 << 16


def read_upload(file: BinaryIO, *, shortest_ms: int = 100, longest_ms: int = LONGEST_MS) -> Sound:
    """A recording (WAV, MP3, OGG or FLAC; any rate; channels are mixed) as the telephone plays it.

    Its silences stay, for they may be meant. Blocking, and seconds of work for a long one: `converter` has a process
    for it. Raises a subclass of AudioRejected.
    """
    head = file.read(HEAD)
    if not head:
        raise AudioEmpty
    # libsndfile opens some 25 formats; what an outsider sends meets only the decoders of the four we promise.
    suffix = suffix_of(head)
    if suffix is None:
        raise AudioFormatUnknown
    # What is cut off plays all the same, up to the middle of a sentence. OGG has no length to check.
    if suffix == "wav" and _cut_off(head, file.seek(0, io.SEEK_END)):
        raise AudioBroken("It is cut off.")
    tags = _tags(head)
    counted = suffix == "mp3" and _is_counted(file, tags)
    # Where nobody counted its frames, libsndfile estimates an MP3 by its first one and reads no further. From a pipe it
    # cannot estimate and reads to the end.
    estimated = suffix == "mp3" and not counted
    file.seek(tags if estimated else 0)
    try:
        with (
            _piped(file) if estimated else nullcontext(file) as readable,
            _Source(readable, closefd=False) as source,
        ):
            if source.channels > MOST_CHANNELS or source.samplerate not in SOURCE_RATES:
                raise AudioFormatUnknown(f"It has {source.channels} channels at {source.samplerate} Hz.")
            if source.frames < _UNKNOWN:
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


class _Source(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read once, from its beginning to its end."""

    def seekable(self) -> bool:
        # Else every read is followed by a seek to where it ended, which fails in a FLAC that does not say its length.
        return False


def _cut_off(head: bytes, size: int) -> bool:
    """Whether a WAV says that it is longer than it is; who wrote it into a pipe could not know, and says 0 or most."""
    said = int.from_bytes(head[4:8], "little")
    return 0 < said < 0x7FFFFFF0 and said + 8 > size + WAV_SLACK


def _tags(head: bytes) -> int:
    """How many bytes of tags an MP3 begins with."""
    if head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return len(b"ID3") + 7 + size


def _is_counted(file: BinaryIO, tags: int) -> bool:
    """Whether an MP3 has its encoder's count of frames behind its tags."""
    file.seek(tags)
    first = file.read(256)
    return b"Xing" in first or b"Info" in first


@contextmanager
def _piped(file: BinaryIO) -> Iterator[int]:
    """A descriptor from which the rest of the file can be read once."""
    reading, writing = os.pipe()

    def pump() -> None:
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
            while piece := file.read(_PIECE):
                pipe.write(piece)

    pumping = threading.Thread(target=pump, name="upload")
    pumping.start()
    try:
        yield reading
    finally:
        os.close(reading)
        pumping.join()


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
