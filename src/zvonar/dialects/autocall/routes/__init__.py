"""Under which paths do autocall clients find us? Every operation of this API, below its prefix."""

from litestar import Router
from litestar.exceptions import HTTPException

from zvonar.dialects.autocall import errors
from zvonar.dialects.autocall.errors import Problem
from zvonar.dialects.autocall.operations import KEY_KIND, Operation, Service, handler
from zvonar.dialects.autocall.routes import autocalls, calls

__all__ = ["KEY_KIND", "OPERATIONS", "PREFIX", "Service", "routes"]

PREFIX = "/api/v1"

OPERATIONS: tuple[Operation, ...] = (
    *autocalls.OPERATIONS,
    *calls.OPERATIONS,
)


def routes(service: Service) -> list[Router]:
    """Everything that is served under the prefix."""
    return [
        Router(
            PREFIX,
            route_handlers=[handler(operation, service) for operation in OPERATIONS],
            exception_handlers={
                Problem: errors.render,
                HTTPException: errors.render_http,
                Exception: errors.render_failure,
            },
        )
    ]
