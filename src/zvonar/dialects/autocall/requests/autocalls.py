"""What is an autocall to be? The fields of the reference become a campaign's settings, and back where some change."""

from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from zvonar.core.campaign import MAX_CLIENT_ID, MAX_COMMENT, MAX_SMS, CampaignSettings, Voice
from zvonar.core.errors import SettingsInvalid
from zvonar.core.markup import MAX_CLIPS
from zvonar.core.retry import MAX_ATTEMPTS, MAX_INTERVAL, RetryPolicy
from zvonar.core.schedule import Window
from zvonar.core.script import MAX_TEXT
from zvonar.dialects.autocall.errors import Unprocessable, invalid, required
from zvonar.dialects.autocall.outcomes import AutocallStatus, CallStatus
from zvonar.dialects.autocall.requests.fields import (
    Clock,
    Date,
    DateOrTime,
    Id,
    MoneyText,
    Name,
    Number,
    PageQuery,
    given_fields,
)
from zvonar.dialects.autocall.requests.people import Person

Spoken = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT, examples=["Здравствуйте, {{name}}!"])]
Message = Annotated[str, Meta(min_length=1, max_length=MAX_SMS)]


class SpokenText(Struct, frozen=True, kw_only=True):
    """A text to be spoken."""

    text: Spoken
    language: Annotated[str, Meta(pattern=r"^\w[\w.+/:-]{0,31}$", examples=["ru"])] = "ru"
    voice: Annotated[str, Meta(pattern=r"^\w[\w.+/:-]{0,199}$")] | None = None  # the engine's own name


class InlineAudio(Struct, frozen=True, kw_only=True):
    """Audio that is made of a text when it is needed."""

    data: SpokenText


Audio = int | str | InlineAudio


class AutocallFields(Struct, frozen=True, kw_only=True):
    """What can be said of an autocall, and changed while it is paused."""

    # Played one after the other.
    audio_id: (
        Annotated[list[Audio], Meta(max_length=MAX_CLIPS, examples=[["1000000001"]])] | UnsetType | None
    ) = UNSET
    scenario_id: Id | UnsetType | None = UNSET  # instead of audio
    date_from: DateOrTime | UnsetType | None = UNSET  # the first day, in the account's time zone
    date_till: Date | UnsetType | None = UNSET  # the last day
    time_from: Clock | UnsetType = UNSET  # of every day; 09:00:00 unless given
    time_to: Clock | UnsetType = UNSET  # 20:00:00 unless given; 23:59:59 is midnight
    weekdays: (
        Annotated[list[Annotated[int, Meta(ge=1, le=7)]], Meta(min_length=1, max_length=7)] | UnsetType
    ) = UNSET  # 1 is Monday
    max_tries: Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)] | UnsetType = UNSET
    tries_interval: Annotated[int, Meta(ge=0, le=MAX_INTERVAL // 60)] | UnsetType = UNSET  # minutes
    max_cost: MoneyText | Annotated[float, Meta(ge=0, le=999_999_999)] | UnsetType | None = UNSET
    record: bool | UnsetType = UNSET
    lifetime: bool | UnsetType = UNSET  # stays running when its calls have ended
    sms: bool | UnsetType = UNSET  # send `text` after a success
    sms_unanswered: bool | UnsetType = UNSET  # send `text_unanswered` where a call has ended without one
    text: Message | UnsetType | None = UNSET
    text_unanswered: Message | UnsetType | None = UNSET
    callback_url: Annotated[str, Meta(max_length=MAX_COMMENT)] | UnsetType | None = UNSET
    client_id: Annotated[str, Meta(min_length=1, max_length=MAX_CLIENT_ID)] | UnsetType | None = UNSET
    comment: Annotated[str, Meta(max_length=MAX_COMMENT)] | UnsetType | None = UNSET
    settings: dict[str, Any] | UnsetType = UNSET  # whatever else a campaign has; see /autocalls/{id}/settings


class NewAutocall(AutocallFields, frozen=True, kw_only=True):
    """An autocall to be created."""

    name: Name
    list_id: Annotated[list[Any], Meta(max_length=0)] = []  # read by itself, for it may be long
    start: bool = True  # at once, or as soon as its window opens; else it is paused


class NewAutocallBody(AutocallFields, frozen=True, kw_only=True):
    """An autocall to be created."""

    name: Name
    list_id: list[Id | Person]  # ids of lists, or whom to call, up to a million
    start: bool = True  # at once, or as soon as its window opens; else it is paused


class AutocallChange(AutocallFields, frozen=True, kw_only=True):
    """What is to be different. Fields that are left out stay as they are."""

    name: Name | UnsetType = UNSET


class Copy(Struct, frozen=True, kw_only=True):
    """What the copy is to be."""

    name: Name | None = None  # the same unless given
    statuses: list[CallStatus] | None = None  # only calls of these; all unless given
    start: bool = False


class MoreCalls(Struct, frozen=True, kw_only=True):
    """Whom else to call."""

    list_id: list[Id | Person]


class AutocallQuery(PageQuery, frozen=True, kw_only=True):
    """Which autocalls."""

    status: AutocallStatus | None = None
    name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None  # part of it
    client_id: Annotated[str, Meta(min_length=1, max_length=MAX_CLIENT_ID)] | None = None
    created_from: Date | None = None  # the day, in the account's time zone
    created_to: Date | None = None  # included
    archived: bool = False  # those that were archived, instead of the others


class CallQuery(PageQuery, frozen=True, kw_only=True):
    """Which calls of an autocall."""

    status: CallStatus | None = None
    number: Number | None = None
    extra: Annotated[str, Meta(max_length=2000)] | None = None
    lock: bool | None = None  # held back by the client
    updated_from: Date | None = None  # the day, in the account's time zone
    updated_to: Date | None = None  # included


def settings_of(
    before: CampaignSettings, asked: AutocallFields, heard: Mapping[str, Any]
) -> CampaignSettings:
    """The settings with what was asked for. `heard`: fields that audio and scenario have become.

    Raises Unprocessable with every field that is wrong.
    """
    errors: dict[str, list[Any]] = {}
    given = given_fields(asked)
    base = _natively(before, given.get("settings", {}))
    changes: dict[str, Any] = dict(heard)
    try:
        changes["window"] = _window(base.window, given)
    except (SettingsInvalid, Unprocessable) as exc:
        if isinstance(exc, Unprocessable):
            errors.update(exc.errors)
        else:
            errors["time_from"] = [invalid("time_from", exc.detail or "")]
    changes["retry"] = _retry(base.retry, given)
    for wire, name in (
        *(("record", "record"), ("lifetime", "open_ended"), ("callback_url", "callback_url")),
        *(("client_id", "client_id"), ("comment", "comment")),
    ):
        if wire in given:
            changes[name] = given[wire]
    if "max_cost" in given:
        cost = given["max_cost"]
        changes["grows"] = False
        changes["max_cost"] = None if cost is None else Decimal(str(cost)).quantize(Decimal("0.0001"))
    for switch, text, name, was in (
        ("sms", "text", "sms_text", base.sms_text),
        ("sms_unanswered", "text_unanswered", "sms_unanswered_text", base.sms_unanswered_text),
    ):
        said = given.get(text, was)
        on = given.get(switch, said is not None and (text in given or was is not None))
        if on and not said:
            errors[text] = [required(text)]
        changes[name] = said if on else None
    if errors:
        raise Unprocessable(errors)
    settings = msgspec.structs.replace(base, **changes)
    try:
        return settings.checked()
    except SettingsInvalid as exc:
        field = next((name for name in given if name in (exc.detail or "")), "settings")
        raise Unprocessable({field: [invalid(field, exc.detail or "")]}) from None


def _natively(before: CampaignSettings, given: Mapping[str, Any]) -> CampaignSettings:
    """Settings by the names that campaigns have them by."""
    if not given:
        return before
    try:
        return msgspec.convert({**msgspec.to_builtins(before), **given}, CampaignSettings, strict=False)
    except (msgspec.ValidationError, RecursionError, OverflowError) as exc:
        raise Unprocessable({"settings": [invalid("settings", str(exc))]}) from None


def _window(before: Window, given: Mapping[str, Any]) -> Window:
    changes: dict[str, Any] = {}
    errors: dict[str, list[Any]] = {}
    for wire, name in (("date_from", "date_from"), ("date_till", "date_till")):
        if wire in given:
            try:
                changes[name] = None if given[wire] is None else date.fromisoformat(given[wire][:10])
            except ValueError:
                errors[wire] = [invalid(wire, "there is no such day")]
    for wire, name in (("time_from", "start"), ("time_to", "end")):
        if wire in given:
            text = given[wire]
            try:
                midnight = wire == "time_to" and text in ("23:59:59", "24:00", "24:00:00")
                changes[name] = time(0) if midnight else time.fromisoformat(text)
            except ValueError:
                errors[wire] = [invalid(wire, "there is no such time")]
    if "weekdays" in given:
        changes["weekdays"] = tuple(sorted(set(given["weekdays"])))
    if errors:
        raise Unprocessable(errors)
    return msgspec.structs.replace(before, **changes).checked()


def _retry(before: RetryPolicy, given: Mapping[str, Any]) -> RetryPolicy:
    return msgspec.structs.replace(
        before,
        max_attempts=given.get("max_tries", before.max_attempts),
        interval=given["tries_interval"] * 60 if "tries_interval" in given else before.interval,
    )


def voice_of(spoken: SpokenText) -> Voice:
    """How a text is spoken. Raises SettingsInvalid."""
    return Voice(language=spoken.language, name=spoken.voice).checked()
