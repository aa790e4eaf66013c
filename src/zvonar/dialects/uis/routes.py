"""Under which paths do UIS clients find us, and what happens there?"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from litestar import MediaType, Request, Response, Router, post
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp
from msgspec import Raw, Struct

from zvonar.core.schedule import zone_of
from zvonar.dialects.links import base_url
from zvonar.dialects.uis import answers, limits
from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.media import Media, media_routes
from zvonar.dialects.uis.methods import sessions
from zvonar.dialects.uis.methods.common import Answer, Call
from zvonar.dialects.uis.methods.table import METHODS, OF_AGENTS
from zvonar.dialects.uis.requests import rpc, values
from zvonar.dialects.uis.streams import Whole
from zvonar.dialects.uis.tracking import track_route
from zvonar.dialects.uis.who import KEY_KIND, Door
from zvonar.reports.query import ReportStore
from zvonar.reports.writing import Writer
from zvonar.store import limits as budgets
from zvonar.store.db import Database

log = structlog.get_logger(__name__)

Req = Request[Any, Any, Any]


class Service(Struct, frozen=True, kw_only=True):
    """What this dialect needs of the house."""

    db: Database
    reports: ReportStore
    writer: Writer  # of the report's rows
    now: Callable[[], datetime]  # aware
    media: Media | None = None  # None: no recordings are served here
    public_url: str | None = None  # prefixes every link; the request's own host unless given


def routes(service: Service) -> list[Router]:
    """The one path, and those of recordings."""

    @post("/", status_code=200)
    async def call(request: Req) -> ASGIApp:
        """One JSON-RPC 2.0 request."""
        host = request.client.host if request.client else ""
        door = Door(db=service.db, now=service.now(), host=host)
        answered = await answer(
            service, door, await request.body(), base=base_url(request, service.public_url)
        )
        return Whole(answered) if isinstance(answered, bytes) else answered

    api = Router(
        "/v2.0",
        route_handlers=[call],
        request_max_body_size=limits.MAX_BODY,
        exception_handlers={HTTPException: _render_http},
    )
    track = track_route(service.db, service.writer, service.now)
    if service.media is None:
        return [api, track]
    return [api, track, media_routes(service.db, service.media, service.public_url)]


def _render_http(_: Req, exc: HTTPException) -> Response[bytes]:
    # A body beyond all bounds is refused before we see it. Clients look for errors in answers of 200 only.
    status = 200 if exc.status_code == 413 else exc.status_code
    body = answers.failed(None, RpcError("invalid_request"), None)
    return Response(body, status_code=status, media_type=MediaType.JSON)


async def answer(service: Service, door: Door, body: bytes, *, base: str) -> Answer:
    """The answer to a body. In the order of its looks: JSON, batch, envelope, id, method, token, address, limits,
    parameters."""
    id: Raw | None = None
    try:
        message = rpc.read(body)
        id = message.id
        envelope = rpc.envelope(message)
        if envelope.method == "login.user":
            return await sessions.login(door, envelope)
        if envelope.method == "logout.user":
            return await sessions.logout(door, envelope)
        if envelope.method not in METHODS:
            raise RpcError("method_not_found", field="method", value=envelope.method)
        return await _method(service, door, envelope, base)
    except RpcError as exc:
        return answers.failed(id, exc, None)
    except Exception as exc:
        # Its text may quote a database error, so only its kind is logged.
        log.error("uis.failed", error=type(exc).__name__)
        return answers.failed(id, RpcError("internal_error"), None)


async def _method(service: Service, door: Door, envelope: rpc.Envelope, base: str) -> Answer:
    params = envelope.params
    holder = await door.holder(values.text(params, "access_token"))
    door.let_in(holder)
    key = budgets.key_hash(holder.account.account_id)
    spent = await budgets.spend(service.db, limits.RULES, key, now=door.now)
    try:
        for budget in spent:
            if budget.refused:
                raise RpcError(
                    "limit_exceeded",
                    limit_type=limits.NAMES[budget.rule.scope],
                    limit_max_value=budget.rule.count,
                )
        account = await door.acting_for(holder, params, always=envelope.method in OF_AGENTS)
        return await METHODS[envelope.method](
            Call(
                db=service.db,
                reports=service.reports,
                writer=service.writer,
                id=envelope.id,
                params=params,
                too_deep=envelope.too_deep,
                holder=holder,
                account=account,
                zone=zone_of(account.timezone),
                now=door.now,
                base=base,
                spent=spent,
            )
        )
    except Exception as exc:
        # Only a success costs a point.
        if not any(budget.refused for budget in spent):
            spent = await budgets.refund(service.db, spent, key)
        if not isinstance(exc, RpcError):
            raise
        return answers.failed(envelope.id, exc, limits.described(spent, now=door.now))


__all__ = ["KEY_KIND", "Service", "routes"]
