"""Is a field what it should be? Cleaned one by one, with everything that is wrong told at once, as Django does."""

import re

from zvonar.dialects.callo.errors import (
    NOT_UTF8,
    NOT_WHOLE,
    NUL,
    REQUIRED,
    FormInvalid,
    Text,
    at_least,
    at_most,
    too_long,
    too_many,
)
from zvonar.dialects.callo.limits import MAX_IDS
from zvonar.dialects.callo.requests.fields import Fields

MAX_KEY = 200

_WHOLE = re.compile(r"[+-]?\d{1,40}", re.ASCII)


class Form:
    """Cleans fields and gathers what is wrong with them, in the order in which they are asked for."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self.errors: dict[str, Text] = {}

    def check(self) -> None:
        """Raise FormInvalid if anything was wrong so far."""
        if self.errors:
            raise FormInvalid(self.errors)

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
        if not _WHOLE.fullmatch(text):
            self.errors[name] = NOT_WHOLE
            return None
        number = int(text)
        if low is not None and number < low:
            self.errors[name] = at_least(low)
        elif high is not None and number > high:
            self.errors[name] = at_most(high)
        return number

    def numbers(self, name: str) -> list[int]:
        """Whole numbers between commas."""
        parts = [part.strip() for part in (self.text(name, limit=MAX_IDS * 42) or "").split(",")]
        parts = [part for part in parts if part]
        if len(parts) > MAX_IDS:
            self.errors[name] = too_many(MAX_IDS)
        elif not all(_WHOLE.fullmatch(part) for part in parts):
            self.errors[name] = NOT_WHOLE
        else:
            return [int(part) for part in parts]
        return []


def public_key(form: Form) -> str | None:
    """The key that a request came with, if it came with one."""
    return form.text("public_key", limit=MAX_KEY, required=True)
