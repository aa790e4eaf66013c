"""Is a field what it should be? Cleaned one by one, with everything that is wrong told at once, as Django does."""

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from zvonar.dialects.callo.errors import (
    FORM,
    NOT_A_DATE,
    NOT_UTF8,
    NOT_WHOLE,
    NUL,
    REQUIRED,
    FormInvalid,
    Text,
    at_least,
    at_most,
    both,
    no_choice,
    too_long,
    too_many,
    too_short,
)
from zvonar.dialects.callo.limits import MAX_IDS
from zvonar.dialects.callo.requests.fields import Fields

MAX_KEY = 200

_WHOLE = re.compile(r"([+-]?\d{1,40})(?:\.0*)?", re.ASCII)  # Django takes 5.0 for a whole number
_TRUE = frozenset({"1", "true", "on", "yes"})
# A full second or a day, as the reference writes them, and what programs make of them by themselves.
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)\s*(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)


class Form:
    """Cleans fields and gathers what is wrong with them, in the order in which they are asked for."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self.errors: dict[str, Text] = {}

    def check(self) -> None:
        """Raise FormInvalid if anything was wrong so far."""
        if self.errors:
            raise FormInvalid(self.errors)

    def names(self) -> list[str]:
        """The fields that were sent, in their order."""
        return list(self._fields)

    def text(self, name: str, *, limit: int, required: bool = False) -> str | None:
        """A text without its surrounding blanks; None where it is empty, missing or wrong."""
        text = self._fields.get(name, "")
        if text is None:
            self.errors[name] = NOT_UTF8
            return None
        text = text.strip()
        if "\0" in text:
            self.errors[name] = NUL
        elif len(text) > limit:
            self.errors[name] = too_long(limit, len(text))
        elif text:
            return text
        elif required:
            self.errors[name] = REQUIRED
        return None

    def number(
        self, name: str, *, required: bool = False, low: int | None = None, high: int | None = None
    ) -> int | None:
        """A whole number; None where it is empty, missing or wrong."""
        text = self.text(name, limit=MAX_KEY, required=required)
        if text is None:
            return None
        written = _WHOLE.fullmatch(text)
        if written is None:
            self.errors[name] = NOT_WHOLE
            return None
        number = int(written[1])
        if low is not None and number < low:
            self.errors[name] = at_least(low)
        elif high is not None and number > high:
            self.errors[name] = at_most(high)
        return number

    def digits(self, name: str, *, shortest: int = 1, longest: int) -> str | None:
        """The digits of a whole number as they were written, zeros at the front included."""
        text = self.text(name, limit=MAX_KEY)
        if text is None:
            return None
        written = _WHOLE.fullmatch(text)
        if written is None:
            self.errors[name] = NOT_WHOLE
            return None
        digits = written[1].removeprefix("+")
        if digits.startswith("-"):
            self.errors[name] = at_least(0)
        elif len(digits) < shortest:
            self.errors[name] = too_short(shortest, len(digits))
        elif len(digits) > longest:
            self.errors[name] = too_long(longest, len(digits))
        return digits

    def choice(self, name: str, values: tuple[str, ...]) -> str | None:
        """One of a few words; None where it is empty, missing or wrong."""
        text = self.text(name, limit=MAX_KEY)
        if text is not None and text not in values:
            self.errors[name] = no_choice(text)
            return None
        return text

    def numbers(self, name: str) -> list[int]:
        """Whole numbers between commas."""
        written = [_WHOLE.fullmatch(part) for part in self.texts(name, limit=41)]
        if not all(written):
            self.errors[name] = NOT_WHOLE
            return []
        return [int(number[1]) for number in written if number]

    def texts(self, name: str, *, limit: int) -> list[str]:
        """Texts between commas, at most as many as one request may ask for."""
        parts = (self.text(name, limit=MAX_IDS * (limit + 2)) or "").split(",")
        found = [part.strip() for part in parts if part.strip()]
        if len(found) > MAX_IDS:
            self.errors[name] = too_many(MAX_IDS)
            return []
        return found

    def one_or_many(self, one: str, asked: object, many: str, others: list[int] | list[str]) -> None:
        """Either the singular or the plural parameter must be there, and never both."""
        if asked is not None and others:
            self.errors[FORM] = both(one, many)
        elif asked is None and not others and not self.errors.keys() & {one, many}:
            self.errors[one] = REQUIRED

    def flag(self, name: str) -> bool:
        """Whether it is set; anything but a yes is a no."""
        return (self.text(name, limit=MAX_KEY) or "").lower() in _TRUE

    def moment(
        self, name: str, zone: ZoneInfo, *, till: bool = False, required: bool = False
    ) -> datetime | None:
        """A moment, by the clocks of `zone` unless it says otherwise. `till`: the first one after what was written,
        as whoever writes a day or a second as an end means all of it.
        """
        text = self.text(name, limit=MAX_KEY, required=required)
        if text is None:
            return None
        try:
            written = _MOMENT.fullmatch(text)
            if written is None:
                raise ValueError(text)
            day, clock, offset = written.groups()
            moment = datetime.fromisoformat(f"{day}T{clock or time(0)}{offset or ''}")
            if clock is None:
                unit = timedelta(days=1)
            else:
                unit = timedelta(microseconds=1) if "." in clock else timedelta(seconds=1)
            if till:
                moment += unit
            return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.errors[name] = NOT_A_DATE
            return None


def public_key(form: Form) -> str | None:
    """The key that a request came with, if it came with one."""
    return form.text("public_key", limit=MAX_KEY, required=True)
