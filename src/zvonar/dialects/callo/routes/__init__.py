"""Under which paths do Callo's clients find us? The prefixes; each module has the handlers of one kind of request."""

from litestar import Router
from litestar.exceptions import HTTPException

from zvonar.dialects.callo import errors, limits
from zvonar.dialects.callo.routes import account, adding, audio, bulk, media, numbers, results, steering
from zvonar.dialects.callo.routes.common import KEY_KIND, Service

__all__ = ["KEY_KIND", "PREFIXES", "Service", "routes"]

# The same API is public under several brands; older clients know the second prefix.
PREFIXES = ("/manager/cabapi_external/api/v1", "/lk/cabapi_external/api/v1")


def routes(service: Service) -> list[Router]:
    """Everything that is served under the prefixes, and the sound that its answers lead to."""
    api = [
        Router(
            prefix,
            route_handlers=[
                *adding.handlers(service),
                *results.handlers(service),
                *audio.handlers(service),
                *bulk.handlers(service),
                *steering.handlers(service),
                *account.handlers(service),
                *numbers.handlers(service),
            ],
            request_max_body_size=limits.MAX_BODY,
            exception_handlers={
                errors.CalloError: errors.render,
                errors.TooManyRequests: errors.render_page,
                HTTPException: errors.render_http,
                Exception: errors.render_failure,
            },
        )
        for prefix in PREFIXES
    ]
    return [*api, media.router(service)]
