"""What is to be done, by whom and until when?"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.crm import Kind
from zvonar.store.crm_lists import Clause, Slice, listed
from zvonar.store.db import Connection, Database, rows


class Task(Struct, frozen=True, kw_only=True):
    """A task."""

    task_id: int
    kind: Kind | None  # of the card; None where it is about none
    card_id: int | None
    text: str
    task_type_id: int
    complete_till: datetime
    duration: int  # seconds
    is_completed: bool
    result: str | None
    responsible_user_id: int
    created_by: int
    updated_by: int
    created_at: datetime
    updated_at: datetime


_WRITTEN = """card_id, text, task_type_id, complete_till, duration, is_completed, result, responsible_user_id,
    created_by, updated_by, created_at, updated_at"""
COLUMNS = f"task_id, kind::text AS kind, {_WRITTEN}"

_RECORDS = """jsonb_to_recordset(%(tasks)s) AS g (task_id bigint, kind crm_kind, card_id bigint, text text,
    task_type_id bigint, complete_till timestamptz, duration integer, is_completed boolean, result text,
    responsible_user_id bigint, created_by bigint, updated_by bigint, created_at timestamptz, updated_at timestamptz)"""

NEXT_IDS = "SELECT nextval('crm_task_ids') FROM generate_series(1, %(count)s)"

ADD = f"""
INSERT INTO crm_tasks (account_id, task_id, kind, {_WRITTEN})
SELECT %(account_id)s, task_id, kind, {_WRITTEN} FROM {_RECORDS}
"""

BY_IDS = f"""
SELECT {COLUMNS} FROM crm_tasks WHERE account_id = %(account_id)s AND task_id = ANY(%(task_ids)s::bigint[])
ORDER BY task_id
"""

# Tasks that are about to change, so that two changes of one come after one another.
LOCK = f"{BY_IDS} FOR UPDATE"

CHANGE = f"""
UPDATE crm_tasks t SET (kind, {_WRITTEN}) = (g.kind, {", ".join(f"g.{name.strip()}" for name in _WRITTEN.split(","))})
FROM {_RECORDS}
WHERE t.account_id = %(account_id)s AND t.task_id = g.task_id
"""

_SELECT = f"SELECT {COLUMNS} FROM crm_tasks c"

CLAUSES = {
    "account": Clause("account_id = %(account_id)s"),
    "ids": Clause("task_id = ANY(%(ids)s::bigint[])"),
    "responsible_user_id": Clause("responsible_user_id = ANY(%(responsibles)s::bigint[])"),
    "completed": Clause("is_completed = ANY(%(completed)s)"),
    "task_types": Clause("task_type_id = ANY(%(task_types)s::bigint[])"),
    "kinds": Clause("kind = ANY(%(kinds)s::crm_kind[])"),
    "cards": Clause("card_id = ANY(%(card_ids)s::bigint[])"),
    "updated_from": Clause("updated_at >= %(updated_from)s"),
    "updated_till": Clause("updated_at <= %(updated_till)s"),
}
ORDERS = {
    "id": "task_id",
    "created_at": "created_at, task_id",
    "complete_till": "complete_till, task_id",
}


async def next_ids(connection: Connection, count: int) -> list[int]:
    """Ids for tasks to be added."""
    found = await (await connection.execute(NEXT_IDS, {"count": count})).fetchall()
    return [int(task_id) for (task_id,) in found]


async def add(connection: Connection, account_id: int, tasks: Sequence[Task]) -> None:
    """Add tasks whole."""
    await connection.execute(ADD, {"account_id": account_id, "tasks": Jsonb(_records(tasks))})


async def change(connection: Connection, account_id: int, tasks: Sequence[Task]) -> None:
    """Write tasks as they are now."""
    await connection.execute(CHANGE, {"account_id": account_id, "tasks": Jsonb(_records(tasks))})


def _records(tasks: Sequence[Task]) -> list[Any]:
    return [msgspec.to_builtins(task) for task in tasks]


async def locked(connection: Connection, account_id: int, task_ids: Sequence[int]) -> dict[int, Task]:
    """Those of these tasks that there are, which nobody else changes until the end of the transaction."""
    params = {"account_id": account_id, "task_ids": list(task_ids)}
    return {task.task_id: task for task in await rows(connection, Task, LOCK, params)}


async def by_ids(db: Database, account_id: int, task_ids: Sequence[int]) -> list[Task]:
    """Those of these tasks that there are."""
    return await db.rows(Task, BY_IDS, {"account_id": account_id, "task_ids": list(task_ids)})


async def page(db: Database, asked: Slice) -> list[Task]:
    """One more task than was asked for, where there is another page."""
    return await db.rows(Task, listed(_SELECT, CLAUSES, ORDERS, asked), asked.params())
