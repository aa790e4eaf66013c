"""What stands in a text where it says {{name}}? Each call's own words."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import msgspec

from zvonar.core.markup import is_marked
from zvonar.core.script import Script

MAX_VARIABLES = 50  # of one contact
MAX_NAME = 64  # characters
MAX_VALUE = 500  # characters

_PLACE = re.compile(r"\{\{[ \t]*(\w{1,64})[ \t]*\}\}")
_SPOKEN = "text"  # the field of a script in which something is said or sent


def names_in(texts: Iterable[str]) -> list[str]:
    """The variables that these texts use, each once, in their order."""
    return list(dict.fromkeys(name for text in texts for name in _PLACE.findall(text)))


def filled(text: str, variables: Mapping[str, str]) -> str:
    """The text with what is known put in; what is not known says nothing."""
    return _PLACE.sub(lambda place: variables.get(place[1], ""), text)


def filled_speech(text: str, variables: Mapping[str, str]) -> str:
    """The same of a text that may have markup: what is put in never is any."""
    if is_marked(text):
        return filled(text, {name: _escaped(value) for name, value in variables.items()})
    said = filled(text, variables)
    return _escaped(said) if is_marked(said) else said


def as_markup(text: str) -> str:
    """A text that may have markup as a part of one that has."""
    return text if is_marked(text) else _escaped(text)


def _escaped(text: str) -> str:
    # Markup holds no control characters, in whichever way they are written.
    return escape("".join(char if char.isprintable() else " " for char in text), quote=True)


def filled_script(script: Script, variables: Mapping[str, str]) -> Script:
    """The script with every text of it filled."""
    return msgspec.convert(_filled(msgspec.to_builtins(script), variables), Script)


def texts_of(script: Script) -> list[str]:
    """Every text of a script."""
    found: list[str] = []
    _collect(msgspec.to_builtins(script), found)
    return found


def _filled(node: Any, variables: Mapping[str, str]) -> Any:
    match node:
        case dict():
            return {
                # A prompt may have markup; a message has none.
                name: (filled_speech if "clip_id" in node else filled)(value, variables)
                if name == _SPOKEN and isinstance(value, str)
                else _filled(value, variables)
                for name, value in node.items()
            }
        case list():
            return [_filled(value, variables) for value in node]
        case _:
            return node


def _collect(node: Any, found: list[str]) -> None:
    match node:
        case dict():
            for name, value in node.items():
                if name == _SPOKEN and isinstance(value, str):
                    found.append(value)
                else:
                    _collect(value, found)
        case list():
            for value in node:
                _collect(value, found)
