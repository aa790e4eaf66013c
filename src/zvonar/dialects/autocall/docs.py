"""Where can somebody read of this API and try it out? /docs, from our own files: nothing is fetched from elsewhere."""

from functools import cache
from importlib import resources
from typing import Any, Final

import msgspec
from litestar import MediaType, Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from zvonar import __version__
from zvonar.dialects.autocall.openapi import document
from zvonar.dialects.autocall.operations import Operation

PATH: Final = "/docs"

# Everything comes from here, and the page talks to nobody else.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Zvonar: autocalls</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css"></head>
<body><div id="api"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script><script src="/docs/assets/start.js"></script>
</body></html>
"""

_START: Final = """SwaggerUIBundle({
  url: "/docs/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: "none", tryItOutEnabled: true,
  persistAuthorization: false, displayRequestDuration: true, docExpansion: "list",
});
"""

_TYPES: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


def router(operations: tuple[Operation, ...], *, prefix: str) -> Router:
    """The page, its files, and the document."""

    @cache
    def described() -> bytes:
        return msgspec.json.encode(document(operations, prefix=prefix, version=__version__))

    @get("/", media_type=MediaType.HTML, sync_to_thread=False)
    def page() -> Response[str]:
        """The try-it page."""
        return Response(_PAGE, headers=_headers("no-cache"))

    @get("/openapi.json", sync_to_thread=True)
    def openapi() -> Response[bytes]:
        """The document."""
        return Response(described(), media_type="application/json", headers=_headers("no-cache"))

    @get("/assets/{name:str}", sync_to_thread=True)
    def asset(name: FromPath[str]) -> Response[Any]:
        """One of the page's files."""
        if name == "start.js":
            return Response(_START.encode(), media_type="text/javascript", headers=_headers("no-cache"))
        if name not in _TYPES:
            raise NotFoundException
        data = (resources.files("zvonar.dialects.autocall") / "assets" / name).read_bytes()
        return Response(data, media_type=_TYPES[name], headers=_headers("public, max-age=86400"))

    return Router(PATH, route_handlers=[page, openapi, asset], include_in_schema=False)


def _headers(cache_control: str) -> dict[str, str]:
    return {
        "cache-control": cache_control,
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
    }
