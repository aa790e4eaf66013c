"""Which tags does a session get by itself? Those of the account's rules that it fits, at once or when more is told."""

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.errors import Invalid
from zvonar.reports.columns import COLUMNS
from zvonar.reports.fields import FIELDS, Kind
from zvonar.reports.writing import Change, Row
from zvonar.store.db import Connection, Database, rows

# Rules of accounts, in the order in which they were made.
OF_ACCOUNTS = """
SELECT r.account_id, r.tag_id, t.name AS tag_name, r.conditions FROM tag_rules r
JOIN tags t ON t.account_id = r.account_id AND t.tag_id = r.tag_id
WHERE r.account_id = ANY(%(accounts)s::bigint[]) ORDER BY r.rule_id
"""

ADD = """
INSERT INTO tag_rules (account_id, tag_id, conditions) VALUES (%(account_id)s, %(tag_id)s, %(conditions)s)
RETURNING rule_id
"""

# An account's rules with what they set, in the order in which they were made.
OF_ACCOUNT = """
SELECT r.rule_id, r.tag_id, t.name AS tag_name, r.conditions FROM tag_rules r
JOIN tags t ON t.account_id = r.account_id AND t.tag_id = r.tag_id
WHERE r.account_id = %(account_id)s ORDER BY r.rule_id
"""

REMOVE = "DELETE FROM tag_rules WHERE account_id = %(account_id)s AND rule_id = %(rule_id)s"


class Condition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to be true of a field of the session's row."""

    field: str  # a column of the report
    operator: Literal["=", "!=", "<", "<=", ">", ">=", "in", "contains"]
    value: bool | int | float | str | list[str | int] | None = None


class Rule(Struct, frozen=True, kw_only=True):
    """A tag, and when a session gets it: when all of these are true."""

    account_id: int
    tag_id: int
    tag_name: str
    conditions: list[Any]


class Standing(Struct, frozen=True, kw_only=True):
    """A rule as it was made."""

    rule_id: int
    tag_id: int
    tag_name: str
    conditions: list[Condition]


class _Stored(Struct, frozen=True, kw_only=True):
    rule_id: int
    tag_id: int
    tag_name: str
    conditions: list[Any]


class ConditionInvalid(Invalid):
    """No session can be judged by this."""


# What may be asked of each kind of field. Moments and arrays are nothing that a rule can weigh.
_ASKED: dict[Kind, frozenset[str]] = {
    Kind.integer: frozenset({"=", "!=", "<", "<=", ">", ">=", "in"}),
    Kind.decimal: frozenset({"=", "!=", "<", "<=", ">", ">=", "in"}),
    Kind.boolean: frozenset({"=", "!="}),
    Kind.text: frozenset({"=", "!=", "in", "contains"}),
}
_TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.integer: (int,),
    Kind.decimal: (int, float),
    Kind.boolean: (bool,),
    Kind.text: (str,),
}


def checked(condition: Condition) -> Condition:
    """The condition itself. Raises ConditionInvalid, with a sentence, where it could never be true."""
    name, value = condition.field, condition.value
    kind = FIELDS[name].kind if name in FIELDS and name in COLUMNS else None
    if kind not in _ASKED:
        raise ConditionInvalid(f"{name!r} is no field of a session that a rule can weigh.")
    if condition.operator not in _ASKED[kind]:
        raise ConditionInvalid(f"{name} cannot be compared by {condition.operator!r}.")
    if value is None and condition.operator in ("=", "!="):
        return condition
    if (condition.operator == "in") != isinstance(value, list):
        raise ConditionInvalid("'in' takes a list of values, and everything else takes one value.")
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, _TYPES[kind]) or isinstance(one, bool) != (kind is Kind.boolean):
            raise ConditionInvalid(f"{name} is never {one!r}.")
    return condition


_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def fits(row: Row, condition: Condition) -> bool:
    """Whether the row is so. What is unknown is equal to null only."""
    known, value = row.get(condition.field), condition.value
    if isinstance(known, str) and condition.field in _DECIMALS:
        known = Decimal(known)  # a row keeps it as a text
    match condition.operator:
        case "=":
            return known == value
        case "!=":
            return known is not None and known != value
        case "in":
            return isinstance(value, list) and known in value
        case "contains":
            return isinstance(known, str) and isinstance(value, str) and value.casefold() in known.casefold()
        case _:
            numbers = isinstance(known, int | float | Decimal) and isinstance(value, int | float)
            texts = isinstance(known, str) and isinstance(value, str)
            return (numbers or texts) and _ORDERED[condition.operator](known, value)


_DECIMALS = frozenset(name for name, field in FIELDS.items() if field.kind is Kind.decimal)


_Judged = list[tuple[Rule, list[Condition]]]


async def tag(connection: Connection, made: Sequence[Row], *, now: datetime) -> None:
    """Give new rows the tags of the rules that they fit, beside those that they have."""
    rules = await _of_accounts(connection, {row["account_id"] for row in made})
    for row in made:
        tags = _with_rules(row.get("tags"), row, rules.get(row["account_id"], []), now)
        if tags:
            row["tags"] = tags


async def late(connection: Connection, changes: Sequence[Change], *, now: datetime) -> list[Change]:
    """The changes, and with them the tags of the rules that a row did not fit before and fits now.

    A tag stays when its rule does not fit any more, and what somebody took away comes back with another change only.
    """
    rules = await _of_accounts(connection, {change.account_id for change in changes})
    return [_judging(change, rules.get(change.account_id, []), now) for change in changes]


def _judging(change: Change, rules: _Judged, now: datetime) -> Change:
    if not rules:
        return change
    weighed = {one.field for _, conditions in rules for one in conditions}
    seen = [name for name in COLUMNS if name in weighed or name == "tags"]

    def patch(row: Row) -> Mapping[str, Any]:
        changed = change.patch(row)
        now_is = {**row, **changed}
        # Tags that are told replace all that there were, those of rules too.
        anew = "tags" in changed
        newly = [(rule, conditions) for rule, conditions in rules if anew or not _fits_all(row, conditions)]
        tags = _with_rules(now_is.get("tags"), now_is, newly, now)
        return {**changed, "tags": tags} if len(tags) > len(now_is.get("tags") or []) else changed

    reads = (*change.reads, *(name for name in seen if name not in change.reads))
    return Change(account_id=change.account_id, session_id=change.session_id, patch=patch, reads=reads)


async def _of_accounts(connection: Connection, accounts: set[int]) -> dict[int, _Judged]:
    found: dict[int, _Judged] = {}
    for rule in await rows(connection, Rule, OF_ACCOUNTS, {"accounts": sorted(accounts)}):
        conditions = msgspec.convert(rule.conditions, list[Condition])
        found.setdefault(rule.account_id, []).append((rule, conditions))
    return found


def _fits_all(row: Row, conditions: Sequence[Condition]) -> bool:
    return all(fits(row, one) for one in conditions)


def _with_rules(
    tags: Sequence[dict[str, Any]] | None, row: Row, rules: _Judged, now: datetime
) -> list[dict[str, Any]]:
    """These tags, and those of the rules that the row fits."""
    found = list(tags or [])
    for rule, conditions in rules:
        if rule.tag_id not in _ids(found) and _fits_all(row, conditions):
            found.append(tagged(rule.tag_id, rule.tag_name, by_rule=True, now=now))
    return found


def _ids(tags: Sequence[dict[str, Any]]) -> set[int]:
    return {tag["tag_id"] for tag in tags}


def tagged(
    tag_id: int,
    tag_name: str,
    *,
    by_rule: bool,
    now: datetime,
    user: tuple[int, str] | None = None,
    employee: tuple[int, str] | None = None,
) -> dict[str, Any]:
    """A tag as a row has it, set now by a rule, a user or an employee."""
    return {
        "tag_id": tag_id,
        "tag_name": tag_name,
        "tag_type": "auto" if by_rule else "manual",
        "tag_change_time": now.replace(microsecond=0).isoformat(),
        "tag_user_id": user[0] if user else None,
        "tag_user_login": user[1] if user else None,
        "tag_employee_id": employee[0] if employee else None,
        "tag_employee_full_name": employee[1] if employee else None,
    }


async def add(db: Database, account_id: int, tag_id: int, conditions: Sequence[Condition]) -> int:
    """A new rule for sessions to come; its id. Raises ConditionInvalid."""
    params = {
        "account_id": account_id,
        "tag_id": tag_id,
        "conditions": Jsonb(msgspec.to_builtins([checked(one) for one in conditions])),
    }
    return int(await db.value(ADD, params))


async def of_account(db: Database, account_id: int) -> list[Standing]:
    """Every rule of an account, oldest first."""
    found = await db.rows(_Stored, OF_ACCOUNT, {"account_id": account_id})
    return [msgspec.convert(msgspec.structs.asdict(one), Standing) for one in found]


async def remove(db: Database, account_id: int, rule_id: int) -> bool:
    """Forget a rule; tags that it has set stay."""
    return await db.execute(REMOVE, {"account_id": account_id, "rule_id": rule_id}) == 1
