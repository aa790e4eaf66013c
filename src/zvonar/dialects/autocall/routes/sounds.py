"""What does an autocall say? Clips, texts and scenarios, as its settings hold them."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from zvonar.core.campaign import Voice
from zvonar.core.errors import SettingsInvalid
from zvonar.core.prompt import Prompt
from zvonar.core.script import plain
from zvonar.core.variables import as_markup, names_in
from zvonar.dialects.autocall.errors import Unprocessable, invalid, required, wrong
from zvonar.dialects.autocall.operations import Asked
from zvonar.dialects.autocall.requests.autocalls import AutocallFields, InlineAudio, voice_of
from zvonar.dialects.autocall.requests.fields import given_fields
from zvonar.store import clips, scenarios
from zvonar.store.clips import Clip, ClipNotFound
from zvonar.store.scenarios import ScenarioNotFound

_BIGGEST = 2**63 - 1


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
