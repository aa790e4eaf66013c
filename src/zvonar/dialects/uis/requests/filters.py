"""What does a filter ask for? Simple filters and trees of them, as one tree in core terms.

UIS, filter criteria: {"field", "operator", "value"} or {"filters": […], "condition": "and" | "or"}. A missing value
is null, a missing condition is "and". What each field can be compared with is its rule, in `comparing`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from zvonar.dialects.uis.errors import RpcError
from zvonar.reports.query import Filter, Op, Tree

MOST_LEVELS: Final = 100  # of trees within each other, where the method says nothing
MOST_TESTS: Final = 1_000  # simple filters in all

Operator: TypeAlias = Op | Literal["jsquery"]
# Makes the filter of one comparison: operator, value, the account's zone.
Rule: TypeAlias = Callable[[Operator, Any, ZoneInfo], Filter]
# None: the field is there, and nothing may be asked of it.
Rules: TypeAlias = Mapping[str, Rule | None]

_SIMPLE: Final = frozenset({"field", "operator", "value"})
_TREE: Final = frozenset({"filters", "condition"})


def read(
    params: dict[str, Any], rules: Rules, zone: ZoneInfo, *, levels: int = MOST_LEVELS, too_deep: bool = False
) -> Filter | None:
    """The filter in these parameters; None where there is none. RpcError naming what is wrong."""
    if too_deep:
        raise RpcError("invalid_parameter_value", field="filter")
    given = params.get("filter")
    if given is None or given == {}:
        return None
    return _Reader(rules, zone, levels).node(given, level=0)


class _Reader:
    def __init__(self, rules: Rules, zone: ZoneInfo, levels: int) -> None:
        self._rules = rules
        self._zone = zone
        self._levels = levels
        self._tests = 0

    def node(self, given: Any, *, level: int) -> Filter:
        if not isinstance(given, dict):
            raise RpcError("data_type_error", field="filter" if level == 0 else "filter.filters", value=given)
        for name in given:
            if name not in _SIMPLE and name not in _TREE:
                raise RpcError("unexpected_parameters", field=f"filter.{name}", value=given[name])
        if not given.keys() & _TREE:
            return self._simple(given)
        if given.keys() & _SIMPLE:
            raise RpcError("invalid_parameters_combination", field="filter")
        return self._tree(given, level + 1)

    def _tree(self, given: dict[str, Any], level: int) -> Filter:
        if level > self._levels:
            raise RpcError("invalid_parameter_value", field="filter.filters")
        condition, filters = given.get("condition"), given.get("filters")
        if filters is None:
            raise RpcError("required_parameter_missed", field="filter.filters")
        if not isinstance(filters, list):
            raise RpcError("data_type_error", field="filter.filters", value=filters)
        if condition is not None and not isinstance(condition, str):
            raise RpcError("data_type_error", field="filter.condition", value=condition)
        if condition not in (None, "and", "or"):
            raise RpcError("invalid_parameter_value", field="filter.condition", value=condition)
        return Tree(all=condition != "or", of=tuple(self.node(one, level=level) for one in filters))

    def _simple(self, given: dict[str, Any]) -> Filter:
        self._tests += 1
        if self._tests > MOST_TESTS:
            raise RpcError("invalid_parameter_value", field="filter.filters")
        for part in ("field", "operator"):
            if given.get(part) is None:
                raise RpcError("required_parameter_missed", field=f"filter.{part}")
            if not isinstance(given[part], str):
                raise RpcError("data_type_error", field=f"filter.{part}", value=given[part])
        name = given["field"]
        if name not in self._rules:
            raise RpcError("unexpected_parameters", field="filter.field", value=name)
        rule = self._rules[name]
        if rule is None:
            raise RpcError("filter_prohibited", field="filter.field", value=name)
        return rule(_operator(given["operator"]), given.get("value"), self._zone)


def _operator(text: str) -> Operator:
    if text == "jsquery":
        return "jsquery"
    try:
        return Op(text)
    except ValueError:
        raise RpcError("invalid_parameter_value", field="filter.operator", value=text) from None
