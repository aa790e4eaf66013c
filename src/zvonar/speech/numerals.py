"""How is a number, a sum, a date said in words? In the voice's language; digits where it has no words for them."""

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Final

from zvonar.core.markup import Clock, Day, Digits, Money, Number, Spoken, Words

# Of num2words, by our language tags.
_LANGUAGES: Final = {"ru": "ru", "en": "en", "uk": "uk", "kk": "kz", "de": "de", "fr": "fr", "es": "es"}
_MONTHS: Final[Mapping[str, tuple[str, ...]]] = {
    "ru": (
        "января",
        "февраля",
        "марта",
        "апреля",
        "мая",
        "июня",
        "июля",
        "августа",
        "сентября",
        "октября",
        "ноября",
        "декабря",
    ),
    "uk": (
        "січня",
        "лютого",
        "березня",
        "квітня",
        "травня",
        "червня",
        "липня",
        "серпня",
        "вересня",
        "жовтня",
        "листопада",
        "грудня",
    ),
    "en": (
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
}


def words(part: Spoken, language: str) -> str:
    """What an engine is to say. `language`: a BCP 47 tag."""
    tag = language.lower().replace("_", "-").partition("-")[0]
    match part:
        case Words():
            return part.text
        case Digits():
            # Commas make the engine pause a little after each; spaces and dashes are not said.
            return ", ".join(char for char in part.text if char.isalnum() or char in "+*#")
        case Number():
            return _in_words(part.value, tag, to="ordinal" if part.ordinal else "cardinal")
        case Money():
            return _money(part, tag)
        case Day():
            return _day(part, tag)
        case Clock():
            return f"{_in_words(Decimal(part.hour), tag)} {_minutes(part.minute, tag)}".strip()


def _in_words(value: Decimal, tag: str, **how: Any) -> str:
    from num2words import num2words  # type: ignore[import-untyped]

    spoken = _LANGUAGES.get(tag)
    number: int | Decimal = int(value) if value == int(value) else value
    if spoken is None:
        return f"{number:f}" if isinstance(number, Decimal) else str(number)
    try:
        return str(num2words(number, lang=spoken, **how)) or str(number)  # some have no zeroth
    except Exception:  # what a library makes of a number in some language must not silence a call
        return f"{number:f}" if isinstance(number, Decimal) else str(number)  # the engine's own way


def _money(part: Money, tag: str) -> str:
    from num2words import num2words

    # Whole units are said without their hundredths; the library takes an int for hundredths.
    amount = part.amount.quantize(Decimal("0.01"))
    try:
        said = str(
            num2words(amount, lang=_LANGUAGES[tag], to="currency", currency=part.currency, separator=" ")
        )
    except Exception:  # a currency that it does not know, and the like
        return f"{_in_words(amount, tag)} {part.currency}"
    if amount == int(amount):
        whole = str(
            num2words(
                amount,
                lang=_LANGUAGES[tag],
                to="currency",
                currency=part.currency,
                cents=False,
                separator="|",
            )
        )
        said = whole.partition("|")[0]
    return said


def _day(part: Day, tag: str) -> str:
    day, month, year = part.date.day, part.date.month, part.date.year
    months = _MONTHS.get(tag)
    if months is None:
        numbers = [Decimal(day), Decimal(month), *([Decimal(year)] if part.with_year else [])]
        return ", ".join(_in_words(number, tag) for number in numbers)
    name = months[month - 1]
    if tag == "ru":
        said = f"{_in_words(Decimal(day), tag, to='ordinal', gender='n')} {name}"
        return (
            f"{said} {_in_words(Decimal(year), tag, to='ordinal', case='g')} года" if part.with_year else said
        )
    if tag == "uk":
        said = f"{_in_words(Decimal(day), tag)} {name}"
        return f"{said} {_in_words(Decimal(year), tag)} року" if part.with_year else said
    said = f"{name} {_in_words(Decimal(day), tag, to='ordinal')}"
    return f"{said}, {_in_words(Decimal(year), tag, to='year')}" if part.with_year else said


def _minutes(minute: int, tag: str) -> str:
    if minute == 0:
        return {"ru": "ноль ноль", "uk": "нуль нуль", "en": "o'clock"}.get(tag, "0 0")
    zero = {"ru": "ноль ", "uk": "нуль ", "en": "oh "}.get(tag, "0 ") if minute < 10 else ""
    return zero + _in_words(Decimal(minute), tag)


@cache
def _digits(language: str) -> Mapping[str, str]:
    """Numbers up to a hundred by their words."""
    from num2words import num2words

    name = _LANGUAGES.get(language)
    return {num2words(number, lang=name): str(number) for number in range(101)} if name else {}


def in_digits(word: str, language: str) -> str | None:
    """A number's word as digits, up to 100; None for every other word. `language`: a BCP 47 tag."""
    return _digits(language.lower().replace("_", "-").partition("-")[0]).get(word.lower())
