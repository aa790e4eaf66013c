"""What does a Callo client's webhook hear of a key or a word? A form, posted while the call still goes on."""

from collections.abc import Sequence
from urllib.parse import urlencode

from zvonar.delivery.reactions import WEBHOOK, set_off
from zvonar.dialects.callo.outcomes import CallStatus, DialStatus
from zvonar.dialects.callo.postback import filled
from zvonar.store.outbox import Event, Rendered
from zvonar.store.reactions import KIND

_FORM = "application/x-www-form-urlencoded"


def render(event: Event) -> Sequence[Rendered]:
    """The POST of a reaction with a webhook.

    Which fields the original sends no source says in full [G]: one receiver reads call_id, phone, dial_status and
    call_status; the others are named as results name them, and in a URL as a postback does.
    """
    if event.kind != KIND:
        return ()
    fact = set_off(event.payload)
    url = fact.reaction.webhook
    if url is None:
        return ()
    pressed = fact.choice if fact.choice is not None and fact.choice.isdecimal() else ""
    word = fact.reaction.status_name or ("" if pressed else fact.choice or "")
    values = {
        "campaign_id": str(fact.campaign_id),
        "call_id": str(fact.call_id),
        "phone": fact.phone,
        "status": str(CallStatus.user),
        "call_status": str(CallStatus.user),
        "dial_status": str(int(DialStatus.answered)),
        "button_num": pressed,
        "user_choice": word,
        "label": fact.label or "",
    }
    return (
        Rendered(
            kind=WEBHOOK,
            address=url,
            order_key=fact.name,
            content_type=_FORM,
            body=urlencode(values).encode(),
            url=filled(url, {f"ct_{name}": value for name, value in values.items()}),
        ),
    )
