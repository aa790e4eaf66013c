"""How is a long list shown? A page of it in Laravel's frame, newest first."""

from collections.abc import Sequence
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

from msgspec import Struct

Item = TypeVar("Item")


class Link(Struct, frozen=True, kw_only=True):
    """A place to go to from a page."""

    url: str | None
    label: str
    active: bool


class Page(Struct, Generic[Item], frozen=True, kw_only=True, rename={"from_": "from"}):
    """A page of a list, and where it stands."""

    current_page: int
    data: Sequence[Item]
    first_page_url: str
    from_: int | None  # of all items, from 1; null on an empty page
    last_page: int
    last_page_url: str
    links: Sequence[Link]
    next_page_url: str | None
    path: str
    per_page: int
    prev_page_url: str | None
    to: int | None
    total: int


def page(items: Sequence[Item], *, number: int, size: int, total: int, path: str, query: str) -> "Page[Item]":
    """Items as page `number`. `path`: the list's own URL; `query`: as the client wrote it."""
    rest = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "page"]

    def url(at: int) -> str:
        return f"{path}?{urlencode([*rest, ('page', str(at))])}"

    last = max(1, -(-total // size))
    before, after = url(number - 1) if number > 1 else None, url(number + 1) if number < last else None
    first = (number - 1) * size + 1 if items else None
    return Page(
        current_page=number,
        data=items,
        first_page_url=url(1),
        from_=first,
        last_page=last,
        last_page_url=url(last),
        links=[
            Link(url=before, label="&laquo; Previous", active=False),
            *(
                Link(url=url(at), label=str(at), active=at == number)
                for at in range(max(1, number - 3), min(last, number + 3) + 1)
            ),
            Link(url=after, label="Next &raquo;", active=False),
        ],
        next_page_url=after,
        path=path,
        per_page=size,
        prev_page_url=before,
        to=None if first is None else first + len(items) - 1,
        total=total,
    )
