"""How are scenarios kept? Whole trees, checked before anybody hears them."""

from zvonar.dialects.autocall.answers import local_time
from zvonar.dialects.autocall.operations import Asked, Example, Operation
from zvonar.dialects.autocall.pages import Page
from zvonar.dialects.autocall.requests.fields import PageQuery
from zvonar.dialects.autocall.requests.scenarios import (
    Scenario,
    ScenarioFields,
    check_clips,
    clips_of,
    nodes_of,
    script_of,
)
from zvonar.dialects.autocall.routes.common import paged
from zvonar.store import clips, scenarios
from zvonar.store.scenarios import Scenario as Stored

TAG = "scenarios"


async def index(asked: Asked) -> Page[Scenario]:
    """Scenarios, newest first."""
    query: PageQuery = asked.query
    found, total = await scenarios.page(asked.db, asked.account_id, number=query.page, size=query.per_page)
    return paged(asked, [_scenario(one, asked) for one in found], total)


async def create(asked: Asked) -> Scenario:
    """A scenario to be kept."""
    fields: ScenarioFields = asked.body
    script = script_of(fields)
    await _check_clips(asked, fields)
    added = await scenarios.add(asked.db, asked.account_id, name=fields.name, script=script, now=asked.now)
    return _scenario(added, asked)


async def show(asked: Asked) -> Scenario:
    """One scenario."""
    return _scenario(await _stored(asked), asked)


async def replace(asked: Asked) -> Scenario:
    """Another tree in a scenario's place; autocalls that have it keep the old one."""
    before = await _stored(asked)
    fields: ScenarioFields = asked.body
    script = script_of(fields)
    await _check_clips(asked, fields)
    after = Stored(
        account_id=before.account_id,
        scenario_id=before.scenario_id,
        name=fields.name,
        script=script,
        created_at=before.created_at,
        updated_at=asked.now,
    )
    return _scenario(await scenarios.change(asked.db, after, now=asked.now), asked)


async def delete(asked: Asked) -> None:
    """Forget a scenario."""
    await scenarios.delete(asked.db, asked.account_id, asked.id("scenario_id"))


async def _stored(asked: Asked) -> Stored:
    return await scenarios.get(asked.db, asked.account_id, asked.id("scenario_id"))


async def _check_clips(asked: Asked, fields: ScenarioFields) -> None:
    wanted = list(clips_of(fields).values())
    if wanted:
        check_clips(fields, await clips.known_ids(asked.db, asked.account_id, wanted))


def _scenario(stored: Stored, asked: Asked) -> Scenario:
    return Scenario(
        id=stored.scenario_id,
        name=stored.name,
        start=stored.script.start,
        nodes=nodes_of(stored.script),
        created_at=local_time(stored.created_at, asked.zone),
        updated_at=local_time(stored.updated_at, asked.zone),
    )


_TREE = {
    "name": "Survey",
    "start": "hello",
    "nodes": [
        {
            "name": "hello",
            "prompt": {"text": "Вам удобно говорить? Нажмите один или скажите да."},
            "reactions": [
                {"key": "1", "words": ["да"], "goto": "offer", "status_name": "Удобно"},
                {"key": "2", "words": ["нет"], "say": {"text": "До свидания."}, "status_name": "Неудобно"},
            ],
            "timeout": 4,
        },
        {
            "name": "offer",
            "prompt": {"audio_id": "{audio_id}"},
            "reactions": [
                {"key": "1", "say": {"text": "Спасибо!"}, "sms": {"text": "Ждём вас завтра."}},
                {"key": "0", "goto": "hello"},
            ],
            "silence": {"say": {"text": "Мы перезвоним."}},
        },
    ],
}
_ONE = {"scenario_id": "{scenario_id}"}

OPERATIONS = (
    Operation(
        method="GET",
        path="/scenarios",
        tag=TAG,
        name="listScenarios",
        summary="List scenarios",
        handle=index,
        query=PageQuery,
        answer=Page[Scenario],
        examples=(Example(name="all"),),
    ),
    Operation(
        method="POST",
        path="/scenarios",
        tag=TAG,
        name="createScenario",
        summary="Create a scenario",
        about="Refused, and told by node, where one is unreachable, a loop has no exit, a key or word is used twice, "
        "or audio is missing.",
        handle=create,
        status=201,
        body=ScenarioFields,
        answer=Scenario,
        examples=(Example(name="two questions", body=_TREE),),
    ),
    Operation(
        method="GET",
        path="/scenarios/{scenario_id}",
        tag=TAG,
        name="getScenario",
        summary="Read a scenario",
        handle=show,
        answer=Scenario,
        examples=(Example(name="one", path=_ONE),),
    ),
    Operation(
        method="PUT",
        path="/scenarios/{scenario_id}",
        tag=TAG,
        name="replaceScenario",
        summary="Replace a scenario",
        about="Autocalls that were given it keep what it was then.",
        handle=replace,
        body=ScenarioFields,
        answer=Scenario,
        examples=(Example(name="whole", path=_ONE, body=_TREE),),
    ),
    Operation(
        method="DELETE",
        path="/scenarios/{scenario_id}",
        tag=TAG,
        name="deleteScenario",
        summary="Delete a scenario",
        handle=delete,
        status=204,
        examples=(Example(name="one", path=_ONE),),
    ),
)
