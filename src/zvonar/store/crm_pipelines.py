"""Through which stages do an account's leads go?"""

from msgspec import Struct

from zvonar.core.crm import CLOSED
from zvonar.store.db import Connection, Database, rows


class Status(Struct, frozen=True, kw_only=True):
    """A stage; won and lost are not here, every pipeline has them."""

    pipeline_id: int
    status_id: int
    name: str
    sort: int
    color: str
    unsorted: bool  # what comes in before somebody has taken it


class Pipeline(Struct, frozen=True, kw_only=True):
    """A pipeline."""

    pipeline_id: int
    name: str
    sort: int
    is_main: bool
    is_archive: bool


class Pipelines(Struct, frozen=True, kw_only=True):
    """All of an account."""

    pipelines: list[Pipeline]  # by sort
    statuses: list[Status]  # by pipeline and sort

    @property
    def main(self) -> Pipeline:
        return next(pipeline for pipeline in self.pipelines if pipeline.is_main)

    def of(self, pipeline_id: int) -> list[Status]:
        return [status for status in self.statuses if status.pipeline_id == pipeline_id]

    def has(self, pipeline_id: int) -> bool:
        return any(pipeline.pipeline_id == pipeline_id for pipeline in self.pipelines)

    def first(self, pipeline_id: int) -> int:
        """The stage in which a lead begins."""
        return next(status.status_id for status in self.of(pipeline_id) if not status.unsorted)

    def unsorted(self, pipeline_id: int) -> int | None:
        """The stage of what comes in; None where the pipeline has none."""
        return next((status.status_id for status in self.of(pipeline_id) if status.unsorted), None)

    def pipeline_of(self, status_id: int) -> int | None:
        """Where this stage is; won and lost are everywhere."""
        return next((s.pipeline_id for s in self.statuses if s.status_id == status_id), None)

    def fits(self, pipeline_id: int, status_id: int) -> bool:
        """Whether a lead of this pipeline may be in this stage."""
        return status_id in CLOSED or self.pipeline_of(status_id) == pipeline_id


PIPELINES = """
SELECT pipeline_id, name, sort, is_main, is_archive FROM crm_pipelines
WHERE account_id = %(account_id)s ORDER BY sort, pipeline_id
"""

STATUSES = """
SELECT pipeline_id, status_id, name, sort, color, unsorted FROM crm_statuses
WHERE account_id = %(account_id)s ORDER BY pipeline_id, sort, status_id
"""

ADD = """
INSERT INTO crm_pipelines (account_id, name, sort) VALUES (%(account_id)s, %(name)s, %(sort)s)
RETURNING pipeline_id, name, sort, is_main, is_archive
"""

ADD_STATUSES = """
INSERT INTO crm_statuses (account_id, pipeline_id, name, sort, color, unsorted)
SELECT %(account_id)s, %(pipeline_id)s, name, sort, color, unsorted
FROM unnest(%(names)s::text[], %(sorts)s::integer[], %(colors)s::text[], %(unsorteds)s::boolean[])
    AS g (name, sort, color, unsorted)
"""


async def all_of(connection: Connection, account_id: int) -> Pipelines:
    """Every pipeline of an account with its stages."""
    params = {"account_id": account_id}
    return Pipelines(
        pipelines=await rows(connection, Pipeline, PIPELINES, params),
        statuses=await rows(connection, Status, STATUSES, params),
    )


async def get(db: Database, account_id: int) -> Pipelines:
    """The same, outside a transaction."""
    async with db.connection() as connection:
        return await all_of(connection, account_id)


class NewStatus(Struct, frozen=True, kw_only=True):
    """A stage to be added."""

    name: str
    sort: int
    color: str = "#fffeb2"
    unsorted: bool = False


async def add(
    connection: Connection, account_id: int, *, name: str, sort: int, statuses: list[NewStatus]
) -> Pipeline:
    """A new pipeline with these stages."""
    params = {"account_id": account_id, "name": name, "sort": sort}
    [made] = await rows(connection, Pipeline, ADD, params)
    await add_statuses(connection, account_id, made.pipeline_id, statuses)
    return made


async def add_statuses(
    connection: Connection, account_id: int, pipeline_id: int, statuses: list[NewStatus]
) -> None:
    """More stages of a pipeline."""
    params = {
        "account_id": account_id,
        "pipeline_id": pipeline_id,
        "names": [status.name for status in statuses],
        "sorts": [status.sort for status in statuses],
        "colors": [status.color for status in statuses],
        "unsorteds": [status.unsorted for status in statuses],
    }
    await connection.execute(ADD_STATUSES, params)
