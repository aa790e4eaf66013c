"""What does an amoCRM client read when something is wrong? problem+json, in the shapes that were seen on the wire."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import Struct

from zvonar.core.errors import ZvonarError
from zvonar.dialects.amocrm import limits
from zvonar.store.db import StoreUnavailable

log = structlog.get_logger(__name__)

PROBLEM: Final = "application/problem+json"  # clients compare it as a whole, so no charset
_TYPE: Final = "https://httpstatus.es/{status}"
_OAUTH_TYPE: Final = "https://developers.amocrm.ru/v3/errors/OAuthProblemJson"

# Codes and their sentences. The last four are guesses [G]: no error of these kinds was seen on the wire.
MISSING: Final = "FieldMissing", "This field is missing."
NULL: Final = "NotNullable", "This value should not be null."
BLANK: Final = "NotBlank", "This value should not be blank."
CHOICE: Final = "NotSupportedChoice", "The value you selected is not a valid choice."
TYPE: Final = "InvalidType", "This value should be of type {type}."
URL: Final = "InvalidUrl", "This value is not a valid URL."
RANGE: Final = "InvalidRange", "This value should be between {least} and {most}."
LENGTH: Final = "TooLong", "This value is too long. It should have {most} characters or less."
PHONE: Final = "InvalidPhone", "This value is not a valid phone number."
TEXT: Final = "InvalidText", "This value contains characters that are not allowed."

# 263: no card has the number. The last two keys of the item are guesses [G].
NOT_FOUND: Final = "Entity not found"
NOT_FOUND_CODE: Final = 263

# The vendor's words for an account or user without rights.
NO_RIGHTS: Final = (
    "Код ошибки 244. В случае повторного возникновения ошибки, обращайтесь в нашу техническую поддержку - "
    "support@amocrm.ru"
)
# The hint for a refresh token that was spent; the status is unsettled, 400 or 401 [G].
SPENT_REFRESH: Final = "Token has been revoked", HTTPStatus.BAD_REQUEST


class Fault(Struct, frozen=True, kw_only=True):
    """What is wrong with one value of an item, as it is on the wire."""

    code: str
    path: str  # within the item: params.link
    detail: str


def fault(kind: tuple[str, str], path: str, **values: object) -> Fault:
    """A fault of this kind."""
    return Fault(code=kind[0], path=path, detail=kind[1].format(**values))


class AmoError(ZvonarError):
    """A request that is answered with an error."""

    status = HTTPStatus.BAD_REQUEST
    headers: Mapping[str, str] = {}

    def document(self) -> dict[str, Any]:
        """The body."""
        return {
            "title": self.status.phrase,
            "type": _TYPE.format(status=int(self.status)),
            "status": int(self.status),
            "detail": self.detail or self.status.phrase,
        }


class BadRequest(AmoError):
    """The request cannot be understood."""


class NoToken(AmoError):
    """The token is missing, unknown, expired, revoked or forged."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self) -> None:
        super().__init__("Invalid user name or password")


class NoRights(AmoError):
    """The user may not do this."""

    def __init__(self) -> None:
        super().__init__(NO_RIGHTS)


class NotThere(AmoError):
    """There is no such path."""

    status = HTTPStatus.NOT_FOUND


class TooMany(AmoError):
    """More than seven requests a second."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    headers = {"Retry-After": limits.RETRY_AFTER}  # noqa: RUF012  # nobody changes it


class ValidationFailed(AmoError):
    """Items of a batch are wrong, so that none of it was stored."""

    def __init__(self, faults: Sequence[tuple[str | int, Sequence[Fault]]]) -> None:
        """`faults`: by the request_id of the item."""
        super().__init__("Request validation failed")
        self.faults = faults

    def document(self) -> dict[str, Any]:
        items = [{"request_id": request_id, "errors": list(faults)} for request_id, faults in self.faults]
        return {"validation-errors": items, **super().document()}


class OAuthProblem(AmoError):
    """The token endpoint refuses."""

    def __init__(self, hint: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(hint)
        self.status = status

    def document(self) -> dict[str, Any]:
        return {
            "hint": self.detail,
            "title": "Некорректный запрос",
            "type": _OAUTH_TYPE,
            "status": int(self.status),
            "detail": "В запросе отсутствует ряд параметров или параметры невалидны",
        }


def _response(
    document: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    return Response(
        msgspec.json.encode(document), status_code=status, media_type=PROBLEM, headers=dict(headers or {})
    )


def render(_: Request[Any, Any, Any], error: AmoError) -> Response[bytes]:
    """The answer to a request that came to nothing."""
    return _response(error.document(), error.status, error.headers)


def render_http(request: Request[Any, Any, Any], exc: HTTPException) -> Response[bytes]:
    """What the server refuses before we see it: unknown paths and methods, bodies beyond all bounds."""
    problem = AmoError(f"Cannot {request.method} this path." if exc.status_code in (404, 405) else None)
    problem.status = HTTPStatus(exc.status_code)
    return _response(problem.document(), exc.status_code, exc.headers)


def render_failure(request: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:
    """What nobody expected: the client gets no details, the log no values."""
    away = isinstance(exc, StoreUnavailable)
    problem = AmoError()
    problem.status = HTTPStatus.SERVICE_UNAVAILABLE if away else HTTPStatus.INTERNAL_SERVER_ERROR
    # Its text may quote a database error, so only its kind is logged.
    log.error("amocrm.failed", error=type(exc).__name__, path=request.scope.get("path_template", ""))
    return _response(problem.document(), problem.status)
