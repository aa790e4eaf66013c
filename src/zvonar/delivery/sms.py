"""How does a short text reach a telephone? What every SMS provider has in common, and the null one.

Real ones are `smpp.SmppTransport` and `sms_http.HttpSmsTransport`; which of them carries `sms:` addresses is the
operator's choice. The body of a delivery is the text itself.
"""

from datetime import datetime
from typing import Final

from zvonar.delivery.verdict import Answer, Failure, Transport
from zvonar.store.deliveries import Delivery

SCHEME: Final = "sms:"
CONTENT_TYPE: Final = "text/plain; charset=utf-8"


def address(phone: str | None) -> str:
    """The address of an E.164 number; None is an owner who has left none."""
    return f"{SCHEME}{phone or ''}"


def phone_of(delivery: Delivery) -> str:
    """The E.164 number that a text is for."""
    return delivery.address.removeprefix(SCHEME)


class ToTelephones:
    """Carries deliveries to `sms:` addresses over a provider; one without a number says so at once."""

    def __init__(self, provider: Transport) -> None:
        self._provider = provider

    async def send(self, delivery: Delivery, *, at: datetime) -> Answer:
        if not phone_of(delivery):
            return Answer(status=None, failure=Failure.nobody, final=True)
        return await self._provider.send(delivery, at=at)


class NoSms:
    """Without a provider each try says so; the text waits for one."""

    async def send(self, delivery: Delivery, *, at: datetime) -> Answer:
        return Answer(status=None, failure=Failure.sms_off)
