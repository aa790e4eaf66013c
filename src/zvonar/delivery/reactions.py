"""What is sent when a key or a word sets off a text or a letter? A `reaction` event becomes a delivery of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from zvonar.core.reaction import Email, Sms, SmsTo, Triggered
from zvonar.delivery import letters, sms
from zvonar.delivery.letters import EmailInvalid
from zvonar.store.outbox import Event, Rendered
from zvonar.store.reactions import KIND

SMS = "reaction.sms"
EMAIL = "reaction.email"
WEBHOOK = "reaction.webhook"


class SetOff(Triggered, frozen=True, kw_only=True):
    """A reaction as its event has it: with the facts that the store adds."""

    owner_phone: str | None = None  # E.164
    owner_email: str | None = None
    label: str | None = None  # the client's own of the call

    @property
    def name(self) -> str:
        """Deliveries of one reaction keep no order with those of another."""
        return f"reaction/{self.call_id}.{self.attempt}.{self.number}"


def set_off(payload: Mapping[str, Any]) -> SetOff:
    """A `reaction` event's payload."""
    return msgspec.convert(payload, SetOff, strict=False)


def render(event: Event) -> Sequence[Rendered]:
    """The text and the letter of a reaction, whichever it has. Webhooks are a dialect's."""
    if event.kind != KIND:
        return ()
    fact = set_off(event.payload)
    reaction = fact.reaction
    found = []
    if reaction.sms is not None:
        found.append(_text(fact, reaction.sms))
    if reaction.email is not None:
        found.append(_letter(event, fact, reaction.email))
    return found


def _text(fact: SetOff, wanted: Sms) -> Rendered:
    to = fact.phone if wanted.to is SmsTo.subscriber else fact.owner_phone
    return Rendered(
        kind=SMS,
        address=sms.address(to),
        order_key=fact.name,
        content_type=sms.CONTENT_TYPE,
        body=wanted.text.encode(),
    )


def _letter(event: Event, fact: SetOff, wanted: Email) -> Rendered:
    to = wanted.to or fact.owner_email
    if to is not None:
        try:
            return letters.rendered(event, to=to, subject=wanted.subject, text=wanted.text, kind=EMAIL)
        except EmailInvalid:
            pass  # an address that no mail server would take is nobody's, which the call then shows
    return Rendered(
        kind=EMAIL,
        address="mailto:",
        order_key=fact.name,
        content_type="message/rfc822",
        body=wanted.text.encode(),
    )
