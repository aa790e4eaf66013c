"""Which part of a list is asked for? Conditions and orders out of constants, values always as parameters."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Clause(Struct, frozen=True):
    """A condition of a list."""

    sql: str  # its values are named parameters


class Order(Struct, frozen=True, kw_only=True):
    """In which order."""

    by: str = "id"  # a name among the orders of the list
    descending: bool = False


class Slice(Struct, frozen=True, kw_only=True):
    """What is asked for."""

    clauses: tuple[str, ...]  # names among the clauses of the list
    values: Mapping[str, Any]  # of their parameters
    order: Order
    limit: int
    skipped: int  # before the first

    def params(self) -> dict[str, Any]:
        return {**self.values, "limit": self.limit + 1, "skipped": self.skipped}


def listed(select: str, clauses: Mapping[str, Clause], orders: Mapping[str, str], asked: Slice) -> str:
    """The statement for a part of a list: a row more than its limit tells whether more follow."""
    where = " AND ".join(clauses[name].sql for name in asked.clauses)
    way = "DESC" if asked.order.descending else "ASC"
    order = ", ".join(f"{column.strip()} {way}" for column in orders[asked.order.by].split(","))
    return f"{select} WHERE {where} ORDER BY {order} LIMIT %(limit)s OFFSET %(skipped)s"
