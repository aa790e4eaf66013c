"""How are autocalls created, read, changed and steered?"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType, Reason, Voice, Waits
from zvonar.core.control import Clock
from zvonar.core.errors import SettingsInvalid
from zvonar.core.prompt import Prompt
from zvonar.core.script import plain
from zvonar.core.variables import as_markup, names_in, texts_of
from zvonar.dialects.autocall import answers
from zvonar.dialects.autocall.answers import Autocall, CampaignFact
from zvonar.dialects.autocall.errors import Unprocessable, invalid, required, wrong
from zvonar.dialects.autocall.limits import MAX_LIST
from zvonar.dialects.autocall.operations import Asked, Example, Operation
from zvonar.dialects.autocall.outcomes import AutocallStatus, keys_of, statuses_of
from zvonar.dialects.autocall.pages import Page
from zvonar.dialects.autocall.requests.autocalls import (
    AutocallChange,
    AutocallFields,
    AutocallQuery,
    Copy,
    InlineAudio,
    NewAutocall,
    NewAutocallBody,
    settings_of,
    voice_of,
)
from zvonar.dialects.autocall.requests.dates import day_begins, day_ends
from zvonar.dialects.autocall.requests.fields import given_fields, read
from zvonar.dialects.autocall.requests.people import Streamed
from zvonar.dialects.autocall.routes.common import (
    call_lists,
    facts_of,
    paged,
    put_people,
    shown,
    terms_of,
)
from zvonar.dialects.autocall.words import Text
from zvonar.store import campaign_facts, campaigns, clips, copying, scenarios, steering
from zvonar.store.campaign_facts import Facts, Which
from zvonar.store.campaigns import NotAllowedNow
from zvonar.store.clips import Clip, ClipNotFound
from zvonar.store.db import Database
from zvonar.store.preflight import Preflight, Skip, preflight
from zvonar.store.scenarios import ScenarioNotFound

TAG = "autocalls"
_BIGGEST = 2**63 - 1
# Nobody is called outside the window of where he is, as far as that is known.
_DEFAULTS = CampaignSettings(clock=Clock.callee)

Steer = Callable[..., Coroutine[Any, Any, Any]]


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
    return await _shown(asked, campaign.campaign_id)


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
    return await _shown(asked, facts.campaign_id)


async def settings(asked: Asked) -> CampaignSettings:
    """Every setting of an autocall, by its own name."""
    return (await facts_of(asked)).settings


class Standing(Struct, frozen=True, kw_only=True):
    """Where an autocall stands, and why."""

    status: AutocallStatus
    reason: Reason | None  # null: nothing in particular
    details: dict[str, Any] | None  # of `breaker`: how many failed of how many, and which calls
    changed_at: str


class Forecast(Struct, frozen=True, kw_only=True):
    """What an autocall would do if it ran from now on."""

    calls: int  # that wait
    would_dial: int
    skipped: dict[Skip, int]  # why not; with would_dial they add up to calls
    capped_now: int  # callees who were dialled so often lately that they have to wait
    opens_at: str | None  # when it could begin; null for never
    seconds: int | None  # of dialling, one try a call; null where no trunk is there
    finishes_at: str | None  # with what the window takes; null for not within a year
    seconds_at_most: int | None  # if every try were made and lasted to its end
    worst_case: str  # what it can cost at most
    available: str  # of the balance, and of what it holds already
    covered: bool  # whether that is enough


async def standing(asked: Asked) -> Standing:
    """Where an autocall stands, and why."""
    facts = await facts_of(asked)
    return Standing(
        status=autocall_of(facts).status,
        reason=None if facts.reason is None else Reason(facts.reason),
        details=facts.reason_details,
        changed_at=answers.local_time(facts.updated_at, asked.zone),
    )


async def forecast(asked: Asked) -> Forecast:
    """What an autocall would do if it ran from now on, and no other beside it."""
    facts = await facts_of(asked)
    found: Preflight = await preflight(asked.db, asked.account_id, facts.campaign_id, now=asked.now)

    def said(at: datetime | None) -> str | None:
        return None if at is None else answers.local_time(at, asked.zone)

    return Forecast(
        calls=found.calls,
        would_dial=found.would_dial,
        skipped=found.skipped,
        capped_now=found.capped_now,
        opens_at=said(found.opens_at),
        seconds=found.seconds,
        finishes_at=said(found.finishes_at),
        seconds_at_most=found.seconds_at_most,
        worst_case=answers.money(found.worst_case),
        available=answers.money(found.available),
        covered=found.covered,
    )


def steered(steer: Steer) -> Callable[[Asked], Coroutine[Any, Any, Autocall]]:
    """A handler that leads an autocall to another status."""

    async def handle(asked: Asked) -> Autocall:
        facts = await facts_of(asked, lock=True)
        try:
            await steer(asked.db, asked.account_id, facts.campaign_id, now=asked.now)
        except NotAllowedNow:
            raise not_now(facts) from None
        return await _shown(asked, facts.campaign_id)

    return handle


async def _start(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    facts = await campaign_facts.get(db, account_id, campaign_id)
    if facts.status == CampaignStatus.completed:
        raise NotAllowedNow("It is completed.")
    if facts.status == CampaignStatus.running:
        return
    await fix_cost(db, account_id, campaign_id, now=now)
    await steering.start(db, account_id, campaign_id, now=now)


async def _pause(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    facts = await campaign_facts.get(db, account_id, campaign_id)
    if facts.status == CampaignStatus.completed:
        raise NotAllowedNow("It is completed.")
    await steering.pause(db, account_id, campaign_id, now=now)


async def _cancel(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    facts = await campaign_facts.get(db, account_id, campaign_id)
    if facts.status == CampaignStatus.completed:
        raise NotAllowedNow("It is completed.")
    await steering.cancel(db, account_id, campaign_id, now=now)


async def _archive(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    facts = await campaign_facts.get(db, account_id, campaign_id)
    if facts.status == CampaignStatus.running:
        raise NotAllowedNow("It is running.")
    await campaign_facts.archive(db, account_id, campaign_id, at=now)


async def _unarchive(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    await campaign_facts.archive(db, account_id, campaign_id, at=None)


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
    return await _shown(asked, campaign.campaign_id)


async def fix_cost(db: Database, account_id: int, campaign_id: int, *, now: datetime) -> None:
    """Where the client has given no max_cost it is the worst case of what is to be called, from now on.

    Raises NoMoney where a campaign that runs cannot hold it.
    """
    campaign = await campaigns.get(db, account_id, campaign_id)
    if campaign.settings.max_cost is not None and not campaign.settings.grows:
        return
    free = msgspec.structs.replace(campaign.settings, max_cost=None, grows=True)
    await campaigns.change(db, msgspec.structs.replace(campaign, settings=free), now=now)
    worst = (await preflight(db, account_id, campaign_id, now=now)).worst_case
    worst += await campaign_facts.committed(db, account_id, campaign_id)
    fixed = msgspec.structs.replace(free, max_cost=worst)
    await campaigns.change(db, msgspec.structs.replace(campaign, settings=fixed), now=now)


async def _generated(asked: Asked, campaign_id: int, *, start: bool) -> None:
    """Its calls are there: it runs, or it is paused."""
    ids = asked.account_id, campaign_id
    if not start:
        await steering.prepared(asked.db, *ids, now=asked.now)
        return
    await fix_cost(asked.db, *ids, now=asked.now)
    await steering.start(asked.db, *ids, now=asked.now, waited_for=Waits.generating)


def autocall_of(facts: Facts) -> Autocall:
    """A campaign as the wire shows it."""
    return answers.autocall(shown(CampaignFact, facts))


def not_now(facts: Facts) -> Unprocessable:
    """Its status does not allow what was asked."""
    status = answers.autocall(shown(CampaignFact, facts)).status
    return Unprocessable({"status": [Text(f"The autocall is {status}.", f"Обзвон в статусе {status}.")]})


def needs_of(settings: CampaignSettings) -> list[str]:
    """The variables that an autocall's texts use."""
    texts = texts_of(settings.script) if settings.script is not None else []
    return names_in([*texts, *filter(None, (settings.sms_text, settings.sms_unanswered_text))])


async def _shown(asked: Asked, campaign_id: int) -> Autocall:
    return autocall_of(await campaign_facts.get(asked.db, asked.account_id, campaign_id))


async def _change(asked: Asked, facts: Facts, *, name: str, settings: CampaignSettings) -> None:
    campaign = await campaigns.get(asked.db, asked.account_id, facts.campaign_id)
    changed = msgspec.structs.replace(campaign, name=name, settings=_speaking(settings))
    await campaigns.change(asked.db, changed, now=asked.now)


def _speaking(settings: CampaignSettings) -> CampaignSettings:
    if settings.script is None:
        raise Unprocessable({"audio_id": [required("audio_id")]})
    return settings


async def heard(asked: Asked, new: AutocallFields) -> Mapping[str, Any]:
    """What `audio_id` and `scenario_id` are in settings. Raises Unprocessable."""
    given = given_fields(new)
    audio: Sequence[Any] = given.get("audio_id") or ()
    scenario_id: int | None = given.get("scenario_id")
    if audio and scenario_id is not None:
        raise wrong(
            "scenario_id", "Give audio_id or scenario_id, not both.", "Укажите audio_id или scenario_id."
        )
    if scenario_id is not None:
        try:
            scenario = await scenarios.get(asked.db, asked.account_id, scenario_id)
        except ScenarioNotFound:
            raise wrong("scenario_id", "There is no such scenario.", "Нет такого сценария.") from None
        return {"script": scenario.script, "scenario_id": scenario_id, "audio_ids": ()}
    if not audio:
        return {}
    return await _said(asked, audio)


async def _said(asked: Asked, audio: Sequence[int | str | InlineAudio]) -> Mapping[str, Any]:
    """One clip or text, or several that are played one after the other, as one text with markup."""
    found = [await _sound(asked, one, f"audio_id.{at}") for at, one in enumerate(audio)]
    voices = [sound.voice for sound in found if sound.voice is not None]
    prompt = found[0].prompt
    if len(found) > 1:
        prompt = Prompt(text=" ".join(sound.marked for sound in found))
        try:
            prompt.checked("audio_id")
        except SettingsInvalid as exc:
            raise Unprocessable({"audio_id": [invalid("audio_id", exc.detail or "")]}) from None
    heard = {
        "script": plain(prompt),
        "audio_ids": tuple(sound.clip_id for sound in found),
        "scenario_id": None,
    }
    return {**heard, "voice": voices[0]} if voices else heard


class _Sound(Struct, frozen=True, kw_only=True):
    clip_id: int
    prompt: Prompt
    marked: str  # the same as a part of a text with markup
    voice: Voice | None = None  # of a text that each callee hears in words of his own


async def _sound(asked: Asked, audio: int | str | InlineAudio, where: str) -> _Sound:
    if isinstance(audio, InlineAudio):
        text = audio.data.text
        if not text.strip():
            raise Unprocessable({f"{where}.data.text": [required(f"{where}.data.text")]})
        try:
            voice = voice_of(audio.data)
            Prompt(text=text).checked(where)
        except SettingsInvalid as exc:
            raise Unprocessable({where: [invalid(where, exc.detail or "")]}) from None
        clip = await clips.put_text(asked.db, asked.account_id, text, voice, now=asked.now)
        if names_in([text]):
            return _Sound(clip_id=clip.clip_id, prompt=Prompt(text=text), marked=as_markup(text), voice=voice)
    else:
        clip = await _clip(asked, str(audio), where)
    return _Sound(
        clip_id=clip.clip_id, prompt=Prompt(clip_id=clip.clip_id), marked=f'<audio id="{clip.clip_id}"/>'
    )


async def _clip(asked: Asked, text: str, where: str) -> Clip:
    try:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _BIGGEST):
            raise ClipNotFound
        return await clips.get(asked.db, asked.account_id, int(text))
    except ClipNotFound:
        raise wrong(where, "There is no such audio.", "Нет такого аудио.") from None


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

_STEPS = (
    ("start", "Start", _start, "Let a paused autocall dial. Its max_cost is held from the balance."),
    ("pause", "Pause", _pause, "Stop dialling; calls in progress end by themselves."),
    ("resume", "Resume", _start, "Let a paused autocall dial again."),
    ("cancel", "Cancel", _cancel, "End for good: what waits is never dialled."),
    ("archive", "Archive", _archive, "Take an autocall that does not run out of the list."),
    ("unarchive", "Unarchive", _unarchive, "Put an autocall back into the list."),
)

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
        method="GET",
        path="/autocalls/{autocall_id}/status",
        tag=TAG,
        name="getAutocallStatus",
        summary="Read where an autocall stands, and why",
        handle=standing,
        answer=Standing,
        examples=(Example(name="one", path=_ONE),),
    ),
    Operation(
        method="GET",
        path="/autocalls/{autocall_id}/preflight",
        tag=TAG,
        name="getPreflight",
        summary="Read what an autocall would do",
        about="How many would be dialled, who would be skipped and why, how long it takes, and the worst-case cost.",
        handle=forecast,
        answer=Forecast,
        examples=(Example(name="one", path=_ONE),),
    ),
    *(
        Operation(
            method="POST",
            path=f"/autocalls/{{autocall_id}}/{step}",
            tag=TAG,
            name=f"{step}Autocall",
            summary=f"{title} an autocall",
            about=about,
            handle=steered(steer),
            answer=Autocall,
            refusals=(402,) if step in ("start", "resume") else (),
            examples=(
                Example(
                    name="one",
                    path=_ONE if step in ("pause", "cancel") else {"autocall_id": "{paused_id}"},
                ),
            ),
        )
        for step, title, steer, about in _STEPS
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
