"""What does a UIS client read? Envelopes around rows, which come as JSON already."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from zvonar.dialects.uis.errors import RpcError

_NULL: Final = Raw(b"null")
_encode: Final = msgspec.json.Encoder().encode


def failed(id: Raw | None, error: RpcError, limits: dict[str, int] | None) -> bytes:
    """The answer of a request that came to nothing. Limits are there once it was known whose request it is."""
    metadata = None if limits is None else {"limits": limits}
    return _encode({"jsonrpc": "2.0", "id": id or _NULL, "error": error.document(metadata)})


def done(id: Raw, data: Any) -> bytes:
    """The answer of a method that has no metadata."""
    return _encode({"jsonrpc": "2.0", "id": id, "result": {"data": data}})


def listed(id: Raw, data: Sequence[Any], total: int, limits: dict[str, int]) -> bytes:
    """The answer of a method that lists something."""
    metadata = {"total_items": total, "version": None, "limits": limits}
    return _encode({"jsonrpc": "2.0", "id": id, "result": {"metadata": metadata, "data": data}})


def changed(id: Raw, data: Any, limits: dict[str, int]) -> bytes:
    """The answer of a method that changes something."""
    return _encode({"jsonrpc": "2.0", "id": id, "result": {"metadata": {"limits": limits}, "data": data}})


def around_calls(id: Raw, total: int, limits: dict[str, int]) -> tuple[bytes, bytes]:
    """What stands before and after the rows of get.calls_report."""
    metadata = _encode({"total_items": total, "version": None, "limits": limits})
    return b'{"jsonrpc":"2.0","id":%b,"result":{"metadata":%b,"data":[' % (bytes(id), metadata), b"]}}"


def around_mgf_calls(id: Raw, total: int) -> tuple[bytes, bytes]:
    """The same of get.mgf_calls, whose samples have the rows first and no limits."""
    metadata = _encode({"total_items": total, "version": None, "limits": {}})
    return b'{"jsonrpc":"2.0","id":%b,"result":{"data":[' % bytes(id), b'],"metadata":%b}}' % metadata
