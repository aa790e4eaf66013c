"""Which employees, tags, sites and numbers has an account? What reports name, kept by the account itself."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from zvonar.store.db import Database


class Employee(Struct, frozen=True, kw_only=True):
    """Somebody who talks to those who call or are called."""

    employee_id: int
    full_name: str
    email: str | None = None
    phone: str | None = None  # E.164
    extension: str | None = None  # inner number
    is_active: bool = True


class Tag(Struct, frozen=True, kw_only=True):
    """A word that sessions are marked with."""

    tag_id: int
    name: str
    color: str = "color1"
    is_system: bool = False


class Site(Struct, frozen=True, kw_only=True):
    """A site whose visitors call."""

    site_id: int
    domain_name: str


class VirtualNumber(Struct, frozen=True, kw_only=True):
    """A number under which the account is called, or that it shows."""

    virtual_number_id: int
    phone: str  # E.164
    comment: str | None = None
    is_active: bool = True
    site_id: int | None = None
    created_at: datetime


class CampaignName(Struct, frozen=True, kw_only=True):
    """A campaign, as directories name it."""

    campaign_id: int
    name: str
    status: str
    created_at: datetime


class ScenarioName(Struct, frozen=True, kw_only=True):
    """What leads calls, as directories name it."""

    scenario_id: int
    name: str


EMPLOYEES = """
SELECT employee_id, full_name, email, phone, extension, is_active FROM employees
WHERE account_id = %(account_id)s ORDER BY employee_id
"""
TAGS = "SELECT tag_id, name, color, is_system FROM tags WHERE account_id = %(account_id)s ORDER BY tag_id"
SITES = "SELECT site_id, domain_name FROM sites WHERE account_id = %(account_id)s ORDER BY site_id"
VIRTUAL_NUMBERS = """
SELECT virtual_number_id, phone, comment, is_active, site_id, created_at FROM virtual_numbers
WHERE account_id = %(account_id)s ORDER BY virtual_number_id
"""
CAMPAIGNS = """
SELECT campaign_id, name, status, created_at FROM campaigns WHERE account_id = %(account_id)s ORDER BY campaign_id
"""

# What led sessions: scenarios, and the scripts of campaigns that are a copy of none.
SCENARIOS = """
SELECT scenario_id, name FROM scenarios WHERE account_id = %(account_id)s
UNION ALL
SELECT campaign_id, name FROM campaigns g WHERE account_id = %(account_id)s AND NOT EXISTS (
    SELECT FROM scenarios s
    WHERE s.account_id = g.account_id AND s.scenario_id = (g.settings ->> 'scenario_id')::bigint)
ORDER BY scenario_id
"""

PUT_EMPLOYEE = """
INSERT INTO employees (account_id, employee_id, full_name, email, phone, extension, is_active)
VALUES (%(account_id)s, coalesce(%(employee_id)s, nextval(pg_get_serial_sequence('employees', 'employee_id'))),
    %(full_name)s, %(email)s, %(phone)s, %(extension)s, %(is_active)s)
ON CONFLICT (account_id, employee_id) DO UPDATE SET full_name = excluded.full_name, email = excluded.email,
    phone = excluded.phone, extension = excluded.extension, is_active = excluded.is_active
RETURNING employee_id
"""
PUT_TAG = """
INSERT INTO tags (account_id, name, color, is_system)
VALUES (%(account_id)s, %(name)s, %(color)s, %(is_system)s)
ON CONFLICT (account_id, name) DO UPDATE SET color = excluded.color, is_system = excluded.is_system
RETURNING tag_id
"""
PUT_SITE = """
INSERT INTO sites (account_id, domain_name) VALUES (%(account_id)s, %(domain_name)s)
ON CONFLICT (account_id, domain_name) DO UPDATE SET domain_name = excluded.domain_name
RETURNING site_id
"""
PUT_VIRTUAL_NUMBER = """
INSERT INTO virtual_numbers (account_id, phone, comment, is_active)
VALUES (%(account_id)s, %(phone)s, %(comment)s, %(is_active)s)
ON CONFLICT (account_id, phone) DO UPDATE SET comment = excluded.comment, is_active = excluded.is_active
RETURNING virtual_number_id
"""


async def employees(db: Database, account_id: int) -> list[Employee]:
    """Everybody, oldest first."""
    return await db.rows(Employee, EMPLOYEES, {"account_id": account_id})


async def tags(db: Database, account_id: int) -> list[Tag]:
    """Every tag, oldest first."""
    return await db.rows(Tag, TAGS, {"account_id": account_id})


async def sites(db: Database, account_id: int) -> list[Site]:
    """Every site, oldest first."""
    return await db.rows(Site, SITES, {"account_id": account_id})


async def virtual_numbers(db: Database, account_id: int) -> list[VirtualNumber]:
    """Every number, oldest first."""
    return await db.rows(VirtualNumber, VIRTUAL_NUMBERS, {"account_id": account_id})


async def campaigns(db: Database, account_id: int) -> list[CampaignName]:
    """Every campaign, oldest first."""
    return await db.rows(CampaignName, CAMPAIGNS, {"account_id": account_id})


async def scenarios(db: Database, account_id: int) -> list[ScenarioName]:
    """Every scenario, and every campaign that has a script of its own, oldest first."""
    return await db.rows(ScenarioName, SCENARIOS, {"account_id": account_id})


async def _put(db: Database, statement: Any, account_id: int, values: dict[str, Any]) -> int:
    made = await db.value(statement, {"account_id": account_id, **values})
    assert isinstance(made, int)
    return made


async def put_employee(
    db: Database,
    account_id: int,
    *,
    full_name: str,
    employee_id: int | None = None,
    email: str | None = None,
    phone: str | None = None,
    extension: str | None = None,
    is_active: bool = True,
) -> int:
    """Add or change an employee; the id."""
    values = {"full_name": full_name, "email": email, "phone": phone, "extension": extension}
    return await _put(
        db, PUT_EMPLOYEE, account_id, {**values, "employee_id": employee_id, "is_active": is_active}
    )


async def put_tag(
    db: Database, account_id: int, name: str, *, color: str = "color1", is_system: bool = False
) -> int:
    """Add or change a tag by its name; the id."""
    return await _put(db, PUT_TAG, account_id, {"name": name, "color": color, "is_system": is_system})


async def put_site(db: Database, account_id: int, domain_name: str) -> int:
    """Add a site by its domain; the id."""
    return await _put(db, PUT_SITE, account_id, {"domain_name": domain_name})


async def put_virtual_number(
    db: Database, account_id: int, phone: str, *, comment: str | None = None, is_active: bool = True
) -> int:
    """Add or change a number; the id."""
    values = {"phone": phone, "comment": comment, "is_active": is_active}
    return await _put(db, PUT_VIRTUAL_NUMBER, account_id, values)
