"""What does a Callo client read when something is wrong? Exact strings, typos included, in the client's language.

Everything is HTTP 400 with `{"status":"error","data":"…"}`, but too many requests: that is a page.
"""

from collections.abc import Mapping
from html import escape

import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException

from zvonar.dialects.callo import ours
from zvonar.dialects.callo.ours import BAD_PHONE as BAD_PHONE
from zvonar.dialects.callo.ours import BUSY_CAMPAIGN as BUSY_CAMPAIGN
from zvonar.dialects.callo.ours import CLOSED_CAMPAIGN as CLOSED_CAMPAIGN
from zvonar.dialects.callo.ours import LABEL_TAKEN as LABEL_TAKEN
from zvonar.dialects.callo.ours import LIST_TOO_LARGE as LIST_TOO_LARGE
from zvonar.dialects.callo.ours import NO_BALANCE as NO_BALANCE
from zvonar.dialects.callo.ours import NO_CALLER_IDS as NO_CALLER_IDS
from zvonar.dialects.callo.ours import NO_COLUMN as NO_COLUMN
from zvonar.dialects.callo.ours import NO_NUMBERS as NO_NUMBERS
from zvonar.dialects.callo.ours import NO_SUCH_NUMBER as NO_SUCH_NUMBER
from zvonar.dialects.callo.ours import NO_SUCH_REACTION as NO_SUCH_REACTION
from zvonar.dialects.callo.ours import NOT_A_LIST as NOT_A_LIST
from zvonar.dialects.callo.ours import NOT_UTF8 as NOT_UTF8
from zvonar.dialects.callo.ours import SEVERAL_WORDS as SEVERAL_WORDS
from zvonar.dialects.callo.ours import TOO_LARGE as TOO_LARGE
from zvonar.dialects.callo.ours import UNKNOWN_CLIP as UNKNOWN_CLIP
from zvonar.dialects.callo.ours import UNKNOWN_KEY as UNKNOWN_KEY
from zvonar.dialects.callo.ours import UNREADABLE as UNREADABLE
from zvonar.dialects.callo.ours import bad_markup as bad_markup
from zvonar.dialects.callo.ours import both as both
from zvonar.dialects.callo.ours import too_many as too_many
from zvonar.dialects.callo.words import Language as Language
from zvonar.dialects.callo.words import Text as Text
from zvonar.dialects.callo.words import language_of as language_of

log = structlog.get_logger(__name__)

# Django's own words, in which the reference's forms speak.
REQUIRED = Text(en="This field is required.", ru="Обязательное поле.", uk="Це поле обов'язкове.")
NOT_WHOLE = Text(en="Enter a whole number.", ru="Введите целое число.", uk="Введіть ціле число.")
NOT_VALID = Text(
    en="Enter a valid value.", ru="Введите правильное значение.", uk="Введіть коректне значення."
)
NOT_A_DATE = Text(
    en="Enter a valid date/time.", ru="Введите правильную дату и время.", uk="Введіть коректну дату/час."
)
NUL = Text(
    en="Null characters are not allowed.",
    ru="Данные содержат запрещённый символ: ноль-байт",
    uk="Символи Null не дозволені.",
)

EMPTY_FILE = Text(
    en="The submitted file is empty.", ru="Отправленный файл пуст.", uk="Відправлений файл порожній."
)

# Confirmed by a client's tests, in English.
WRONG_TYPE = Text(en="Invalid campaign type", ru="Неверный тип кампании", uk="Невірний тип кампанії")

FORM = "__all__"  # where Django puts what belongs to no field


def at_least(limit: int) -> Text:
    """Django's words for a number below its range."""
    return Text(
        en=f"Ensure this value is greater than or equal to {limit}.",
        ru=f"Убедитесь, что это значение больше либо равно {limit}.",
        uk=f"Переконайтеся, що це значення більше чи дорівнює {limit}.",
    )


def at_most(limit: int) -> Text:
    """Django's words for a number above its range."""
    return Text(
        en=f"Ensure this value is less than or equal to {limit}.",
        ru=f"Убедитесь, что это значение меньше либо равно {limit}.",
        uk=f"Переконайтеся, що це значення менше чи дорівнює {limit}.",
    )


def too_long(limit: int, length: int) -> Text:
    """Django's words for a text that is too long."""
    return Text(
        en=f"Ensure this value has at most {limit} characters (it has {length}).",
        ru=f"Убедитесь, что это значение содержит не более {limit} символов (сейчас {length}).",
        uk=f"Переконайтеся, що це значення містить не більше ніж {limit} символів (зараз {length}).",
    )


def too_short(limit: int, length: int) -> Text:
    """Django's words for a text that is too short."""
    return Text(
        en=f"Ensure this value has at least {limit} characters (it has {length}).",
        ru=f"Убедитесь, что это значение содержит не менее {limit} символов (сейчас {length}).",
        uk=f"Переконайтеся, що це значення містить не менш ніж {limit} символів (зараз {length}).",
    )


def no_choice(value: str) -> Text:
    """Django's words for a value that is none of a few."""
    return Text(
        en=f"Select a valid choice. {value} is not one of the available choices.",
        ru=f"Выберите корректный вариант. {value} нет среди допустимых значений.",
        uk=f"Зробить коректний вибір, {value} немає серед варіантів вибору.",
    )


class CalloError(Exception):
    """A request that is answered with an error."""

    status = 400

    def said(self, language: Language) -> str:
        """The `data` of the answer."""
        raise NotImplementedError


class FormInvalid(CalloError):
    """Fields are missing or wrong; written as Django's `form.errors.as_text()`."""

    def __init__(self, errors: Mapping[str, Text], *, status: int = 400) -> None:
        super().__init__(", ".join(errors))
        self.errors = dict(errors)
        self.status = status

    def said(self, language: Language) -> str:
        # Django renders these with a template, which escapes them.
        lines = (f"* {name}\n  * {escape(text.said(language))}" for name, text in self.errors.items())
        return "Form isn't valid: " + "\n".join(lines)


class CampaignMissing(CalloError):
    """There is no such campaign."""

    def __init__(self, campaign_id: int) -> None:
        super().__init__()
        self.campaign_id = campaign_id

    def said(self, language: Language) -> str:
        return f"Campaign by id={self.campaign_id} don't found"


class CallMissing(CalloError):
    """There is no such call."""

    def __init__(self, call_id: int) -> None:
        super().__init__()
        self.call_id = call_id

    def said(self, language: Language) -> str:
        return f"Call by ats_call_id={self.call_id} dnot found"


class Refused(CalloError):
    """What was asked cannot be done; told in the same words whatever the language."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def said(self, language: Language) -> str:
        return self.text


def phone_list_missing(phone_list_id: int) -> Refused:
    """No such list of numbers."""
    return Refused(ours.no_phone_list(phone_list_id))


def phone_missing(value: str) -> Refused:
    """No call to this number."""
    return Refused(f"Phone by val={value} not found")


class CalledTooOften(CalloError):
    """One number gets too many calls of one campaign."""

    def __init__(self, campaign_id: int, phone: str, *, count: int, seconds: int) -> None:
        super().__init__()
        self.text = f"Calls count to camp_id:{campaign_id}, {phone} is excess (limit {count}/{seconds}sec)"

    def said(self, language: Language) -> str:
        return self.text


class TooManyRequests(Exception):
    """A key asks more often than it may; answered with a page, as the reference says."""


RETRY_AFTER = "1"  # seconds; a request of the last second has then been forgotten


def headers(language: Language) -> dict[str, str]:
    """What the reference's answers carry beside their content type."""
    return {"Content-Language": language, "Vary": "Accept-Language, Cookie"}


def _answer(text: str, status: int, language: Language) -> Response[dict[str, str]]:
    return Response({"status": "error", "data": text}, status_code=status, headers=headers(language))


def render(request: Request, exc: CalloError) -> Response[dict[str, str]]:  # type: ignore[type-arg]
    """Any refusal of ours."""
    language = language_of(request.headers.get("accept-language"))
    return _answer(exc.said(language), exc.status, language)


def render_page(request: Request, exc: TooManyRequests) -> Response[str]:  # type: ignore[type-arg]
    """Too many requests."""
    language = language_of(request.headers.get("accept-language"))
    return Response(
        ours.TOO_OFTEN_PAGE,
        status_code=429,
        media_type=MediaType.HTML,
        headers={**headers(language), "Retry-After": RETRY_AFTER},
    )


def render_http(request: Request, exc: HTTPException) -> Response[dict[str, str]]:  # type: ignore[type-arg]
    """What the server refuses before we see it, such as a body beyond all bounds."""
    language = language_of(request.headers.get("accept-language"))
    return _answer(FormInvalid({FORM: UNREADABLE}).said(language), exc.status_code, language)


def render_failure(request: Request, exc: Exception) -> Response[dict[str, str]]:  # type: ignore[type-arg]
    """Our own failure. Its text may quote a database error, so only its kind is logged."""
    log.error("callo.failed", error=type(exc).__name__)
    language = language_of(request.headers.get("accept-language"))
    return _answer(ours.UNAVAILABLE.said(language), 503, language)
