"""Which bytes say a short text in SMPP 3.4? Parts and their PDUs, without I/O.

A text that the GSM alphabet has goes as such, any other as UCS-2; what does not fit into one message is cut into
concatenated ones whose reference follows from the delivery, so that a repeated part replaces itself in the telephone.
"""

import struct
from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from smpplib import consts, gsm, smpp  # type: ignore[import-untyped]

from zvonar.core.errors import ZvonarError

HEADER: Final = 16  # bytes of a PDU before its body
MAX_PDU: Final = 4096  # bytes; what we are answered has a few dozen
MAX_PARTS: Final = 10

_GSM_SINGLE, _GSM_PART = 160, 153  # septets, one byte each in a PDU
_UCS2_SINGLE, _UCS2_PART = 140, 134  # bytes

BIND_TRANSMITTER_RESP: Final = 0x80000002
SUBMIT_SM_RESP: Final = 0x80000004
ENQUIRE_LINK: Final = 0x00000015
ENQUIRE_LINK_RESP: Final = 0x80000015
UNBIND: Final = 0x00000006
GENERIC_NACK: Final = 0x80000000

# What no later try makes better: the message or its reader is at fault.
_FINAL: Final = frozenset(
    (
        consts.SMPP_ESME_RINVMSGLEN,
        consts.SMPP_ESME_RINVCMDLEN,
        consts.SMPP_ESME_RINVDSTADR,
        consts.SMPP_ESME_RINVDSTTON,
        consts.SMPP_ESME_RINVDSTNPI,
        consts.SMPP_ESME_RINVESMCLASS,
    )
)


class NotSmpp(ZvonarError):
    """What came is not SMPP."""


class TooLong(ZvonarError):
    """The text has more parts than a person should get at once."""


class Part(Struct, frozen=True, kw_only=True):
    """One message."""

    body: bytes  # with the concatenation's header where there is one
    coding: int  # data_coding
    esm_class: int


class Header(Struct, frozen=True, kw_only=True):
    """What every PDU begins with."""

    length: int  # bytes of the whole PDU
    command: int
    status: int  # 0 is well
    sequence: int


def is_final(status: int) -> bool:
    """Whether a status says that no later try can end otherwise."""
    return status in _FINAL


def parts(text: str, *, reference: int) -> list[Part]:
    """The messages of a text. `reference`: 0 to 255, the same for the same delivery. Raises TooLong."""
    try:
        # The library's table has the grave accent, which the alphabet has not, and the escape by itself.
        if "`" in text or "\x1b" in text:
            raise UnicodeError
        units = [gsm.gsm_encode(char) for char in text]
        coding, single, limit = consts.SMPP_ENCODING_DEFAULT, _GSM_SINGLE, _GSM_PART
    except UnicodeError:
        units = [char.encode("utf-16-be") for char in text]
        coding, single, limit = consts.SMPP_ENCODING_ISO10646, _UCS2_SINGLE, _UCS2_PART
    whole = b"".join(units)
    if len(whole) <= single:
        return [Part(body=whole, coding=coding, esm_class=consts.SMPP_MSGTYPE_DEFAULT)]
    cut = list(_cut(units, limit))
    if len(cut) > MAX_PARTS:
        raise TooLong
    return [
        Part(
            body=bytes((5, 0, 3, reference, len(cut), place)) + piece,
            coding=coding,
            esm_class=consts.SMPP_GSMFEAT_UDHI,
        )
        for place, piece in enumerate(cut, start=1)
    ]


def _cut(units: list[bytes], limit: int) -> Iterator[bytes]:
    """Whole characters only: neither an escape nor half a surrogate pair stands alone."""
    piece = bytearray()
    for unit in units:
        if len(piece) + len(unit) > limit:
            yield bytes(piece)
            piece.clear()
        piece += unit
    yield bytes(piece)


def bind(*, sequence: int, system_id: str, password: str) -> bytes:
    """A bind_transmitter."""
    return _written(
        "bind_transmitter",
        sequence,
        system_id=system_id,
        password=password,
        system_type="",
        address_range="",
    )


def submit(part: Part, *, sequence: int, source: str, destination: str) -> bytes:
    """A submit_sm. `destination`: E.164."""
    ton, npi, source = _source(source)
    return _written(
        "submit_sm",
        sequence,
        source_addr_ton=ton,
        source_addr_npi=npi,
        source_addr=source,
        dest_addr_ton=consts.SMPP_TON_INTL,
        dest_addr_npi=consts.SMPP_NPI_ISDN,
        destination_addr=destination.removeprefix("+"),
        esm_class=part.esm_class,
        data_coding=part.coding,
        short_message=part.body,
        sm_length=len(part.body),
    )


def _written(command: str, sequence: int, **fields: object) -> bytes:
    pdu = smpp.make_pdu(command, need_sequence=False, **fields)
    pdu.sequence = sequence  # the library forgets one that it is given with the fields
    return bytes(pdu.generate())


def _source(name: str) -> tuple[int, int, str]:
    if name.removeprefix("+").isdecimal():
        international = name.startswith("+")
        ton = consts.SMPP_TON_INTL if international else consts.SMPP_TON_UNK
        return ton, consts.SMPP_NPI_ISDN, name.removeprefix("+")
    return consts.SMPP_TON_ALNUM, consts.SMPP_NPI_UNK, name


def empty(command: int, *, sequence: int, status: int = 0) -> bytes:
    """A PDU without a body."""
    return struct.pack(">LLLL", HEADER, command, status, sequence)


def header(data: bytes) -> Header:
    """The first 16 bytes of a PDU. Raises NotSmpp."""
    length, command, status, sequence = struct.unpack(">LLLL", data)
    if not HEADER <= length <= MAX_PDU:
        raise NotSmpp
    return Header(length=length, command=command, status=status, sequence=sequence)
