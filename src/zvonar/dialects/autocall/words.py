"""In which language does an autocall client read messages? English, or Russian where Accept-Language prefers it."""

from typing import Literal

from msgspec import Struct

Language = Literal["en", "ru"]


class Text(Struct, frozen=True):
    """One message in both languages."""

    en: str
    ru: str

    def said(self, language: Language) -> str:
        return self.ru if language == "ru" else self.en


def language_of(header: str | None) -> Language:
    """What an Accept-Language header prefers of the two."""
    weights: dict[str, float] = {}
    for item in (header or "").split(",")[:32]:
        tag, _, quality = item.strip().partition(";")
        try:
            weight = float(quality.strip().lower().removeprefix("q=") or 1)
        except ValueError:
            continue
        primary = tag.strip().lower().partition("-")[0]
        weights[primary] = max(weight, weights.get(primary, 0.0))
    return "ru" if weights.get("ru", 0.0) > weights.get("en", 0.0) else "en"
