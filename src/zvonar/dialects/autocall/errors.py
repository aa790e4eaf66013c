"""What does an autocall client read when something is wrong? Laravel's shapes: a message, and errors by field."""

from collections.abc import Mapping, Sequence

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import Struct

from zvonar.dialects.autocall.words import Language, Text, language_of

log = structlog.get_logger(__name__)

UNAUTHENTICATED = Text("Unauthenticated.", "Ключ не указан или неизвестен.")
NOT_FOUND = Text("Not Found.", "Не найдено.")
NOT_ALLOWED = Text("Method Not Allowed.", "Метод не поддерживается.")
NO_MONEY = Text("There is not enough money on the balance.", "На балансе недостаточно средств.")
TOO_MANY = Text("Too Many Attempts.", "Слишком много запросов.")
TOO_LARGE = Text("The body is too large.", "Тело запроса слишком велико.")
UNAVAILABLE = Text(
    "The service is unavailable for a moment, try again.", "Сервис временно недоступен, повторите запрос."
)
KEY_REUSED = Text(
    "This Idempotency-Key was used for another request.", "Этот Idempotency-Key уже был в другом запросе."
)
KEY_BUSY = Text(
    "A request with this Idempotency-Key is still being worked on.",
    "Запрос с этим Idempotency-Key ещё выполняется.",
)

BODY = "body"  # the field of what belongs to no field


def required(field: str) -> Text:
    """Laravel's words for what is missing."""
    return Text(f"The {field} field is required.", f"Поле {field} обязательно.")


def invalid(field: str, why: str) -> Text:
    """What a value is not."""
    return Text(f"The {field} field is invalid: {why}", f"Поле {field} заполнено неверно: {why}")


class ErrorBody(Struct, frozen=True, kw_only=True):
    """What was not done, and why."""

    message: str


class InvalidBody(Struct, frozen=True, kw_only=True):
    """Everything that is wrong with a request, by field; items of a list as `list_id.0.number`."""

    message: str  # the first of them
    errors: dict[str, list[str]]


class Problem(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: Text, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message.en)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})

    def body(self, language: Language) -> ErrorBody | InvalidBody:
        """The answer."""
        return ErrorBody(message=self.message.said(language))


class Unprocessable(Problem):
    """Fields that are missing or wrong."""

    def __init__(self, errors: Mapping[str, Sequence[Text]]) -> None:
        self.errors = {field: list(texts) for field, texts in errors.items() if texts}
        texts = [text for found in self.errors.values() for text in found]
        first, more = texts[0], len(texts) - 1
        if more:
            first = Text(
                f"{first.en} (and {more} more error{'s' if more > 1 else ''})",
                f"{first.ru} (и ещё ошибок: {more})",
            )
        super().__init__(422, first)

    def body(self, language: Language) -> InvalidBody:
        """The answer."""
        return InvalidBody(
            message=self.message.said(language),
            errors={field: [text.said(language) for text in texts] for field, texts in self.errors.items()},
        )


def wrong(field: str, en: str, ru: str) -> Unprocessable:
    """One thing that is wrong."""
    return Unprocessable({field: [Text(en, ru)]})


def missing() -> Problem:
    """There is no such thing in this account."""
    return Problem(404, NOT_FOUND)


def render(request: Request, exc: Problem) -> Response[ErrorBody | InvalidBody]:  # type: ignore[type-arg]
    """Any refusal of ours."""
    language = language_of(request.headers.get("accept-language"))
    return Response(exc.body(language), status_code=exc.status, headers=exc.headers)


def render_http(request: Request, exc: HTTPException) -> Response[ErrorBody]:  # type: ignore[type-arg]
    """What the server refuses before we see it."""
    message = TOO_LARGE if exc.status_code == 413 else NOT_FOUND if exc.status_code == 404 else None
    language = language_of(request.headers.get("accept-language"))
    said = exc.detail if message is None else message.said(language)
    return Response(ErrorBody(message=said), status_code=exc.status_code, headers=exc.headers)


def render_failure(request: Request, exc: Exception) -> Response[ErrorBody]:  # type: ignore[type-arg]
    """Our own failure. Its text may quote a database error, so only its kind is logged."""
    log.error("autocall.failed", error=type(exc).__name__)
    language = language_of(request.headers.get("accept-language"))
    return Response(
        ErrorBody(message=UNAVAILABLE.said(language)), status_code=503, headers={"Retry-After": "5"}
    )
