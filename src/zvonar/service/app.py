"""What answers on the one port? Every dialect's routes, health and metrics, as one ASGI application."""

import traceback
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any

import structlog
from litestar import Litestar, MediaType, Request, Response, get
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from prometheus_client import CONTENT_TYPE_LATEST

from zvonar import __version__
from zvonar.dialects.callo.media import Media
from zvonar.service import wiring
from zvonar.service.home import Home
from zvonar.service.metrics import exposition
from zvonar.store.db import Database, StoreUnavailable

log = structlog.get_logger(__name__)

_INDEX = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Zvonar</title>
<body style="font:16px/1.5 system-ui;max-width:42rem;margin:4rem auto;padding:0 1rem">
<h1>Zvonar {version}</h1>
<p>This service dials campaigns and answers in the dialects below. The README tells how to begin.<br>
Служба обзванивает номера кампаний и отвечает на перечисленных ниже языках API.</p>
<ul><li>Callo: <code>/manager/cabapi_external/api/v1/…</code></li>
<li>Autocall: <code>/api/v1/…</code>, to be read and tried out at <a href="/docs">/docs</a></li>
<li>UIS Data API: <code>POST /v2.0</code></li>
<li>amoCRM: <code>POST /api/v4/calls</code> and the cards around it</li>
<li><a href="/healthz">/healthz</a>, <a href="/metrics">/metrics</a></li></ul></body></html>
"""


def application(
    db: Database,
    reports: Database,
    *,
    home: Home,
    roles: list[str],
    media: Media,
    public_url: str | None,
    amocrm_strict: bool,
    now: Callable[[], datetime],
) -> Litestar:
    """The application over an open database. `roles`: those whose readiness makes the service healthy."""

    @get("/", media_type=MediaType.HTML, sync_to_thread=False)
    def index() -> str:
        """What this is."""
        return _INDEX.format(version=__version__)

    @get("/healthz", media_type=MediaType.JSON)
    async def healthz() -> Response[dict[str, str]]:
        """200 once every role serves and the database answers; else 503 and what is missing."""
        state = {role: "ready" if (home.run / f"{role}.ready").exists() else "starting" for role in roles}
        try:
            await db.value("SELECT 1")
            state["database"] = "ready"
        except StoreUnavailable:
            state["database"] = "away"
        healthy = all(value == "ready" for value in state.values())
        return Response(
            {"status": "ok" if healthy else "unavailable", **state},
            status_code=HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE,
        )

    @get("/metrics")
    async def metrics() -> Response[bytes]:
        """Prometheus text; no label holds anybody's number, text or key."""
        return Response(await exposition(db, home, now=now()), media_type=CONTENT_TYPE_LATEST)

    return Litestar(
        route_handlers=[
            index,
            healthz,
            metrics,
            *wiring.routes(
                db, reports, media=media, public_url=public_url, amocrm_strict=amocrm_strict, now=now
            ),
        ],
        logging_config=None,  # the role has set logging up already
        # What the dialects without a page of their own have; no page, for Litestar's come from elsewhere.
        openapi_config=OpenAPIConfig(
            title="Zvonar", version=__version__, path="/schema", render_plugins=[JsonRenderPlugin()]
        ),
        exception_handlers={HTTPException: _http_error, Exception: _internal_error},
    )


def _http_error(request: Request[Any, Any, Any], exc: HTTPException) -> Response[Any]:
    # What is refused before a dialect's router is reached: a method that a path does not have.
    if (dialect := wiring.errors_of(request.url.path)) is not None:
        return dialect(request, exc)
    return Response({"message": HTTPStatus(exc.status_code).phrase}, status_code=exc.status_code)


def _internal_error(request: Request[Any, Any, Any], exc: Exception) -> Response[dict[str, str]]:
    """What no dialect has caught: the client gets no details, the log gets no values."""
    status = (
        HTTPStatus.SERVICE_UNAVAILABLE
        if isinstance(exc, StoreUnavailable)
        else HTTPStatus.INTERNAL_SERVER_ERROR
    )
    # A traceback quotes values (a database error even in its first line); where it happened is enough.
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    log.error(
        "api.failed", error=type(exc).__name__, path=request.url.path, at=f"{frame.name}:{frame.lineno}"
    )
    return Response({"message": status.phrase}, status_code=status)
