"""How is a field of get.mgf_calls asked for that has words and ids? By either, by likeness of its words, by jsquery.

Its values are few and known, so what fits is found here, and the store is asked for the values that it keeps.
"""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from zvonar.dialects.uis.requests.comparing import (
    about_null,
    condition,
    nothing,
    text_value,
    there,
    wrong_operator,
    wrong_type,
    wrong_value,
)
from zvonar.dialects.uis.requests.filters import Operator, Rule
from zvonar.dialects.uis.requests.patterns import like_pattern
from zvonar.dialects.uis.words import Id, Words
from zvonar.reports.evaluate import like, meets
from zvonar.reports.query import Compare, Filter, Op, Tree


def worded(
    field: str,
    words: Words,
    *,
    kept: Mapping[Id, str | bool] | None = None,
    also: Mapping[str, Id] | None = None,
    none: Id | None = None,
) -> Rule:
    """`kept`: value_id → what the store's field holds, where that is something else; `also`: further words;
    `none`: the id that null is shown with."""

    def one(value: Any) -> Id:
        if isinstance(value, dict) and value.keys() <= {"value", "value_id"} and value:
            value = value.get("value_id", value.get("value"))
        # true and false are ids of their own only where the ids are: 1 == True is not meant.
        if isinstance(value, bool):
            if value in words and isinstance(next(iter(words)), bool):
                return value
            raise wrong_value(value)
        wanted = text_value(value)
        for known, word in words.items():
            if wanted in (known, word):
                return known
        if also and wanted in also:
            return also[wanted]
        if wanted in ("true", "false") and True in words:
            return wanted == "true"
        raise wrong_value(value)

    def found(op: Operator, value: Any) -> list[Id]:
        match op:
            case Op.eq | Op.ne:
                return [one(value)]
            case Op.in_ | Op.not_in:
                if not isinstance(value, list):
                    raise wrong_type(value)
                return list(dict.fromkeys(map(one, value)))
            case Op.like | Op.ilike | Op.not_like | Op.not_ilike:
                pattern = like_pattern(text_value(value), contains=True)
                blind = op in (Op.ilike, Op.not_ilike)
                return [
                    known for known, word in words.items() if word and like(word, pattern, ignore_case=blind)
                ]
            case "jsquery":
                asked = condition(value)
                return [
                    known for known, word in words.items() if meets(asked, {"value": word, "value_id": known})
                ]
        raise wrong_operator(op)

    def rule(op: Operator, value: Any, _: ZoneInfo) -> Filter:
        if (test := _null(field, op, value)) is not None:
            if none is None:
                return test
            # What is null has a name here, so nothing is.
            return nothing(field) if test == Compare(field=field, op=Op.is_null) else Tree(all=True, of=())
        ids = found(op, value)
        stored = [kept[known] if kept is not None else known for known in ids]
        others = op in (Op.ne, Op.not_in, Op.not_like, Op.not_ilike)
        if kept is not None or isinstance(next(iter(words)), bool):
            test = _of_two(field, {bool(each) for each in stored}, others)
        else:
            test = Compare(field=field, op=Op.not_in if others else Op.in_, value=tuple(stored))
        if none is not None and (none in ids) != others:
            return Tree(all=False, of=(test, Compare(field=field, op=Op.is_null)))
        return test

    return rule


def _null(field: str, op: Operator, value: Any) -> Filter | None:
    return None if op == "jsquery" else about_null(field, op, value)


def _of_two(field: str, wanted: set[bool], others: bool) -> Filter:
    """A boolean field that is one of these, or, with `others`, none of them."""
    left = {True, False} - wanted if others else wanted
    if len(left) == 1:
        return Compare(field=field, op=Op.eq, value=left.pop())
    return there(field) if left else nothing(field)
