"""How does a thing of the CRM look on this wire? Each as its JSON, keys in the vendor's order."""

from collections.abc import Mapping, Sequence
from typing import Any

from zvonar.core.crm import CLOSED, LOST, WON, Kind
from zvonar.dialects.amocrm import custom_fields
from zvonar.dialects.amocrm.answers import PLURAL, link, unix
from zvonar.dialects.amocrm.caller import Caller
from zvonar.store.crm_entities import CardRow
from zvonar.store.crm_events import Event
from zvonar.store.crm_links import Link
from zvonar.store.crm_notes import Note
from zvonar.store.crm_pipelines import Pipeline, Pipelines, Status
from zvonar.store.crm_tags import Tag
from zvonar.store.crm_tasks import Task
from zvonar.store.crm_users import Role, User


def card(
    row: CardRow,
    caller: Caller,
    *,
    tags: Mapping[int, Tag],
    links: Sequence[Link],
    embed: Sequence[Kind],
) -> dict[str, Any]:
    """A card, with whatever of the linked kinds is wanted."""
    kind = Kind(row.kind)
    embedded: dict[str, Any] = {"tags": [tag(tags[one]) for one in row.tags if one in tags]}
    for other in embed:
        embedded[PLURAL[other]] = _linked(kind, other, links, caller.base)
    if kind == Kind.customer:
        embedded["segments"] = []
    return {
        "id": row.card_id,
        "name": row.name,
        **_own(row, kind),
        "custom_fields_values": custom_fields.values(kind, row.fields),
        "account_id": caller.account_id,
        "_links": link(caller.base, PLURAL[kind], row.card_id),
        "_embedded": embedded,
    }


def _linked(kind: Kind, other: Kind, links: Sequence[Link], base: str) -> list[dict[str, Any]]:
    found = [one for one in links if one.to_kind == other]
    things: list[dict[str, Any]] = [
        {"id": one.to_id, "_links": link(base, PLURAL[other], one.to_id)} for one in found
    ]
    if other == Kind.contact:
        main = next((place for place, one in enumerate(found) if one.is_main), 0)
        for place, thing in enumerate(things):
            thing["is_main"] = place == main
    return things


def _own(row: CardRow, kind: Kind) -> dict[str, Any]:
    """What a kind has between its name and its fields."""
    who = {"responsible_user_id": row.responsible_user_id, "group_id": 0}
    times = {
        "created_by": row.created_by,
        "updated_by": row.updated_by,
        "created_at": unix(row.created_at),
        "updated_at": unix(row.updated_at),
    }
    due = {"closest_task_at": unix(row.closest_task_at), "is_deleted": False}
    match kind:
        case Kind.contact:
            names = {"first_name": row.first_name, "last_name": row.last_name}
            return {**names, **who, **times, **due, "is_unsorted": False}
        case Kind.company:
            return {**who, **times, **due}
        case Kind.lead:
            return {
                "price": row.price,
                **who,
                "status_id": row.status_id,
                "pipeline_id": row.pipeline_id,
                "loss_reason_id": None,
                **times,
                "closed_at": unix(row.closed_at),
                **due,
                "score": None,
                "labor_cost": None,
            }
        case Kind.customer:
            return {
                "next_price": row.price,
                "next_date": unix(row.next_date),
                **who,
                "status_id": 0,
                "periodicity": row.periodicity,
                **times,
                **due,
                "ltv": 0,
                "purchases_count": 0,
                "average_check": 0,
            }


def tag(one: Tag) -> dict[str, Any]:
    return {"id": one.tag_id, "name": one.name, "color": one.color}


def note(one: Note, caller: Caller) -> dict[str, Any]:
    """A note; those of calls have the parameters of the call."""
    return {
        "id": one.note_id,
        "entity_id": one.card_id,
        "created_by": one.created_by,
        "updated_by": one.updated_by,
        "created_at": unix(one.created_at),
        "updated_at": unix(one.updated_at),
        "responsible_user_id": one.responsible_user_id,
        "group_id": 0,
        "note_type": one.note_type,
        "params": one.params,
        "account_id": caller.account_id,
        "_links": link(caller.base, PLURAL[one.kind], one.card_id, "notes", one.note_id),
    }


# What is kept or derived, with its name for people.
EVENT_TYPES = {
    "lead_added": "Новая сделка",
    "contact_added": "Новый контакт",
    "company_added": "Новая компания",
    "customer_added": "Новый покупатель",
    "lead_status_changed": "Изменение этапа продажи",
    "entity_responsible_changed": "Ответственный изменен",
    "entity_tag_added": "Теги добавлены",
    "name_field_changed": "Изменение поля «Название»",
    "entity_linked": "Прикрепление",
    "entity_unlinked": "Открепление",
    "incoming_call": "Входящий звонок",
    "outgoing_call": "Исходящий звонок",
    "common_note_added": "Новое примечание",
    "incoming_sms": "Входящее SMS",
    "outgoing_sms": "Исходящее SMS",
    "task_added": "Новая задача",
    "task_completed": "Завершение задачи",
}


def task(one: Task, caller: Caller) -> dict[str, Any]:
    """A task."""
    return {
        "id": one.task_id,
        "created_by": one.created_by,
        "updated_by": one.updated_by,
        "created_at": unix(one.created_at),
        "updated_at": unix(one.updated_at),
        "responsible_user_id": one.responsible_user_id,
        "group_id": 0,
        "entity_id": one.card_id,
        "entity_type": None if one.kind is None else PLURAL[one.kind],
        "duration": one.duration,
        "is_completed": one.is_completed,
        "task_type_id": one.task_type_id,
        "text": one.text,
        "result": [] if one.result is None else {"text": one.result},
        "complete_till": unix(one.complete_till),
        "account_id": caller.account_id,
        "_links": link(caller.base, "tasks", one.task_id),
    }


def event_id(one: Event) -> str:
    """On this wire an event's id is a text of 26 characters."""
    return f"{one.event_id:026d}"


def event(one: Event, caller: Caller) -> dict[str, Any]:
    """Something that happened to a card."""
    return {
        "id": event_id(one),
        "type": one.type,
        "entity_id": one.card_id,
        "entity_type": one.kind,
        "created_by": one.created_by,
        "created_at": unix(one.created_at),
        "value_after": one.value_after,
        "value_before": one.value_before,
        "account_id": caller.account_id,
        "_links": link(caller.base, "events", event_id(one)),
        "_embedded": {
            "entity": {"id": one.card_id, "_links": link(caller.base, PLURAL[one.kind], one.card_id)}
        },
    }


def user(one: User, caller: Caller) -> dict[str, Any]:
    """A user with what they may do: A is everything, D nothing."""
    view, write = "A", "D" if one.role == Role.viewer else "A"
    cards = {"view": view, "edit": write, "add": write, "delete": "D", "export": view}
    return {
        "id": one.user_id,
        "name": one.name,
        "email": one.email,
        "lang": one.lang,
        "rights": {
            **{name: dict(cards) for name in ("leads", "contacts", "companies")},
            "tasks": {"edit": write, "delete": "D"},
            "mail_access": False,
            "catalog_access": False,
            "files_access": False,
            "status_rights": None,
            "is_admin": one.role == Role.admin,
            "is_free": False,
            "is_active": one.is_active,
            "group_id": None,
            "role_id": None,
        },
        "_links": link(caller.base, "users", one.user_id),
    }


_CLOSED_NAMES = {WON: ("Успешно реализовано", "#CCFF66"), LOST: ("Закрыто и не реализовано", "#D5D8DB")}


def status(one: Status, caller: Caller) -> dict[str, Any]:
    """A stage; type 1 is that of what comes in."""
    return _status(
        one.status_id, one.name, one.sort, one.color, one.pipeline_id, caller, kind=int(one.unsorted)
    )


def closed(status_id: int, pipeline_id: int, caller: Caller) -> dict[str, Any]:
    """Won or lost, which every pipeline has."""
    name, color = _CLOSED_NAMES[status_id]
    sort = 10_000 if status_id == WON else 11_000
    return _status(status_id, name, sort, color, pipeline_id, caller, kind=0)


def _status(
    status_id: int, name: str, sort: int, color: str, pipeline_id: int, caller: Caller, *, kind: int
) -> dict[str, Any]:
    return {
        "id": status_id,
        "name": name,
        "sort": sort,
        "is_editable": kind == 0 and status_id not in CLOSED,
        "pipeline_id": pipeline_id,
        "color": color,
        "type": kind,
        "account_id": caller.account_id,
        "_links": link(caller.base, "leads/pipelines", pipeline_id, "statuses", status_id),
    }


def statuses(pipelines: Pipelines, pipeline_id: int, caller: Caller) -> list[dict[str, Any]]:
    """Every stage of a pipeline, won and lost at its end."""
    own = [status(one, caller) for one in pipelines.of(pipeline_id)]
    return own + [closed(status_id, pipeline_id, caller) for status_id in CLOSED]


def pipeline(one: Pipeline, pipelines: Pipelines, caller: Caller) -> dict[str, Any]:
    """A pipeline with its stages."""
    return {
        "id": one.pipeline_id,
        "name": one.name,
        "sort": one.sort,
        "is_main": one.is_main,
        "is_unsorted_on": pipelines.unsorted(one.pipeline_id) is not None,
        "is_archive": one.is_archive,
        "account_id": caller.account_id,
        "_links": link(caller.base, "leads/pipelines", one.pipeline_id),
        "_embedded": {"statuses": statuses(pipelines, one.pipeline_id, caller)},
    }
