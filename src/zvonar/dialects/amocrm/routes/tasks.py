"""What is to be done? /api/v4/tasks, mostly about cards."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, get, patch, post
from litestar.handlers import HTTPRouteHandler
from msgspec import structs

from zvonar.core.crm import ROBOT, Kind
from zvonar.dialects.amocrm import answers, telling, views
from zvonar.dialects.amocrm.caller import Caller
from zvonar.dialects.amocrm.errors import BadRequest
from zvonar.dialects.amocrm.requests import fields, lists
from zvonar.dialects.amocrm.requests import tasks as reading
from zvonar.dialects.amocrm.requests.lists import Many, Range
from zvonar.dialects.amocrm.requests.tasks import TaskWish
from zvonar.dialects.amocrm.routes.common import Door, Req, Service, asked, path_id, url_of
from zvonar.dialects.amocrm.writing import Faults
from zvonar.store import crm_entities, crm_events, crm_hooks, crm_tasks, crm_users
from zvonar.store.crm_tasks import Task
from zvonar.store.db import Connection


def _flag(text: str) -> bool:
    if text not in ("0", "1", "true", "false"):
        raise BadRequest("The value of this filter is 0 or 1.")
    return text in ("1", "true")


def kind(text: str) -> Kind:
    """A kind that a filter names. Raises BadRequest."""
    found = reading.kind_of(text)
    if found is None:
        raise BadRequest("The value of this filter is leads, contacts, companies or customers.")
    return found


FILTERS: dict[str, Many | Range] = {
    "id": Many(clause="ids", param="ids", read=lists.whole),
    "responsible_user_id": Many(clause="responsible_user_id", param="responsibles", read=lists.whole),
    "is_completed": Many(clause="completed", param="completed", read=_flag),
    "task_type": Many(clause="task_types", param="task_types", read=lists.whole),
    "entity_type": Many(clause="kinds", param="kinds", read=kind),
    "entity_id": Many(clause="cards", param="card_ids", read=lists.whole),
    "updated_at": Range(clause="updated", read=lists.moment),
}


def handlers(service: Service, door: Door) -> list[HTTPRouteHandler]:
    db = service.db

    @get("/tasks")
    async def list_tasks(request: Req) -> Response[bytes]:
        """A page of tasks."""
        caller, wanted = await door.reader(request), asked(request)
        values = {"account_id": caller.account_id}
        part = wanted.slice(("account",), values, filters=FILTERS, orders=crm_tasks.ORDERS)
        found = await crm_tasks.page(db, part)
        links = wanted.links(url_of(caller, "tasks"), more=len(found) > part.limit)
        things = [views.task(task, caller) for task in found[: part.limit]]
        return answers.page("tasks", things, url=links, number=wanted.page)

    @get("/tasks/{task_id:str}")
    async def one_task(request: Req) -> Response[bytes]:
        """One task; 204 where there is none."""
        caller = await door.reader(request)
        found = await crm_tasks.by_ids(db, caller.account_id, [path_id(request, "task_id")])
        return answers.hal(views.task(found[0], caller)) if found else answers.nothing()

    @post("/tasks", status_code=200)
    async def add_tasks(request: Req) -> Response[bytes]:
        """New tasks."""
        caller = await door.writer(request)
        wishes = reading.new_tasks(fields.document(await request.body()))
        async with db.transaction() as connection:
            await _check(connection, caller, wishes)
            ids = await crm_tasks.next_ids(connection, len(wishes))
            made = [_new(wish, task_id, caller) for wish, task_id in zip(wishes, ids, strict=True)]
            await crm_tasks.add(connection, caller.account_id, made)
            events = [event for task in made for event in telling.task("task_added", task, caller)]
            await crm_events.add(connection, caller.account_id, events)
            await crm_hooks.tell(connection, [telling.task_hook("add", task, caller) for task in made])
        return answers.written("tasks", _things(made, wishes, caller), url_of(caller, "tasks"))

    @patch("/tasks", status_code=200)
    async def change_tasks(request: Req) -> Response[bytes]:
        """Changes of tasks, each with its id."""
        caller = await door.writer(request)
        wishes = reading.changed_tasks(fields.document(await request.body()))
        changed = await change(caller, wishes)
        return answers.written("tasks", _things(changed, wishes, caller), url_of(caller, "tasks"))

    @patch("/tasks/{task_id:str}", status_code=200)
    async def change_task(request: Req) -> Response[bytes]:
        """A change of one task."""
        caller = await door.writer(request)
        wish = reading.changed_task(fields.document(await request.body()), path_id(request, "task_id"))
        [thing] = _things(await change(caller, [wish]), [wish], caller)
        del thing["request_id"]
        return answers.hal(thing)

    async def change(caller: Caller, wishes: Sequence[TaskWish]) -> list[Task]:
        async with db.transaction() as connection:
            await _check(connection, caller, wishes)
            ids = sorted({wish.task_id or 0 for wish in wishes})
            before = await crm_tasks.locked(connection, caller.account_id, ids)
            after = dict(before)
            faults = Faults()
            for place, wish in enumerate(wishes):
                if (task := after.get(wish.task_id or 0)) is None:
                    faults.add(place, wish.request_id, "id")
                else:
                    after[task.task_id] = _changed(wish, task, caller)
            faults.check()
            await crm_tasks.change(connection, caller.account_id, list(after.values()))
            done = [t for t in after.values() if t.is_completed and not before[t.task_id].is_completed]
            events = [event for task in done for event in telling.task("task_completed", task, caller)]
            await crm_events.add(connection, caller.account_id, events)
            await crm_hooks.tell(
                connection, [telling.task_hook("update", task, caller) for task in after.values()]
            )
        return [after[wish.task_id or 0] for wish in wishes]

    return [list_tasks, one_task, add_tasks, change_tasks, change_task]


async def _check(connection: Connection, caller: Caller, wishes: Sequence[TaskWish]) -> None:
    """Whoever and whatever is named has to be there. Raises ValidationFailed."""
    names = ("responsible_user_id", "created_by", "updated_by")
    users = {u for wish in wishes for name in names if (u := wish.values.get(name)) not in (None, ROBOT)}
    directory = await crm_users.directory_of(connection, caller.account_id, user_ids=users)
    cards = sorted({wish.card.card_id for wish in wishes if wish.card is not None})
    there = await crm_entities.kinds(connection, caller.account_id, cards)
    faults = Faults()
    for place, wish in enumerate(wishes):
        for name in names:
            user = wish.values.get(name)
            if user not in (None, ROBOT) and not directory.has(user):
                faults.add(place, wish.request_id, name)
        if wish.card is not None and there.get(wish.card.card_id) != wish.card.kind:
            faults.add(place, wish.request_id, "entity_id")
    faults.check()


def _new(wish: TaskWish, task_id: int, caller: Caller) -> Task:
    user, now = caller.user.user_id, caller.now
    defaults: dict[str, Any] = {
        "task_type_id": 1,
        "duration": 0,
        "is_completed": False,
        "result": None,
        "responsible_user_id": user,
        "created_by": user,
        "updated_by": user,
        "created_at": now,
        "updated_at": now,
    }
    return Task(task_id=task_id, **_of_card(wish), **{**defaults, **wish.values})


def _changed(wish: TaskWish, task: Task, caller: Caller) -> Task:
    defaults = {"updated_by": caller.user.user_id, "updated_at": caller.now}
    card = {} if wish.card is None else _of_card(wish)
    return structs.replace(task, **card, **{**defaults, **wish.values})


def _of_card(wish: TaskWish) -> dict[str, Any]:
    card = wish.card
    return {
        "kind": None if card is None else card.kind,
        "card_id": None if card is None else card.card_id,
    }


def _things(tasks: Sequence[Task], wishes: Sequence[TaskWish], caller: Caller) -> list[dict[str, Any]]:
    return [
        {
            "id": task.task_id,
            "updated_at": answers.unix(task.updated_at),
            "request_id": wish.request_id,
            "_links": answers.link(caller.base, "tasks", task.task_id),
        }
        for task, wish in zip(tasks, wishes, strict=True)
    ]
