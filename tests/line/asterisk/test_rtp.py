"""Is the sound in a packet found, and is everything else no sound?"""

import io
import struct

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from zvonar.line.asterisk import rtp


def packet(
    payload: bytes, *, first: int = 0x80, kind: int = 0, sequence: int = 7, middle: bytes = b""
) -> bytes:
    return struct.pack(">BBHLL", first, kind, sequence, 160, 1) + middle + payload


def test_each_byte_of_mu_law_is_worth_what_the_library_says() -> None:
    every = bytes(range(256))
    file = io.BytesIO(every)
    known, _ = soundfile.read(file, format="RAW", subtype="ULAW", samplerate=8000, channels=1, dtype="int16")
    assert rtp.samples(every) == np.asarray(known, dtype="<i2").tobytes()


def test_the_payload_is_found_behind_any_header() -> None:
    sound = bytes(range(160))
    for datagram in (
        packet(sound),
        packet(sound, kind=0x80),  # marked
        packet(sound, first=0x82, middle=bytes(8)),  # two contributors
        packet(sound, first=0x90, middle=struct.pack(">HH", 1, 2) + bytes(8)),  # an extension
        packet(sound + b"\0\0\x03", first=0xA0),  # padded
    ):
        assert rtp.parse(datagram) == rtp.Packet(sequence=7, payload=sound)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x80",
        packet(b""),
        packet(b"x", first=0x40),
        packet(b"x", kind=101),
        packet(b"", first=0x8F),
        packet(b"x", first=0x90),
        packet(b"\xff", first=0xA0),
        b"OPTIONS sip:a SIP/2.0\r\n\r\n",
    ],
)
def test_what_is_no_sound_is_none(datagram: bytes) -> None:
    assert rtp.parse(datagram) is None


@given(st.binary(max_size=64))
def test_any_datagram_is_a_packet_or_none(datagram: bytes) -> None:
    found = rtp.parse(datagram)
    assert found is None or found.payload


@pytest.mark.parametrize(
    ("sequence", "before", "newer"),
    [(1, 0, True), (0, 65535, True), (5, 5, False), (4, 5, False), (65535, 0, False)],
)
def test_numbers_begin_again(sequence: int, before: int, newer: bool) -> None:
    assert rtp.follows(sequence, before) is newer
