"""What is to be done? The items of writes to tasks."""

from typing import Any

from msgspec import Struct

from zvonar.core.crm import Card, Kind
from zvonar.dialects.amocrm import limits
from zvonar.dialects.amocrm.errors import NULL
from zvonar.dialects.amocrm.requests.cards import KINDS
from zvonar.dialects.amocrm.requests.fields import Item, RequestId, batch


class TaskWish(Struct, frozen=True, kw_only=True):
    """What a write says of a task; what is not there stays as it is."""

    request_id: RequestId
    task_id: int | None  # of the task that changes
    card: Card | None  # what it is about
    values: dict[str, Any]  # of Task, by its names


def new_tasks(found: Any) -> list[TaskWish]:
    """Tasks to be added. Raises BadRequest, ValidationFailed."""
    return batch(found, lambda item, request_id: _task(item, request_id, new=True))


def changed_tasks(found: Any) -> list[TaskWish]:
    """Tasks to be changed, each by its id. Raises BadRequest, ValidationFailed."""

    def read(item: Item, request_id: RequestId) -> TaskWish:
        return _task(item, request_id, task_id=item.integer("id", needed=True, least=1))

    return batch(found, read)


def changed_task(found: Any, task_id: int) -> TaskWish:
    """One task to be changed. Raises BadRequest, ValidationFailed."""
    [wish] = batch([found], lambda item, request_id: _task(item, request_id, task_id=task_id))
    return wish


def _task(item: Item, request_id: RequestId, *, task_id: int | None = None, new: bool = False) -> TaskWish:
    result = item.inner("result")
    values: dict[str, Any] = {
        "text": item.text("text", needed=new, blank=False, most=limits.MAX_TEXT),
        "complete_till": item.moment("complete_till", needed=new),
        "task_type_id": item.integer("task_type_id", least=1),
        "duration": item.integer("duration", most=limits.MAX_DURATION),
        "is_completed": item.flag("is_completed"),
        "result": None if result is None else result.text("text", most=limits.MAX_TEXT),
        "responsible_user_id": item.integer("responsible_user_id", least=1),
        "created_by": item.integer("created_by"),
        "updated_by": item.integer("updated_by"),
        "created_at": item.moment("created_at"),
        "updated_at": item.moment("updated_at"),
    }
    kind = item.chosen("entity_type", tuple(KINDS))
    card_id = item.integer("entity_id", least=1)
    card = None
    if kind is not None and card_id is not None:
        card = Card(kind=KINDS[kind], card_id=card_id)
    elif (kind is None) != (card_id is None) and not item.faults:
        item.wrong(NULL, "entity_type" if kind is None else "entity_id")
    return TaskWish(
        request_id=request_id,
        task_id=task_id,
        card=card,
        values={name: value for name, value in values.items() if value is not None},
    )


def kind_of(text: str) -> Kind | None:
    """The kind that a filter names."""
    return KINDS.get(text)
