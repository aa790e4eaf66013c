"""What did a visitor do before he called? POST /track: no method of the reference, so it answers as HTTP does."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from litestar import MediaType, Request, Response, Router, post
from litestar.exceptions import HTTPException

from zvonar.core.schedule import zone_of
from zvonar.dialects.uis import limits, uploads
from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.who import Door
from zvonar.reports.writing import Writer
from zvonar.store import limits as budgets
from zvonar.store.db import Database

log = structlog.get_logger(__name__)

_STATUS: Final = {
    "access_token_invalid": 401,
    "access_token_expired": 401,
    "access_token_blocked": 401,
    "required_parameter_missed": 400,
    "account_inactive": 403,
    "ip_not_whitelisted": 403,
    "limit_exceeded": 429,
    "internal_error": 500,
}

Req = Request[Any, Any, Any]


def track_route(db: Database, writer: Writer, now: Callable[[], datetime]) -> Router:
    """The endpoint. The key comes as `Authorization: Bearer …` or as `?access_token=…`."""

    @post("/", status_code=200)
    async def track(request: Req) -> Response[bytes]:
        """Attributes of a visit, for a number of the account's or for a call by its id."""
        host = request.client.host if request.client else ""
        try:
            door = Door(db=db, now=now(), host=host)
            visit = await _tracked(door, writer, _token(request), await request.body())
        except RpcError as exc:
            return _said({"error": exc.document(None)}, _STATUS.get(exc.mnemonic, 400))
        except HTTPException:
            raise
        except Exception as exc:
            # Its text may quote a database error, so only its kind is logged.
            log.error("uis.track_failed", error=type(exc).__name__)
            return _said({"error": RpcError("internal_error").document(None)}, 500)
        return _said({"data": visit}, 200)

    return Router(
        "/track",
        route_handlers=[track],
        request_max_body_size=limits.MAX_BODY,
        exception_handlers={HTTPException: _refused},
    )


def _token(request: Req) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    token = key.strip() if scheme.lower() == "bearer" else request.query_params.get("access_token")
    if not token:
        raise RpcError("required_parameter_missed", field="access_token")
    return str(token)


async def _tracked(door: Door, writer: Writer, token: str, body: bytes) -> dict[str, Any]:
    holder = await door.holder(token)
    door.let_in(holder)
    account = holder.account
    [spent] = await budgets.spend(
        door.db, (limits.TRACKS,), budgets.key_hash(account.account_id), now=door.now
    )
    if spent.refused:
        raise RpcError("limit_exceeded", limit_type="minute", limit_max_value=limits.TRACKS.count)
    try:
        told = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise RpcError("parse_error") from None
    return await uploads.track(writer, account.account_id, told, zone_of(account.timezone), now=door.now)


def _said(document: dict[str, Any], status: int) -> Response[bytes]:
    return Response(msgspec.json.encode(document), status_code=status, media_type=MediaType.JSON)


def _refused(_: Req, exc: HTTPException) -> Response[bytes]:
    return _said({"error": RpcError("invalid_request").document(None)}, exc.status_code)
