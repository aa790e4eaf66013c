"""What do we and a recogniser's process say to each other? Length-prefixed messages over its standard streams."""

import struct
from typing import Final

import msgspec
from msgspec import Struct

_LENGTH: Final = struct.Struct("<I")
HEAD: Final = _LENGTH.size
MOST: Final = 64 << 20  # bytes of one message


class Score(Struct, frozen=True, kw_only=True, tag=True):
    """How well does each phrase fit this utterance?"""

    pcm: bytes  # s16le, 8 kHz
    language: str
    phrases: list[str]


class Transcribe(Struct, frozen=True, kw_only=True, tag=True):
    """What is said in this sound?"""

    pcm: bytes  # s16le, 8 kHz
    language: str | None


class Scores(Struct, frozen=True, kw_only=True, tag=True):
    """How well each phrase fits beyond how well it fits nothing, by logarithms of probabilities."""

    scores: list[float]


class Segment(Struct, frozen=True, kw_only=True):
    """A stretch of speech."""

    start: float  # seconds
    end: float  # seconds
    text: str


class Transcribed(Struct, frozen=True, kw_only=True, tag=True):
    segments: list[Segment]


class Failed(Struct, frozen=True, kw_only=True, tag=True):
    """It could not be done."""

    error: str  # class of the exception


class Ready(Struct, frozen=True, kw_only=True, tag=True):
    """The model is loaded."""


Request = Score | Transcribe
Answer = Ready | Scores | Transcribed | Failed

_encode = msgspec.msgpack.encode
decode_request = msgspec.msgpack.Decoder(Request).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode


def framed(message: Request | Answer) -> bytes:
    """A message as it goes over the pipe."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


def length(head: bytes) -> int:
    """How many bytes follow. Raises ValueError for more than a message has."""
    (found,) = _LENGTH.unpack(head)
    if found > MOST:
        raise ValueError("no message is that long")
    return int(found)
