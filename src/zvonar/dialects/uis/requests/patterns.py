"""Is a pattern one that the database can work on without end or fail on? LIKE's and POSIX's, before they get there."""

import re
from typing import Any, Final

from zvonar.dialects.uis.errors import RpcError

MOST_PATTERN: Final = 500  # characters of a regular expression
MOST_REPEATS: Final = 1_000  # what its bounds multiply to: each repetition is a copy of the automaton
MOST_NESTED: Final = 20  # brackets within each other

_DIRECTOR: Final = re.compile(r"\*\*\*|\(\?[A-Za-z]", re.ASCII)
_BOUND: Final = re.compile(r"\{(\d*)(,?)(\d*)\}", re.ASCII)


def _wrong(value: Any) -> RpcError:
    return RpcError("invalid_parameter_value", field="filter.value", value=value)


def like_pattern(text: str, *, contains: bool) -> str:
    """The text as a pattern of LIKE. `contains`: one without a % may stand anywhere."""
    pattern = _ended(text)
    return f"%{pattern}%" if contains and "%" not in pattern else pattern


def _ended(text: str) -> str:
    """RpcError where the pattern ends in the middle of an escape."""
    if (len(text) - len(text.rstrip("\\"))) % 2:
        raise _wrong(text)
    return text


def regular_expression(text: str) -> str:
    """The text as a POSIX expression that is bounded; whether it is one at all, the database says.

    No back references, which make matching take exponential time; no directors (`***`, `(?…)` options), which
    change the syntax under what was checked.
    """
    if len(text) > MOST_PATTERN or _DIRECTOR.match(text):
        raise _wrong(text)
    copies, nested = [1], 0
    at = 0
    while at < len(text):
        sign = text[at]
        if sign == "\\":
            following = text[at + 1 : at + 2]
            if following.isdigit() and following != "0":
                raise _wrong(text)
            at += 2
            continue
        if sign == "[":
            at = _after_bracket(text, at)
            continue
        if sign == "(":
            nested += 1
            if nested > MOST_NESTED:
                raise _wrong(text)
        elif sign == ")":
            nested = max(nested - 1, 0)
        elif sign == "{" and (bound := _BOUND.match(text, at)):
            most = max(int(bound[1] or 0), int(bound[3] or 0))
            if most > 255:
                raise _wrong(text)
            copies.append(max(most, 1))
            at = bound.end()
            continue
        at += 1
    # Bounds beside each other add up and those within each other multiply: the product is more than either.
    product = 1
    for count in copies:
        product *= count
        if product > MOST_REPEATS:
            raise _wrong(text)
    return text


def _after_bracket(text: str, at: int) -> int:
    """Where a bracket expression that begins here ends."""
    end = at + 1
    if text[end : end + 1] == "^":
        end += 1
    if text[end : end + 1] == "]":
        end += 1
    while end < len(text) and text[end] != "]":
        if text[end] == "[" and text[end + 1 : end + 2] in (".", ":", "="):
            closing = text.find(text[end + 1] + "]", end + 2)
            end = len(text) if closing < 0 else closing + 2
            continue
        end += 2 if text[end] == "\\" else 1
    return end + 1
