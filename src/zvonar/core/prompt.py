"""What is there to hear? One prompt: a clip of the account, or a text to be spoken."""

from msgspec import Struct

from zvonar.core import markup
from zvonar.core.errors import SettingsInvalid
from zvonar.core.markup import MarkupInvalid

MAX_TEXT = 4000
MAX_NAME = 200  # characters of a node's or a status's name


def storable(text: str) -> bool:
    """Whether PostgreSQL and UTF-8 can hold this text: no NUL, no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


class Prompt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something to hear: a clip of the account or a text to synthesise; exactly one of them."""

    text: str | None = None
    clip_id: int | None = None

    def checked(self, where: str) -> "Prompt":
        """Self, or SettingsInvalid saying what is wrong with `where`."""
        if (self.text is None) == (self.clip_id is None):
            raise SettingsInvalid(f"{where} needs a text or a clip, and not both.")
        if self.text is not None and not self.text.strip():
            raise SettingsInvalid(f"{where} has an empty text.")
        if self.text is not None and len(self.text) > MAX_TEXT:
            raise SettingsInvalid(f"{where} has a text of more than {MAX_TEXT} characters.")
        if self.text is not None and not storable(self.text):
            raise SettingsInvalid(f"{where} has a text with a NUL or half a character.")
        if self.text is not None:
            try:
                markup.parse(self.text)
            except MarkupInvalid as exc:
                raise SettingsInvalid(f"{where} has markup that cannot be read: {exc.detail}") from None
        return self
