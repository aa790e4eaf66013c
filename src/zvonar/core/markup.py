"""What is meant by a text with markup? A sequence of words, numbers, pauses and clips, or what is wrong with it.

A small part of SSML 1.1, in any nesting: `<break>`, `<prosody>`, `<say-as>`, `<sub>`, paragraphs, and `<audio id="…"/>`
for a clip of the account. A text without a tag or an entity is no markup and is said as it stands.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Final
from xml.parsers import expat

from msgspec import Struct, structs

from zvonar.core.errors import Invalid

MAX_DEPTH: Final = 20  # elements inside each other
MAX_PARTS: Final = 200
MAX_CLIPS: Final = 20
MAX_PAUSE: Final = 10.0  # seconds of one break
MAX_PAUSES: Final = 60.0  # seconds of all of them
MAX_DIGITS: Final = 15  # of a number that is said as a number

_MARKED = re.compile(r"<|&(?:#\d+|#x[0-9A-Fa-f]+|amp|lt|gt|quot|apos);")
_CLIP_ID = re.compile(r"[1-9]\d{0,17}", re.ASCII)
_TIME = re.compile(r"\+?(\d{1,6}(?:\.\d{1,6})?)\s*(ms|s)", re.ASCII)
_PERCENT = re.compile(r"([+-]?)(\d{1,4}(?:\.\d{1,4})?)%", re.ASCII)
_SEMITONES = re.compile(r"([+-]?\d{1,3}(?:\.\d{1,4})?)st", re.ASCII)
_DECIBELS = re.compile(r"([+-]?\d{1,3}(?:\.\d{1,4})?)dB", re.ASCII | re.IGNORECASE)
_MONEY = re.compile(r"([A-Za-z]{3}|[$€£₽₴₸])?\s*([-+]?[\d \u00a0.,]+?)\s*([A-Za-z]{3}|[$€£₽₴₸]|руб\.?)?")
_CLOCK = re.compile(r"(\d{1,2})[:.](\d{2})(?::\d{2})?", re.ASCII)
_SIGNS: Final = {
    "$": "USD",
    "€": "EUR",
    "£": "GBP",
    "₽": "RUB",
    "₴": "UAH",
    "₸": "KZT",
    "руб": "RUB",
    "руб.": "RUB",
}

# The SSML words for strengths, as Polly's and others' documentation gives their lengths.
_BREAKS: Final = {"none": 0.0, "x-weak": 0.1, "weak": 0.25, "medium": 0.5, "strong": 0.8, "x-strong": 1.2}
_RATES: Final = {"x-slow": 60, "slow": 80, "medium": 100, "default": 100, "fast": 125, "x-fast": 150}
_PITCHES: Final = {"x-low": 60, "low": 80, "medium": 100, "default": 100, "high": 125, "x-high": 150}
_VOLUMES: Final = {
    "silent": 0.0,
    "x-soft": 0.25,
    "soft": 0.5,
    "medium": 1.0,
    "default": 1.0,
    "loud": 1.0,
    "x-loud": 1.0,
}
# What holds text and changes nothing that our voices could do.
_PLAIN: Final = frozenset(("speak", "emphasis", "w", "lang", "mark", "amazon:effect", "amazon:auto-breaths"))
_BLOCKS: Final = frozenset(("p", "s"))
_DATE_ORDERS: Final = ("dmy", "mdy", "ymd")


class MarkupInvalid(Invalid):
    """The text's markup cannot be read."""


class Manner(Struct, frozen=True, kw_only=True):
    """How words are said."""

    rate: int = 100  # percent of the voice's own
    pitch: int = 100  # percent of the voice's own
    volume: float = 1.0  # of the usual, 0 to 1


class Words(Struct, frozen=True, kw_only=True):
    """Words as they are written."""

    text: str
    manner: Manner = Manner()


class Digits(Struct, frozen=True, kw_only=True):
    """Characters to be said one by one."""

    text: str
    manner: Manner = Manner()


class Number(Struct, frozen=True, kw_only=True):
    """A number, or an ordinal."""

    value: Decimal
    ordinal: bool = False
    manner: Manner = Manner()


class Money(Struct, frozen=True, kw_only=True):
    """A sum."""

    amount: Decimal
    currency: str  # ISO 4217
    manner: Manner = Manner()


class Day(Struct, frozen=True, kw_only=True):
    """A date."""

    date: date
    with_year: bool
    manner: Manner = Manner()


class Clock(Struct, frozen=True, kw_only=True):
    """A time of the day."""

    hour: int
    minute: int
    manner: Manner = Manner()


class Pause(Struct, frozen=True, kw_only=True):
    """Silence."""

    seconds: float


class ClipRef(Struct, frozen=True, kw_only=True):
    """A clip of the account."""

    clip_id: int


Spoken = Words | Digits | Number | Money | Day | Clock
Part = Spoken | Pause | ClipRef


def is_marked(text: str) -> bool:
    """Whether it is markup at all."""
    return _MARKED.search(text) is not None


def parse(text: str) -> tuple[Part, ...]:
    """What a text says, in its order. Raises MarkupInvalid; nothing is ever read but the text itself."""
    if not is_marked(text):
        return (Words(text=text),)
    reader = _Reader()
    parts = reader.read(text)
    if not any(isinstance(part, ClipRef) or _says(part) for part in parts):
        raise MarkupInvalid("It says nothing.")
    return parts


def clip_ids(text: str) -> tuple[int, ...]:
    """The clips that a text plays, each once. Raises MarkupInvalid."""
    return tuple(dict.fromkeys(part.clip_id for part in parse(text) if isinstance(part, ClipRef)))


def only_clip(text: str) -> int | None:
    """The clip of a text that is nothing else. Raises MarkupInvalid."""
    parts = parse(text)
    return parts[0].clip_id if len(parts) == 1 and isinstance(parts[0], ClipRef) else None


def _says(part: Part) -> bool:
    if isinstance(part, Words | Digits):
        return any(char.isalnum() for char in part.text)
    return not isinstance(part, Pause)


class _Open(Struct, kw_only=True):
    """An element that has not ended."""

    name: str
    manner: Manner
    attributes: Mapping[str, str]
    text: list[str] | None = None  # gathered where the text means something as a whole
    silent: bool = False  # its text is not said


class _Reader:
    """One pass over one text."""

    def __init__(self) -> None:
        self._open: list[_Open] = [_Open(name="", manner=Manner(), attributes={})]
        self._parts: list[Part] = []
        self._clips = 0
        self._pauses = 0.0

    def read(self, text: str) -> tuple[Part, ...]:
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _no_doctype
        parser.ProcessingInstructionHandler = _no_instruction
        whole = text if re.match(r"\s*<(speak[\s>]|\?xml)", text) else f"<speak>{text}</speak>"
        try:
            parser.Parse(whole.strip().encode("utf-8", "strict"), True)
        except expat.ExpatError as exc:
            raise MarkupInvalid(f"{expat.ErrorString(exc.code).capitalize()}.") from None
        except UnicodeError:
            raise MarkupInvalid("It holds half a character.") from None
        return tuple(self._parts)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > MAX_DEPTH:
            raise MarkupInvalid(f"Its elements are nested more than {MAX_DEPTH} deep.")
        around = self._open[-1]
        if around.text is not None or around.silent:
            raise MarkupInvalid(f"<{around.name}> holds another element.")
        opened = _Open(name=name, manner=around.manner, attributes=attributes)
        match name:
            case "break":
                self._pause(_break(attributes))
                opened.silent = True
            case "audio":
                self._clip(attributes)
                opened.silent = True
            case "prosody":
                opened.manner = _prosody(around.manner, attributes)
            case "say-as":
                opened.text = []
            case "sub":
                self._say(Words(text=attributes.get("alias", ""), manner=around.manner))
                opened.silent = True
            case _ if name in _BLOCKS or name in _PLAIN:
                pass
            case _:
                raise MarkupInvalid(f"It has an element <{name[:40]}> that is not known.")
        self._open.append(opened)

    def _end(self, name: str) -> None:
        closed = self._open.pop()
        if closed.text is not None:
            self._say(_said_as("".join(closed.text), closed))
        elif name in _BLOCKS:
            self._pause(_BREAKS["medium"])

    def _text(self, text: str) -> None:
        inside = self._open[-1]
        if inside.text is not None:
            inside.text.append(text)
        elif not inside.silent:
            self._say(Words(text=text, manner=inside.manner))

    def _say(self, part: Spoken) -> None:
        last = self._parts[-1] if self._parts else None
        if isinstance(part, Words):
            if isinstance(last, Words) and last.manner == part.manner:
                self._parts[-1] = structs.replace(last, text=last.text + part.text)
                return
            if not part.text.strip():
                return
        self._add(part)

    def _pause(self, seconds: float) -> None:
        self._pauses += seconds
        if self._pauses > MAX_PAUSES:
            raise MarkupInvalid(f"Its breaks are longer than {MAX_PAUSES:.0f} seconds.")
        if seconds:
            self._add(Pause(seconds=seconds))

    def _clip(self, attributes: Mapping[str, str]) -> None:
        written = attributes.get("id", "").strip()
        if not _CLIP_ID.fullmatch(written):
            raise MarkupInvalid("An <audio> has an id, the number of a clip.")
        self._clips += 1
        if self._clips > MAX_CLIPS:
            raise MarkupInvalid(f"It plays more than {MAX_CLIPS} clips.")
        self._add(ClipRef(clip_id=int(written)))

    def _add(self, part: Part) -> None:
        if len(self._parts) >= MAX_PARTS:
            raise MarkupInvalid(f"It has more than {MAX_PARTS} parts.")
        self._parts.append(part)


def _no_doctype(*_: object) -> None:
    # Entities of one's own are how a short text becomes an endless one.
    raise MarkupInvalid("It has a document type, which texts do not need.")


def _no_instruction(*_: object) -> None:
    raise MarkupInvalid("It has a processing instruction.")


def _break(attributes: Mapping[str, str]) -> float:
    written = attributes.get("time")
    if written is None:
        strength = attributes.get("strength", "medium").strip()
        if strength not in _BREAKS:
            raise MarkupInvalid(
                "The strength of a <break> is none, x-weak, weak, medium, strong or x-strong."
            )
        return _BREAKS[strength]
    found = _TIME.fullmatch(written.strip())
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else -1.0
    if not 0 <= seconds <= MAX_PAUSE:
        raise MarkupInvalid(f"The time of a <break> is such as 1200ms or 1.2s, at most {MAX_PAUSE:.0f}s.")
    return seconds


def _prosody(around: Manner, attributes: Mapping[str, str]) -> Manner:
    manner = around
    if "rate" in attributes:
        rate = _scaled(attributes["rate"], around.rate, _RATES, "rate")
        manner = structs.replace(manner, rate=min(max(rate, 50), 200))
    if "pitch" in attributes:
        written = attributes["pitch"].strip()
        if (steps := _SEMITONES.fullmatch(written)) is not None:
            pitch = round(around.pitch * 2 ** (min(max(float(steps[1]), -24.0), 24.0) / 12))
        else:
            pitch = _scaled(written, around.pitch, _PITCHES, "pitch")
        manner = structs.replace(manner, pitch=min(max(pitch, 0), 200))
    if "volume" in attributes:
        manner = structs.replace(manner, volume=_volume(attributes["volume"].strip(), around.volume))
    return manner


def _scaled(written: str, around: int, words: Mapping[str, int], name: str) -> int:
    written = written.strip()
    if written in words:
        return words[written]
    found = _PERCENT.fullmatch(written)
    if found is None:
        raise MarkupInvalid(f"The {name} of a <prosody> is a word such as slow or high, or a percentage.")
    share = float(found[2])
    match found[1]:
        case "+":
            return round(around * (1 + share / 100))
        case "-":
            return round(around * max(0.0, 1 - share / 100))
        case _:
            return round(share)


def _volume(written: str, around: float) -> float:
    if written in _VOLUMES:
        return _VOLUMES[written]
    if (found := _DECIBELS.fullmatch(written)) is not None:
        # Everything is as loud as a line takes already: it can only be made softer.
        return min(1.0, around * 10 ** (float(found[1]) / 20))
    raise MarkupInvalid("The volume of a <prosody> is a word such as soft, or decibels such as -6dB.")


def _said_as(text: str, element: _Open) -> Spoken:
    text, kind = " ".join(text.split()), element.attributes.get("interpret-as", "").strip().lower()
    read = _KINDS.get(kind)
    if read is None:
        raise MarkupInvalid(
            "The interpret-as of a <say-as> is digits, number, ordinal, money, date, time or telephone."
        )
    return structs.replace(read(text, element.attributes), manner=element.manner)


def _digits(text: str, _: Mapping[str, str]) -> Spoken:
    if not text:
        raise MarkupInvalid("A <say-as> is empty.")
    return Digits(text=text)


def _number(text: str, _: Mapping[str, str]) -> Spoken:
    return Number(value=_decimal(text))


def _ordinal(text: str, _: Mapping[str, str]) -> Spoken:
    value = _decimal(text)
    if value != int(value) or value < 0:
        raise MarkupInvalid("An ordinal is a whole number.")
    return Number(value=value, ordinal=True)


def _decimal(text: str) -> Decimal:
    plain = text.replace(" ", "").replace("\u00a0", "").replace(",", ".")
    try:
        value = Decimal(plain)
    except InvalidOperation:
        raise MarkupInvalid("A number is written as 1234.5.") from None
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or len(plain.lstrip("+-").replace(".", "")) > MAX_DIGITS or exponent > 0:
        raise MarkupInvalid(f"A number has at most {MAX_DIGITS} digits.")
    return value


def _money(text: str, attributes: Mapping[str, str]) -> Spoken:
    found = _MONEY.fullmatch(text)
    if found is None:
        raise MarkupInvalid("A sum is written as 1234.50 RUB.")
    named = found[1] or found[3] or attributes.get("currency", "").strip()
    currency = _SIGNS.get(named.lower(), _SIGNS.get(named, named)).upper()
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise MarkupInvalid("A sum has a currency, such as RUB or $.")
    return Money(amount=_decimal(found[2]), currency=currency)


def _day(text: str, attributes: Mapping[str, str]) -> Spoken:
    fields = re.findall(r"\d+", text, re.ASCII)
    order = attributes.get("format", "").strip().lower()
    with_year = len(fields) == 3
    if order in ("dm", "md"):
        order, with_year = ("dmy", "mdy")[order == "md"], False
    elif order not in _DATE_ORDERS:
        if order:
            raise MarkupInvalid("The format of a date is dmy, mdy, ymd, dm or md.")
        order = "ymd" if fields and len(fields[0]) == 4 else "dmy"
    if len(fields) not in (2, 3) or any(len(field) > 4 for field in fields):
        raise MarkupInvalid("A date is written as 23.11.2026.")
    by_name = dict(zip(order, fields, strict=False))
    year = int(by_name.get("y", "2000"))
    try:
        found = date(year + 2000 if year < 100 else year, int(by_name["m"]), int(by_name["d"]))
    except (ValueError, KeyError):
        raise MarkupInvalid("A date is written as 23.11.2026.") from None
    return Day(date=found, with_year=with_year and "y" in by_name)


def _clock(text: str, _: Mapping[str, str]) -> Spoken:
    found = _CLOCK.fullmatch(text)
    if found is None or int(found[1]) > 24 or int(found[2]) > 59:
        raise MarkupInvalid("A time is written as 18:30.")
    return Clock(hour=int(found[1]), minute=int(found[2]))


_KINDS: Final[Mapping[str, Callable[[str, Mapping[str, str]], Spoken]]] = {
    **dict.fromkeys(("digits", "characters", "spell-out", "verbatim", "telephone"), _digits),
    **dict.fromkeys(("number", "cardinal"), _number),
    "ordinal": _ordinal,
    **dict.fromkeys(("money", "currency"), _money),
    "date": _day,
    "time": _clock,
}
