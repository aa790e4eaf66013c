"""What is done about a number that no card has? A contact is made, or a contact with a lead, once for each number.

A card is claimed here before it is made there. A claim whose end nobody knows is followed by a search for the card.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from zvonar.delivery.crm.asking import Asking
from zvonar.delivery.crm.outcomes import Language
from zvonar.delivery.crm.settings import CrmSettings
from zvonar.delivery.crm.trouble import CrmTrouble, Trouble, objection
from zvonar.delivery.crm.wire import Reply
from zvonar.store import push_cards
from zvonar.store.db import Database
from zvonar.store.push_cards import Card

_NAMES: Final[dict[Language, tuple[str, str]]] = {
    "ru": ("Контакт", "Звонок"),
    "en": ("Contact", "Call"),
}
_DIGITS: Final = 10  # of a number, by which the CRM matches


class Cards:
    """Makes the cards of one account."""

    def __init__(
        self,
        db: Database,
        asking: Asking,
        settings: CrmSettings,
        *,
        rest: float,
        clock: Callable[[], datetime],
    ) -> None:
        """`rest`: seconds after which a claim that came to nothing is somebody else's."""
        self._db = db
        self._asking = asking
        self._account_id = asking.crm.account_id
        self._settings = settings
        self._rest = timedelta(seconds=rest)
        self._clock = clock

    async def make(self, phones: Sequence[str]) -> tuple[set[str], set[str]]:
        """Have cards for these unknown numbers: those that have one now, and those whose card is not acceptable.

        The others were made before and are not found yet, or are being made. Raises CrmTrouble.
        """
        known: dict[str, int] = {}
        for card in (await push_cards.of(self._db, self._account_id, phones)).values():
            if card.contact_id is None and self._old(card):
                await self._look_for(card, known)
        # First the slot: a claim is followed by its request at once, or it would look forgotten.
        await self._asking.ready()
        mine = await push_cards.claim(self._db, self._account_id, phones, now=self._clock())
        made, refused = await self._contacts(sorted(mine))
        known.update(made)
        if self._settings.unknown == "lead" and known:
            await self._leads(known)
        return set(known), refused

    async def finish(self, phones: Sequence[str]) -> None:
        """Give contacts of ours the leads that they should have, where that was cut off. Raises CrmTrouble."""
        if self._settings.unknown != "lead":
            return
        cards = await push_cards.of(self._db, self._account_id, phones)
        lacking: dict[str, int] = {}
        for phone, card in cards.items():
            if card.contact_id is not None and card.lead_id is None and self._old(card):
                lead_id = await self._lead_of(card.contact_id)
                if lead_id is None:
                    lacking[phone] = card.contact_id
                else:
                    await push_cards.made(self._db, self._account_id, [(phone, None, lead_id)])
        if lacking:
            await self._leads(lacking)

    async def _look_for(self, card: Card, known: dict[str, int]) -> None:
        """Whoever claimed it has not been heard of: is the card there? If not, anybody may claim it again."""
        if not await push_cards.take_over(self._db, self._account_id, card, now=self._clock()):
            return
        contact_id = await self._search(card.phone)
        if contact_id is None:
            await push_cards.drop(self._db, self._account_id, [card.phone])
        else:
            known[card.phone] = contact_id
            await push_cards.made(self._db, self._account_id, [(card.phone, contact_id, None)])

    def _old(self, card: Card) -> bool:
        return card.claimed_at + self._rest < self._clock()

    async def _contacts(self, phones: Sequence[str]) -> tuple[dict[str, int], set[str]]:
        """The contacts that were made, and the numbers of which the CRM makes none."""
        if not phones:
            return {}, set()
        body = msgspec.json.encode([self._contact(phone) for phone in phones])
        reply = await self._asking.ask("POST", "/api/v4/contacts", body=body)
        made = _ids(reply, "contacts", phones)
        if made is None:
            if _surely_not(reply):
                await push_cards.drop(self._db, self._account_id, phones)
            if (exc := objection(reply)) is not None:
                raise exc
            if len(phones) == 1:
                return {}, set(phones)
            # One that is not acceptable refuses all: each by itself then.
            ids: dict[str, int] = {}
            refused: set[str] = set()
            for phone in await push_cards.claim(self._db, self._account_id, phones, now=self._clock()):
                one, bad = await self._contacts([phone])
                ids.update(one)
                refused |= bad
            return ids, refused
        await push_cards.made(self._db, self._account_id, [(phone, made[phone], None) for phone in made])
        return made, set()

    async def _leads(self, contacts: dict[str, int]) -> None:
        body = msgspec.json.encode([self._lead(phone, contact_id) for phone, contact_id in contacts.items()])
        reply = await self._asking.ask("POST", "/api/v4/leads", body=body)
        made = _ids(reply, "leads", list(contacts))
        if made is None:
            # The contact is there, so calls are logged; the lead is tried again with the next one.
            raise objection(reply) or CrmTrouble(Trouble.strange, reply)
        await push_cards.made(self._db, self._account_id, [(phone, None, made[phone]) for phone in made])

    def _contact(self, phone: str) -> dict[str, Any]:
        name, _ = _NAMES[self._settings.language]
        made: dict[str, Any] = {
            "name": f"{name} {phone}",
            "custom_fields_values": phone_field(phone),
            "request_id": phone,
        }
        if self._settings.responsible is not None:
            made["responsible_user_id"] = self._settings.responsible
        return made

    def _lead(self, phone: str, contact_id: int) -> dict[str, Any]:
        _, name = _NAMES[self._settings.language]
        made: dict[str, Any] = {
            "name": f"{name} {phone}",
            "_embedded": {"contacts": [{"id": contact_id}]},
            "request_id": phone,
        }
        chosen = {
            "pipeline_id": self._settings.pipeline_id,
            "status_id": self._settings.status_id,
            "responsible_user_id": self._settings.responsible,
        }
        made |= {key: value for key, value in chosen.items() if value is not None}
        return made

    async def _search(self, phone: str) -> int | None:
        reply = await self._asking.read("/api/v4/contacts", query=[("query", _last(phone)), ("limit", "50")])
        listed = reply.under("_embedded", "contacts") if reply.status == 200 else []
        for contact in listed if isinstance(listed, list) else []:
            if isinstance(contact, dict) and isinstance(contact.get("id"), int) and _has(contact, phone):
                return int(contact["id"])
        return None

    async def _lead_of(self, contact_id: int) -> int | None:
        reply = await self._asking.read(f"/api/v4/contacts/{contact_id}", query=[("with", "leads")])
        leads = reply.under("_embedded", "leads")
        for lead in leads if isinstance(leads, list) else []:
            if isinstance(lead, dict) and isinstance(lead.get("id"), int):
                return int(lead["id"])
        return None


def phone_field(phone: str) -> list[dict[str, Any]]:
    """A number as the CRM takes it."""
    return [{"field_code": "PHONE", "values": [{"value": phone, "enum_code": "WORK"}]}]


def lead_name(phone: str, language: Language) -> str:
    """What a lead of ours is called."""
    return f"{_NAMES[language][1]} {phone}"


def contact_name(phone: str, language: Language) -> str:
    """What a contact of ours is called."""
    return f"{_NAMES[language][0]} {phone}"


def _ids(reply: Reply, name: str, phones: Sequence[str]) -> dict[str, int] | None:
    """By number the ids of what was made; None unless all were. Order counts where `request_id` is not echoed."""
    listed = reply.under("_embedded", name)
    if reply.status not in (200, 201) or not isinstance(listed, list) or len(listed) != len(phones):
        return None
    made: dict[str, int] = {}
    for phone, one in zip(phones, listed, strict=True):
        if not isinstance(one, dict) or not isinstance(one.get("id"), int):
            return None
        echoed = one.get("request_id")
        made[echoed if isinstance(echoed, str) and echoed in phones else phone] = one["id"]
    return made if len(made) == len(phones) else None


def _surely_not(reply: Reply) -> bool:
    return not reply.sent or (reply.status is not None and 400 <= reply.status < 500)


def _last(phone: str) -> str:
    return "".join(filter(str.isdigit, phone))[-_DIGITS:]


def _has(contact: dict[str, Any], phone: str) -> bool:
    fields = contact.get("custom_fields_values")
    for field in fields if isinstance(fields, list) else []:
        values = field.get("values") if isinstance(field, dict) and field.get("field_code") == "PHONE" else []
        for value in values if isinstance(values, list) else []:
            if isinstance(value, dict) and _last(str(value.get("value"))) == _last(phone):
                return True
    return False
