"""Which audio files do we take, and what may be wrong with one? Known without decoding, and without a decoder."""

from typing import ClassVar, Final

from zvonar.speech import SpeechFailed

TELEPHONE_RATE: Final = 8000  # Hz
WAV_HEADER: Final = 44  # bytes before the samples in what we write
HEAD: Final = 12  # bytes that tell a file's format
LONGEST_MS: Final = 30 * 60_000  # of an upload; a call may last an hour
LARGEST: Final = (
    32 * 1024 * 1024
)  # bytes of an upload: half an hour at 128 kbit/s, or in the telephone's own WAV

# Suffix → what HTTP calls it. The suffix is what we found in the file, never what it was named.
CONTENT_TYPES: Final = {"wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg", "flac": "audio/flac"}


class AudioRejected(SpeechFailed):
    """The audio file cannot be used."""

    reason: ClassVar[str] = "rejected"  # for a dialect's error table and for metric labels


class AudioEmpty(AudioRejected):
    """The audio file holds no sound: upload a recording."""

    reason = "empty"


class AudioTooLarge(AudioRejected):
    """The audio file is too large: save it as MP3, or cut it."""

    reason = "too_large"


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


class AudioTooCostly(AudioRejected):
    """The audio file takes too much work to decode: save it as WAV or MP3, mono, at 8 to 48 kHz."""

    reason = "too_costly"


REJECTIONS: Final = (
    AudioEmpty,
    AudioTooLarge,
    AudioFormatUnknown,
    AudioBroken,
    AudioTooShort,
    AudioTooLong,
    AudioTooCostly,
)


def suffix_of(head: bytes) -> str | None:
    """The format that a file's first `HEAD` bytes claim; None for all that we do not promise to read.

    WAV (any coding that libsndfile reads), MP3, OGG (Vorbis, Opus, FLAC) and FLAC. AAC in MP4 (`.m4a`) is not among
    them: libsndfile has no decoder for it.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"fLaC":
        return "flac"
    mpeg_frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    return "mp3" if mpeg_frame or head[:3] == b"ID3" else None


def wav_duration_ms(size: int) -> int:
    """How long a telephone's WAV lasts, from its size in bytes alone."""
    return round((size - WAV_HEADER) / 2 * 1000 / TELEPHONE_RATE)
