"""How does a short text reach a telephone? What every SMS provider has in common, and the null one.

Real ones are `smpp.SmppTransport` and `sms_http.HttpSmsTransport`; which of them carries `sms:` addresses is the
operator's choice. The body of a delivery is the text itself.
"""

from datetime import datetime
from typing import Final

from zvonar.delivery.verdict import Answer, Failure
from zvonar.store.deliveries import Delivery

SCHEME: Final = "sms:"
CONTENT_TYPE: Final = "text/plain; charset=utf-8"


def address(phone: str) -> str:
    """The address of an E.164 number."""
    return f"{SCHEME}{phone}"


def phone_of(delivery: Delivery) -> str:
    """The E.164 number that a text is for."""
    return delivery.address.removeprefix(SCHEME)


class NoSms:
    """Without a provider each try says so; the text waits for one."""

    async def send(self, delivery: Delivery, *, at: datetime) -> Answer:
        return Answer(status=None, failure=Failure.sms_off)
