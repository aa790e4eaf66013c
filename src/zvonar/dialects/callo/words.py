"""In which language does a Callo client read? Russian, English or Ukrainian, by Accept-Language; English by default."""

from typing import Literal, get_args

from msgspec import Struct

Language = Literal["en", "ru", "uk"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


class Text(Struct, frozen=True, kw_only=True):
    """One message in the languages that the service speaks."""

    en: str
    ru: str
    uk: str = ""  # English where it is empty

    def said(self, language: Language) -> str:
        match language:
            case "ru":
                return self.ru
            case "uk":
                return self.uk or self.en
            case _:
                return self.en


def language_of(header: str | None) -> Language:
    """What an Accept-Language header prefers of what we speak; English unless it says so."""
    best: Language = "en"
    weight = 0.0
    for item in (header or "").split(",")[:32]:
        tag, _, quality = item.strip().partition(";")
        try:
            q = float(quality.strip().lower().removeprefix("q=") or 1)
        except ValueError:
            continue
        primary = tag.strip().lower().partition("-")[0]
        for language in LANGUAGES:
            if q > weight and primary == language:
                best, weight = language, q
    return best
