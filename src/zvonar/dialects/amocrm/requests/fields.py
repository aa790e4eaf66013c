"""How are the items of a batch read? Value by value, every fault with its path, so that one answer tells them all."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from zvonar.dialects.amocrm import limits
from zvonar.dialects.amocrm.errors import (
    BLANK,
    CHOICE,
    LENGTH,
    MISSING,
    NULL,
    RANGE,
    TEXT,
    TYPE,
    URL,
    BadRequest,
    Fault,
    ValidationFailed,
    fault,
)

Read = TypeVar("Read")
RequestId = str | int  # comes back as it was sent
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def document(body: bytes) -> Any:
    """The JSON of a body. Raises BadRequest."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise BadRequest("The body is not JSON.") from exc
    # PostgreSQL has no such character.
    if b"\\u0000" in body and _has_nul(found):
        raise BadRequest("Text must not contain the character U+0000.")
    return found


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _has_nul(one) for key, one in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))


class Item:
    """One item of a batch. What is wrong with it is gathered; what is read then does not matter."""

    def __init__(
        self, values: Mapping[str, Any], faults: list[Fault], *, path: str = "", strict: bool = False
    ) -> None:
        """`strict`: whether null in place of an optional value is a fault, rather than the same as none."""
        self.values = values
        self.faults = faults
        self._path = path
        self._strict = strict

    def path(self, name: str) -> str:
        return f"{self._path}{name}"

    def wrong(self, kind: tuple[str, str], name: str, **values: object) -> None:
        self.faults.append(fault(kind, self.path(name), **values))

    def has(self, name: str) -> bool:
        """Whether there is a value that is not null. Null is a fault where that is strict."""
        if name not in self.values:
            return False
        if self.values[name] is None:
            if self._strict:
                self.wrong(NULL, name)
            return False
        return True

    def needs(self, name: str) -> bool:
        """The same for what has to be there."""
        if name not in self.values:
            self.wrong(MISSING, name)
            return False
        if self.values[name] is None:
            self.wrong(NULL, name)
            return False
        return True

    def text(
        self, name: str, *, needed: bool = False, blank: bool = True, most: int = limits.MAX_NAME
    ) -> str | None:
        if not (self.needs(name) if needed else self.has(name)):
            return None
        value = self.values[name]
        if not isinstance(value, str):
            self.wrong(TYPE, name, type="string")
        elif not blank and not value.strip():
            self.wrong(BLANK, name)
        elif len(value) > most:
            self.wrong(LENGTH, name, most=most)
        elif "\0" in value:
            self.wrong(TEXT, name)
        else:
            return value
        return None

    def integer(
        self, name: str, *, needed: bool = False, least: int = 0, most: int = limits.MAX_ID
    ) -> int | None:
        """A whole number; one that is written with a fraction of nothing is whole, too: 10.0."""
        if not (self.needs(name) if needed else self.has(name)):
            return None
        value = self.values[name]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not is_integer(value):
            self.wrong(TYPE, name, type="int")
        elif not least <= value <= most:
            self.wrong(RANGE, name, least=least, most=most)
        else:
            return int(value)
        return None

    def flag(self, name: str) -> bool | None:
        if not self.has(name):
            return None
        value = self.values[name]
        if isinstance(value, bool):
            return value
        self.wrong(TYPE, name, type="bool")
        return None

    def moment(self, name: str, *, needed: bool = False) -> datetime | None:
        """A time in Unix seconds; clients send fractions, which do not count."""
        if not (self.needs(name) if needed else self.has(name)):
            return None
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(TYPE, name, type="int")
        elif not 0 <= value <= limits.MAX_MOMENT:
            self.wrong(RANGE, name, least=0, most=limits.MAX_MOMENT)
        else:
            return datetime.fromtimestamp(int(value), UTC)
        return None

    def chosen(self, name: str, among: Sequence[str], *, needed: bool = False) -> str | None:
        if not (self.needs(name) if needed else self.has(name)):
            return None
        value = self.values[name]
        if not isinstance(value, str):
            self.wrong(TYPE, name, type="string")
        elif value not in among:
            self.wrong(CHOICE, name)
        else:
            return value
        return None

    def link(self, name: str) -> str | None:
        """An address of the web; nothing that a browser would run."""
        value = self.text(name, most=limits.MAX_LINK)
        if not value:
            return None
        if is_web(value):
            return value
        self.wrong(URL, name)
        return None

    def inner(self, name: str, *, needed: bool = False) -> "Item | None":
        """An object within this one."""
        if not (self.needs(name) if needed else self.has(name)):
            return None
        value = self.values[name]
        if not isinstance(value, dict):
            self.wrong(TYPE, name, type="object")
            return None
        return Item(value, self.faults, path=f"{self.path(name)}.", strict=self._strict)

    def each(self, name: str, *, needed: bool = False, most: int = limits.MAX_BATCH) -> list["Item"] | None:
        """The objects of a list within this one."""
        if not (self.needs(name) if needed else self.has(name)):
            return None
        value = self.values[name]
        if not isinstance(value, list):
            self.wrong(TYPE, name, type="array")
            return None
        if len(value) > most:
            self.wrong(RANGE, name, least=0, most=most)
            return None
        items = []
        for place, one in enumerate(value):
            if isinstance(one, dict):
                path = f"{self.path(name)}.{place}."
                items.append(Item(one, self.faults, path=path, strict=self._strict))
            else:
                self.wrong(TYPE, f"{name}.{place}", type="object")
        return items


def is_integer(value: object) -> bool:
    """Whether this is an integer of JSON; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_web(address: str) -> bool:
    """Whether this is an http(s) address with a host."""
    if _CONTROL.search(address):
        return False
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def batch(found: Any, read: Callable[[Item, RequestId], Read], *, strict: bool = False) -> list[Read]:
    """Every item of a batch, read by `read(item, request_id)`; ValidationFailed tells the faults of all of them.

    Without a request_id of its own an item has its place as one.
    """
    if not isinstance(found, list):
        raise BadRequest("The body has to be a JSON array of objects.")
    if not found:
        raise BadRequest("The batch is empty.")
    if len(found) > limits.MAX_BATCH:
        raise BadRequest(f"A batch has at most {limits.MAX_BATCH} items.")
    items: list[Read] = []
    wrong: list[tuple[RequestId, Sequence[Fault]]] = []
    for place, values in enumerate(found):
        faults: list[Fault] = []
        request_id: RequestId = str(place)
        if isinstance(values, dict):
            item = Item(values, faults, strict=strict)
            request_id = _request_id(item, str(place))
            items.append(read(item, request_id))
        else:
            faults.append(fault(TYPE, "", type="object"))
        if faults:
            wrong.append((request_id, faults))
    if wrong:
        raise ValidationFailed(wrong)
    return items


def _request_id(item: Item, place: str) -> RequestId:
    given = item.values.get("request_id")
    if given is None:
        return place
    if is_integer(given):  # some clients number their items, and compare what comes back
        return item.integer("request_id", least=-limits.MAX_ID) or given
    found = item.text("request_id")
    return place if found is None else found
