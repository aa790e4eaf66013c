"""Under which path do UIS clients find us, and what happens there?"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from litestar import MediaType, Request, Response, Router, post
from litestar.exceptions import HTTPException
from msgspec import Struct

from zvonar.core.errors import Unauthorised
from zvonar.core.schedule import zone_of
from zvonar.dialects.uis import answers, limits, requests
from zvonar.dialects.uis.errors import RpcError
from zvonar.reports.query import Query, ReportStore
from zvonar.store import accounts
from zvonar.store import limits as budgets
from zvonar.store.accounts import Account
from zvonar.store.db import Database

log = structlog.get_logger(__name__)

KEY_KIND = "uis_access_token"  # of the keys table

Req = Request[Any, Any, Any]


class Service(Struct, frozen=True, kw_only=True):
    """What this dialect needs of the house."""

    db: Database
    reports: ReportStore
    now: Callable[[], datetime]  # aware


def routes(service: Service) -> list[Router]:
    """The one path."""

    @post("/", status_code=200)
    async def call(request: Req) -> Response[bytes]:
        """One JSON-RPC 2.0 request."""
        return _response(await answer(service, await request.body()))

    return [
        Router(
            "/v2.0",
            route_handlers=[call],
            request_max_body_size=limits.MAX_BODY,
            exception_handlers={HTTPException: _render_http},
        )
    ]


def _response(body: bytes, status: int = 200) -> Response[bytes]:
    return Response(body, status_code=status, media_type=MediaType.JSON)


def _render_http(_: Req, exc: HTTPException) -> Response[bytes]:
    # What the server refuses before we see it, such as a body beyond all bounds.
    return _response(answers.failed(None, RpcError("invalid_request"), None), exc.status_code)


async def answer(service: Service, body: bytes) -> bytes:
    """The answer to a body. In the order of its looks: JSON, batch, envelope, id, method, token, limits, params."""
    message: requests.Message | None = None
    try:
        message = requests.read(body)
        envelope = requests.envelope(message)
        if envelope.method != "get.calls_report":
            raise RpcError("method_not_found", field="method", value=envelope.method)
        return await _calls_report(service, message, envelope.params)
    except RpcError as exc:
        return answers.failed(message.id if message else None, exc, None)
    except Exception as exc:
        # Its text may quote a database error, so only its kind is logged.
        log.error("uis.failed", error=type(exc).__name__)
        return answers.failed(message.id if message else None, RpcError("internal_error"), None)


async def _account(service: Service, token: str) -> Account:
    try:
        return await accounts.by_key(service.db, token, kind=KEY_KIND)
    except Unauthorised:
        raise RpcError("access_token_invalid", field="access_token") from None


async def _calls_report(service: Service, message: requests.Message, params: dict[str, Any]) -> bytes:
    assert message.id is not None
    account = await _account(service, requests.access_token(params))
    now = service.now()
    key = budgets.key_hash(account.account_id)
    spent = await budgets.spend(service.db, limits.RULES, key, now=now)
    try:
        for budget in spent:
            if budget.refused:
                raise RpcError(
                    "limit_exceeded",
                    limit_type=limits.NAMES[budget.rule.scope],
                    limit_max_value=budget.rule.count,
                )
        zone = zone_of(account.timezone)
        wanted = requests.report(params, zone)
        page = await service.reports.page(
            Query(
                account_id=account.account_id,
                since=wanted.since,
                until=wanted.until,
                order=wanted.order,
                limit=wanted.limit,
                offset=wanted.offset,
            )
        )
    except Exception as exc:
        # Only a success costs a point.
        if not any(budget.refused for budget in spent):
            spent = await budgets.refund(service.db, spent, key)
        if not isinstance(exc, RpcError):
            raise
        return answers.failed(message.id, exc, limits.described(spent, now=now))
    # In a thread, because ten thousand rows take a quarter of a second, and other requests wait on this loop.
    return await asyncio.to_thread(
        answers.report, message.id, page, wanted.fields, zone, limits.described(spent, now=now)
    )
