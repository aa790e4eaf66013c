"""What do our links begin with? The public address where there is one, else the address that the client used."""

import re
from typing import Any, Final

from litestar import Request

_HOST: Final = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?", re.ASCII)


def base_url(public_url: str | None, request: Request[Any, Any, Any]) -> str:
    """Scheme and host, without a slash at the end."""
    if public_url:
        return public_url.rstrip("/")
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        # A client may write anything there; the address that it reached us at is one, too.
        address, port = request.scope.get("server") or ("localhost", None)
        host = address if port is None else f"{address}:{port}"
    return f"{request.scope['scheme']}://{host}"
