"""What does a Callo client read when something is wrong? Exact strings, typos included, in English or Russian.

Everything is HTTP 400 with `{"status":"error","data":"…"}`, but too many requests: that is a page.
"""

from collections.abc import Mapping
from typing import Literal

import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from msgspec import Struct

log = structlog.get_logger(__name__)

Language = Literal["en", "ru"]


class Text(Struct, frozen=True, kw_only=True):
    """One message in the languages that the service speaks."""

    en: str
    ru: str

    def said(self, language: Language) -> str:
        return self.ru if language == "ru" else self.en


# Django's own words, in which the reference's forms speak.
REQUIRED = Text(en="This field is required.", ru="Обязательное поле.")
NOT_WHOLE = Text(en="Enter a whole number.", ru="Введите целое число.")
NOT_VALID = Text(en="Enter a valid value.", ru="Введите правильное значение.")
EMPTY_FILE = Text(en="The submitted file is empty.", ru="Отправленный файл пуст.")
NUL = Text(en="Null characters are not allowed.", ru="Данные содержат запрещённый символ: ноль-байт")

# Confirmed by a client's tests.
WRONG_TYPE = Text(en="Invalid campaign type", ru="Неверный тип кампании")

# Guesses: the reference has no words for these. They are Form errors of the field named beside them.
UNKNOWN_KEY = Text(en="Invalid public key.", ru="Неверный публичный ключ.")  # public_key
NO_BALANCE = Text(en="Insufficient balance.", ru="Недостаточно средств на балансе.")  # public_key
BAD_PHONE = Text(en="Enter a valid phone number.", ru="Введите правильный номер телефона.")  # phone
CLOSED_DESTINATION = Text(en="This destination is blocked.", ru="Данное направление заблокировано.")  # phone
CLOSED_CAMPAIGN = Text(en="The campaign is finished.", ru="Кампания завершена.")  # campaign_id
LABEL_TAKEN = Text(
    en="A call with this label already exists in the campaign.",
    ru="Звонок с такой меткой уже есть в кампании.",
)  # label
BOTH_IDS = Text(en="Send either call_id or call_ids.", ru="Передайте либо call_id, либо call_ids.")  # __all__
NOT_UTF8 = Text(en="Enter text in UTF-8.", ru="Введите текст в UTF-8.")  # any field
UNREADABLE = Text(en="The form could not be read.", ru="Не удалось прочитать форму.")  # __all__
TOO_LARGE = Text(en="The form is too large.", ru="Форма слишком велика.")  # __all__
BOTH_LISTS = Text(
    en="Send either phones or phones_file.", ru="Передайте либо phones, либо phones_file."
)  # __all__
NOT_A_LIST = Text(
    en="Upload a text, CSV, XLSX or XLS file with a phone number in each row.",
    ru="Загрузите текст, CSV, XLSX или XLS с номером телефона в каждой строке.",
)  # phones, phones_file
LIST_TOO_LARGE = Text(en="The list is too large.", ru="Список слишком велик.")  # phones, phones_file
NO_NUMBERS = Text(
    en="The list has no phone number that can be called.",
    ru="В списке нет номеров, на которые можно позвонить.",
)  # phones, phones_file
NO_COLUMN = Text(
    en="The list has no such column.", ru="В списке нет такого столбца."
)  # text_from_column, label_…


# Ours: why a recording is no clip, by the reason of `zvonar.speech.formats`. Form errors of clip_file.
CLIP_REJECTED = {
    "empty": Text(en="The file holds no sound.", ru="В файле нет звука."),
    "too_large": Text(
        en="The file is larger than 32 MB: save it as MP3, or cut it.",
        ru="Файл больше 32 МБ: сохраните его как MP3 или сократите.",
    ),
    "format": Text(
        en="The file is not audio that can be played: save it as WAV, MP3, OGG or FLAC, mono or stereo.",
        ru="Файл не является аудио, которое читает сервис: сохраните его как WAV, MP3, OGG или FLAC, моно или стерео.",
    ),
    "broken": Text(
        en="The audio file is damaged: export it again from the original recording.",
        ru="Аудиофайл повреждён: экспортируйте его заново из исходной записи.",
    ),
    "too_short": Text(en="The recording is shorter than 0.1 seconds.", ru="Запись короче 0,1 секунды."),
    "too_long": Text(en="The recording is longer than 30 minutes.", ru="Запись длиннее 30 минут."),
    "too_costly": Text(
        en="The audio file takes too long to decode: save it as WAV or MP3, mono, at 8 to 48 kHz.",
        ru="Аудиофайл слишком долго декодируется: сохраните его как WAV или MP3, моно, от 8 до 48 кГц.",
    ),
}
CLIP_UNSPOKEN = Text(
    en="The text of this clip cannot be spoken.", ru="Текст этого ролика нельзя произнести."
)  # audioclip_id

FORM = "__all__"  # where Django puts what belongs to no field


def at_least(limit: int) -> Text:
    """Django's words for a number below its range."""
    return Text(
        en=f"Ensure this value is greater than or equal to {limit}.",
        ru=f"Убедитесь, что это значение больше либо равно {limit}.",
    )


def at_most(limit: int) -> Text:
    """Django's words for a number above its range."""
    return Text(
        en=f"Ensure this value is less than or equal to {limit}.",
        ru=f"Убедитесь, что это значение меньше либо равно {limit}.",
    )


def too_long(limit: int, length: int) -> Text:
    """Django's words for a text that is too long."""
    return Text(
        en=f"Ensure this value has at most {limit} characters (it has {length}).",
        ru=f"Убедитесь, что это значение содержит не более {limit} символов (сейчас {length}).",
    )


def too_many(limit: int) -> Text:
    """More ids than one request may ask for."""
    return Text(en=f"Send at most {limit} values.", ru=f"Передайте не более {limit} значений.")


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
        lines = (f"* {name}\n  * {text.said(language)}" for name, text in self.errors.items())
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


class ClipMissing(CalloError):
    """There is no such clip. Its words are ours, after those for a campaign."""

    def __init__(self, clip_id: int) -> None:
        super().__init__()
        self.clip_id = clip_id

    def said(self, language: Language) -> str:
        return f"Audioclip by id={self.clip_id} don't found"


class PhoneListMissing(CalloError):
    """There is no such phone list. A guess after the words for campaigns."""

    def __init__(self, phone_list_id: int) -> None:
        super().__init__()
        self.phone_list_id = phone_list_id

    def said(self, language: Language) -> str:
        return f"Phonelist by id={self.phone_list_id} don't found"


class CalledTooOften(CalloError):
    """One number gets too many calls of one campaign."""

    def __init__(self, campaign_id: int, phone: str, *, count: int, seconds: int) -> None:
        super().__init__()
        self.text = f"Calls count to camp_id:{campaign_id}, {phone} is excess (limit {count}/{seconds}sec)"

    def said(self, language: Language) -> str:
        return self.text


class TooManyRequests(Exception):
    """A key asks more often than it may; answered with a page, as the reference says."""


_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>429 Too Many Requests</title></head>"
    "<body><h1>429 Too Many Requests</h1></body></html>\n"
)
_UNAVAILABLE = Text(en="The service is temporarily unavailable.", ru="Сервис временно недоступен.")


def language_of(header: str | None) -> Language:
    """What an Accept-Language header prefers of what we speak; English unless it says so."""
    best: Language = "en"
    weight = 0.0
    for item in (header or "").split(",")[:32]:
        tag, _, quality = item.strip().partition(";")
        try:
            q = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        primary = tag.strip().lower().partition("-")[0]
        if q > weight and (primary == "en" or primary == "ru"):
            best, weight = ("ru" if primary == "ru" else "en"), q
    return best


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
    return Response(_PAGE, status_code=429, media_type=MediaType.HTML, headers=headers(language))


def render_http(request: Request, exc: HTTPException) -> Response[dict[str, str]]:  # type: ignore[type-arg]
    """What the server refuses before we see it, such as a body beyond all bounds."""
    language = language_of(request.headers.get("accept-language"))
    return _answer(FormInvalid({FORM: UNREADABLE}).said(language), exc.status_code, language)


def render_failure(request: Request, exc: Exception) -> Response[dict[str, str]]:  # type: ignore[type-arg]
    """Our own failure. Its text may quote a database error, so only its kind is logged."""
    log.error("callo.failed", error=type(exc).__name__)
    language = language_of(request.headers.get("accept-language"))
    return _answer(_UNAVAILABLE.said(language), 503, language)
