"""What are cards to be sorted and marked by? The items of writes to pipelines, stages and tags."""

import re
from typing import Any

from msgspec import Struct

from zvonar.dialects.amocrm.errors import CHOICE
from zvonar.dialects.amocrm.requests.fields import Item, RequestId, batch
from zvonar.store.crm_pipelines import NewStatus

_COLOR = re.compile(r"#?[0-9A-Fa-f]{6}", re.ASCII)
_MOST = 32_000  # of a sort
_DEFAULT_COLOR = "#fffeb2"


class PipelineWish(Struct, frozen=True, kw_only=True):
    """A pipeline to be added."""

    request_id: RequestId
    name: str
    sort: int
    statuses: list[NewStatus]  # the one of what comes in first


class TagWish(Struct, frozen=True, kw_only=True):
    """A tag to be added."""

    request_id: RequestId
    name: str
    color: str | None


def new_pipelines(found: Any) -> list[PipelineWish]:
    """Pipelines to be added. Raises BadRequest, ValidationFailed."""

    def read(item: Item, request_id: RequestId) -> PipelineWish:
        embedded = item.inner("_embedded")
        given = [] if embedded is None else embedded.each("statuses") or []
        # Won and lost are there anyway; clients send them to give them names.
        stages = [_status(one) for one in given if one.values.get("id") not in (142, 143)]
        own = stages or [NewStatus(name="Первичный контакт", sort=20)]
        return PipelineWish(
            request_id=request_id,
            name=item.text("name", needed=True, blank=False) or "",
            sort=item.integer("sort", most=_MOST) or 1,
            statuses=[NewStatus(name="Неразобранное", sort=10, color="#c1c1c1", unsorted=True), *own],
        )

    return batch(found, read)


def new_statuses(found: Any) -> list[NewStatus]:
    """Stages to be added. Raises BadRequest, ValidationFailed."""
    return batch(found, lambda item, _: _status(item))


def _status(item: Item) -> NewStatus:
    return NewStatus(
        name=item.text("name", needed=True, blank=False) or "",
        sort=item.integer("sort", most=_MOST) or 20,
        color=_color(item) or _DEFAULT_COLOR,
    )


def new_tags(found: Any) -> list[TagWish]:
    """Tags to be added. Raises BadRequest, ValidationFailed."""

    def read(item: Item, request_id: RequestId) -> TagWish:
        name = item.text("name", needed=True, blank=False) or ""
        return TagWish(request_id=request_id, name=name.strip(), color=_color(item))

    return batch(found, read)


def _color(item: Item) -> str | None:
    color = item.text("color")
    if color and not _COLOR.fullmatch(color):
        item.wrong(CHOICE, "color")
    return color or None
