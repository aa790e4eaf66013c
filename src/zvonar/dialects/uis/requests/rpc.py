"""Is a body a JSON-RPC request? JSON first, then the batch, the envelope and the id, each with its own error."""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from zvonar.dialects.uis.errors import BATCH, RpcError

# No parameter is nested half as deeply; what lies deeper is not read, and `too_deep` says so.
DEPTH: Final = 250


class Message(Struct, frozen=True, kw_only=True):
    """A JSON object that may be a request."""

    fields: dict[str, Any]
    id: Raw | None  # its exact text, where it is a string or a number
    too_deep: bool  # whether something in it was nested too deeply to be read


class Envelope(Struct, frozen=True, kw_only=True):
    """A JSON-RPC request that holds together."""

    id: Raw
    method: str
    params: dict[str, Any]
    too_deep: bool


def read(body: bytes) -> Message:
    """The object in a body; RpcError parse_error, invalid_request or the one for batches."""
    try:
        return _message(body, too_deep=False)
    except RecursionError:
        # Its id may still be known, and what is wrong with it is not its JSON.
        shallow = _shallow(body)
    try:
        return _message(shallow, too_deep=True)
    except RecursionError:
        raise RpcError("parse_error") from None


def _message(body: bytes, *, too_deep: bool) -> Message:
    try:
        # The whole of it first: skipped parts would not be checked for UTF-8.
        whole = msgspec.json.decode(body)
        if isinstance(whole, list):
            raise RpcError(BATCH)
        if not isinstance(whole, dict):
            raise RpcError("invalid_request")
        raw = msgspec.json.decode(body, type=dict[str, Raw])
    except (msgspec.MsgspecError, ValueError) as exc:
        raise RpcError("parse_error") from exc
    is_id = isinstance(whole.get("id"), str | int | float) and not isinstance(whole["id"], bool)
    # A copy, because a Raw keeps the whole body alive.
    return Message(fields=whole, id=raw["id"].copy() if is_id else None, too_deep=too_deep)


_MARK: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{\]}"]', re.DOTALL)


def _shallow(body: bytes) -> bytes:
    """The same without what is nested deeper than DEPTH. Raises RpcError parse_error where brackets do not pair."""
    parts: list[bytes] = []
    open_: list[int] = []
    kept = 0  # up to where the body is dealt with
    for mark in _MARK.finditer(body):
        sign = mark[0][0]
        if mark[0] == b'"':
            raise RpcError("parse_error")
        if sign in b"[{":
            open_.append(sign)
            if len(open_) == DEPTH + 1:
                parts += (body[kept : mark.start()], b"null")
        elif sign in b"]}":
            # ] and } come two places after their openings.
            if not open_ or open_.pop() != sign - 2:
                raise RpcError("parse_error")
            if len(open_) == DEPTH:
                kept = mark.end()
    if open_:
        raise RpcError("parse_error")
    return b"".join((*parts, body[kept:]))


def envelope(message: Message) -> Envelope:
    """The request in an object; RpcError invalid_request or notifications_not_supported."""
    fields = message.fields
    if fields.get("jsonrpc") != "2.0":
        raise RpcError("invalid_request", field="jsonrpc", value=fields.get("jsonrpc"))
    method, params = fields.get("method"), fields.get("params")
    if not isinstance(method, str):
        raise RpcError("invalid_request", field="method", value=method)
    if not isinstance(params, dict):
        raise RpcError("invalid_request", field="params", value=params)
    if unknown := fields.keys() - {"jsonrpc", "id", "method", "params"}:
        raise RpcError("invalid_request", field=min(unknown), value=fields[min(unknown)])
    if "id" not in fields:
        raise RpcError("notifications_not_supported")
    if message.id is None:
        raise RpcError("invalid_request", field="id", value=fields["id"])
    return Envelope(id=message.id, method=method, params=params, too_deep=message.too_deep)
