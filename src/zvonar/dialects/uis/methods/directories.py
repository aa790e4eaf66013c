"""Whom and what do reports name? get.account, get.employees, get.tags, get.virtual_numbers, get.campaigns, get.sites,
get.scenarios, get.customer_users."""

from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from zvonar.dialects.uis.methods.common import Answer, Call
from zvonar.dialects.uis.methods.listing import Listing, column
from zvonar.reports.fields import Kind
from zvonar.store import directories, keys

_ACCOUNT: Final = Listing(
    column("app_id", Kind.integer), column("name", Kind.text), column("timezone", Kind.text)
)
_EMPLOYEES: Final = Listing(
    column("id", Kind.integer),
    column("full_name", Kind.text),
    column("last_name", Kind.text),
    column("first_name", Kind.text),
    column("patronymic", Kind.text),
    column("email", Kind.text),
    column("status", Kind.text),
    column("phone_numbers", Kind.objects),
    column("extension", Kind.objects),
)
_TAGS: Final = Listing(
    column("id", Kind.integer), column("name", Kind.text), column("is_system", Kind.boolean)
)
_SITES: Final = Listing(column("id", Kind.integer), column("domain_name", Kind.text))
_NUMBERS: Final = Listing(
    column("id", Kind.integer),
    column("virtual_phone_number", Kind.text),
    column("status", Kind.text),
    column("activation_date", Kind.moment),
    column("comment", Kind.text),
    column("site_id", Kind.integer),
)
_CAMPAIGNS: Final = Listing(
    column("id", Kind.integer),
    column("name", Kind.text),
    column("status", Kind.text),
    column("creation_time", Kind.moment),
)
_SCENARIOS: Final = Listing(column("id", Kind.integer), column("name", Kind.text))
_CUSTOMERS: Final = Listing(
    column("user_id", Kind.integer),
    column("app_id", Kind.integer),
    column("name", Kind.text),
    column("timezone", Kind.text),
)


def local(at: datetime, zone: ZoneInfo) -> str:
    """`2026-11-22 14:37:50`, the second in which it was."""
    return at.astimezone(zone).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")


async def account(call: Call) -> Answer:
    """get.account"""
    own = call.account
    return _ACCOUNT.answer(call, [{"app_id": own.account_id, "name": own.name, "timezone": own.timezone}])


async def employees(call: Call) -> Answer:
    """get.employees"""
    found = await directories.employees(call.db, call.account.account_id)
    return _EMPLOYEES.answer(call, [_employee(one) for one in found])


def _employee(one: directories.Employee) -> dict[str, Any]:
    # Surname, name and patronymic, as Russian forms write them.
    last, first, patronymic = (*one.full_name.split(maxsplit=2), None, None, None)[:3]
    numbers = [] if one.phone is None else [{"phone_number": one.phone.removeprefix("+"), "status": "active"}]
    extension = {} if one.extension is None else {"extension_phone_number": one.extension}
    return {
        "id": one.employee_id,
        "full_name": one.full_name,
        "last_name": last,
        "first_name": first,
        "patronymic": patronymic,
        "email": one.email,
        "status": "active" if one.is_active else "inactive",
        "phone_numbers": numbers,
        "extension": extension,
    }


async def tags(call: Call) -> Answer:
    """get.tags"""
    found = await directories.tags(call.db, call.account.account_id)
    return _TAGS.answer(
        call, [{"id": tag.tag_id, "name": tag.name, "is_system": tag.is_system} for tag in found]
    )


async def sites(call: Call) -> Answer:
    """get.sites"""
    found = await directories.sites(call.db, call.account.account_id)
    return _SITES.answer(call, [{"id": site.site_id, "domain_name": site.domain_name} for site in found])


async def virtual_numbers(call: Call) -> Answer:
    """get.virtual_numbers"""
    found = await directories.virtual_numbers(call.db, call.account.account_id)
    return _NUMBERS.answer(
        call,
        [
            {
                "id": number.virtual_number_id,
                "virtual_phone_number": number.phone.removeprefix("+"),
                "status": "active" if number.is_active else "inactive",
                "activation_date": local(number.created_at, call.zone),
                "comment": number.comment,
                "site_id": number.site_id,
            }
            for number in found
        ],
    )


async def campaigns(call: Call) -> Answer:
    """get.campaigns"""
    found = await directories.campaigns(call.db, call.account.account_id)
    return _CAMPAIGNS.answer(
        call,
        [
            {
                "id": one.campaign_id,
                "name": one.name,
                "status": "active" if one.status in ("running", "paused") else "archive",
                "creation_time": local(one.created_at, call.zone),
            }
            for one in found
        ],
    )


async def scenarios(call: Call) -> Answer:
    """get.scenarios: a campaign with a script of its own is a scenario, and has the campaign's name."""
    found = await directories.scenarios(call.db, call.account.account_id)
    return _SCENARIOS.answer(call, [{"id": one.scenario_id, "name": one.name} for one in found])


async def customer_users(call: Call) -> Answer:
    """get.customer_users: for whom an agent acts."""
    found = await keys.customers(call.db, call.holder.account.account_id)
    return _CUSTOMERS.answer(
        call,
        [
            {"user_id": one.user_id, "app_id": one.account_id, "name": one.name, "timezone": one.timezone}
            for one in found
        ],
    )
