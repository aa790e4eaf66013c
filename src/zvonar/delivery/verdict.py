"""What came of one try? The words in which every transport says it."""

from datetime import datetime
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from zvonar.store.deliveries import Delivery


class Failure(StrEnum):
    """Why a delivery was not taken."""

    status = "status"  # an answer, but not one of success
    redirect = "redirect"  # 3xx: not followed, it could lead inside
    gone = "gone"  # 410: the receiver wants nothing any more
    timeout = "timeout"
    guarded = "guarded"  # an address that deliveries may not go to
    resolve = "resolve"  # the name has no address
    connect = "connect"  # nobody listens there, or the network does not reach it
    tls = "tls"
    broken = "broken"  # the connection broke, or what came was not the protocol
    mail_off = "mail_off"  # no mail server is configured
    sms_off = "sms_off"  # no SMS provider is configured
    nobody = "nobody"  # the account has no address for what its owner is to get
    unaccepted = "unaccepted"  # an SMS provider's answer does not say that it took the text
    unknown = "unknown"  # none of these; the log has the class of the exception


class Answer(Struct, frozen=True, kw_only=True):
    """What came of one try."""

    status: int | None  # HTTP, SMTP or SMPP; None where none came
    failure: Failure | None  # None: taken
    reason: str | None = (
        None  # class of the exception behind a failure; never its text, which quotes addresses
    )
    retry_after: str | None = None  # the header as it came, of an answer that is none of success
    final: bool = False  # no later try can end otherwise
    head: bytes = b""  # the first KiB of what it said, as it came


class Transport(Protocol):
    """Carries deliveries of one kind of address. Whatever goes wrong is an Answer too."""

    async def send(self, delivery: Delivery, *, at: datetime) -> Answer:
        """One try, within a deadline of the transport's own."""
