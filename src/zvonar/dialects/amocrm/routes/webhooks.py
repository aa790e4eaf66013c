"""Who hears of what? /api/v4/webhooks."""

from typing import Any

from litestar import Response, delete, get, post
from litestar.handlers import HTTPRouteHandler

from zvonar.dialects.amocrm import answers, limits
from zvonar.dialects.amocrm.caller import Caller
from zvonar.dialects.amocrm.errors import BLANK, CHOICE, BadRequest, Fault, NoRights, ValidationFailed
from zvonar.dialects.amocrm.hooks import SETTINGS
from zvonar.dialects.amocrm.requests.fields import Item, document
from zvonar.dialects.amocrm.routes.common import Door, Req, Service, asked, url_of
from zvonar.store import crm_hooks
from zvonar.store.crm_hooks import Webhook
from zvonar.store.crm_users import Role


def handlers(service: Service, door: Door) -> list[HTTPRouteHandler]:
    db = service.db

    @get("/webhooks")
    async def list_webhooks(request: Req) -> Response[bytes]:
        """Every webhook."""
        caller, wanted = await door.reader(request), asked(request)
        found = await crm_hooks.subscriptions(db, caller.account_id)
        if "destination" in wanted.filters:
            named = {value for _, value in wanted.filters["destination"]}
            found = [hook for hook in found if hook.destination in named]
        if not found:
            return answers.nothing()
        things = [_shown(hook, caller) for hook in found]
        return answers.written("webhooks", things, url_of(caller, "webhooks"), total=len(things))

    @post("/webhooks", status_code=200)
    async def subscribe(request: Req) -> Response[bytes]:
        """A new webhook, or other settings of one, by an administrator."""
        caller = await _admin(door, request)
        item, faults = _item(await request.body())
        destination = item.link("destination") if item.needs("destination") else None
        settings = item.values.get("settings")
        if item.needs("settings") and not _known(settings):
            item.wrong(CHOICE, "settings")
        if not faults and not destination:
            item.wrong(BLANK, "destination")
        _check(faults)
        made = await crm_hooks.subscribe(
            db,
            caller.account_id,
            destination or "",
            list(dict.fromkeys(settings or ())),
            most=limits.MAX_WEBHOOKS,
            user_id=caller.user.user_id,
            now=caller.now,
        )
        if made is None:
            raise BadRequest(f"An account has at most {limits.MAX_WEBHOOKS} webhooks.")
        return answers.hal(_shown(made, caller))

    @delete("/webhooks", status_code=200)
    async def unsubscribe(request: Req) -> Response[bytes]:
        """No webhook any more, by an administrator."""
        caller = await _admin(door, request)
        item, faults = _item(await request.body())
        destination = item.text("destination", needed=True, most=limits.MAX_LINK)
        _check(faults)
        await crm_hooks.unsubscribe(db, caller.account_id, destination or "")
        return answers.nothing()

    return [list_webhooks, subscribe, unsubscribe]


async def _admin(door: Door, request: Req) -> Caller:
    caller = await door.writer(request)
    if caller.user.role != Role.admin:
        raise NoRights
    return caller


def _item(body: bytes) -> tuple[Item, list[Fault]]:
    found = document(body)
    if not isinstance(found, dict):
        raise BadRequest("The body has to be a JSON object.")
    faults: list[Fault] = []
    return Item(found, faults), faults


def _check(faults: list[Fault]) -> None:
    if faults:
        raise ValidationFailed([("0", faults)])


def _known(settings: Any) -> bool:
    return (
        isinstance(settings, list)
        and bool(settings)
        and all(isinstance(one, str) and one in SETTINGS for one in settings)
    )


def _shown(hook: Webhook, caller: Caller) -> dict[str, Any]:
    return {
        "id": hook.webhook_id,
        "destination": hook.destination,
        "created_at": answers.unix(hook.created_at),
        "updated_at": answers.unix(hook.updated_at),
        "account_id": caller.account_id,
        "created_by": hook.created_by,
        "sort": 1,
        "disabled": hook.disabled,
        "settings": hook.settings,
    }
