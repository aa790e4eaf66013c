"""Under which paths do autocall clients find us? Every operation of this API, below its prefix."""

import asyncio
from collections.abc import Sequence

from litestar import Router
from litestar.exceptions import HTTPException

from zvonar.dialects.autocall import docs, errors
from zvonar.dialects.autocall.errors import Problem
from zvonar.dialects.autocall.operations import KEY_KIND, LONG_ONES, Operation, Service, allowing, handler
from zvonar.dialects.autocall.routes import (
    audio,
    autocalls,
    calls,
    lists,
    public,
    scenarios,
    single,
    steps,
    stoplist,
)

__all__ = ["KEY_KIND", "OPERATIONS", "PREFIX", "Service", "routes"]

PREFIX = "/api/v1"
PUBLIC_PREFIX = "/api"

OPERATIONS: tuple[Operation, ...] = (
    *autocalls.OPERATIONS,
    *steps.OPERATIONS,
    *calls.OPERATIONS,
    *lists.OPERATIONS,
    *scenarios.OPERATIONS,
    *audio.OPERATIONS,
    *single.OPERATIONS,
    *stoplist.OPERATIONS,
    *public.OPERATIONS,
)


def routes(service: Service) -> list[Router]:
    """Everything that is served under the prefix."""
    return [
        _router(PREFIX, OPERATIONS, service),
        docs.router(OPERATIONS, prefix=PREFIX),
        # Clients of the original ask there [C].
        _router(PUBLIC_PREFIX, [operation for operation in OPERATIONS if operation.public], service),
    ]


def _router(prefix: str, operations: Sequence[Operation], service: Service) -> Router:
    long_ones = asyncio.Semaphore(LONG_ONES)
    return Router(
        prefix,
        route_handlers=[
            # First, or the server makes its own for the first handler of each path.
            *(allowing(path, operations) for path in dict.fromkeys(one.path for one in operations)),
            *(handler(operation, service, long_ones=long_ones) for operation in operations),
        ],
        exception_handlers={
            Problem: errors.render,
            HTTPException: errors.render_http,
            Exception: errors.render_failure,
        },
    )
