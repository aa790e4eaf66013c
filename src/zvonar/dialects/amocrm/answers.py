"""What does an amoCRM client read? HAL: things, their links, and pages of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from litestar import Response

from zvonar.core.crm import Kind
from zvonar.dialects.amocrm.errors import NOT_FOUND, NOT_FOUND_CODE, PROBLEM
from zvonar.dialects.amocrm.requests.fields import RequestId
from zvonar.store.crm_logging import Noted

HAL: Final = "application/hal+json"

# How the kinds are called in paths and lists.
PLURAL: Final = {
    Kind.contact: "contacts",
    Kind.company: "companies",
    Kind.lead: "leads",
    Kind.customer: "customers",
}


def unix(at: datetime | None) -> int | None:
    """A time as this wire has it."""
    return None if at is None else int(at.timestamp())


def hal(document: Any, status: int = 200) -> Response[bytes]:
    """An answer with a body."""
    return Response(msgspec.json.encode(document), status_code=status, media_type=HAL)


def nothing() -> Response[bytes]:
    """An empty list, or a thing that is not there."""
    return Response(b"", status_code=204)


def link(base: str, *path: object) -> dict[str, Any]:
    """The link of a thing to itself."""
    return {"self": {"href": "/".join(map(str, (base, "api/v4", *path)))}}


def calls(results: Sequence[tuple[RequestId, Noted | None]], account_id: int, base: str) -> Response[bytes]:
    """What became of a batch: 200, or 400 where no call found a card."""
    stored = [
        {
            "id": noted.note_id,
            "entity_id": noted.card.card_id,
            "entity_type": noted.card.kind.value,
            "account_id": account_id,
            "request_id": request_id,
            "_embedded": {
                "entity": {
                    "id": noted.card.card_id,
                    "_links": link(base, PLURAL[noted.card.kind], noted.card.card_id),
                }
            },
        }
        for request_id, noted in results
        if noted is not None
    ]
    errors = [
        {"title": NOT_FOUND, "status": NOT_FOUND_CODE, "detail": NOT_FOUND, "request_id": request_id}
        for request_id, noted in results
        if noted is None
    ]
    document = {"_total_items": len(stored), "errors": errors, "_embedded": {"calls": stored}}
    if stored:
        return hal(document)
    return Response(msgspec.json.encode(document), status_code=400, media_type=PROBLEM)


def page(
    name: str,
    things: Sequence[Any],
    *,
    url: Mapping[str, str],
    number: int,
    total: int | None = None,
) -> Response[bytes]:
    """A page of a list; 204 where there is nothing on it. `url`: the links self, and next where there is one."""
    if not things:
        return nothing()
    document: dict[str, Any] = {} if total is None else {"_total_items": total}
    document |= {"_page": number, "_links": {rel: {"href": href} for rel, href in url.items()}}
    return hal({**document, "_embedded": {name: list(things)}})


def written(name: str, things: Sequence[Any], url: str, *, total: int | None = None) -> Response[bytes]:
    """What came of a write, or a list without pages."""
    document: dict[str, Any] = {} if total is None else {"_total_items": total}
    document |= {"_links": {"self": {"href": url}}, "_embedded": {name: list(things)}}
    return hal(document)


def tokens(access: str, refresh: str, *, lives: timedelta, now: datetime) -> Response[bytes]:
    """A pair of tokens."""
    document = {
        "token_type": "Bearer",
        "expires_in": int(lives.total_seconds()),
        "access_token": access,
        "refresh_token": refresh,
        "server_time": unix(now),
    }
    # Nobody on the way may keep it.
    return Response(
        msgspec.json.encode(document), media_type="application/json", headers={"Cache-Control": "no-store"}
    )
