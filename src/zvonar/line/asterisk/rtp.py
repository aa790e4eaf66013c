"""Which sound is in an RTP packet? µ-law of 8 kHz as signed 16-bit samples; anything else is none."""

from typing import Final

import numpy as np
from msgspec import Struct

PCMU: Final = 0  # payload type, RFC 3551
_HEADER: Final = 12


class Packet(Struct, frozen=True, kw_only=True):
    """One packet."""

    sequence: int  # 0 to 65535
    payload: bytes


def _expand() -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    """ITU-T G.711, µ-law: what each byte is worth."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent = (code >> 4) & 7
    magnitude = (((code & 15).astype(np.int32) << 3) + 0x84 << exponent) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype("<i2")


_WORTH: Final = _expand()


def parse(datagram: bytes) -> Packet | None:
    """A packet of µ-law; None for whatever else may come to a port."""
    if len(datagram) <= _HEADER or datagram[0] >> 6 != 2 or datagram[1] & 0x7F != PCMU:
        return None
    start = _HEADER + 4 * (datagram[0] & 15)
    if datagram[0] & 0x10:  # an extension
        if len(datagram) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(datagram[start + 2 : start + 4], "big")
    end = len(datagram) - (datagram[-1] if datagram[0] & 0x20 else 0)  # padding
    if end <= start:
        return None
    return Packet(sequence=int.from_bytes(datagram[2:4], "big"), payload=datagram[start:end])


def follows(sequence: int, before: int) -> bool:
    """Whether a packet is newer than another; numbers begin again after 65535."""
    return 0 < (sequence - before) & 0xFFFF < 0x8000


def samples(payload: bytes) -> bytes:
    """Signed 16-bit little-endian samples of a payload."""
    return _WORTH[np.frombuffer(payload, dtype=np.uint8)].tobytes()
