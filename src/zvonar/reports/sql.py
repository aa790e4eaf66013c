"""How does SQL grow out of parts without anybody's text in it? Parts of ours, and parameters beside them."""

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

from msgspec import Struct


class Sql(Struct, frozen=True):
    """A piece of a statement with a %s for each of its parameters, in their order."""

    text: LiteralString
    params: tuple[Any, ...] = ()

    def __add__(self, other: "Sql") -> "Sql":
        return Sql(self.text + other.text, self.params + other.params)


def numbered(text: str, first: int) -> tuple[str, int]:
    """The piece as PostgreSQL takes it, with numbers from `first` for its parameters; the number after the last one."""
    start, *rest = text.split("%s")
    return "".join([start, *(f"${n}{part}" for n, part in enumerate(rest, start=first))]), first + len(rest)


def joined(separator: LiteralString, parts: Iterable[Sql]) -> Sql:
    """The pieces with this between them."""
    found: Sequence[Sql] = list(parts)
    texts: list[LiteralString] = [part.text for part in found]
    return Sql(separator.join(texts), tuple(p for part in found for p in part.params))


def placed(template: LiteralString, *params: Any) -> Sql:
    """A piece of ours that has these parameters."""
    return Sql(template, params)
