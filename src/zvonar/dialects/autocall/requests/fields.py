"""Does what came fit? A struct of everything that is right, or every field that is not, by name."""

import re
from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from msgspec import NODEFAULT, UNSET, Meta, Struct

from zvonar.core.script import storable
from zvonar.dialects.autocall.errors import BODY, Unprocessable, invalid, required
from zvonar.dialects.autocall.limits import MAX_PAGE, MAX_PER_PAGE, PER_PAGE
from zvonar.dialects.autocall.words import Text

T = TypeVar("T", bound=Struct)

BIGGEST = 2**63 - 1
MAX_DEPTH = 100

# Types that requests are made of.
Id = Annotated[int, Meta(ge=1, le=BIGGEST)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Number = Annotated[str, Meta(min_length=2, max_length=40, examples=["+77010000001"])]
Date = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$", examples=["2026-12-01"])]
DateOrTime = Annotated[
    str,
    Meta(pattern=r"^\d{4}-\d{2}-\d{2}( \d{2}:\d{2}:\d{2})?$", examples=["2026-12-01", "2026-12-01 00:00:00"]),
]
Moment = Annotated[
    str, Meta(pattern=r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}$", examples=["2026-12-01 12:00:00"])
]
Clock = Annotated[str, Meta(pattern=r"^\d{2}:\d{2}(:\d{2})?$", examples=["09:00:00"])]
MoneyText = Annotated[str, Meta(pattern=r"^\d{1,9}(\.\d{1,4})?$", examples=["100.00"])]

NOT_JSON = Text("The body is not JSON.", "Тело запроса не JSON.")
NOT_OBJECT = Text("The body must be a JSON object.", "Тело запроса должно быть объектом JSON.")
TOO_DEEP = Text("The body is nested too deeply.", "Тело запроса вложено слишком глубоко.")
UNSTORABLE = Text(
    "Texts must not hold NUL or half a character.", "В тексте не может быть NUL или половины символа."
)

_AT = re.compile(r" - at `(?:key in )?\$(.*)`$")


class PageQuery(Struct, frozen=True, kw_only=True):
    """Which page."""

    page: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 1
    per_page: Annotated[int, Meta(ge=1, le=MAX_PER_PAGE)] = PER_PAGE


class NothingAsked(Struct, frozen=True, kw_only=True):
    """No parameters."""


def decoded(body: bytes) -> dict[str, Any]:
    """A body as JSON; an empty one is an empty object."""
    if not body.strip():
        return {}
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unprocessable({BODY: [NOT_JSON]}) from None
    except RecursionError:
        raise Unprocessable({BODY: [TOO_DEEP]}) from None
    if not isinstance(found, dict):
        raise Unprocessable({BODY: [NOT_OBJECT]})
    return found


def read(kind: type[T], given: Mapping[str, Any], *, strict: bool = True, under: str = "") -> T:
    """`given` as `kind`. Raises Unprocessable with every field that is wrong. `strict`: whether "1" is no number."""
    errors: dict[str, list[Text]] = {}
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        name = f"{under}{field.encode_name}"
        if field.encode_name not in given:
            if field.default is NODEFAULT and field.default_factory is NODEFAULT:
                errors[name] = [required(name)]
            continue
        value = given[field.encode_name]
        if not clean(value):
            errors[name] = [UNSTORABLE]
            continue
        try:
            expected = field.type if strict else _present(field.type)
            values[field.name] = msgspec.convert(value, expected, strict=strict)
        except (msgspec.ValidationError, RecursionError, OverflowError) as exc:
            where, why = _told(exc)
            errors.setdefault(f"{name}{where}", []).append(invalid(f"{name}{where}", why))
    if errors:
        raise Unprocessable(errors)
    return kind(**values)


def _present(kind: Any) -> Any:
    """A type without None: what is written in a query is there, and `null` is a word."""
    kinds = [one for one in get_args(kind) if one is not type(None)]
    if type(None) not in get_args(kind):
        return kind
    return reduce(or_, kinds)


def clean(value: Any, depth: int = 0) -> bool:
    """Whether every text in it can be stored, and it is no deeper than it may be."""
    if depth > MAX_DEPTH:
        return False
    match value:
        case str():
            return storable(value)
        case dict():
            return all(storable(str(name)) and clean(inner, depth + 1) for name, inner in value.items())
        case list():
            return all(clean(inner, depth + 1) for inner in value)
        case _:
            return True


def given_fields(value: Struct) -> dict[str, Any]:
    """The fields of a change that the client has sent."""
    return {name: given for name, given in msgspec.structs.asdict(value).items() if given is not UNSET}


def _told(exc: Exception) -> tuple[str, str]:
    """Where in a field it is wrong, in Laravel's dots, and what was expected."""
    text = str(exc)
    at = _AT.search(text)
    if at is None:
        return "", text or "too deep"
    path = re.sub(r"\[(\.\.\.|\d+)\]", r".\1", at[1]).replace("....", ".*").replace("...", "*")
    return path, text[: at.start()]
