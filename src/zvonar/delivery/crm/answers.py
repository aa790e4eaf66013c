"""What did the CRM do with each of the calls of one request? Never by the status alone: by what it says of each.

Which shapes are sure and which are guesses: a batch that is stored in part has not been seen, and neither have the
keys of an error beside its title and status. Whatever is mentioned nowhere is in doubt.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from zvonar.delivery.crm.wire import Reply
from zvonar.store.push_calls import Logged

_NOT_FOUND_STATUS = 263
_NOT_FOUND_TITLE = "Entity not found"


class Judged(Struct, frozen=True, kw_only=True):
    """The calls of one request, each in one of these."""

    logged: list[Logged] = []
    unknown: list[str] = []  # no card has their number
    refused: list[str] = []
    again: list[str] = []  # surely not stored, though nothing is wrong with them
    doubtful: list[str] = []  # nobody knows
    divide: bool = False  # something is wrong with one of `again`, and it was not said with which


def judged(reply: Reply, uniqs: Sequence[str]) -> Judged:
    """What an answer that is no trouble says of these calls."""
    if _list(reply.under("validation-errors")) is not None:
        return _validation(reply, uniqs)
    stored, errors = _list(reply.under("_embedded", "calls")), _list(reply.under("errors"))
    if reply.status in (200, 201, 202, 400) and (stored is not None or errors is not None):
        return _paired(stored or [], errors or [], uniqs)
    if reply.status is not None and 400 <= reply.status < 500:
        if len(uniqs) > 1:
            return Judged(again=list(uniqs), divide=True)
        return Judged(refused=list(uniqs))
    return Judged(doubtful=list(uniqs))


def _validation(reply: Reply, uniqs: Sequence[str]) -> Judged:
    """The whole batch is refused, because of these."""
    bad = {_request(one) for one in reply.under("validation-errors")}
    refused = [uniq for number, uniq in enumerate(uniqs) if uniq in bad or str(number) in bad]
    again = [uniq for uniq in uniqs if uniq not in refused]
    if not refused and len(uniqs) == 1:
        return Judged(refused=list(uniqs))
    return Judged(refused=refused, again=again, divide=not refused)


def _paired(stored: list[Any], errors: list[Any], uniqs: Sequence[str]) -> Judged:
    rest = dict.fromkeys(uniqs)
    logged = []
    for one in stored:
        uniq = _request(one)
        if uniq is None and len(uniqs) == len(stored) == 1:
            uniq = uniqs[0]
        if uniq in rest and isinstance(one, dict) and isinstance(one.get("id"), int):
            del rest[uniq]
            entity = one.get("entity_id")
            logged.append(
                Logged(
                    uniq=uniq,
                    state="logged",
                    note_id=one["id"],
                    entity_type=_singular(one.get("entity_type")),
                    entity_id=None if entity is None else str(entity),
                )
            )
    unknown: list[str] = []
    refused: list[str] = []
    named = [one for one in errors if _request(one) in rest]
    for one in named:
        uniq = _request(one)
        if uniq is not None and uniq in rest:
            del rest[uniq]
            (unknown if _not_found(one) else refused).append(uniq)
    nameless = [one for one in errors if _request(one) is None]
    if rest and len(nameless) == len(rest) and all(map(_not_found, nameless)):
        # Errors that name no call, as many as there are calls that nothing was said of.
        unknown += list(rest)
        rest.clear()
    return Judged(logged=logged, unknown=unknown, refused=refused, doubtful=list(rest))


def _request(one: Any) -> str | None:
    found = one.get("request_id") if isinstance(one, dict) else None
    return str(found) if isinstance(found, str | int) else None


def _not_found(one: Any) -> bool:
    return isinstance(one, dict) and (
        one.get("status") == _NOT_FOUND_STATUS or one.get("title") == _NOT_FOUND_TITLE
    )


def _list(found: Any) -> list[Any] | None:
    return found if isinstance(found, list) else None


_SINGULAR = {"contacts": "contact", "companies": "company", "leads": "lead", "customers": "customer"}


def _singular(entity_type: Any) -> str | None:
    return _SINGULAR.get(entity_type, entity_type) if isinstance(entity_type, str) else None
