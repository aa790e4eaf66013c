"""How is a jsquery said as an SQL/JSON path? As a predicate in which every step is guarded by the type it needs.

The path is a parameter of the statement. It is strict, because the lax mode looks into arrays where jsquery does not;
and it is never unknown where that would matter, because NOT of unknown is no answer.
"""

import json
from collections.abc import Mapping
from decimal import Decimal

from zvonar.reports.jsquery import (
    Among,
    Both,
    Compare,
    Condition,
    Either,
    Exists,
    Follow,
    Index,
    IsType,
    Key,
    Not,
    Placeholder,
    Scalar,
    Step,
)

_TRUE = "exists(@)"
_FALSE = "!(exists(@))"
_ARRAY = '@.type() == "array"'
_OBJECT = '@.type() == "object"'
_BIGINT = range(-(2**63), 2**63)


def predicate(condition: Condition) -> str:
    """The path that is true of a JSON value exactly when the condition is."""
    return f"strict exists($ ? ({_said(condition, certain=False)}))"


def _said(condition: Condition, *, certain: bool) -> str:
    """`certain`: under a negation, where what is unknown may not pass for false."""
    match condition:
        case Both(left, right):
            return f"({_said(left, certain=certain)} && {_said(right, certain=certain)})"
        case Either(left, right):
            return f"({_said(left, certain=certain)} || {_said(right, certain=certain)})"
        case Not(inner):
            return f"(!({_said(inner, certain=True)}))"
        case Exists():
            return _TRUE
        case IsType(type_):
            return f'(@.type() == "{type_}")'
        case Compare(op, value):
            return _compared(op, value)
        case Among(op, values):
            return _among(op, values)
        case Follow(step, rest):
            return _followed(step, rest, certain=certain)


def _followed(step: Step, rest: Condition, *, certain: bool) -> str:
    match step:
        case Key(name):
            key = json.dumps(name, ensure_ascii=False)
            inner = _said(rest, certain=certain)
            if certain:
                # An object without that key is an error to a strict path; a list of its keys is not.
                return (
                    f"({_OBJECT} && exists(@.keyvalue() ? (@.key == {key} && exists(@.value ? ({inner})))))"
                )
            return f"({_OBJECT} && exists(@.{key} ? ({inner})))"
        case Index(position):
            return f"({_ARRAY} && @.size() > {position} && exists(@[{position}] ? ({_said(rest, certain=certain)})))"
        case Placeholder.itself:
            return _said(rest, certain=certain)
        case Placeholder.length:
            return _length(rest)
        case Placeholder.element:
            return f"({_ARRAY} && exists(@[*] ? ({_said(rest, certain=certain)})))"
        case Placeholder.member:
            return f"({_OBJECT} && exists(@.* ? ({_said(rest, certain=certain)})))"
        case Placeholder.anything:
            return f"exists(@.** ? ({_said(rest, certain=certain)}))"
        case Placeholder.every_element:
            return f"({_ARRAY} && !(exists(@[*] ? (!({_said(rest, certain=True)})))))"
        case Placeholder.every_member:
            return f"({_OBJECT} && !(exists(@.* ? (!({_said(rest, certain=True)})))))"
        case Placeholder.everything:
            return f"(!(exists(@.** ? (!({_said(rest, certain=True)})))))"


def _length(rest: Condition) -> str:
    # How many keys an object has no path can say; nested values here are arrays, and their objects are all alike.
    match rest:
        case Compare(op, Decimal() as value):
            return f"({_ARRAY} && @.size() {'==' if op == '=' else op} {_number(value)})"
        case Among("in", values):
            wanted = [f"@.size() == {_number(value)}" for value in values if isinstance(value, Decimal)]
            return f"({_ARRAY} && ({' || '.join(wanted)}))" if wanted else _FALSE
    return _FALSE


def _compared(op: str, value: Scalar | tuple[Scalar, ...]) -> str:
    if isinstance(value, tuple):
        elements = "".join(f" && exists(@[{n}] ? ({_equal(each)}))" for n, each in enumerate(value))
        return f"({_ARRAY} && @.size() == {len(value)}{elements})"
    if op == "=":
        return _equal(value)
    assert isinstance(value, Decimal)
    return f'(@.type() == "number" && @ {op} {_number(value)})'


def _among(op: str, values: tuple[Scalar, ...]) -> str:
    any_ = " || ".join(map(_equal, values))
    match op:
        case "in":
            return f"({any_})"
        case "&&":
            return f"({_ARRAY} && exists(@[*] ? ({any_})))"
        case "<@":
            return f"({_ARRAY} && !(exists(@[*] ? (!({any_})))))"
    return f"({_ARRAY}{''.join(f' && exists(@[*] ? ({_equal(value)}))' for value in values)})"


def _equal(value: Scalar) -> str:
    match value:
        case None:
            return '(@.type() == "null")'
        case bool():
            return f'(@.type() == "boolean" && @ == {"true" if value else "false"})'
        case Decimal():
            return f'(@.type() == "number" && @ == {_number(value)})'
    return f'(@.type() == "string" && @ == {json.dumps(value, ensure_ascii=False)})'


def _number(value: Decimal) -> str:
    return format(value, "f")


def ids(condition: Condition, member: str) -> tuple[int, ...] | None:
    """Ids of which one has to be `member` of some element for the condition to be true; None where none has to.

    That is what an index over the ids of an array can find.
    """
    found = _ids(condition, member)
    return None if found is None else tuple(sorted(found))


def _ids(condition: Condition, member: str) -> frozenset[int] | None:
    match condition:
        case Both(left, right):
            first = _ids(left, member)
            return _ids(right, member) if first is None else first
        case Either(left, right):
            first, second = _ids(left, member), _ids(right, member)
            return None if first is None or second is None else first | second
        case Follow(Placeholder.itself, rest):
            return _ids(rest, member)
        case Follow(Placeholder.element | Index(), rest):
            return _of_element(rest, member)
    return None


def _of_element(condition: Condition, member: str) -> frozenset[int] | None:
    match condition:
        case Both(left, right):
            first = _of_element(left, member)
            return _of_element(right, member) if first is None else first
        case Either(left, right):
            first, second = _of_element(left, member), _of_element(right, member)
            return None if first is None or second is None else first | second
        case Follow(Placeholder.itself, rest):
            return _of_element(rest, member)
        case Follow(Key(name), Compare("=", value)) if name == member:
            return _whole((value,)) if not isinstance(value, tuple) else None
        case Follow(Key(name), Among("in", values)) if name == member:
            return _whole(values)
    return None


def exact(condition: Condition, member: str) -> bool:
    """Whether the condition says nothing but that one of `ids` is `member` of some element."""
    match condition:
        case Either(left, right):
            return exact(left, member) and exact(right, member)
        case Follow(Placeholder.element, Follow(Key(name), Compare("=", value))) if name == member:
            return not isinstance(value, tuple) and value is not None
        case Follow(Placeholder.element, Follow(Key(name), Among("in", values))) if name == member:
            return None not in values
    return False


def _whole(values: tuple[Scalar, ...]) -> frozenset[int] | None:
    if any(value is None for value in values):
        return None
    return frozenset(
        int(value)
        for value in values
        if isinstance(value, Decimal) and value == value.to_integral_value() and int(value) in _BIGINT
    )


def renamed(condition: Condition, names: Mapping[str, str]) -> Condition:
    """The same condition over values whose keys have other names. A key whose new name is empty is no step there."""
    match condition:
        case Both(left, right):
            return Both(renamed(left, names), renamed(right, names))
        case Either(left, right):
            return Either(renamed(left, names), renamed(right, names))
        case Not(inner):
            return Not(renamed(inner, names))
        case Follow(Key(name), rest) if name in names:
            after = renamed(rest, names)
            return Follow(Key(names[name]), after) if names[name] else after
        case Follow(step, rest):
            return Follow(step, renamed(rest, names))
    return condition
