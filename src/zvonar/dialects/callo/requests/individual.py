"""What do buttons and words do in this call alone? `ivr_lvl_<level>_btn_<button>_<parameter>`, as core overrides.

A button is a digit, a letter for a meaning, or one word of a reaction that the campaign already has.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct, structs

from zvonar.core import markup
from zvonar.core import phone as phones
from zvonar.core.errors import DestinationRefused, PhoneInvalid, SettingsInvalid
from zvonar.core.markup import MarkupInvalid
from zvonar.core.reaction import MAX_ADDRESS, Reaction, ReactionOverride
from zvonar.core.script import MAX_NAME, MAX_TEXT, Node, Script
from zvonar.dialects.callo import ours
from zvonar.dialects.callo.errors import (
    BAD_PHONE,
    NO_SUCH_REACTION,
    NOT_VALID,
    SEVERAL_WORDS,
    FormInvalid,
    Text,
)
from zvonar.dialects.callo.requests.form import MAX_KEY, Form

# The reference's parameters → fields of an override, with the most characters of each.
_PARAMETERS: Final[Mapping[str, tuple[str, int]]] = {
    "audioclip_text": ("say", MAX_TEXT),
    "email_subject": ("email_subject", MAX_NAME),
    "email_text": ("email_text", MAX_TEXT),
    "sms_text": ("sms_text", MAX_TEXT),
    "status_name": ("status_name", MAX_NAME),
    "to_email": ("email_to", MAX_KEY),
    "to_phone": ("phone", MAX_KEY),
    "to_sipname": ("sip_name", MAX_KEY),
    "webhook": ("webhook", MAX_ADDRESS),
}
_NAME = re.compile(rf"ivr_lvl_(\d{{1,3}})_btn_(.+)_({'|'.join(_PARAMETERS)})", re.ASCII | re.DOTALL)

# Letters stand for meanings. The reference's own "c" is Cyrillic, so both alphabets' twins are taken.
_LETTERS: Final = {"a": "yes", "а": "yes", "b": "no", "c": "next", "с": "next", "d": "back"}
# What a campaign may have configured for a meaning: its name, or a plain word of the language.
_MEANING_WORDS: Final = {
    "yes": ("yes", "да", "так", "иә"),
    "no": ("no", "нет", "ні", "жоқ"),
    "next": ("next", "дальше", "далее", "далі"),
    "back": ("back", "назад"),
}
_BETWEEN_WORDS = re.compile(r"[,;|/+]|\s+")


class Individual(Struct, frozen=True, kw_only=True):
    """One parameter."""

    name: str  # as it was sent
    level: int  # from 1
    button: str
    field: str  # of a ReactionOverride
    value: str


def individuals(form: Form) -> tuple[Individual, ...]:
    """The parameters of a form; what only resembles one is ignored like any other unknown parameter."""
    found = []
    for name in form.names():
        matched = _NAME.fullmatch(name)
        if matched is None:
            continue
        field, limit = _PARAMETERS[matched[3]]
        value = form.text(name, limit=limit)
        if value is None:
            continue
        if (wrong := _wrong(field, value)) is not None:
            form.errors[name] = wrong
        found.append(
            Individual(name=name, level=int(matched[1]), button=matched[2], field=field, value=value)
        )
    return tuple(found)


def overrides(
    asked: Iterable[Individual], script: Script | None, *, country: str, trial: bool
) -> tuple[ReactionOverride, ...]:
    """What these parameters change in a campaign's script. Raises FormInvalid naming each that is wrong.

    `country`, `trial`: how a number is read, as `core.phone.parse` takes them.
    """
    errors: dict[str, Text] = {}
    changes: dict[tuple[str, str], dict[str, str]] = {}
    words: dict[tuple[str, int], str] = {}  # by node and reaction, the word that named it
    for one in asked:
        name = None if script is None else script.level(one.level)
        node = None if script is None or name is None else script.nodes[name]
        choice = None if node is None else _choice(node, one.button)
        if node is None or name is None or choice is None:
            several = node is not None and _several(node, one.button)
            errors[one.name] = SEVERAL_WORDS if several else NO_SUCH_REACTION
            continue
        if choice not in node.keys:
            reaction = node.words[choice]
            if words.setdefault((name, id(reaction)), one.button) != one.button:
                errors[one.name] = SEVERAL_WORDS
                continue
        value = one.value
        if one.field == "phone":
            try:
                value = phones.parse(value, country=country, trial=trial).e164
            except (PhoneInvalid, DestinationRefused):
                errors[one.name] = BAD_PHONE
                continue
        changed = changes.setdefault((name, choice), {})
        if one.field in ("phone", "sip_name") and changed.keys() & {"phone", "sip_name"}:
            errors[one.name] = NOT_VALID  # a call is put through to one of them
            continue
        changed[one.field] = value
    if errors:
        raise FormInvalid(errors)
    return tuple(
        structs.replace(ReactionOverride(node=node, choice=choice), **fields)
        for (node, choice), fields in changes.items()
    )


def _wrong(field: str, value: str) -> Text | None:
    """What is wrong with a value, whatever the campaign; numbers are read later."""
    if field == "say":
        try:
            markup.parse(value)
        except MarkupInvalid as exc:
            return ours.bad_markup(exc.detail or "")
    if field != "phone":
        try:
            alone = structs.replace(ReactionOverride(node="", choice=""), **{field: value})
            alone.over(Reaction()).checked("the call")
        except SettingsInvalid:
            return NOT_VALID
    return None


def _choice(node: Node, button: str) -> str | None:
    """The key or word of the node that a button names."""
    if button in node.keys or button in node.words:
        return button
    meaning = _LETTERS.get(button)
    if meaning is None:
        return None
    return next((word for word in _MEANING_WORDS[meaning] if word in node.words), None)


def _several(node: Node, button: str) -> bool:
    pieces = [piece for piece in _BETWEEN_WORDS.split(button) if piece]
    return len(pieces) > 1 and any(_choice(node, piece) is not None for piece in pieces)
