"""Is a call in the CRM already? Its notes are read back, by `uniq`, since nobody else remembers.

amoCRM cannot be asked for a `uniq`; it lists the notes of a kind that changed since a moment, card by card type. Where
its list has no end, nothing is concluded.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from zvonar.delivery.crm.asking import Asking
from zvonar.delivery.crm.trouble import CrmTrouble, Trouble
from zvonar.delivery.crm.wire import Reply
from zvonar.store.push_calls import Logged

_PAGE: Final = 250
_PAGES: Final = 200  # of one list; 50,000 notes
_SKEW: Final = timedelta(minutes=15)  # that the CRM's clock may be behind ours
# In the order in which a call most likely is there.
_CARDS: Final = {"contacts": "contact", "leads": "lead", "companies": "company", "customers": "customer"}


async def find(asking: Asking, uniqs: Iterable[str], *, since: datetime, unsorted: bool) -> dict[str, Logged]:
    """By `uniq`: those of these calls that are there, looked for among what changed since then. Raises CrmTrouble."""
    wanted = set(uniqs)
    found: dict[str, Logged] = {}
    start = int((since - _SKEW).timestamp())
    for cards, entity_type in _CARDS.items():
        if cards == "customers" and not asking.crm.customers:
            continue
        await _among_notes(asking, cards, entity_type, wanted, found, start)
        if wanted <= found.keys():
            return found
    if unsorted:
        await _among_unsorted(asking, wanted, found)
    return found


async def _among_notes(
    asking: Asking, cards: str, entity_type: str, wanted: set[str], found: dict[str, Logged], start: int
) -> None:
    query = [("filter[note_type]", "call_out"), ("filter[updated_at][from]", str(start))]
    for number in range(1, _PAGES + 1):
        page = [*query, ("limit", str(_PAGE)), ("page", str(number))]
        try:
            reply = await asking.read(f"/api/v4/{cards}/notes", query=page)
        except CrmTrouble as exc:
            if cards == "customers" and exc.trouble in (Trouble.payment, Trouble.forbidden):
                return  # an account without customers has no notes of theirs
            raise
        notes = _listed(reply, "notes")
        for note in notes:
            uniq = _uniq(note, "params")
            if uniq in wanted and uniq not in found:
                found[uniq] = Logged(
                    uniq=uniq,
                    state="logged",
                    note_id=note["id"] if isinstance(note.get("id"), int) else None,
                    entity_type=entity_type,
                    entity_id=str(note.get("entity_id")),
                )
        if _last(reply, notes):
            return
    raise CrmTrouble(Trouble.strange, reply)


async def _among_unsorted(asking: Asking, wanted: set[str], found: dict[str, Logged]) -> None:
    for number in range(1, _PAGES + 1):
        query = [
            ("filter[category][]", "sip"),
            ("order[created_at]", "desc"),
            ("limit", str(_PAGE)),
            ("page", str(number)),
        ]
        reply = await asking.read("/api/v4/leads/unsorted", query=query)
        listed = _listed(reply, "unsorted")
        for one in listed:
            uniq = _uniq(one, "metadata")
            if uniq in wanted and uniq not in found:
                found[uniq] = Logged(
                    uniq=uniq, state="logged", entity_type="unsorted", entity_id=str(one.get("uid"))
                )
        if _last(reply, listed) or wanted <= found.keys():
            return
    raise CrmTrouble(Trouble.strange, reply)


def _listed(reply: Reply, name: str) -> list[dict[str, Any]]:
    """The items of a page; none of 204. What is no page concludes nothing."""
    if reply.status == 204:
        return []
    listed = reply.under("_embedded", name)
    if reply.status != 200 or not isinstance(listed, list):
        raise CrmTrouble(Trouble.strange, reply)
    return [one for one in listed if isinstance(one, dict)]


def _last(reply: Reply, listed: list[dict[str, Any]]) -> bool:
    return not listed or reply.under("_links", "next") is None


def _uniq(one: dict[str, Any], holder: str) -> str | None:
    held = one.get(holder)
    uniq = held.get("uniq") if isinstance(held, dict) else None
    return uniq if isinstance(uniq, str) else None
