"""How is a call marked by hand? set.tag_communications and unset.tag_communications."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from zvonar.dialects.uis import answers, limits
from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.methods.common import Answer, Call
from zvonar.dialects.uis.requests import values
from zvonar.reports import communications
from zvonar.reports.rules import tagged
from zvonar.reports.writing import Change, Row
from zvonar.store import directories
from zvonar.store.directories import Tag

_PARAMETERS: Final = frozenset(
    {"access_token", "user_id", "communication_id", "communication_type", "tag_id"}
)
# The tag by which the vendor's reports know that a lost call was dealt with: call_processed_mark_duration counts until
# somebody sets it. A guess from the sample of get.mgf_calls.
PROCESSED: Final = "Обработано"
# Of these only calls exist here.
_TYPES: Final = frozenset({"call", "chat", "goal", "offline_message"})


async def _asked(call: Call) -> tuple[int, Tag]:
    """Which call, which tag."""
    params = call.params
    values.known(params, _PARAMETERS)
    communication_id = values.number(params, "communication_id", default=None)
    type_ = values.text(params, "communication_type")
    tag_id = values.number(params, "tag_id", default=None)
    if type_ not in _TYPES:
        raise RpcError("invalid_parameter_value", field="communication_type", value=type_)
    if type_ != "call":
        raise RpcError("entity_not_found", field="communication_id", value=communication_id)
    for tag in await directories.tags(call.db, call.account.account_id):
        if tag.tag_id == tag_id:
            return communication_id, tag
    raise RpcError("entity_not_found", field="tag_id", value=tag_id)


def _changed(call: Call, there: bool) -> bytes:
    if not there:
        raise RpcError("entity_not_found", field="communication_id", value=call.params["communication_id"])
    data: dict[str, Any] = {}
    return answers.changed(call.id, data, call.limits)


async def set_(call: Call) -> Answer:
    """set.tag_communications"""
    communication_id, tag = await _asked(call)

    def patch(row: Row) -> dict[str, Any]:
        tags = row["tags"] or []
        if any(one["tag_id"] == tag.tag_id for one in tags):
            raise RpcError("duplicate_entity", field="tag_id", value=tag.tag_id)
        if len(tags) >= limits.MAX_TAGS:
            raise RpcError("data_limit_exceeded", field="tag_id", value=tag.tag_id)
        user = (call.holder.account.account_id, call.holder.account.name)
        set_now = tagged(tag.tag_id, tag.name, by_rule=False, now=call.now, user=user)
        return {"tags": [*tags, set_now], **_marked(tag, row, call.now)}

    return _changed(call, await _patched(call, communication_id, patch))


def _marked(tag: Tag, row: Row, now: datetime | None) -> dict[str, Any]:
    """What the mark changes beside the tags: how long it took, from the end of the call."""
    if tag.name != PROCESSED:
        return {}
    ended = row["finish_time"] or row["start_time"]
    if isinstance(ended, str):
        ended = datetime.fromisoformat(ended)
    lasted = None if now is None else max(int((now - ended).total_seconds()), 0)
    return {"processed_mark_duration": lasted}


async def unset(call: Call) -> Answer:
    """unset.tag_communications"""
    communication_id, tag = await _asked(call)

    def patch(row: Row) -> dict[str, Any]:
        tags = row["tags"] or []
        left = [one for one in tags if one["tag_id"] != tag.tag_id]
        if len(left) == len(tags):
            raise RpcError("entity_not_found", field="tag_id", value=tag.tag_id)
        return {"tags": left, **_marked(tag, row, None)}

    return _changed(call, await _patched(call, communication_id, patch))


async def _patched(call: Call, communication_id: int, patch: Callable[[Row], dict[str, Any]]) -> bool:
    """Change the row of a call, if the account has it."""
    account_id = call.account.account_id
    session_id = await communications.session_of(call.db, account_id, communication_id)
    change = Change(account_id=account_id, session_id=session_id, patch=patch, reads=("tags", "finish_time"))
    async with call.db.transaction() as connection:
        return bool(await call.writer.change(connection, [change]))
