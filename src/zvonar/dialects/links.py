"""With what does every link begin? The configured address, or the one at which the client has reached us."""

import re
from typing import Any

from litestar import Request

_HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?", re.ASCII)


def base_url(request: Request[Any, Any, Any], public_url: str | None) -> str:
    """What every link begins with, without a slash at its end."""
    if public_url:
        return public_url.rstrip("/")
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        # A client may write anything there; the address that it reached us at is one, too.
        address, port = request.scope.get("server") or ("localhost", None)
        host = address if port is None else f"{address}:{port}"
    return f"{request.scope['scheme']}://{host}"
