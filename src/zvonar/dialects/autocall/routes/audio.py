"""How does audio come in, and how does it sound? Uploads, spoken texts, and listening to either."""

import asyncio
from typing import Annotated, Final

from msgspec import Meta, Struct

from zvonar.core.campaign import Voice
from zvonar.core.errors import SettingsInvalid
from zvonar.core.script import MAX_TEXT
from zvonar.dialects.autocall.answers import local_time
from zvonar.dialects.autocall.errors import Unprocessable, invalid, required
from zvonar.dialects.autocall.limits import MAX_AUDIO
from zvonar.dialects.autocall.operations import Asked, Direct, Example, Operation
from zvonar.dialects.autocall.pages import Page
from zvonar.dialects.autocall.requests.autocalls import SpokenText, voice_of
from zvonar.dialects.autocall.requests.fields import Name, PageQuery, decoded, read
from zvonar.dialects.autocall.requests.forms import FILE, file_form, is_form
from zvonar.dialects.autocall.routes.common import paged
from zvonar.dialects.autocall.words import Text
from zvonar.dialects.files import FileAnswer, Sent
from zvonar.dialects.ranges import Version
from zvonar.speech.formats import CONTENT_TYPES, AudioRejected
from zvonar.store import clips
from zvonar.store.clips import Clip

TAG = "audio"
SPOKEN_WITHIN: Final = 20.0  # seconds for a text that nobody has heard yet
RECEIVED_WITHIN: Final = 120.0  # seconds for a recording to be converted, a turn among others included
UPLOADED: Final = "uploaded"  # the kind of such a clip
CACHE: Final = "private, max-age=86400"  # a clip never changes

UNSPOKEN = Text("This text cannot be spoken.", "Этот текст нельзя произнести.")


class Audio(Struct, frozen=True, kw_only=True):
    """Something that autocalls can play."""

    id: int
    name: str | None
    type: str  # uploaded, synthesised
    text: str | None  # what is spoken, or what an upload's owner says of it
    duration: float | None  # seconds; null until a text was spoken
    url: str  # to listen, with the same key
    created_at: str


class UploadFields(Struct, frozen=True, kw_only=True):
    """What is said of an upload."""

    name: Name
    text: Annotated[str, Meta(max_length=MAX_TEXT)] | None = None


async def index(asked: Asked) -> Page[Audio]:
    """Audio, newest first."""
    query: PageQuery = asked.query
    found, total = await clips.page(asked.db, asked.account_id, number=query.page, size=query.per_page)
    return paged(asked, [_audio(one, asked) for one in found], total)


async def create(asked: Asked) -> Audio:
    """Audio from a file, or from a text."""
    if is_form(asked.request):
        return await _upload(asked)
    spoken = read(SpokenText, decoded(asked.file.read()))
    if not spoken.text.strip():
        raise Unprocessable({"text": [required("text")]})
    try:
        voice = voice_of(spoken)
    except SettingsInvalid as exc:
        raise Unprocessable({"voice": [invalid("voice", exc.detail or "")]}) from None
    clip = await clips.put_text(asked.db, asked.account_id, spoken.text, voice, now=asked.now)
    return _audio(clip, asked, await _duration(asked, clip))


async def show(asked: Asked) -> Audio:
    """One piece of audio."""
    return _audio(await clips.get(asked.db, asked.account_id, asked.id("audio_id")), asked)


async def listen(asked: Asked) -> Direct:
    """The sound itself, as the telephone plays it."""
    from zvonar.speech.synthesis import UNSPEAKABLE

    clip = await clips.get(asked.db, asked.account_id, asked.id("audio_id"))
    try:
        async with asyncio.timeout(SPOKEN_WITHIN):
            audio = await asked.service.library.converted(clip)
    except UNSPEAKABLE:
        raise Unprocessable({"text": [UNSPOKEN]}) from None
    version = Version(tag=f'"{audio.path.stem[:32]}-{audio.size:x}"', modified=clip.created_at)
    sent = FileAnswer(
        asked.request,
        Sent(
            path=audio.path,
            content_type=CONTENT_TYPES[audio.suffix],
            version=version,
            cache=CACHE,
            name=f"{clip.clip_id}.{audio.suffix}",
        ),
    )
    return Direct(sent)


async def _upload(asked: Asked) -> Audio:
    async with file_form(asked.request, asked.file) as form, asyncio.timeout(RECEIVED_WITHIN):
        fields = read(UploadFields, {"name": form.filename[:200], **form.fields})
        try:
            clip = await asked.service.library.add(
                asked.account_id, form.file, name=fields.name, speaker=None, text=fields.text, now=asked.now
            )
        except AudioRejected as exc:
            raise Unprocessable({FILE: [invalid(FILE, str(exc))]}) from None
    return _audio(clip, asked)


async def _duration(asked: Asked, clip: Clip) -> float:
    # Here, because the voices' libraries are for the process that serves.
    from zvonar.speech.synthesis import UNSPEAKABLE

    try:
        async with asyncio.timeout(SPOKEN_WITHIN):
            return (await asked.service.library.converted(clip, voice=Voice())).duration_ms / 1000
    except UNSPEAKABLE:
        raise Unprocessable({"text": [UNSPOKEN]}) from None


def _audio(clip: Clip, asked: Asked, duration: float | None = None) -> Audio:
    if clip.duration_ms is not None:
        duration = clip.duration_ms / 1000
    return Audio(
        id=clip.clip_id,
        name=clip.name,
        type="uploaded" if clip.kind == UPLOADED else "synthesised",
        text=clip.text,
        duration=duration,
        url=f"{asked.base}/api/v1/audio/{clip.clip_id}/listen",
        created_at=local_time(clip.created_at, asked.zone),
    )


_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "WAV, MP3, OGG or FLAC"},
        "name": {"type": "string", "minLength": 1, "maxLength": 200},
        "text": {"type": "string", "maxLength": MAX_TEXT, "description": "what is said in it"},
    },
}
_ONE = {"audio_id": "{audio_id}"}

OPERATIONS = (
    Operation(
        method="GET",
        path="/audio",
        tag=TAG,
        name="listAudio",
        summary="List audio",
        handle=index,
        query=PageQuery,
        answer=Page[Audio],
        examples=(Example(name="all"),),
    ),
    Operation(
        method="POST",
        path="/audio",
        tag=TAG,
        name="createAudio",
        summary="Upload or synthesise audio",
        about="The same file, or the same text in the same voice, is the same audio.",
        handle=create,
        status=201,
        forms={"application/json": SpokenText, "multipart/form-data": _FORM},
        answer=Audio,
        longest=MAX_AUDIO,
        examples=(Example(name="a text", body={"text": "Добрый день!", "language": "ru"}),),
    ),
    Operation(
        method="GET",
        path="/audio/{audio_id}",
        tag=TAG,
        name="getAudio",
        summary="Read what audio is",
        handle=show,
        answer=Audio,
        examples=(Example(name="one", path=_ONE),),
    ),
    Operation(
        method="GET",
        path="/audio/{audio_id}/listen",
        tag=TAG,
        name="listenToAudio",
        summary="Listen to audio",
        about="WAV as the telephone plays it; ranges are honoured.",
        handle=listen,
        content_type="audio/wav",
        refusals=(206, 304, 416, 422),
        examples=(Example(name="one", path=_ONE),),
    ),
)
