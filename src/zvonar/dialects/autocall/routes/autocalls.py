"""How are autocalls created, read, changed and copied?"""

import asyncio
from typing import Literal

import msgspec

from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType, Waits
from zvonar.core.control import Clock
from zvonar.core.variables import names_in, texts_of
from zvonar.dialects.autocall.answers import Autocall
from zvonar.dialects.autocall.errors import Unprocessable, required, wrong
from zvonar.dialects.autocall.limits import MAX_LIST
from zvonar.dialects.autocall.operations import Asked, Example, Operation
from zvonar.dialects.autocall.outcomes import keys_of, statuses_of
from zvonar.dialects.autocall.pages import Page
from zvonar.dialects.autocall.requests.autocalls import (
    AutocallChange,
    AutocallQuery,
    Copy,
    NewAutocall,
    NewAutocallBody,
    settings_of,
)
from zvonar.dialects.autocall.requests.dates import day_begins, day_ends
from zvonar.dialects.autocall.requests.fields import given_fields, read
from zvonar.dialects.autocall.requests.people import Streamed
from zvonar.dialects.autocall.routes.common import (
    autocall_now,
    autocall_of,
    call_lists,
    facts_of,
    not_now,
    paged,
    put_people,
    terms_of,
)
from zvonar.dialects.autocall.routes.cost import fix_cost
from zvonar.dialects.autocall.routes.sounds import heard
from zvonar.store import campaign_facts, campaigns, copying, steering
from zvonar.store.campaign_facts import Facts, Which

TAG = "autocalls"
# Nobody is called outside the window of where he is, as far as that is known.
_DEFAULTS = CampaignSettings(clock=Clock.callee)


async def create(asked: Asked) -> Autocall:
    """An autocall with its calls; it runs once this returns, unless it is not to start."""
    streamed = Streamed(asked.file, "list_id", await terms_of(asked), lists=True)
    head = await asyncio.to_thread(streamed.head)
    new = read(NewAutocall, head)
    if "list_id" not in head:
        raise Unprocessable({"list_id": [required("list_id")]})
    settings = _speaking(settings_of(_DEFAULTS, new, await heard(asked, new)))
    lists = await put_people(asked, streamed, name=new.name)
    campaign = await campaigns.add(
        asked.db,
        asked.account_id,
        name=new.name,
        type=CampaignType.regular,
        settings=settings,
        status=CampaignStatus.paused,
        waits=Waits.generating,
        now=asked.now,
    )
    await call_lists(asked, campaign.campaign_id, lists, needs_of(settings))
    await _generated(asked, campaign.campaign_id, start=new.start)
    return await autocall_now(asked, campaign.campaign_id)


async def index(asked: Asked) -> Page[Autocall]:
    """Autocalls, newest first."""
    query: AutocallQuery = asked.query
    which = Which(
        statuses=None if query.status is None else statuses_of(query.status),
        name=query.name,
        client_id=query.client_id,
        created_from=day_begins(query.created_from, asked.zone, "created_from"),
        created_till=day_ends(query.created_to, asked.zone, "created_to"),
        archived=query.archived,
    )
    found = await campaign_facts.page(
        asked.db, asked.account_id, which, number=query.page, size=query.per_page
    )
    total = await campaign_facts.count(asked.db, asked.account_id, which)
    return paged(asked, [autocall_of(facts) for facts in found], total)


async def show(asked: Asked) -> Autocall:
    """One autocall, with its counters as they are at this moment."""
    return autocall_of(await facts_of(asked))


async def change(asked: Asked) -> Autocall:
    """Change a paused autocall."""
    facts = await facts_of(asked, lock=True)
    if facts.status != CampaignStatus.paused:
        raise not_now(facts)
    asked_for: AutocallChange = asked.body
    settings = settings_of(facts.settings, asked_for, await heard(asked, asked_for))
    await _change(asked, facts, name=given_fields(asked_for).get("name", facts.name), settings=settings)
    return await autocall_now(asked, facts.campaign_id)


async def settings(asked: Asked) -> CampaignSettings:
    """Every setting of an autocall, by its own name."""
    return (await facts_of(asked)).settings


async def copy(asked: Asked) -> Autocall:
    """The same autocall once more, to the same numbers or to some of them."""
    source = await facts_of(asked)
    wanted: Copy = asked.body
    campaign = await campaigns.add(
        asked.db,
        asked.account_id,
        name=wanted.name or source.name,
        type=CampaignType(source.type),
        settings=msgspec.structs.replace(
            source.settings, max_cost=None if source.settings.grows else source.settings.max_cost, grows=False
        ),
        status=CampaignStatus.paused,
        waits=Waits.generating,
        now=asked.now,
    )
    calls = await copying.calls(
        asked.db,
        asked.account_id,
        campaign.campaign_id,
        source=source.campaign_id,
        outcomes=None if wanted.statuses is None else keys_of(wanted.statuses),
        now=asked.now,
    )
    if calls == 0:
        raise wrong("statuses", "No call has such a status.", "Звонков с таким статусом нет.")
    await _generated(asked, campaign.campaign_id, start=wanted.start)
    return await autocall_now(asked, campaign.campaign_id)


async def _generated(asked: Asked, campaign_id: int, *, start: bool) -> None:
    """Its calls are there: it runs, or it is paused."""
    ids = asked.account_id, campaign_id
    if not start:
        await steering.prepared(asked.db, *ids, now=asked.now)
        return
    await fix_cost(asked.db, *ids, now=asked.now)
    await steering.start(asked.db, *ids, now=asked.now, waited_for=Waits.generating)


def needs_of(settings: CampaignSettings) -> list[str]:
    """The variables that an autocall's texts use."""
    texts = texts_of(settings.script) if settings.script is not None else []
    return names_in([*texts, *filter(None, (settings.sms_text, settings.sms_unanswered_text))])


async def _change(asked: Asked, facts: Facts, *, name: str, settings: CampaignSettings) -> None:
    campaign = await campaigns.get(asked.db, asked.account_id, facts.campaign_id)
    changed = msgspec.structs.replace(campaign, name=name, settings=_speaking(settings))
    await campaigns.change(asked.db, changed, now=asked.now)


def _speaking(settings: CampaignSettings) -> CampaignSettings:
    if settings.script is None:
        raise Unprocessable({"audio_id": [required("audio_id")]})
    return settings


_INLINE = {
    "name": "Reminder",
    "list_id": [
        {"number": "+70001230001", "extra": "Тимофеев А.Р.", "variables": {"name": "Алексей"}},
        {"number": "+70001230000", "variables": {"name": "Анна"}},
    ],
    "audio_id": [{"data": {"text": "Здравствуйте, {{name}}! Напоминаем о записи."}}],
    "date_from": "2026-12-01",
    "time_from": "09:00:00",
    "time_to": "20:00:00",
    "max_tries": 2,
    "tries_interval": 60,
}

_CHANGES: tuple[tuple[Literal["PATCH", "PUT"], str], ...] = (
    ("PATCH", "changeAutocall"),
    ("PUT", "putAutocall"),
)

_ONE = {"autocall_id": "{autocall_id}"}

OPERATIONS = (
    Operation(
        method="GET",
        path="/autocalls",
        tag=TAG,
        name="listAutocalls",
        summary="List autocalls",
        handle=index,
        query=AutocallQuery,
        answer=Page[Autocall],
        examples=(
            Example(name="all"),
            Example(name="running", query={"status": "running", "per_page": 5}),
        ),
    ),
    Operation(
        method="POST",
        path="/autocalls",
        tag=TAG,
        name="createAutocall",
        summary="Create an autocall",
        about="`list_id` may hold ids of lists and people themselves, up to a million; it is read as it comes.",
        handle=create,
        status=201,
        forms={"application/json": NewAutocallBody},
        answer=Autocall,
        refusals=(402,),
        longest=MAX_LIST,
        examples=(
            Example(name="inline", body=_INLINE),
            Example(
                name="by ids",
                body={
                    "name": "Survey",
                    "list_id": ["{list_id}"],
                    "audio_id": ["{audio_id}"],
                    "max_cost": "100.00",
                    "start": False,
                },
            ),
            Example(
                name="with a scenario",
                body={
                    "name": "Survey with keys",
                    "list_id": [{"number": "+70001230001"}],
                    "scenario_id": "{scenario_id}",
                    "sms": True,
                    "text": "Спасибо за ответ!",
                    "settings": {"ring_timeout": 25, "max_channels": 5},
                },
            ),
        ),
    ),
    Operation(
        method="GET",
        path="/autocalls/{autocall_id}",
        tag=TAG,
        name="getAutocall",
        summary="Read an autocall",
        handle=show,
        answer=Autocall,
        examples=(Example(name="one", path=_ONE),),
    ),
    *(
        Operation(
            method=method,
            path="/autocalls/{autocall_id}",
            tag=TAG,
            name=name,
            summary="Change a paused autocall",
            about="Fields that are left out stay as they are.",
            handle=change,
            body=AutocallChange,
            answer=Autocall,
            refusals=(402,),
            examples=(
                Example(
                    name="later and oftener",
                    path={"autocall_id": "{paused_id}"},
                    body={"time_from": "10:00", "max_tries": 3, "comment": "Moved"},
                ),
            ),
        )
        for method, name in _CHANGES
    ),
    Operation(
        method="GET",
        path="/autocalls/{autocall_id}/settings",
        tag=TAG,
        name="getAutocallSettings",
        summary="Read every setting",
        about="What `settings` of a new or changed autocall may hold.",
        handle=settings,
        answer=CampaignSettings,
        examples=(Example(name="one", path=_ONE),),
    ),
    Operation(
        method="POST",
        path="/autocalls/{autocall_id}/copy",
        tag=TAG,
        name="copyAutocall",
        summary="Copy an autocall",
        about="The same settings and numbers once more; only those calls whose status is named, if any is.",
        handle=copy,
        status=201,
        body=Copy,
        answer=Autocall,
        refusals=(402,),
        examples=(
            Example(name="whole", path=_ONE, body={"name": "Once more"}),
            Example(name="who waits", path=_ONE, body={"statuses": ["awaiting"], "start": True}),
        ),
    ),
)
