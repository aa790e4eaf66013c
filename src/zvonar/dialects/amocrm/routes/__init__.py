"""Under which paths do amoCRM's clients find us? Each module has the handlers of one kind of thing."""

from typing import Any

from litestar import Request, Response, Router, route
from litestar.exceptions import HTTPException

from zvonar.dialects.amocrm import errors, limits
from zvonar.dialects.amocrm.errors import NotThere
from zvonar.dialects.amocrm.routes import (
    account,
    calls,
    cards,
    catalog,
    events,
    notes,
    oauth,
    tasks,
    unsorted,
    webhooks,
)
from zvonar.dialects.amocrm.routes.common import Door, Service

__all__ = ["PREFIXES", "Service", "routes"]

PREFIXES = ("/api/v4", "/oauth2")

_METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE"]


def routes(service: Service) -> list[Router]:
    """Everything under /api/v4, and the token endpoint."""
    door = Door(service)

    @route(["/", "/{path:path}"], http_method=_METHODS, status_code=404)  # type: ignore[arg-type]
    async def elsewhere(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Whatever is not served."""
        await door.reader(request)
        raise NotThere(f"Cannot {request.method} this path.")

    handling: dict[Any, Any] = {
        errors.AmoError: errors.render,
        HTTPException: errors.render_http,
        Exception: errors.render_failure,
    }
    return [
        Router(
            "/oauth2",
            route_handlers=[*oauth.handlers(service, door)],
            request_max_body_size=limits.MAX_BODY,
            exception_handlers=handling,
        ),
        Router(
            "/api/v4",
            route_handlers=[
                *calls.handlers(service, door),
                *cards.handlers(service, door),
                *notes.handlers(service, door),
                *account.handlers(service, door),
                *catalog.handlers(service, door),
                *events.handlers(service, door),
                *tasks.handlers(service, door),
                *unsorted.handlers(service, door),
                *webhooks.handlers(service, door),
                elsewhere,
            ],
            request_max_body_size=limits.MAX_BODY,
            exception_handlers=handling,
        ),
    ]
