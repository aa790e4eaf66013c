"""Whose CRM is this, and who works in it? /api/v4/account and users."""

from typing import Any

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from zvonar.core.errors import NameTaken
from zvonar.core.schedule import zone_of
from zvonar.dialects.amocrm import answers, views
from zvonar.dialects.amocrm.caller import Caller
from zvonar.dialects.amocrm.errors import NoRights
from zvonar.dialects.amocrm.requests import fields
from zvonar.dialects.amocrm.requests.users import new_users
from zvonar.dialects.amocrm.routes.common import Door, Req, Service, asked, path_id, url_of
from zvonar.dialects.amocrm.writing import Faults
from zvonar.store import crm_settings, crm_users
from zvonar.store.crm_users import Role

# What every account has: kinds of tasks, and one group of users.
TASK_TYPES = (("Звонок", "CALL"), ("Встреча", "MEETING"))


def handlers(service: Service, door: Door) -> list[HTTPRouteHandler]:
    db = service.db

    @get("/account")
    async def account(request: Req) -> Response[bytes]:
        """The account."""
        caller, wanted = await door.reader(request), asked(request)
        known = await crm_settings.get(db, caller.account_id)
        subdomain = f"account{caller.account_id}"
        document: dict[str, Any] = {
            "id": caller.account_id,
            "name": caller.account.name,
            "subdomain": subdomain,
            "created_at": answers.unix(known.created_at),
            "created_by": 0,
            "updated_at": answers.unix(known.created_at),
            "updated_by": 0,
            "current_user_id": caller.user.user_id,
            "country": (caller.account.countries or ["RU"])[0],
            "currency": caller.account.currency,
            "currency_symbol": caller.account.currency,
            "customers_mode": "segments",
            "is_unsorted_on": True,
            "mobile_feature_version": 0,
            "is_loss_reason_enabled": False,
            "is_helpbot_enabled": False,
            "is_technical_account": False,
            "contact_name_display_order": 1,
            "_links": answers.link(caller.base, "account"),
            "_embedded": {name: value for name, value in _embedded(caller).items() if name in wanted.embed},
        }
        if "version" in wanted.embed:
            document["version"] = 1
        if "uuid" in wanted.embed:
            document["uuid"] = known.uuid
        return answers.hal(document)

    @get("/users")
    async def list_users(request: Req) -> Response[bytes]:
        """A page of users."""
        caller, wanted = await door.reader(request), asked(request)
        skipped = (wanted.page - 1) * wanted.limit
        found, total = await crm_users.page(db, caller.account_id, limit=wanted.limit, skipped=skipped)
        links = wanted.links(url_of(caller, "users"), more=skipped + len(found) < total)
        things = [views.user(user, caller) for user in found]
        return answers.page("users", things, url=links, number=wanted.page, total=total)

    @get("/users/{user_id:str}")
    async def one_user(request: Req) -> Response[bytes]:
        """One user; 204 where there is none."""
        caller = await door.reader(request)
        user = await crm_users.get(db, caller.account_id, path_id(request, "user_id"))
        return answers.nothing() if user is None else answers.hal(views.user(user, caller))

    @post("/users", status_code=200)
    async def add_users(request: Req) -> Response[bytes]:
        """New users, by an administrator."""
        caller = await door.writer(request)
        if caller.user.role != Role.admin:
            raise NoRights
        wishes = new_users(fields.document(await request.body()))
        faults = Faults()
        made = []
        async with db.transaction() as connection:
            taken = await crm_users.addresses(connection, caller.account_id, [w.user.email for w in wishes])
            for place, wish in enumerate(wishes):
                address = wish.user.email.lower()
                if address in taken:
                    faults.add(place, wish.request_id, "email")
                taken.add(address)
            faults.check()
            try:
                for wish in wishes:
                    made.append(  # noqa: PERF401  # how far it came is told
                        await crm_users.insert(connection, caller.account_id, wish.user, now=caller.now)
                    )
            except NameTaken:  # somebody added the same at this moment
                faults.add(len(made), wishes[len(made)].request_id, "email")
                faults.check()
        things = [
            {**views.user(user, caller), "request_id": wish.request_id}
            for wish, user in zip(wishes, made, strict=True)
        ]
        return answers.written("users", things, url_of(caller, "users"), total=len(things))

    return [account, list_users, one_user, add_users]


def _embedded(caller: Caller) -> dict[str, Any]:
    return {
        "users_groups": [{"id": 0, "name": "Отдел продаж", "uuid": None}],
        "task_types": [
            {"id": place, "name": name, "color": None, "icon_id": None, "code": code}
            for place, (name, code) in enumerate(TASK_TYPES, 1)
        ],
        "datetime_settings": {
            "date_pattern": "d.m.Y H:i",
            "short_date_pattern": "d.m.Y",
            "short_time_pattern": "H:i",
            "date_format": "d.m.Y",
            "time_format": "H:i:s",
            "timezone": caller.account.timezone,
            "timezone_offset": caller.now.astimezone(zone_of(caller.account.timezone)).isoformat()[-6:],
        },
        "amojo_rights": {"can_direct": False, "can_create_groups": False},
    }
