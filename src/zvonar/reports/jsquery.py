"""What does a jsquery ask of a JSON value? Its grammar, after the documentation of PostgreSQL's extension of that name.

Paths: keys with or without quotes, `#` any element, `#2` the third, `%` any key, `*` anything at any depth, each of
the three with a colon for "every", `$` the value itself, `@#` how many it has. Conditions: `=`, `<`, `>`, `<=`, `>=`,
`IN (…)`, `&&`, `@>`, `<@`, `= *`, `IS NUMERIC|STRING|BOOLEAN|ARRAY|OBJECT`; `AND`, `OR`, `NOT`, brackets, and
`path (conditions)` for several of one value.
"""

import re
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

from msgspec import Struct

from zvonar.core.errors import ZvonarError

MOST_TEXT: Final = 2_000  # characters
MOST_NODES: Final = 100  # steps, values and conditions: each costs the database something
MOST_DEPTH: Final = 20  # brackets and negations within each other

Scalar: TypeAlias = str | Decimal | bool | None


class BadJsquery(ZvonarError):
    """That is not a jsquery:"""


class Placeholder(StrEnum):
    """A step that leads to several values, or to one without a name."""

    element = "#"
    member = "%"
    anything = "*"  # the value itself, too
    every_element = "#:"
    every_member = "%:"
    everything = "*:"
    itself = "$"
    length = "@#"


class Key(Struct, frozen=True):
    """The value under this key of an object."""

    name: str


class Index(Struct, frozen=True):
    """One element of an array, from 0."""

    position: int


Step: TypeAlias = Placeholder | Key | Index


class Compare(Struct, frozen=True):
    """A comparison of the value itself."""

    op: str  # =, <, >, <=, >=
    value: Scalar | tuple[Scalar, ...]  # an array only with =


class Among(Struct, frozen=True):
    """IN, &&, @> and <@: with a list."""

    op: str  # in, &&, @>, <@
    values: tuple[Scalar, ...]


class IsType(Struct, frozen=True):
    """Of which JSON type the value is."""

    type: str  # number, string, boolean, array, object


class Exists(Struct, frozen=True):
    """True of every value there is."""


class Follow(Struct, frozen=True):
    """True when the step leads to a value, or with "every" only to values, of which the rest is true."""

    step: Step
    rest: "Condition"


class Both(Struct, frozen=True):
    """AND."""

    left: "Condition"
    right: "Condition"


class Either(Struct, frozen=True):
    """OR."""

    left: "Condition"
    right: "Condition"


class Not(Struct, frozen=True):
    """NOT."""

    condition: "Condition"


Condition: TypeAlias = Compare | Among | IsType | Exists | Follow | Both | Either | Not

_TYPES: Final = {
    "numeric": "number",
    "string": "string",
    "boolean": "boolean",
    "array": "array",
    "object": "object",
}
_KEYWORDS: Final = frozenset({"in", "is", "or", "and", "not", *_TYPES})
_EXACT: Final = frozenset({"null", "true", "false"})  # keywords only in this spelling

_TOKEN: Final = re.compile(
    r"""
    (?P<blank> [ \t\n\r\f]+ | /\* .*? \*/ )
  | (?P<number> [+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)[eE][+-]?[0-9]+ | [+-]?[0-9]*\.[0-9]+ | [+-]?[0-9]+ )
  | (?P<quoted> "(?:[^"\\]|\\.)*" )
  | (?P<word> (?:[^?%$.\[\]()|&!=<>@\#,*\ \t\n\r\f\\"/:] | /(?!\*) | \\.)+ )
  | (?P<sign> <= | >= | @> | <@ | && | @\# | [\#%*]: | [\#%*$.\[\](),=<>] )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"((?:\\u[0-9A-Fa-f]{4})+)|\\(.)", re.DOTALL)
_ESCAPED: Final = {'"': '"', "\\": "\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class _Token(Struct, frozen=True):
    kind: str  # number, quoted, word, sign, end
    text: str


def parse(text: str) -> Condition:
    """The condition that a text spells. Raises BadJsquery."""
    if len(text) > MOST_TEXT:
        raise BadJsquery(f"it has more than {MOST_TEXT} characters")
    return _Parser(_tokens(text)).whole()


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise BadJsquery(f"it breaks off at character {position + 1}")
        kind = found.lastgroup
        assert kind is not None
        if kind != "blank":
            spelled = found[0][1:-1] if kind == "quoted" else found[0]
            tokens.append(_Token(kind, _unescaped(spelled) if kind in ("quoted", "word") else spelled))
        position = found.end()
    return [*tokens, _Token("end", "")]


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        if found[1]:
            units = b"".join(int(unit, 16).to_bytes(2, "big") for unit in found[1].split("\\u")[1:])
            return units.decode("utf-16-be")
        if found[2] not in _ESCAPED:
            raise BadJsquery(f"\\{found[2]} is no escape")
        return _ESCAPED[found[2]]

    try:
        plain = _ESCAPE.sub(one, text)
    except UnicodeDecodeError:
        raise BadJsquery("half a character is escaped") from None
    if "\0" in plain:
        raise BadJsquery("no text holds a zero character")
    return plain


class _Parser:
    """OR binds least, then AND, then NOT."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._nodes = 0
        self._depth = 0

    def whole(self) -> Condition:
        condition = self._either()
        if self._next.kind != "end":
            raise BadJsquery(f"{self._next.text[:20]!r} is one thing too many")
        return condition

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += token.kind != "end"
        self._nodes += 1
        if self._nodes > MOST_NODES * 4:
            raise BadJsquery("it has too many parts")
        return token

    def _is_sign(self, *signs: str) -> bool:
        return self._next.kind == "sign" and self._next.text in signs

    def _keyword(self, token: _Token | None = None) -> str | None:
        token = token or self._next
        if token.kind != "word":
            return None
        if token.text in _EXACT:
            return token.text
        lower = token.text.lower()
        return lower if lower in _KEYWORDS else None

    def _expect(self, sign: str) -> None:
        if not self._is_sign(sign):
            raise BadJsquery(f"{sign!r} is missing before {self._next.text[:20]!r}")
        self._take()

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise BadJsquery("it is nested too deeply")

    def _either(self) -> Condition:
        condition = self._both()
        while self._keyword() == "or":
            self._take()
            condition = Either(condition, self._both())
        return condition

    def _both(self) -> Condition:
        condition = self._single()
        while self._keyword() == "and":
            self._take()
            condition = Both(condition, self._single())
        return condition

    def _single(self) -> Condition:
        self._deeper()
        try:
            if self._is_sign("("):
                return self._bracket()
            if self._keyword() == "not" and not self._names_a_key(self._tokens[self._at + 1]):
                self._take()
                return Not(self._single())
            return self._path()
        finally:
            self._depth -= 1

    def _names_a_key(self, following: _Token) -> bool:
        """Whether `not` stands where only a path can: `not = 1`, `not.a = 1`."""
        return (
            following.kind == "sign" and following.text in (".", "=", "<", ">", "<=", ">=", "@>", "<@", "&&")
        ) or self._keyword(following) in ("in", "is")

    def _bracket(self) -> Condition:
        self._expect("(")
        condition = self._either()
        self._expect(")")
        return condition

    def _path(self) -> Condition:
        steps = [self._step()]
        while self._is_sign("."):
            self._take()
            steps.append(self._step())
        if Placeholder.length in steps[:-1]:
            raise BadJsquery("@# can only end a path")
        condition: Condition = self._bracket() if self._is_sign("(") else self._right()
        if steps[-1] is Placeholder.length and not isinstance(condition, Compare | Among):
            raise BadJsquery("@# is a number, to be compared")
        for step in reversed(steps):
            condition = Follow(step, condition)
        return condition

    def _step(self) -> Step:
        token = self._take()
        if token.kind == "sign":
            if token.text == "#" and self._next.kind == "number" and self._next.text.isdigit():
                position = int(self._take().text)
                if position > 2**31 - 1:
                    raise BadJsquery("no array is that long")
                return Index(position)
            try:
                return Placeholder(token.text)
            except ValueError:
                raise BadJsquery(f"a path cannot begin or go on with {token.text!r}") from None
        if token.kind == "end":
            raise BadJsquery("a path is missing at its end")
        return Key(token.text)

    def _right(self) -> Condition:
        """What follows a path. Nothing asks whether there is a value."""
        keyword = self._keyword()
        if keyword == "in":
            self._take()
            self._expect("(")
            return Among("in", self._values(")"))
        if keyword == "is":
            self._take()
            type_ = self._keyword(self._take())
            if type_ not in _TYPES:
                raise BadJsquery("after IS comes NUMERIC, STRING, BOOLEAN, ARRAY or OBJECT")
            return IsType(_TYPES[type_])
        if self._next.kind != "sign":
            return Exists()
        op = self._next.text
        if op == "=":
            self._take()
            if self._is_sign("*"):
                self._take()
                return Exists()
            if self._is_sign("["):
                self._take()
                return Compare("=", self._values("]"))
            return Compare("=", self._scalar())
        if op in ("<", ">", "<=", ">="):
            self._take()
            # In the documentation's grammar `< =` is the same.
            if op in ("<", ">") and self._is_sign("="):
                self._take()
                op += "="
            token = self._take()
            if token.kind != "number":
                raise BadJsquery(f"{op} compares numbers")
            return Compare(op, _number(token.text))
        if op in ("@>", "<@", "&&"):
            self._take()
            self._expect("[")
            return Among(op, self._values("]"))
        return Exists()

    def _values(self, closing: str) -> tuple[Scalar, ...]:
        values = [self._scalar()]
        while self._is_sign(","):
            self._take()
            values.append(self._scalar())
        self._expect(closing)
        return tuple(values)

    def _scalar(self) -> Scalar:
        token = self._take()
        if token.kind == "number":
            return _number(token.text)
        if token.kind not in ("word", "quoted"):
            raise BadJsquery(f"a value is missing before {token.text[:20]!r}")
        match self._keyword(token):
            case "null":
                return None
            case "true":
                return True
            case "false":
                return False
        return token.text


def _number(text: str) -> Decimal:
    number = Decimal(text)
    # The database would write 1e100000 out.
    if len(text) > 40 or not -40 <= number.adjusted() <= 40:
        raise BadJsquery("no number here is that long")
    return number
