"""What is told of a change? Events of the feed, and what webhooks may want to hear."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from zvonar.core.crm import Card, Kind
from zvonar.dialects.amocrm.caller import Caller
from zvonar.store.crm_entities import CardRow
from zvonar.store.crm_events import NewEvent
from zvonar.store.crm_hooks import Happening
from zvonar.store.crm_tasks import Task


def _card(card: CardRow) -> Card:
    return Card(kind=Kind(card.kind), card_id=card.card_id)


def _event(
    kind: str, card: Card, caller: Caller, after: list[Any] | None = None, before: list[Any] | None = None
) -> NewEvent:
    return NewEvent(
        type=kind,
        card=card,
        created_by=caller.user.user_id,
        created_at=caller.now,
        after=after or (),
        before=before or (),
    )


def added(card: CardRow, caller: Caller) -> NewEvent:
    """The event of a new card."""
    return _event(f"{card.kind}_added", _card(card), caller)


def events(
    before: CardRow, after: CardRow, caller: Caller, tag_names: Mapping[int, str]
) -> Iterable[NewEvent]:
    """What of a change is an event."""
    card = _card(after)
    if (before.pipeline_id, before.status_id) != (after.pipeline_id, after.status_id):
        yield _event("lead_status_changed", card, caller, [_status(after)], [_status(before)])
    if before.responsible_user_id != after.responsible_user_id:
        yield _event(
            "entity_responsible_changed",
            card,
            caller,
            [{"responsible_user": {"id": after.responsible_user_id}}],
            [{"responsible_user": {"id": before.responsible_user_id}}],
        )
    if fresh := [tag for tag in after.tags if tag not in before.tags]:
        yield _event(
            "entity_tag_added", card, caller, [{"tag": {"name": tag_names.get(tag, "")}} for tag in fresh]
        )
    if before.name != after.name:
        yield _event(
            "name_field_changed",
            card,
            caller,
            [{"name_field_value": {"name": after.name}}],
            [{"name_field_value": {"name": before.name}}],
        )


def _status(card: CardRow) -> dict[str, Any]:
    return {"lead_status": {"id": card.status_id, "pipeline_id": card.pipeline_id}}


def linked(a: Card, b: Card, caller: Caller) -> tuple[NewEvent, NewEvent]:
    """That two cards belong together, told on both."""
    return (
        _event("entity_linked", a, caller, [_other(b)]),
        _event("entity_linked", b, caller, [_other(a)]),
    )


def unlinked(a: Card, b: Card, caller: Caller) -> tuple[NewEvent, NewEvent]:
    """That they do not any more."""
    return (
        _event("entity_unlinked", a, caller, before=[_other(b)]),
        _event("entity_unlinked", b, caller, before=[_other(a)]),
    )


def _other(card: Card) -> dict[str, Any]:
    return {"link": {"entity": {"type": card.kind, "id": card.card_id}}}


def hook(what: str, card: CardRow, caller: Caller, **old: Any) -> Happening:
    """What webhooks hear of a card: add, update, status, responsible."""
    return Happening(
        account_id=caller.account_id,
        setting=f"{what}_{card.kind}",
        card=_card(card),
        at=caller.now,
        facts={**msgspec.to_builtins(card), **old},
    )


def hooks(before: CardRow, after: CardRow, caller: Caller) -> Iterable[Happening]:
    """What webhooks hear of a change."""
    yield hook("update", after, caller)
    if (before.pipeline_id, before.status_id) != (after.pipeline_id, after.status_id):
        yield hook(
            "status", after, caller, old_status_id=before.status_id, old_pipeline_id=before.pipeline_id
        )
    if before.responsible_user_id != after.responsible_user_id:
        yield hook("responsible", after, caller, old_responsible_user_id=before.responsible_user_id)


def task(what: str, task: Task, caller: Caller) -> Iterable[NewEvent]:
    """The event of a task, on the card that it is about."""
    if task.kind is not None and task.card_id is not None:
        yield _event(what, Card(kind=Kind(task.kind), card_id=task.card_id), caller)


def task_hook(what: str, task: Task, caller: Caller) -> Happening:
    """What webhooks hear of a task."""
    return Happening(
        account_id=caller.account_id,
        setting=f"{what}_task",
        card=None,
        at=caller.now,
        facts=msgspec.to_builtins(task),
    )
