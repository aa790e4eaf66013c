"""Which part of a file is asked for? RFC 9110: one range of bytes, and the conditions under which it counts."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from msgspec import Struct

_RANGE: Final = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,30})-([0-9]{0,30})[ \t]*", re.ASCII | re.IGNORECASE)


class Version(Struct, frozen=True, kw_only=True):
    """Which state of a file this is."""

    tag: str  # an entity tag with its quotes, strong: other bytes, another tag
    modified: datetime  # aware

    @property
    def last_modified(self) -> str:
        """As HTTP writes it, in whole seconds."""
        return format_datetime(self.modified.astimezone(UTC), usegmt=True)


class Part(Struct, frozen=True, kw_only=True):
    """Bytes of a file."""

    first: int
    last: int  # the last byte itself, as HTTP counts

    @property
    def length(self) -> int:
        return self.last - self.first + 1


class Unsatisfiable(Exception):
    """The file has no such bytes."""


def part_of(header: str | None, size: int) -> Part | None:
    """What a Range header asks of a file of `size` bytes; None for all of it. Raises Unsatisfiable.

    Another unit, several ranges, and what cannot be read are ignored, as the RFC allows or demands.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None:
        return None
    first, last = found.groups()
    if not first:
        if not last:
            return None
        length = min(int(last), size)
        if length == 0:
            raise Unsatisfiable
        return Part(first=size - length, last=size - 1)
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise Unsatisfiable
    return Part(first=int(first), last=min(int(last), size - 1) if last else size - 1)


def range_counts(if_range: str | None, version: Version) -> bool:
    """Whether what the client has a part of is still this version of the file."""
    if if_range is None:
        return True
    return if_range.strip() in (version.tag, version.last_modified)


def unchanged(headers: Mapping[str, str], version: Version) -> bool:
    """Whether the client has this version already: 304."""
    tags = headers.get("if-none-match")
    if tags is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return "*" in known or version.tag in known
    since = headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return version.modified.astimezone(UTC).replace(microsecond=0) <= _aware(parsedate_to_datetime(since))
    except (TypeError, ValueError, OverflowError):
        return False


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
