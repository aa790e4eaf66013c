"""Which scripts does an account keep under a name?"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.errors import NotFound
from zvonar.core.script import Script
from zvonar.store.db import Database


class ScenarioNotFound(NotFound):
    """There is no such scenario in this account."""


class Scenario(Struct, frozen=True, kw_only=True):
    """A script under a name."""

    account_id: int
    scenario_id: int
    name: str
    script: Script
    created_at: datetime
    updated_at: datetime


class _Row(Struct, frozen=True, kw_only=True):
    account_id: int
    scenario_id: int
    name: str
    script: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    def scenario(self) -> Scenario:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return Scenario(**{**fields, "script": msgspec.convert(self.script, Script)})


_SCENARIO = "account_id, scenario_id, name, script, created_at, updated_at"
_OF = "account_id = %(account_id)s AND scenario_id = %(scenario_id)s"

ADD = f"""
INSERT INTO scenarios (account_id, name, script, created_at, updated_at)
VALUES (%(account_id)s, %(name)s, %(script)s, %(now)s, %(now)s) RETURNING {_SCENARIO}
"""

GET = f"SELECT {_SCENARIO} FROM scenarios WHERE {_OF}"

CHANGE = f"""
UPDATE scenarios SET name = %(name)s, script = %(script)s, updated_at = %(now)s WHERE {_OF} RETURNING {_SCENARIO}
"""

DELETE = f"DELETE FROM scenarios WHERE {_OF}"

# An account's scenarios, newest first.
PAGE = f"""
SELECT {_SCENARIO} FROM scenarios WHERE account_id = %(account_id)s
ORDER BY scenario_id DESC LIMIT %(limit)s::bigint OFFSET %(skipped)s::bigint
"""
COUNT = "SELECT count(*) FROM scenarios WHERE account_id = %(account_id)s"


async def add(db: Database, account_id: int, *, name: str, script: Script, now: datetime) -> Scenario:
    """A new scenario. Raises SettingsInvalid."""
    params = {
        "account_id": account_id,
        "name": name,
        "script": Jsonb(msgspec.to_builtins(script.checked())),
        "now": now,
    }
    added = await db.row(_Row, ADD, params)
    assert added is not None
    return added.scenario()


async def get(db: Database, account_id: int, scenario_id: int) -> Scenario:
    """The account's scenario, or ScenarioNotFound."""
    found = await db.row(_Row, GET, {"account_id": account_id, "scenario_id": scenario_id})
    if found is None:
        raise ScenarioNotFound(str(scenario_id))
    return found.scenario()


async def change(db: Database, scenario: Scenario, *, now: datetime) -> Scenario:
    """Store another name and script. Raises SettingsInvalid, ScenarioNotFound."""
    params = {
        "account_id": scenario.account_id,
        "scenario_id": scenario.scenario_id,
        "name": scenario.name,
        "script": Jsonb(msgspec.to_builtins(scenario.script.checked())),
        "now": now,
    }
    changed = await db.row(_Row, CHANGE, params)
    if changed is None:
        raise ScenarioNotFound(str(scenario.scenario_id))
    return changed.scenario()


async def delete(db: Database, account_id: int, scenario_id: int) -> None:
    """Forget a scenario; campaigns that were given it keep their copies. Raises ScenarioNotFound."""
    if await db.execute(DELETE, {"account_id": account_id, "scenario_id": scenario_id}) == 0:
        raise ScenarioNotFound(str(scenario_id))


async def page(db: Database, account_id: int, *, number: int, size: int) -> tuple[list[Scenario], int]:
    """A page (from 1) of an account's scenarios, newest first, and how many there are."""
    params = {"account_id": account_id, "limit": size, "skipped": (number - 1) * size}
    found = await db.rows(_Row, PAGE, params)
    return [row.scenario() for row in found], int(await db.value(COUNT, params))
